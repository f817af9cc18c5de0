"""k8s/README.md agrees with the files that it names, and with the code's prices and sizes."""

import re
from pathlib import Path
from typing import Final

import botocore.session
import pytest
from botocore import xform_name

from scripts.cloud import prices, run_cost
from scripts.cloud.sizes import SIZES, Size
from scripts.cluster import stack_templates

K8S: Final = Path(__file__).parents[2] / "k8s"
TEXT: Final = (K8S / "README.md").read_text()
FIRST_DAY: Final = (K8S / "FIRST-DAY.md").read_text()
EC2_COMMANDS: Final = re.findall(r"aws ec2 ([a-z-]+) (--[^\n`|]*)", TEXT + FIRST_DAY)
# IAM has no regions; a line of output that ends in … is cut.
AWS_COMMANDS: Final = re.findall(r"(?<![\w-])aws (?!iam )[a-z0-9-]+ [a-z0-9-]+ [^\n`|]*", TEXT + FIRST_DAY)
DUTIES: Final = re.findall(r"^\|[^|]*\| [^|]+ \| `([^`|]+)` \| (`[^|]+`) \|$", TEXT, flags=re.MULTILINE)


@pytest.mark.parametrize(("file", "words"), DUTIES)
def test_each_duty_is_held_by_the_words_it_names(file: str, words: str) -> None:
    held = (K8S / file).read_text()
    for word in re.findall("`([^`]+)`", words):
        assert word in held, word


@pytest.mark.parametrize(("command", "options"), EC2_COMMANDS)
def test_each_command_of_ec2_is_one_that_aws_takes(command: str, options: str) -> None:
    model = botocore.session.get_session().get_service_model("ec2")
    (operation,) = [name for name in model.operation_names if xform_name(name, "-") == command]
    shape = model.operation_model(operation).input_shape
    members = {xform_name(name, "-") for name in (shape.members if shape is not None else ())}
    assert set(re.findall("--([a-z-]+)", options)) - {"region"} <= members
    if command.startswith("describe"):
        assert "include-managed-resources" in options, "EC2 hides Auto Mode's resources by default"


def test_each_command_of_aws_names_the_region() -> None:
    commands = [command for command in AWS_COMMANDS if "…" not in command]
    assert len(commands) >= 10
    assert [command for command in commands if "--region eu-west-1" not in command] == []


def test_the_first_day_is_a_page_whose_files_exist() -> None:
    assert len(EC2_COMMANDS) == 5 and len(FIRST_DAY.splitlines()) < 60
    for name in (
        "overlays/dev/node-class.yaml",
        "../tests/support/emr_pods.py",
        "../scripts/cloud/prices.py",
    ):
        assert name.removeprefix("../") in FIRST_DAY and (K8S / name).exists()
    for word in ("EncryptVolumes", "AlarmEmail", "BudgetUsd"):
        assert word in FIRST_DAY and word in (K8S / "account.yaml").read_text()
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", FIRST_DAY, flags=re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_duty_was_looked_at() -> None:
    table = TEXT.split("| duty |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(DUTIES) == len(table) >= 15


def test_every_file_has_its_place() -> None:
    named = TEXT.split("## The files")[1].split("## What it costs")[0]
    for file in K8S.rglob("*.yaml"):
        place = str(file.relative_to(K8S))
        assert f"`{place}`" in named or any(f"`{place[: end + 1]}`" in named for end in _slashes(place)), (
            place
        )


def _slashes(text: str) -> list[int]:
    return [number for number, sign in enumerate(text) if sign == "/"]


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_the_sizes_cost_what_is_said(size: Size) -> None:
    spot, demand = run_cost.hourly(size)
    row = f"| `--size {size.name}` | {size.photos:,} | {size.executors} | {spot:.2f} | {demand:.2f} |"
    assert row in TEXT


def test_a_stage_at_rest_costs_what_is_said() -> None:
    endpoints, nats = stack_templates.billed_resources({})
    assert (endpoints, nats) == (12, 0)
    each = prices.idle_costs(endpoints, nats)
    assert f"| EKS control plane | {each['cluster']:.3f} | {each['cluster'] * 730:.0f} |" in TEXT
    assert (
        f"| 6 interface endpoints in 2 zones | {each['network']:.3f} | {each['network'] * 730:.0f} |" in TEXT
    )
    assert f"| S3, a GB (photos, tables, logs) | | {prices.STORAGE.usd} |" in TEXT
    assert f"| key | {each['account']:.3f} | {each['account'] * 730:.0f} |" in TEXT
