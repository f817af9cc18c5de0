"""k8s/README.md agrees with the files that it names, and with the code's prices and sizes."""

import re
from pathlib import Path
from typing import Final

import pytest

from scripts.cloud import prices, run_cost
from scripts.cloud.sizes import SIZES, Size
from scripts.cluster import stack_templates

K8S: Final = Path(__file__).parents[2] / "k8s"
TEXT: Final = (K8S / "README.md").read_text()
DUTIES: Final = re.findall(r"^\|[^|]*\| [^|]+ \| `([^`|]+)` \| (`[^|]+`) \|$", TEXT, flags=re.MULTILINE)


@pytest.mark.parametrize(("file", "words"), DUTIES)
def test_each_duty_is_held_by_the_words_it_names(file: str, words: str) -> None:
    held = (K8S / file).read_text()
    for word in re.findall("`([^`]+)`", words):
        assert word in held, word


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
