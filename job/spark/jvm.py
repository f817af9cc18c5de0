"""Starts Spark's JVM: its options, its archive of loaded classes, and a sentence if it does not start."""

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from job.errors import JobError

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway

LOG_SETTINGS: Final = Path(__file__).with_name("log4j2.properties")
# Options that must be known before the JVM starts. The JVM does little, so C1 alone is faster overall.
JAVA_OPTIONS: Final = "spark.driver.extraJavaOptions"
LAUNCH: Final = {
    "spark.driver.memory": "2g",
    "spark.ui.showConsoleProgress": "false",
    JAVA_OPTIONS: f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile=file:{LOG_SETTINGS}",
}
SHELL: Final = "pyspark-shell"  # the program in PYSPARK_SUBMIT_ARGS
# Variables by which a shell changes how Spark starts.
VARIABLES: Final = (
    "PYSPARK_SUBMIT_ARGS", "MASTER", "SPARK_CONF_DIR", "SPARK_HOME", "SPARK_LOCAL_DIRS", "JAVA_HOME",
    "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS",
)  # fmt: skip
# Lines that do not say why Java ends.
LOG_LINE: Final = re.compile(
    r"\s*$|\d\d/\d\d/\d\d |WARNING: |Setting default log|Using Spark's default log4j|(NOTE: )?Picked up |"
    "Error occurred during init|Error: Could not create the Java|Error: A fatal exception"
)
JAVA_FAULT: Final = re.compile("more recent version|JAVA_HOME is not set|/java: |ArchiveClassesAtExit")
END_SECONDS: Final = 5.0
# A worker needs the driver's version of Python, and the packages that it imports first.
WORKER_PROGRAM: Final = "import sys; print('%d.%d' % sys.version_info[:2]); import numpy, obstore, pyarrow"
WORKER_SECONDS: Final = 60.0
VERSION: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"

_drafts: list[Path] = []  # the class archive that this process's JVM writes when it ends


def launch(environment: Mapping[str, str], cache: Path) -> "JavaGateway":
    """Start the JVM, and return PySpark's gateway to it.

    `cache` is the folder of the JVM's class archive, see :func:`class_archive`.

    Raises
    ------
    JobError
        If it does not start, with the reason that it gives and the variables that may be to blame.
    """
    from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415

    shell = dict(environment)  # before this function sets a variable
    if environment.get("SPARK_HOME") == "":
        os.environ.pop("SPARK_HOME", None)
    if is_local(environment):  # this machine's name need not resolve
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["PYSPARK_SUBMIT_ARGS"] = launch_arguments(environment, class_archive(environment, cache))
    read_end, write_end = os.pipe()
    errors = _ErrorOutput(read_end)
    with os.fdopen(write_end, "wb") as output:
        try:
            return launch_gateway(popen_kwargs={"stdout": output, "stderr": output})  # type: ignore[no-untyped-call]
        except (PySparkRuntimeError, OSError) as error:
            output.close()
            raise start_error(errors.reason() or str(error), shell) from None
        finally:
            errors.pass_on()


def check_shell(environment: Mapping[str, str]) -> None:
    """Refuse variables with which Spark's start would end in a traceback, or never."""
    if "SPARK_REMOTE" in environment:
        raise JobError("SPARK_REMOTE is set, and the job does not run on Spark Connect: unset it")
    if "PYSPARK_GATEWAY_PORT" in environment:  # spark-submit has read the other variables
        if "PYSPARK_GATEWAY_SECRET" not in environment:
            raise JobError("PYSPARK_GATEWAY_PORT is set without PYSPARK_GATEWAY_SECRET: unset it")
        return
    home = environment.get("SPARK_HOME")
    if home and not Path(home, "bin", "spark-submit").exists():
        raise JobError(
            f"SPARK_HOME is {home}, where there is no Spark: unset it, or use scripts/run-local.sh"
        )
    try:
        words = shlex.split(environment.get("PYSPARK_SUBMIT_ARGS") or "")
    except ValueError as error:
        raise JobError(f"PYSPARK_SUBMIT_ARGS cannot be read ({error}): correct or unset it") from None
    if endings := [word for word in words if word in ("--version", "--help", "-h")]:  # PySpark would wait
        raise JobError(f"PYSPARK_SUBMIT_ARGS holds {endings[0]}, at which Spark only prints: remove it")


