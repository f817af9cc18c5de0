"""An account whose vCPU quotas hold no run is refused; one that holds a part of it is warned."""

import json
import shlex

import boto3
import pytest
from botocore.stub import Stubber

from scripts.cloud import manifests, quotas, request_check, sizes
from scripts.cloud.quotas import VcpuQuotas
from scripts.cloud.sizes import SIZES, Size
from scripts.cloud.stage import Stage
from tests.scripts.submit.test_submit_errors import refused
from tests.support.aws_emulator import Answer, Cloud, Request
from tests.support.cloud_stage import CloudStage

FRESH = VcpuQuotas(on_demand=5, spot=5)
DEV, PROD = Stage("dev"), Stage("prod")


def answer_quotas(cloud: Cloud, account: VcpuQuotas) -> None:
    """Let the emulator answer for Service Quotas; moto knows none of EC2's."""
    values = {quotas.ON_DEMAND: account.on_demand, quotas.SPOT: account.spot}

    def answer(request: Request) -> Answer | None:
        if request.action != "GetServiceQuota":
            return None
        code = json.loads(request.body)["QuotaCode"]
        return Answer(200, json.dumps({"Quota": {"QuotaCode": code, "Value": values[code]}}).encode())

    cloud.rules.append(answer)


def only_shortage(size: str, account: VcpuQuotas) -> quotas.Shortage:
    (shortage,) = quotas.shortages(SIZES[size], account, DEV, "eu-west-1")
    return shortage


def test_both_quotas_are_read_by_their_codes() -> None:
    client = boto3.client("service-quotas", region_name="eu-west-1")
    with Stubber(client) as stubber:
        for code, value in ((quotas.ON_DEMAND, 16.0), (quotas.SPOT, 5.0)):
            request = {"ServiceCode": "ec2", "QuotaCode": code}
            request_check.check("service-quotas", "GetServiceQuota", request)
            stubber.add_response("get_service_quota", {"Quota": {"Value": value}}, request)
        assert quotas.vcpu_quotas(client) == VcpuQuotas(on_demand=16, spot=5)


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_a_run_fits_the_vcpus_that_its_size_needs_and_not_one_less(size: Size) -> None:
    driver, executors = quotas.driver_vcpus(size), quotas.executor_vcpus(size)
    assert not quotas.shortages(size, VcpuQuotas(driver, executors), PROD, "eu-west-1")
    assert only_shortage(size.name, VcpuQuotas(driver - 1, executors)).is_blocking
    assert quotas.shortages(size, VcpuQuotas(driver, executors - 1), PROD, "eu-west-1")


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_the_nodes_of_a_driver_hold_it_and_its_job_runner(size: Size) -> None:
    driver_cpu = size.driver_cores + sizes.SIDECAR_CPU
    assert driver_cpu + sizes.JOB_RUNNER_CPU < quotas.driver_vcpus(size)
    assert size.executors <= quotas.executors_within(quotas.executor_vcpus(size))
    assert sizes.EXECUTOR_CPU + sizes.SIDECAR_CPU <= sizes.EXECUTOR_CORES - quotas.KUBELET_CPU


def test_quotas_without_room_for_one_executor_block_a_run() -> None:
    no_driver = only_shortage("small", VcpuQuotas(on_demand=2, spot=640))
    assert no_driver.is_blocking
    assert (
        "the quota of 2 vCPUs on demand is too small for a driver: size small needs 4 vCPUs"
        in no_driver.sentence
    )
    no_executor = only_shortage("small", VcpuQuotas(on_demand=5, spot=2))
    assert no_executor.is_blocking
    assert "hold no executor" in no_executor.sentence


def test_quotas_with_room_for_some_executors_slow_a_run() -> None:
    fewer = only_shortage("medium", VcpuQuotas(on_demand=5, spot=16))
    assert not fewer.is_blocking
    assert "let 4 of 10 executors run" in fewer.sentence
    dearer = only_shortage("small", VcpuQuotas(on_demand=12, spot=0))
    assert not dearer.is_blocking
    assert "let all executors run on demand only" in dearer.sentence
    assert "let some executors run on demand only" in only_shortage("small", VcpuQuotas(12, 4)).sentence


def test_executors_on_demand_are_no_more_than_their_pool_may_have() -> None:
    few = only_shortage("medium", VcpuQuotas(on_demand=640, spot=0))
    assert "640 on demand, of which executors may have 24, let 6 of 10 executors run" in few.sentence
    (enough,) = quotas.shortages(SIZES["medium"], VcpuQuotas(640, 0), PROD, "eu-west-1")
    assert "of which executors may have 160, let all executors run on demand only" in enough.sentence


