"""The program of the smoke test's pod: connects to each address of its command line by TLS.

It runs with the python3 of EMR's base image (3.9) and its standard library. It has no credentials, so a
refusal is a success: it shows that name, route, endpoint and network policy work.
"""

import http.client
import os
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

# Pods of every namespace have the certificate authority of the Kubernetes API here.
KUBERNETES_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
# EKS applies network policies to a new pod within some seconds.
SECONDS = float(os.environ.get("SMOKE_SECONDS", "60"))


def status(address: str) -> int:
    """Return the HTTP status of an address's answer.

    Raises
    ------
    OSError, http.client.HTTPException
        If the name, the connection, TLS or the answer fails.
    """
    url = urlsplit(address)
    host, port = url.hostname or "", url.port or 443
    socket.getaddrinfo(host, port)
    if url.scheme == "https":
        context = ssl.create_default_context()
        if os.path.exists(KUBERNETES_CA):  # noqa: PTH110 (the standard library's smallest part)
            context.load_verify_locations(KUBERNETES_CA)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=10, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", url.path or "/")
    return connection.getresponse().status


def report(address: str, end: float) -> tuple[bool, str]:
    """Return whether an address answers before ``end`` (``time.monotonic``), and a line about it."""
    while True:
        try:
            return True, f"reached {address}: HTTP {status(address)}"
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() >= end:
                return False, f"NOT reached {address}: {type(error).__name__}: {error}"
            time.sleep(2)


def main() -> int:
    """Print a line for each address and return 1 if one did not answer."""
    end = time.monotonic() + SECONDS
    reports = [report(address, end) for address in sys.argv[1:]]
    print("\n".join(line for _, line in reports))
    return 0 if all(is_reached for is_reached, _ in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
