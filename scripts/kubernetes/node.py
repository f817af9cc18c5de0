"""A node of a local cluster: containerd, kubelet and the firewall of network policies, on one machine."""

import contextlib
import json
from pathlib import Path
from typing import Final

from scripts.kubernetes import images
from scripts.kubernetes.control_plane import DNS, SERVICES, ControlPlane, wait_until
from scripts.kubernetes.images import PAUSE
from scripts.kubernetes.machine import Machine

CGROUPS: Final = Path("/sys/fs/cgroup")
LABELS: Final = {
    "topology.kubernetes.io/region": "eu-west-1",
    "topology.kubernetes.io/zone": "eu-west-1a",
    "karpenter.sh/capacity-type": "on-demand",
}
CONTAINERD: Final = """\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  enable_selinux = false
  disable_apparmor = true
  # In a sandbox without CAP_SYS_RESOURCE, no process may be kept from the kernel's killer more than others.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


class Node:
    """A node that joins a cluster.

    Parameters
    ----------
    pool : str
        ``drivers`` or ``executors``: the node's name, and its label ``fruits/pool``.
    number : int
        From 1; its address is ``10.20.NUMBER.10``, and its pods' addresses are ``10.20.(100 + NUMBER).0/24``.
    control_plane : ControlPlane
        Whose cluster it joins.
    image_folder : Path
        The images that it has, as ``images.unpacked`` returns them.
    folder : Path
        A new folder for its data, on the file system of `image_folder`.
    logs : Path
        The folder of its programs' logs.
    """

    def __init__(
        self,
        pool: str,
        number: int,
        control_plane: ControlPlane,
        image_folder: Path,
        folder: Path,
        logs: Path,
    ) -> None:
        self.pool, self._control_plane, self._folder = pool, control_plane, folder
        self.address = f"10.20.{number}.10"
        self._pods = f"10.20.{100 + number}.0/24"
        folder.mkdir(parents=True)
        self.machine = Machine(pool, logs)
        self._connect(number)
        images.share(image_folder, folder / "containerd")
        self._start_containerd()
        self._start_kubelet()

    def is_ready(self) -> bool:
        """Tell whether the API server counts the node as ready."""
        condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return self._control_plane.kubectl("get", "node", self.pool, "-o", condition, check=False) == "True"

    def enforce_policies(self) -> None:
        """Start kube-router, and wait until its firewall enforces network policies."""
        program, kubeconfig = self._control_plane.program, self._control_plane.kubeconfig("admin")
        process = self.machine.start(
            f"kube-router-{self.pool}", program, "kube-router", f"--kubeconfig={kubeconfig}",
            "--run-router=false", "--run-service-proxy=false", "--run-firewall=true", "--enable-ipv6=false",
            f"--hostname-override={self.pool}", f"--service-cluster-ip-range={SERVICES}",
            "--iptables-sync-period=5m", "--health-port=0", NODE_NAME=self.pool,
        )  # fmt: skip

        def has_firewall() -> bool:
            return "-A FORWARD" in self.machine.run("iptables", "-S", "FORWARD", check=False)

        wait_until(f"policies are enforced on {self.pool}", has_firewall, process)

    def end(self) -> None:
        """End the node with its pods, as if its power were cut."""
        self.machine.end()
        remove_old_cgroups()

    @property
    def _cgroup(self) -> str:
        return f"fruits-{self.pool}-{self.machine.pid}"

    def _connect(self, number: int) -> None:
        """Lay a cable between the node and the control plane, which routes between nodes."""
        switch, device, gateway = self._control_plane.machine, f"node{number}", f"10.20.{number}.1"
        cable = ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", device]
        self.machine.run(*cable, "netns", str(switch.pid))
        for words in (
            ("ip", "addr", "add", f"{gateway}/24", "dev", device),
            ("ip", "link", "set", device, "up"),
            ("ip", "route", "add", self._pods, "via", self.address, "dev", device, "onlink"),
        ):
            switch.run(*words)
        for words in (
            ("ip", "addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("ip", "link", "set", "eth0", "up"),
            ("ip", "route", "add", "default", "via", gateway),
        ):
            self.machine.run(*words)

    def _start_containerd(self) -> None:
        bridge = {
            "type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
            "ipam": {"type": "host-local", "dataDir": f"{self._folder}/addresses",
                     "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": self._pods}]]},
        }  # fmt: skip
        (self._folder / "cni").mkdir()
        network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}
        (self._folder / "cni" / "10-pods.conflist").write_text(json.dumps(network))
        socket, configuration = self._folder / "containerd.sock", self._folder / "containerd.toml"
        configuration.write_text(CONTAINERD.format(folder=self._folder, socket=socket, pause=PAUSE))
        process = self.machine.start(f"containerd-{self.pool}", "containerd", "--config", configuration)
        wait_until(f"containerd of {self.pool} is ready", socket.exists, process)

    def _start_kubelet(self) -> None:
        (self._folder / "resolv.conf").write_text("options timeout:1\n")
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": self.address, "healthzPort": 0,
            # Nobody but the control plane reaches it: policies keep pods away.
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "clusterDNS": [DNS], "clusterDomain": "cluster.local",
            "resolvConf": str(self._folder / "resolv.conf"),
            "containerRuntimeEndpoint": f"unix://{self._folder}/containerd.sock",
            "podLogsDir": str(self._folder / "pods"),
            "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self._cgroup}", "enforceNodeAllocatable": ["pods"],
            # Old kernels and sandboxes have the first version of control groups.
            "failCgroupV1": False, "failSwapOn": False, "oomScoreAdj": 0,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%",
                             "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "nodeStatusUpdateFrequency": "5s", "shutdownGracePeriod": "0s", "makeIPTablesUtilChains": False,
        }  # fmt: skip
        file = self._folder / "kubelet.json"
        file.write_text(json.dumps(configuration))
        self._make_cgroups()
        labels = {"fruits/pool": self.pool, **LABELS}
        taint = (
            ["--register-with-taints=fruits/pool=executors:NoSchedule"] if self.pool == "executors" else []
        )
        self.machine.start(
            f"kubelet-{self.pool}", self._control_plane.program, "kubelet", f"--config={file}",
            f"--kubeconfig={self._control_plane.kubeconfig(f'node-{self.pool}')}",
            f"--root-dir={self._folder / 'kubelet'}", f"--cert-dir={self._folder / 'certificates'}",
            f"--hostname-override={self.pool}", f"--node-ip={self.address}",
            "--node-labels=" + ",".join(f"{key}={value}" for key, value in labels.items()), *taint,
        )  # fmt: skip

    def _make_cgroups(self) -> None:
        """Make the groups below which the kubelet makes those of pods."""
        parents = [CGROUPS] if (CGROUPS / "cgroup.controllers").exists() else [*CGROUPS.iterdir()]
        for parent in (parent for parent in parents if parent.is_dir() and not parent.is_symlink()):
            group = parent / self._cgroup
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # the first version's are empty at first
                if parent != CGROUPS and (parent / setting).exists():
                    (group / setting).write_text((parent / setting).read_text())


def remove_old_cgroups() -> None:
    """Remove the groups of nodes that have ended: they are the kernel's own, and outlive a machine."""
    for group in (*CGROUPS.glob("fruits-*"), *CGROUPS.glob("*/fruits-*")):
        if not Path("/proc", group.name.rpartition("-")[2]).exists():
            # From the inside out.
            for inner in (*sorted(group.rglob("*/"), reverse=True), group):
                with contextlib.suppress(OSError):
                    inner.rmdir()
