"""The objects that a run consists of: what Kubernetes takes, EMR's additions, and where the secrets are."""

import json
from typing import Any

import pytest
import yaml

from scripts.cloud import manifests
from scripts.cloud.pod_limits import WRITABLE
from scripts.kubernetes import job_run
from scripts.kubernetes.job_run import JobRun
from tests.support.kubernetes import Api, in_namespace
from tests.support.schemas import of_kind, rendered

RUN = "20261121T210500Z-3f9a1c"
NAME = "20261121t210500z-3f9a1c"
ARGUMENTS = ("--input", "s3://photos/photos", "--output", "s3://results/fruits", "--run-id", RUN)
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": "http://203.0.113.10:443",
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "the-key",
    "AWS_SECRET_ACCESS_KEY": "the-secret",
    "AWS_SESSION_TOKEN": "the-token",
}


def run(run_id: str = RUN, **settings: Any) -> JobRun:
    plan = job_run.small_plan(run_id, "eu-west-1", "fruits:latest", ARGUMENTS, 2)
    return JobRun(plan, ENVIRONMENT, **settings)


def settings_files(this_run: JobRun) -> dict[str, str]:
    files: dict[str, str] = of_kind(this_run.objects(), "ConfigMap")[this_run.name]["data"]
    return files


@pytest.mark.kubernetes
@pytest.mark.parametrize("choice", [{}, {"has_pools": False}, {"sidecar": True}], ids=str)
@pytest.mark.parametrize("run_id", [RUN, "1", "Monday_2026.11", "a" * 63])
def test_kubernetes_takes_every_object(run_id: str, choice: dict[str, bool], kubernetes: Api) -> None:
    this_run = run(run_id, **choice)
    objects = this_run.objects()
    templates = [this_run.pod_template(role) for role in ("driver", "executor")]
    for template in templates:
        template["spec"]["containers"][0]["image"] = "added by Spark"
    for role, template in zip(("driver", "executor"), templates, strict=True):
        template["metadata"]["name"] = role  # added by Spark, too
    for manifest in (*objects, *templates):
        assert manifest["metadata"]["labels"]["fruits/run"] == run_id
    name = kubernetes.namespace(rendered("dev")).name
    everything = [in_namespace(manifest, name) for manifest in (*objects, *templates)]
    answer = kubernetes.ask("create", "-n", name, "--validate=strict", "-f", "-", objects=everything)
    assert answer.refusals == []
    assert objects[-1]["metadata"]["name"] == this_run.runner, "nothing that the job-runner needs is missing"
    assert len(this_run.spark_defaults()["spark.kubernetes.executor.podNamePrefix"]) <= 47


def test_secrets_are_in_the_secret_and_nowhere_else() -> None:
    objects = run().objects()
    secret = of_kind(objects, "Secret")[NAME]
    assert secret["stringData"] == {key: value for key, value in ENVIRONMENT.items() if "the-" in value}
    assert "the-" not in json.dumps([manifest for manifest in objects if manifest is not secret])
    assert "the-" not in repr(run())
    defaults = run().spark_defaults()
    for role in ("driver", "executor"):
        for name in secret["stringData"]:
            assert defaults[f"spark.kubernetes.{role}.secretKeyRef.{name}"] == f"{NAME}:{name}"
    assert defaults["spark.executorEnv.AWS_ENDPOINT_URL"] == ENVIRONMENT["AWS_ENDPOINT_URL"]
    assert defaults["spark.kubernetes.driverEnv.AWS_ENDPOINT_URL"] == ENVIRONMENT["AWS_ENDPOINT_URL"]


def test_spark_reads_the_settings_of_the_request() -> None:
    lines = settings_files(run())["spark-defaults.conf"].splitlines()
    read = dict(line.split(" ", 1) for line in lines)
    assert read == run().spark_defaults()
    request = manifests.load("emr/job-run.yaml")["configurationOverrides"]["applicationConfiguration"]
    expected = next(entry["properties"] for entry in request if entry["classification"] == "spark-defaults")
    missing = expected.keys() - read.keys()
    assert missing == {"spark.kubernetes.driverEnv.FRUITS_HOURLY_COST"}, "a price of AWS's machines"
    assert read["spark.kubernetes.driverEnv.AWS_REGION"] == "eu-west-1"
    assert settings_files(run())["log4j2.properties"].startswith("rootLogger.level = warn\n")