def check_worker_python(environment: Mapping[str, str]) -> None:
    """Refuse a PYSPARK_PYTHON that cannot run this machine's workers, before each fails with a traceback."""
    python = environment.get("PYSPARK_PYTHON")
    if not python or shutil.which(python) == sys.executable or not is_local(environment):
        return
    command = [python, "-c", WORKER_PROGRAM]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WORKER_SECONDS)  # noqa: S603 (the user's)
        version, fault = process.stdout.strip(), (process.stderr.strip().splitlines() or [""])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        version, fault = "", getattr(error, "strerror", "it does not answer")
    if version and version != VERSION:
        fault = f"it is Python {version}, and the job runs on {VERSION}"
    if fault:
        raise JobError(f"PYSPARK_PYTHON is {python}, which cannot run the workers ({fault}): unset it")


def start_error(reason: str, shell: Mapping[str, str]) -> JobError:
    """Return the error that says why Spark does not start, and which variables may be to blame."""
    message = f"Spark did not start ({reason})"
    if "PYSPARK_GATEWAY_PORT" in shell:  # spark-submit has set its own
        return JobError(message)
    names = [name for name in VARIABLES if name in shell]
    advice = f"look at {', '.join(names)}, or " if names else ""
    if JAVA_FAULT.search(reason):
        advice = "it needs Java 17; set JAVA_HOME, or "
    return JobError(f"{message}: {advice}use scripts/run-local.sh")


def is_local(environment: Mapping[str, str]) -> bool:
    """Tell whether Spark will run on this machine alone, as far as the environment says."""
    masters = [*_masters(environment), environment.get("MASTER") or "local[*]"]
    return masters[0].startswith("local") and "spark.master" not in _defaults_file(environment)


def launch_arguments(environment: Mapping[str, str], java_options: str = "") -> str:
    """Return PYSPARK_SUBMIT_ARGS with the job's launch options before the user's, which override them."""
    arguments = environment.get("PYSPARK_SUBMIT_ARGS") or SHELL
    if SHELL not in arguments.split():
        arguments = f"{arguments} {SHELL}"
    if any(not master.startswith("local") for master in _masters(environment)):
        return arguments
    options = {**LAUNCH, JAVA_OPTIONS: f"{LAUNCH[JAVA_OPTIONS]} {java_options}".strip()}
    defaults = _defaults_file(environment)
    flags = [
        f"--conf {shlex.quote(f'{key}={value}')}" for key, value in options.items() if key not in defaults
    ]
    return " ".join([*flags, arguments])


def class_archive(environment: Mapping[str, str], cache: Path) -> str:
    """Return the Java options that use, or on first use make, an archive of Spark's loaded classes.

    Reading and checking some 15,000 classes is half of the time Spark takes to start. Java 17 can keep the
    result in a file (application class-data sharing, JEP 350); one that does not fit is passed over by Java.
    """
    import pyspark  # noqa: PLC0415

    jars = Path(pyspark.__file__).resolve().parent / "jars"
    if not jars.exists():  # Spark's own distribution, not PyPI's package
        return ""
    java = Path(environment.get("JAVA_HOME") or Path(shutil.which("java") or "/none/x").resolve().parents[1])
    source = f"{java.resolve()} {jars} {jars.stat().st_mtime_ns}"
    key = hashlib.sha256(source.encode()).hexdigest()[:12]
    _delete_old_drafts(cache)
    archive = cache.absolute() / f"spark-{pyspark.__version__}-{key}.jsa"
    if any(letter.isspace() or letter in "\"'\\" for letter in str(archive)):
        return ""  # Spark cuts Java's options apart at spaces
    silent = "-Xlog:disable -Xlog:all=off"
    if archive.exists():
        return f"-XX:SharedArchiveFile={archive} {silent}"
    # Without an archive of its own classes, a Java that is told to write one does not start at all.
    if not (java / "lib" / "server" / "classes.jsa").exists() or not os.access(cache, os.W_OK):
        return ""
    _drafts.append(archive.with_suffix(f".{os.getpid()}"))
    return f"-XX:ArchiveClassesAtExit={_drafts[-1]} {silent}"