def test_both_quotas_are_named_if_both_are_too_small() -> None:
    driver, executors = quotas.shortages(SIZES["small"], VcpuQuotas(2, 2), DEV, "eu-west-1", "work")
    assert driver.is_blocking
    assert driver.sentence.endswith("L-1216C47A --desired-value 4 --region eu-west-1 --profile work")
    assert executors.sentence.endswith("L-34B43A08 --desired-value 8 --region eu-west-1 --profile work")


@pytest.mark.parametrize("account", [FRESH, VcpuQuotas(2, 640)])
def test_the_command_that_asks_for_more_is_one_that_aws_takes(account: VcpuQuotas) -> None:
    words = shlex.split(only_shortage("medium", account).sentence.partition("ask for more: ")[2])
    assert words[:3] == ["aws", "service-quotas", "request-service-quota-increase"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    request = {"ServiceCode": options["--service-code"], "QuotaCode": options["--quota-code"]}
    value = float(options["--desired-value"])
    request_check.check("service-quotas", "RequestServiceQuotaIncrease", request | {"DesiredValue": value})


def test_the_sidecars_cpu_is_the_namespaces_default() -> None:
    (limits,) = manifests.load("base/limit-range.yaml")["spec"]["limits"]
    assert limits["defaultRequest"]["cpu"] == f"{sizes.SIDECAR_CPU * 1000:.0f}m"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(400, b'{"__type": "AccessDeniedException", "message": "no"}'), "AccessDeniedException"),
        (Answer(200, b"<html>a proxy's page</html>"), "KeyError"),
        (Answer(None), "ConnectionClosedError"),
    ],
)
def test_quotas_that_cannot_be_read_block_nothing(cloud: Cloud, answer: Answer, reason: str) -> None:
    cloud.rules.append(lambda request: answer if request.action == "GetServiceQuota" else None)
    (shortage,) = quotas.account_shortages(boto3.Session(region_name="eu-west-1"), SIZES["small"], DEV)
    assert not shortage.is_blocking
    assert f"cannot be read ({reason}); size small needs 4 vCPUs on demand" in shortage.sentence


def test_the_quotas_of_the_sessions_region_are_compared(cloud: Cloud) -> None:
    answer_quotas(cloud, VcpuQuotas(on_demand=5, spot=2))
    (shortage,) = quotas.account_shortages(boto3.Session(region_name="eu-west-1"), SIZES["small"], DEV)
    assert shortage.is_blocking


def test_submit_refuses_a_run_that_the_quotas_do_not_hold(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_quotas(dev_stage.cloud, VcpuQuotas(on_demand=5, spot=2))
    sentence = refused(dev_stage, capsys, 2, "--detach")
    assert "hold no executor: size small needs 4 vCPUs on demand" in sentence
    assert "--quota-code L-34B43A08 --desired-value 8 --region eu-west-1" in sentence


def test_submit_warns_of_quotas_that_slow_a_run(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_quotas(dev_stage.cloud, VcpuQuotas(on_demand=5, spot=16))
    warning = "the quotas of 16 vCPUs on Spot and 5 on demand let 4 of 10 executors run"
    assert dev_stage.submit("--size", "medium", "--detach") == 0
    assert f"warning: {warning}" in capsys.readouterr().err
    assert dev_stage.submit("--size", "medium", "--detach", "--json") == 0
    first_event = json.loads(capsys.readouterr().out.splitlines()[0])
    assert any(text.startswith(warning) for text in first_event["warnings"])


def test_submit_starts_a_run_though_it_may_not_read_the_quotas(
    dev_stage: CloudStage, capsys: pytest.CaptureFixture[str]
) -> None:
    denied = Answer(400, b'{"__type": "AccessDeniedException", "message": "no"}')
    dev_stage.cloud.rules.append(lambda request: denied if request.action == "GetServiceQuota" else None)
    assert dev_stage.submit("--detach") == 0
    assert "warning: the vCPU quotas cannot be read (AccessDeniedException)" in capsys.readouterr().err
    assert len(dev_stage.cloud.runs()) == 1


def test_the_readme_names_the_vcpus_of_each_size() -> None:
    needs = {size.name: (quotas.driver_vcpus(size), quotas.executor_vcpus(size)) for size in SIZES.values()}
    text = " ".join((manifests.K8S / "README.md").read_text().split())
    driver, executors = needs.pop("small")
    assert (
        f"`small` needs {driver} on demand for its driver and {executors} on Spot for its executors" in text
    )
    for name, (driver, executors) in needs.items():
        assert f"`{name}` {driver} and {executors}" in text
    limits = [quotas.executor_vcpus_on_demand(stage) for stage in (DEV, PROD)]
    assert "at most {} vCPUs in `dev` and {} in `prod`".format(*limits) in text
