"""run-docker.sh: the image as a pod would run it, and the same numbers as without it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import pytest

from job.storage import store
from tests.support.engine import docker
from tests.support.s3_servers import make_bucket

ROOT: Final = Path(__file__).parents[3]
START_SECONDS: Final = 120

pytestmark = pytest.mark.docker


def run_docker_sh(*options: str | Path, **keywords: object) -> "subprocess.CompletedProcess[str]":
    """Run run-docker.sh to its end."""
    command = [str(ROOT / "scripts" / "run-docker.sh"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **keywords)  # type: ignore[call-overload,no-any-return]


def test_the_image_gives_the_numbers_of_run_local(image: str, sample: Path, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    result = run_docker_sh("--image", image, "--input", sample, "--output", inside)
    assert result.returncode == 0, result.stdout + result.stderr
    local = [str(ROOT / "scripts" / "run-local.sh"), "--input", str(sample), "--output", str(outside)]
    subprocess.run(local, check=True, capture_output=True)
    for table, name in (("photos", "features"), ("pca", "pca")):
        columns = ["path", "label", "split", name]
        container_rows, local_rows = (
            pq.read_table(where / table, columns=columns).sort_by("path") for where in (inside, outside)
        )
        assert container_rows.num_rows == len(list(sample.rglob("*.jpg")))
        if name == "features":
            assert container_rows.equals(local_rows), "to the last bit, and the photos have the same names"
        else:
            actual, expected = (np.array(rows["pca"].to_pylist()) for rows in (container_rows, local_rows))
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    owners = {path.lstat().st_uid for path in (inside, *inside.rglob("*"))}
    assert owners == {os.getuid()}, "a person can read and delete what it wrote"


def test_an_output_is_taken_up_again_and_names_of_all_kinds_reach_the_job(
    image: str, photos: Path, tmp_path: Path
) -> None:
    output, fruit = tmp_path / "output", tmp_path / "ein Korb, früh #1 {x}"
    shutil.copytree(photos, fruit)
    options = ("--input", fruit, "--input", fruit, "--output", output, "--components", "3")
    first = run_docker_sh("--image", image, *options)
    assert first.returncode == 0, first.stderr
    (output / "mine").write_text("not the job's")
    again = run_docker_sh("--image", image, *options)
    assert again.returncode == 0, again.stderr
    records = [json.loads(file.read_text()) for file in (output / "runs").glob("*.json")]
    assert [record["status"] for record in records] == ["completed"] * 2
    counts = sorted((record["counts"]["featurized"], record["counts"]["unchanged"]) for record in records)
    assert counts == [(0, counts[1][0]), (counts[1][0], 0)], "the second run had nothing to do"
    assert (output / "mine").read_text() == "not the job's"
    assert set(pq.read_table(output / "photos", columns=["path"])["path"].to_pylist()) == {
        str(file) for file in fruit.rglob("*.jpg")
    }


def state(path: Path) -> tuple[int, int, int, int]:
    """Return a file's owner, group and mode, and the time when they last changed."""
    status = path.stat()
    return status.st_uid, status.st_gid, status.st_mode, status.st_ctime_ns


