"""The Spark session: everything the job sets, in one place, and only where the user has not.

The job sets no master: on a laptop PySpark's own default is ``local[*]``, on EMR the submission decides.
"""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT: Final = Path(__file__).resolve().parent.parent
QUIET: Final = Path(__file__).resolve().parent / "log4j2.properties"

ALWAYS: Final = {
    "spark.app.name": "fruits",
    "spark.sql.session.timeZone": "UTC",
    # A worker keeps its network from task to task.
    "spark.python.worker.reuse": "true",
    "spark.executorEnv.PYTHONPATH": str(ROOT),
    # One thread a worker for linear algebra: there is a worker a core.
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
}
# A laptop's session: nothing listens beyond loopback, and no time goes to pages that nobody opens.
LOCAL: Final = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
}
# What must be known before the JVM starts. The cores belong to the workers: compiled by C1 alone, the little
# that the JVM does here costs a fraction of the time that C2 would take to compile it better.
LAUNCH: Final = {
    "spark.driver.memory": "2g",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": (
        f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile=file:{QUIET}"
    ),
}


def start(environment: Mapping[str, str]) -> "SparkSession":
    """Start the session, or take the one that spark-submit has prepared."""
    # Imported here: --help and wrong flags answer without loading Spark.
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415
    from pyspark.sql import SparkSession  # noqa: PLC0415

    if "PYSPARK_GATEWAY_PORT" not in environment:  # else spark-submit has started the JVM
        os.environ["PYSPARK_SUBMIT_ARGS"] = launch_arguments(environment)
    # The workers run the driver's own Python, unless the user or spark-submit names another.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    SparkContext._ensure_initialized()
    given = SparkConf()  # now with what the command line, spark-defaults.conf and spark-submit have set
    local = (given.get("spark.master", "local[*]") or "").startswith("local")
    builder = SparkSession.builder
    for key, value in {**ALWAYS, **(LOCAL if local else {})}.items():
        if not given.contains(key):
            builder = builder.config(key, value)
    session = builder.getOrCreate()
    # On a laptop what goes wrong reaches Python as an exception; on a cluster its log is what remains.
    session.sparkContext.setLogLevel("OFF" if local else "WARN")
    return session


def launch_arguments(environment: Mapping[str, str]) -> str:
    """Return PYSPARK_SUBMIT_ARGS with our launch options before the user's, whose later word wins."""
    said = environment.get("PYSPARK_SUBMIT_ARGS") or "pyspark-shell"
    words = shlex.split(said)
    masters = [after for word, after in zip(words, words[1:], strict=False) if word == "--master"]
    if masters and not masters[-1].startswith("local"):
        return said
    defaults = _defaults_file(environment)
    ours = [f"--conf {shlex.quote(f'{key}={value}')}" for key, value in LAUNCH.items() if key not in defaults]
    return " ".join([*ours, said])


def _defaults_file(environment: Mapping[str, str]) -> set[str]:
    """Return the keys of the user's spark-defaults.conf, which any ``--conf`` would override."""
    home = environment.get("SPARK_HOME")
    folder = environment.get("SPARK_CONF_DIR") or (f"{home}/conf" if home else None)
    file = Path(folder) / "spark-defaults.conf" if folder else None
    if file is None or not file.is_file():
        return set()
    lines = (line.strip() for line in file.read_text().splitlines())
    return {line.replace("=", " ").split()[0] for line in lines if line and not line.startswith("#")}