def keep_class_archive(return_code: int) -> None:
    """Give the archive its name if the JVM ended well; otherwise delete what it has written of it."""
    for draft in _drafts:
        if return_code == 0 and draft.exists():
            draft.replace(draft.with_suffix(".jsa"))
        draft.unlink(missing_ok=True)


def _delete_old_drafts(cache: Path) -> None:
    """Delete the drafts of processes that ended without :func:`keep_class_archive`."""
    for draft in cache.glob("spark-*"):
        with contextlib.suppress(ValueError, PermissionError):  # no draft, or another user's process
            try:
                os.kill(int(draft.suffix[1:]), 0)
            except ProcessLookupError:
                draft.unlink(missing_ok=True)


class _ErrorOutput:
    """What the JVM writes to stderr: held back until it has started, then passed on."""

    def __init__(self, read_end: int) -> None:
        self._read_end = read_end
        self._lock = threading.Lock()
        self._held: bytearray | None = bytearray()
        self._thread = threading.Thread(target=self._read, name="jvm-stderr", daemon=True)
        self._thread.start()

    def pass_on(self) -> None:
        """Write what was held back to this process's stderr, and all that follows."""
        with self._lock:
            held, self._held = self._held, None
            _write_to_stderr(bytes(held or b""))

    def reason(self) -> str:
        """Return the line that says why the JVM has ended, and drop the others."""
        self._thread.join(END_SECONDS)
        held, self._held = self._held or b"", bytearray()
        lines = [line for line in held.decode(errors="replace").splitlines() if not LOG_LINE.match(line)]
        faults = [line for line in lines if "Exception" in line or line.startswith("Error")]
        line = (faults or lines or [""])[0]
        return re.sub(r'^Exception in thread "\w+" (?:[\w.$]+: )?', "", line)[:300]

    def _read(self) -> None:
        while data := os.read(self._read_end, 65_536):
            with self._lock:
                if self._held is None:
                    _write_to_stderr(data)
                else:
                    self._held += data
        os.close(self._read_end)


def _write_to_stderr(data: bytes) -> None:
    """Write all of it: a full stderr that does not block is waited for, a closed one loses it."""
    with contextlib.suppress(OSError):
        while data:
            try:
                data = data[os.write(2, data) :]
            except BlockingIOError:
                time.sleep(0.05)


def _masters(environment: Mapping[str, str]) -> list[str]:
    """Return the masters that PYSPARK_SUBMIT_ARGS names; the last one counts."""
    arguments = environment.get("PYSPARK_SUBMIT_ARGS") or ""
    words = shlex.split(arguments.replace("--master=", "--master ").replace("spark.master=", "--master "))
    return [after for word, after in pairwise(words) if word == "--master"][-1:]


def _defaults_file(environment: Mapping[str, str]) -> set[str]:
    """Return the keys in the user's spark-defaults.conf, which a ``--conf`` would override."""
    folder = environment.get("SPARK_CONF_DIR") or f"{environment.get('SPARK_HOME') or '/none'}/conf"
    file = Path(folder) / "spark-defaults.conf"
    if not file.is_file():
        return set()
    lines = (line.strip() for line in file.read_text().splitlines())
    return {line.replace("=", " ").split()[0] for line in lines if line and not line.startswith("#")}