def test_what_is_not_the_jobs_keeps_its_owner(image: str, photos: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "output" / "models" / "theirs"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    places = (foreign, *foreign.parents[:2])
    before = [state(path) for path in places]
    result = run_docker_sh("--image", image, "--input", photos, "--output", tmp_path / "output")
    assert result.returncode == 2 and "models, not the job's" in result.stderr
    assert [state(path) for path in places] == before, "not even for a moment"


def test_a_container_may_do_no_more_than_a_pod(image: str, photos: Path, tmp_path: Path) -> None:
    script = f"""
refused="/ /opt/fruits /usr/lib/spark /var/log {photos}"
granted="/tmp /mnt /home/hadoop /var/log/fluentd /var/log/spark/user /var/log/spark/apps {tmp_path}/output"
id -u; id -g
grep -E '^(CapEff|NoNewPrivs)' /proc/self/status
ls /sys/class/net
for place in $refused; do touch $place/x 2>/dev/null && echo "wrote $place"; done
for place in $granted; do touch $place/x || echo "did not write $place"; done
"""
    options = ("--image", image, "--shell", "--input", photos, "--output", tmp_path / "output")
    result = run_docker_sh(*options, input=script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["999", "1000", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", "lo"]


def test_credentials_reach_s3_and_no_command_line_or_container(
    image: str, bucket: str, photos: Path, tmp_path: Path, aws_environment: pytest.MonkeyPatch
) -> None:
    for file in photos.rglob("*.jpg"):
        store.write_bytes(f"s3://{bucket}/{file.relative_to(photos)}", file.read_bytes())
    # A docker that records its arguments runs the real one.
    fake = tmp_path / "bin"
    fake.mkdir()
    real = shutil.which("docker")
    (fake / "docker").write_text(f'#!/bin/sh\nprintf "%s " "$@" >> {tmp_path}/arguments\nexec {real} "$@"\n')
    (fake / "docker").chmod(0o755)
    aws_environment.setenv("PATH", f"{fake}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    aws_environment.setenv("AWS_SECRET_ACCESS_KEY", "none-may-see-this")
    results = make_bucket()
    options = ("--input", f"s3://{bucket}", "--output", f"s3://{results}", "--components", "3")
    result = run_docker_sh("--image", image, "--network", "host", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(list(photos.rglob('*.jpg')))} photos featurized" in result.stdout
    assert "none-may-see-this" not in (tmp_path / "arguments").read_text() + result.stdout + result.stderr
    assert list(store.list_files(f"s3://{results}/photos", ".parquet"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_record_and_no_container(
    number: signal.Signals, image: str, sample: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    command = [str(ROOT / "scripts" / "run-docker.sh"), "--image", image, "--input", str(sample)]
    with subprocess.Popen(
        [*command, "--output", str(output)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if "Spark" in line and "cores" in line:
                break
        run.send_signal(number)
        printed = run.communicate(timeout=START_SECONDS)[0]
    assert run.returncode == 130, printed
    assert "interrupted: this run is not committed" in printed
    assert not any(word in printed for word in ("Traceback", "Py4J", "\tat ")), printed
    assert not list(output.glob("runs/*.json"))
    assert docker("ps", "--quiet", "--filter", f"ancestor={image}") == ""
    assert not output.exists() or {path.lstat().st_uid for path in output.rglob("*")} <= {os.getuid()}


def test_an_early_signal_leaves_nothing(image: str, photos: Path, tmp_path: Path) -> None:
    # The signal comes before the container: docker waits for it.
    fake, ready, proceed = (tmp_path / name for name in ("bin", "ready", "proceed"))
    fake.mkdir()
    os.mkfifo(ready)
    os.mkfifo(proceed)
    hold = f'case "$*" in *change-owner*999:1000*) echo > {ready}; cat {proceed} ;; esac'
    (fake / "docker").write_text(f'#!/bin/sh\n{hold}\nexec {shutil.which("docker")} "$@"\n')
    (fake / "docker").chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}
    command = [str(ROOT / "scripts" / "run-docker.sh"), "--image", image, "--input", str(photos)]
    with subprocess.Popen([*command, "--output", str(tmp_path / "out")], env=environment) as run:
        ready.read_text()
        run.send_signal(signal.SIGTERM)
        proceed.write_text("")
        assert run.wait(START_SECONDS) == 130
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--input", "none-such", "--output", "out"], 2, "none-such"),
        (["--no-such-flag"], 2, "unknown argument '--no-such-flag'"),
        (["--image", "fruits:none-such", "--input", "x", "--output", "out"], 2, "./scripts/build-image.sh"),
        (["--input", "x", "--output", "x"], 2, "is also an input"),
        (["--input", "x", "--output", "out", "--cache", "c"], 2, "the image has its own cache"),
        (["--input", "~nobody-of-that-name/x", "--output", "out"], 2, "nobody here has that home"),
        (["--memory", "much", "--input", "x", "--output", "out"], 125, "much"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    options: list[str], code: int, sentence: str, image: str, tmp_path: Path
) -> None:
    arguments = options if "--image" in options else ["--image", image, *options]
    result = run_docker_sh(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    printed = result.stdout + result.stderr  # spark-submit prints Python's stderr on stdout
    assert sentence in printed, printed
    assert "Traceback" not in printed and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def photos(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of sixty photos of three kinds, in both splits."""
    folder = tmp_path_factory.mktemp("photos") / "fruit"
    kinds = sorted(path for path in (sample / "Training").iterdir())[:3]
    for kind in kinds:
        for file in sorted(kind.glob("*.jpg"))[:20]:
            target = folder / "Training" / kind.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return folder
