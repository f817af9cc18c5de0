"""Starts and stops the Spark session, with every setting of the job that the user has not set.

The job sets no master: on a laptop PySpark's own default is ``local[*]``, on EMR the submission decides.
"""

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from job.errors import JobError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STOP_SECONDS: Final = 30.0
ROOT: Final = Path(__file__).resolve().parents[2]
QUIET: Final = ROOT / "job" / "spark" / "log4j2.properties"

ALWAYS: Final = {
    "spark.app.name": "fruits",
    "spark.sql.session.timeZone": "UTC",
    # Two attempts at one task at once could write one file each of two outcomes.
    "spark.speculation": "false",
    # A worker keeps its network from task to task.
    "spark.python.worker.reuse": "true",
    "spark.executorEnv.PYTHONPATH": str(ROOT),
    # One thread a worker for linear algebra: there is a worker a core.
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    # Freed memory goes back to the system: allocators that keep it for later cost each worker 50 MB.
    "spark.executorEnv.ARROW_DEFAULT_MEMORY_POOL": "system",
    "spark.executorEnv.MALLOC_ARENA_MAX": "2",
    "spark.executorEnv.MALLOC_TRIM_THRESHOLD_": str(2**17),
}
# A laptop's session: nothing listens beyond loopback, and no time goes to pages that nobody opens.
LOCAL: Final = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
}
# Settings that must be known before the JVM starts. The JVM does little, so C1 alone is faster overall.
JAVA_OPTIONS: Final = "spark.driver.extraJavaOptions"
LAUNCH: Final = {
    "spark.driver.memory": "2g",
    "spark.ui.showConsoleProgress": "false",
    JAVA_OPTIONS: f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile=file:{QUIET}",
}

_drafts: list[Path] = []  # the class archive that this process's JVM writes when it ends


def start(environment: Mapping[str, str], cache: Path) -> "SparkSession":
    """Start the session, in the JVM of spark-submit if that has started one.

    `cache` is the folder of the JVM's class archive, see :func:`class_archive`.
    """
    # Imported here: --help and wrong flags answer without loading Spark.
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415
    from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    if "PYSPARK_GATEWAY_PORT" not in environment:  # else spark-submit has started the JVM
        os.environ["PYSPARK_SUBMIT_ARGS"] = launch_arguments(environment, class_archive(environment, cache))
    # The workers run the driver's own Python, unless the user or spark-submit names another.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        SparkContext._ensure_initialized()
    except PySparkRuntimeError:
        sentence = "Java did not start: Spark needs Java 17; set JAVA_HOME, or use scripts/run-local.sh"
        raise JobError(sentence) from None
    except BaseException:
        # Without the folder that PySpark has just removed, a Java that is starting would never end.
        for file in Path("/proc/self/task").glob("*/children"):
            for child in file.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        raise
    configuration = SparkConf()  # from the command line, spark-defaults.conf and spark-submit
    local = (configuration.get("spark.master", "local[*]") or "").startswith("local")
    builder = SparkSession.builder
    for key, value in {**ALWAYS, **(LOCAL if local else {})}.items():
        if not configuration.contains(key):
            builder = builder.config(key, value)
    session = builder.getOrCreate()
    # On a laptop what goes wrong reaches Python as an exception; on a cluster its log is what remains.
    session.sparkContext.setLogLevel("OFF" if local else "WARN")
    return session


def stop(session: "SparkSession") -> None:
    """Stop Spark, and wait until the JVM and its workers have ended if the job started them."""
    gateway = session.sparkContext._gateway
    process = getattr(gateway, "proc", None)
    with contextlib.suppress(Exception):  # a signal to the whole process group has ended the JVM already
        session.stop()
    if process is not None:  # under spark-submit the JVM is our parent, and ends after us
        process.stdin.close()  # the JVM's sign to end
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for draft in _drafts:
            if process.returncode == 0 and draft.exists():
                draft.replace(draft.with_suffix(".jsa"))
            draft.unlink(missing_ok=True)


def class_archive(environment: Mapping[str, str], cache: Path) -> str:
    """Return the Java options that use, or on first use make, an archive of Spark's loaded classes.

    Reading and checking some 15,000 classes is half of the time Spark takes to start. Java 17 can keep the
    result in a file (application class-data sharing, JEP 350); one that does not fit is passed over by Java.
    """
    import pyspark  # noqa: PLC0415

    jars = Path(pyspark.__file__).resolve().parent / "jars"
    if not jars.exists():  # Spark's own distribution, not PyPI's package
        return ""
    home = environment.get("JAVA_HOME") or Path(shutil.which("java") or "/none/java").resolve().parents[1]
    java = Path(home)
    source = f"{java.resolve()} {jars} {jars.stat().st_mtime_ns}"
    key = hashlib.sha256(source.encode()).hexdigest()[:12]
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


def launch_arguments(environment: Mapping[str, str], java_options: str = "") -> str:
    """Return PYSPARK_SUBMIT_ARGS with the job's launch options before the user's, which override them."""
    arguments = environment.get("PYSPARK_SUBMIT_ARGS") or "pyspark-shell"
    words = shlex.split(arguments.replace("--master=", "--master ").replace("spark.master=", "--master "))
    masters = [after for word, after in pairwise(words) if word == "--master"]
    if masters and not masters[-1].startswith("local"):
        return arguments
    options = {**LAUNCH, JAVA_OPTIONS: f"{LAUNCH[JAVA_OPTIONS]} {java_options}".strip()}
    defaults = _defaults_file(environment)
    flags = [
        f"--conf {shlex.quote(f'{key}={value}')}" for key, value in options.items() if key not in defaults
    ]
    return " ".join([*flags, arguments])


def _defaults_file(environment: Mapping[str, str]) -> set[str]:
    """Return the keys in the user's spark-defaults.conf, which a ``--conf`` would override."""
    folder = environment.get("SPARK_CONF_DIR") or f"{environment.get('SPARK_HOME') or '/none'}/conf"
    file = Path(folder) / "spark-defaults.conf"
    if not file.is_file():
        return set()
    lines = (line.strip() for line in file.read_text().splitlines())
    return {line.replace("=", " ").split()[0] for line in lines if line and not line.startswith("#")}
