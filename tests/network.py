"""The real weights and Keras's network of them, for the tests that need these: made once a session."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from job import backbone, weights
from job.checkpoint import Weights
from job.quiet import quiet_stderr

ROOT: Final = Path(__file__).parents[1]
CACHE: Final = ROOT / "build/test-cache"


def no_keras() -> Weights:
    """Stand in for Keras's download where there is none."""
    raise OSError("no Keras here")


@cache
def real_weights() -> Weights:
    """Return the verified weights, downloaded if no session before did."""
    return weights.get(None, CACHE, no_keras)[0]


@cache
def keras_network() -> Any:
    """Return Keras's own MobileNetV2, built apart from the job's code, with the real weights."""
    with quiet_stderr():
        tf = backbone._tensorflow()
        model = tf.keras.applications.MobileNetV2(
            weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3)
        )
        model.set_weights(real_weights())
    return model


def some(sample: Path, number: int) -> list[Path]:
    """Return so many photos of a sample, evenly chosen; all of them if there are fewer."""
    files = sorted(sample.rglob("*.jpg"))
    return files[:: max(len(files) // number, 1)][:number]


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Serve on loopback, each connection by `answer`, until the block ends; give the address."""
    open_ones: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                threading.Thread(target=_answer, args=(answer, connection), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in open_ones:
                connection.close()


def _answer(answer: Callable[[socket.socket], object], connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        answer(connection)


def silence(connection: socket.socket) -> None:
    """Accept and never answer."""
    del connection


def reply(status: str, body: bytes = b"", missing: int = 0) -> Callable[[socket.socket], None]:
    """Answer every request with a status and a body, of which some bytes never come."""

    def answer(connection: socket.socket) -> None:
        asked = connection.recv(65_536)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        whole = not asked.startswith(b"HEAD")
        connection.sendall(head + (body[: len(body) - missing] if whole else b""))
        if not (whole and missing):
            connection.close()

    return answer
