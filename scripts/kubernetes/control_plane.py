"""The control plane of a local cluster: etcd, API server, controllers, scheduler and DNS, on one machine.

Clients are known by tokens. They are made for one cluster, and its folder holds them only as long as it runs.
The addresses of services, for the API and for DNS, are the machine's own: nothing translates them, and so
network policies see them as EKS's do, which look before the translation.
"""

import json
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from job.errors import JobError
from scripts.kubernetes.machine import Machine

API: Final = "172.20.0.1"
DNS: Final = "172.20.0.10"
SERVICES: Final = "172.20.0.0/16"
# User and groups of each client.
CLIENTS: Final = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "node-drivers": ("system:node:drivers", "system:nodes"),
    "node-executors": ("system:node:executors", "system:nodes"),
}
COREFILE: Final = """\
.:53 {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig} local
        ttl 5
    }}
}}
"""
READY_SECONDS: Final = 120.0


class ControlPlane:
    """A running control plane.

    Parameters
    ----------
    machine : Machine
        Where it runs; it gets the services' addresses.
    program : Path
        Kubernetes's programs.
    folder : Path
        An existing folder for keys, data and kubeconfigs.
    has_kubelets : bool
        Whether kubelets will say that their nodes live. Without, nodes are objects alone, and are trusted.
    """

    def __init__(self, machine: Machine, program: Path, folder: Path, *, has_kubelets: bool) -> None:
        self.machine, self.program, self.folder = machine, program, folder
        self._silence = "50s" if has_kubelets else "24h"
        self._tokens = {client: secrets.token_hex(16) for client in CLIENTS}
        for address in (API, DNS):
            machine.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        self._start_api()
        for client in CLIENTS:
            self._write_kubeconfig(client)
        self._start_controllers()
        self._start_dns()

    def kubeconfig(self, client: str) -> Path:
        """Return a client's kubeconfig."""
        return self.folder / f"{client}.kubeconfig"

    def kubectl(self, *words: str, data: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator and return its stdout."""
        return self.machine.run(*self.kubectl_words, *words, data=data, check=check)

    @property
    def kubectl_words(self) -> tuple[str, ...]:
        """The words that run kubectl on the machine, with its configuration."""
        return str(self.program), "kubectl", f"--kubeconfig={self.kubeconfig('admin')}"

    def _start_api(self) -> None:
        key, tokens = self.folder / "service-accounts.key", self.folder / "tokens.csv"
        key.touch(mode=0o600)
        # The API server takes the key in this old form only.
        self.machine.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        tokens.touch(mode=0o600)
        lines = [
            f'{self._tokens[client]},{user},{user},"{group}"' for client, (user, group) in CLIENTS.items()
        ]
        tokens.write_text("\n".join(lines) + "\n")
        self._start(
            "etcd", "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync", "--log-level=warn",
            "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
        )  # fmt: skip
        api = self._start(
            "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
            f"--bind-address={API}", "--secure-port=443",
            f"--advertise-address={API}", f"--service-cluster-ip-range={SERVICES}",
            "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
            f"--token-auth-file={tokens}", f"--cert-dir={self.folder}", "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--kubelet-preferred-address-types=InternalIP",
        )  # fmt: skip
        self._write_kubeconfig("admin", verified=False)
        wait_until(
            "the API server is ready", lambda: self.kubectl("get", "--raw=/readyz", check=False) == "ok", api
        )

    def _start_controllers(self) -> None:
        key, certificate = self.folder / "service-accounts.key", self.folder / "apiserver.crt"
        local = ("--bind-address=127.0.0.1", "--leader-elect=false")
        for name in ("kube-controller-manager", "kube-scheduler"):
            kubeconfig = f"--kubeconfig={self.kubeconfig(name)}"
            keys = (f"--service-account-private-key-file={key}", f"--root-ca-file={certificate}",
                    "--use-service-account-credentials=true",
                    f"--node-monitor-grace-period={self._silence}")  # fmt: skip
            more = keys if name == "kube-controller-manager" else ()
            self._start(name, kubeconfig, *local, f"--cert-dir={self.folder / name}", *more)

    def _start_dns(self) -> None:
        corefile = self.folder / "Corefile"
        corefile.write_text(COREFILE.format(address=DNS, kubeconfig=self.kubeconfig("admin")))
        self._start("coredns", "-conf", str(corefile))

    def _start(self, name: str, *flags: str) -> "subprocess.Popen[bytes]":
        return self.machine.start(name, self.program, name, *flags)

    def _write_kubeconfig(self, client: str, *, verified: bool = True) -> None:
        """Write a client's kubeconfig; the API server's certificate is there once it has started."""
        trust = {"certificate-authority": str(self.folder / "apiserver.crt")}
        cluster = {
            "server": f"https://{API}:443",
            **(trust if verified else {"insecure-skip-tls-verify": True}),
        }
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "local",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": "local", "user": {"token": self._tokens[client]}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        }  # fmt: skip
        file = self.kubeconfig(client)
        file.touch(mode=0o600)
        file.write_text(json.dumps(content))


def wait_until(
    what: str,
    is_true: Callable[[], bool],
    process: "subprocess.Popen[bytes] | None" = None,
    seconds: float = READY_SECONDS,
) -> None:
    """Wait until something is true.

    Raises
    ------
    JobError
        If it is not within `seconds`, or if `process`, which is to make it true, has ended.
    """
    deadline = time.monotonic() + seconds
    while not is_true():
        if process is not None and process.poll() is not None:
            raise JobError(f"{what}: never, because its program ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise JobError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