def test_the_job_runner_starts_the_driver_as_emr_does() -> None:
    runner = run().objects()[-1]
    (container,) = runner["spec"]["containers"]
    arguments = container["args"]
    assert arguments[:7] == [
        "job", "--master", "k8s://https://kubernetes.default.svc", "--deploy-mode", "cluster", "--name", RUN,
    ]  # fmt: skip
    assert arguments[-len(ARGUMENTS) - 1 :] == ["local:///opt/fruits/job/main.py", *ARGUMENTS]
    for setting in (
        "spark.kubernetes.container.image=fruits:latest",
        "spark.kubernetes.driver.podTemplateFile=/etc/fruits-run/driver-pod.yaml",
        "spark.kubernetes.executor.request.cores=800m",
        "spark.executor.cores=1",
        "spark.dynamicAllocation.maxExecutors=2",
    ):
        assert arguments[arguments.index(setting) - 1] == "--conf"
    assert runner["spec"]["nodeSelector"] == {"fruits/pool": "drivers"}
    assert runner["metadata"]["annotations"] == {"karpenter.sh/do-not-disrupt": "true"}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/etc/fruits-run"}


@pytest.mark.parametrize("role", ["driver", "executor"])
def test_pod_templates_are_ours_with_emrs_additions(role: str) -> None:
    template = yaml.safe_load(settings_files(run())[f"{role}-pod.yaml"])
    ours = manifests.fill(manifests.load(f"emr/{role}-pod.yaml"), {"RunName": RUN})
    (container,) = template["spec"]["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["runAsNonRoot"]
    assert (security["runAsUser"], security["runAsGroup"]) == (999, 1000)
    assert security["capabilities"] == {"drop": ["ALL"]} and not security["allowPrivilegeEscalation"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == WRITABLE.keys()
    assert all(volume["emptyDir"] == {} for volume in template["spec"]["volumes"])
    added = {"containers", "volumes"}
    assert {key: value for key, value in template["spec"].items() if key not in added} == {
        key: value for key, value in ours["spec"].items() if key not in added
    }
    assert ours["metadata"]["labels"].items() <= template["metadata"]["labels"].items()


def test_without_pools_a_pod_may_run_on_any_node() -> None:
    free = run(has_pools=False)
    for spec in (
        free.objects()[-1]["spec"],
        *(free.pod_template(role)["spec"] for role in ("driver", "executor")),
    ):
        assert not spec.keys() & {"nodeSelector", "affinity"}
    assert run().pod_template("executor")["spec"].keys() >= {"nodeSelector", "affinity"}


def test_executors_have_no_rights_and_no_token() -> None:
    objects = run().objects()
    accounts = of_kind(objects, "ServiceAccount")
    assert {name for name, account in accounts.items() if account["automountServiceAccountToken"]} == {
        f"{NAME}-client", f"{NAME}-driver",
    }  # fmt: skip
    assert of_kind(objects, "Role").keys() == {f"{NAME}-client", f"{NAME}-driver"}
    for role in of_kind(objects, "Role").values():
        for rule in role["rules"]:
            assert "*" not in (*rule["resources"], *rule["verbs"])
            assert "secrets" not in rule["resources"]


def test_a_sidecar_is_one_that_ends_after_the_main_container() -> None:
    for role in ("driver", "executor"):
        (sidecar,) = run(sidecar=True).pod_template(role)["spec"]["initContainers"]
        assert sidecar["restartPolicy"] == "Always"
        assert sidecar["resources"] == {"requests": {"memory": "512Mi"}}


@pytest.mark.parametrize(("cores", "executors", "cpu"), [(2, 2, 0.8), (2, 1, 0.8), (2, 3, 0.6), (8, 24, 0.3)])
def test_all_executors_have_room_on_their_node(cores: float, executors: int, cpu: float) -> None:
    assert job_run.executor_cpu(cores, executors) == cpu
    assert cpu * executors <= cores


def test_the_driver_has_as_long_to_start_as_on_emr() -> None:
    assert run().start_timeout == 1200
