"""Starts and stops the Spark session, with every setting of the job that the user has not set.

The job sets no master: on a laptop PySpark's own default is ``local[*]``, on EMR the submission decides.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from job.spark import jvm

if TYPE_CHECKING:
    from py4j.protocol import Py4JError
    from pyspark.sql import SparkSession

S3A_REGION: Final = "spark.hadoop.fs.s3a.endpoint.region"
STOP_SECONDS: Final = 30.0
ROOT: Final = Path(__file__).resolve().parents[2]

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


def start(environment: Mapping[str, str], cache: Path) -> "SparkSession":
    """Start the session, in the JVM of spark-submit if that has started one.

    `cache` is the folder of the JVM's class archive, see :func:`jvm.class_archive`.

    Raises
    ------
    JobError
        If Spark does not start, with its own reason.
    """
    # Imported here: --help and wrong flags answer without loading Spark.
    from py4j.protocol import Py4JError  # noqa: PLC0415
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    shell = dict(environment)  # before Spark's start sets a variable
    jvm.check_shell(environment)
    try:
        if "PYSPARK_GATEWAY_PORT" in environment:  # spark-submit has started the JVM
            SparkContext._ensure_initialized()
        else:
            jvm.check_worker_python(environment)
            SparkContext._ensure_initialized(gateway=jvm.launch(environment, cache))
    except BaseException as error:
        # Without the folder that PySpark has just removed, a Java that is starting would never end.
        for file in Path("/proc/self/task").glob("*/children"):
            for child in file.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        jvm.keep_class_archive(1)
        if isinstance(error, Py4JError | OSError):
            raise jvm.start_error(_reason(error), shell) from None
        raise
    # The workers run the driver's own Python, unless the user or spark-submit names another.
    os.environ["PYSPARK_PYTHON"] = environment.get("PYSPARK_PYTHON") or sys.executable
    configuration = SparkConf()  # from the command line, spark-defaults.conf and spark-submit
    local = (configuration.get("spark.master", "local[*]") or "").startswith("local")
    builder = SparkSession.builder
    for key, value in {**ALWAYS, **(LOCAL if local else {})}.items():
        if not configuration.contains(key):
            builder = builder.config(key, value)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region and not configuration.contains(S3A_REGION):  # S3A would ask in the United States
        builder = builder.config(S3A_REGION, region)
    logging.disable(logging.CRITICAL)  # py4j logs the traceback of what it raises
    try:
        session = builder.getOrCreate()
    except Py4JError as error:
        reason = _reason(error)  # while Java answers
        _end_java(SparkContext._gateway, keep_archive=False)
        raise jvm.start_error(reason, shell) from None
    finally:
        logging.disable(logging.NOTSET)
    # On a laptop what goes wrong reaches Python as an exception; on a cluster its log is what remains.
    session.sparkContext.setLogLevel("OFF" if local else "WARN")
    return session


def stop(session: "SparkSession") -> None:
    """Stop Spark, and wait until the JVM and its workers have ended if the job started them."""
    gateway = session.sparkContext._gateway
    with contextlib.suppress(Exception):  # a signal to the whole process group has ended the JVM already
        session.stop()
    _end_java(gateway, keep_archive=True)


def _end_java(gateway: Any, *, keep_archive: bool) -> None:
    """Wait until the JVM has ended if the job started it: spark-submit's is our parent, and ends after us."""
    process = getattr(gateway, "proc", None)
    if process is None:
        return
    process.stdin.close()  # the JVM's sign to end
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    jvm.keep_class_archive(process.returncode if keep_archive else 1)


def _reason(failure: "Py4JError | OSError") -> str:
    """Return the first line of a Java exception, and of the cause at its root if there is one."""
    exception = root = getattr(failure, "java_exception", None)
    if root is None:  # Java itself has ended, or there is none
        return f"Java does not answer, {str(failure).splitlines()[0]}"
    while root.getCause() is not None:
        root = root.getCause()
    lines = dict.fromkeys(str(error).splitlines()[0] for error in (exception, root))
    return ", by ".join(lines)
