"""The pods that Spark's own builders make from a run's settings and pod templates.

EMR's Spark does the same and adds its own: the log sidecar, its labels and mounts. The builders are Spark's
private classes, reached through the session's JVM; no Kubernetes is asked.
"""

from pathlib import Path
from typing import Any

import yaml
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from scripts.cloud import manifests
from scripts.cloud.sizes import EXECUTOR_CORES, EXECUTOR_CPU, EXECUTOR_HEAP, EXECUTOR_OVERHEAD, SIZES
from tests.support.emr_pods import Pod, template


def settings(size: str) -> dict[str, str]:
    """Return the Spark settings of a run of a size, as emr/job-run.yaml gives them to EMR."""
    request = manifests.load("emr/job-run.yaml")
    chosen = SIZES[size]
    values: dict[str, Any] = {
        **dict.fromkeys(manifests.PLACEHOLDER.findall(manifests.dump(request)), "1"),
        "DriverCores": chosen.driver_cores,
        "DriverHeap": chosen.driver_heap,
        "DriverOverhead": chosen.driver_overhead,
        "ExecutorCores": EXECUTOR_CORES,
        "ExecutorCpu": EXECUTOR_CPU,
        "ExecutorHeap": EXECUTOR_HEAP,
        "ExecutorOverhead": EXECUTOR_OVERHEAD,
    }
    filled = manifests.fill(request, values)
    configuration = filled["configurationOverrides"]["applicationConfiguration"]
    (defaults,) = [
        classification["properties"]
        for classification in configuration
        if classification["classification"] == "spark-defaults"
    ]
    parameters = filled["jobDriver"]["sparkSubmitJobDriver"]["sparkSubmitParameters"].split()
    submit_settings = dict(word.split("=", 1) for word in parameters if word != "--conf")
    return {**defaults, **submit_settings}


def pods(spark: SparkSession, folder: Path, size: str) -> dict[str, Pod]:
    """Return a run's driver and an executor, each with its main container first."""
    jvm: Any = spark._jvm
    conf = jvm.org.apache.spark.SparkConf(False)
    for key, value in settings(size).items():
        conf.set(key, value)
    conf.set("spark.app.name", "fruits")
    for role in ("driver", "executor"):
        file = folder / f"{role}-pod.yaml"
        file.write_text(yaml.safe_dump(template(role)))
        conf.set(f"spark.kubernetes.{role}.podTemplateFile", str(file))
    client = jvm.io.fabric8.kubernetes.client.KubernetesClientBuilder().build()
    driver = jvm.org.apache.spark.deploy.k8s.submit.KubernetesDriverBuilder().buildFromFeatures(
        _driver_conf(spark, conf), client
    )
    # The driver sets this before it requests executors.
    conf.set("spark.driver.host", "driver")
    executor_conf = jvm.org.apache.spark.deploy.k8s.KubernetesExecutorConf(
        conf, "app", "1", jvm.scala.Some(driver.pod().pod()), 0
    )
    environment = jvm.org.apache.spark.SparkEnv.get()
    # A JVM has one default profile, which belongs to the session and is restored below.
    profiles = getattr(getattr(jvm.org.apache.spark.resource, "ResourceProfile$"), "MODULE$")
    try:
        profiles.reInitDefaultProfile(conf)
        executor = jvm.org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBuilder().buildFromFeatures(
            executor_conf, environment.securityManager(), client, profiles.getOrCreateDefaultProfile(conf)
        )
    finally:
        profiles.reInitDefaultProfile(environment.conf())
    return {"driver": _read(jvm, driver.pod()), "executor": _read(jvm, executor.pod())}


def _driver_conf(spark: SparkSession, conf: Any) -> Any:
    jvm: Any = spark._jvm
    gateway: Any = spark.sparkContext._gateway
    nothing = getattr(getattr(jvm.scala, "None$"), "MODULE$")
    resource = jvm.org.apache.spark.deploy.k8s.submit.PythonMainAppResource("local:///opt/fruits/job/main.py")
    words = gateway.new_array(gateway.jvm.java.lang.String, 0)
    arguments = (conf, "app", resource, "org.apache.spark.deploy.PythonRunner", words, nothing)
    make = jvm.org.apache.spark.deploy.k8s.KubernetesDriverConf
    try:
        return make(*arguments)
    except Py4JError:  # Spark 4 also takes a clock
        return make(*arguments, jvm.org.apache.spark.util.SystemClock())


def _read(jvm: Any, built: Any) -> Pod:
    as_yaml = jvm.io.fabric8.kubernetes.client.utils.Serialization.asYaml
    pod: Pod = yaml.safe_load(as_yaml(built.pod()))
    container = yaml.safe_load(as_yaml(built.container()))
    pod["spec"]["containers"] = [container, *pod["spec"].get("containers", [])]
    return pod
