"""What EMR on EKS allows a pod, as real pods of EMR 6.8 and later show it; needs the standard library alone.

Uid 999, gid 1000, a read-only root, no capability, no new privilege, and volumes over the folders below.
"""

from typing import Final

POD_USER: Final = "999:1000"
# EMR mounts volumes over these; Spark unpacks native libraries in /tmp and runs them.
WRITABLE: Final = {
    "/tmp": "rw,exec,nosuid,nodev,mode=1777",  # noqa: S108 (the container's own)
    "/mnt": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/home/hadoop": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/var/log/fluentd": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/var/log/spark/user": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
    "/var/log/spark/apps": "rw,nosuid,nodev,uid=999,gid=1000,mode=755",
}
