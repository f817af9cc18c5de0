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
    done = run_docker_sh("--image", image, "--input", sample, "--output", inside)
    assert done.returncode == 0, done.stdout + done.stderr
    local = [str(ROOT / "scripts" / "run-local.sh"), "--input", str(sample), "--output", str(outside)]
    subprocess.run(local, check=True, capture_output=True)
    for table, name in (("photos", "features"), ("pca", "pca")):
        columns = ["path", "label", "split", name]
        ours, theirs = (
            pq.read_table(where / table, columns=columns).sort_by("path") for where in (inside, outside)
        )
        assert ours.num_rows == len(list(sample.rglob("*.jpg")))
        if name == "features":
            assert ours.equals(theirs), "to the last bit, and the photos have the same names"
        else:
            one, other = (np.array(table["pca"].to_pylist()) for table in (ours, theirs))
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-9 * np.abs(other).max())
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
    """Return whose a file is, what may be done with it, and when that has changed last."""
    about = path.stat()
    return about.st_uid, about.st_gid, about.st_mode, about.st_ctime_ns


def test_what_is_not_the_jobs_keeps_its_owner(image: str, photos: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "output" / "models" / "theirs"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    places = (theirs, *theirs.parents[:2])
    before = [state(path) for path in places]
    done = run_docker_sh("--image", image, "--input", photos, "--output", tmp_path / "output")
    assert done.returncode == 2 and "models, not the job's" in done.stderr
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
    done = run_docker_sh(*options, input=script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["999", "1000", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", "lo"]


def test_credentials_reach_s3_and_no_command_line_or_container(
    image: str, bucket: str, photos: Path, tmp_path: Path, aws_environment: pytest.MonkeyPatch
) -> None:
    for file in photos.rglob("*.jpg"):
        store.write_bytes(f"s3://{bucket}/{file.relative_to(photos)}", file.read_bytes())
    # Beside the user's docker a note of what it is told, and of what the engine writes down of a container.
    fake = tmp_path / "bin"
    fake.mkdir()
    real = shutil.which("docker")
    (fake / "docker").write_text(f'#!/bin/sh\nprintf "%s " "$@" >> {tmp_path}/told\nexec {real} "$@"\n')
    (fake / "docker").chmod(0o755)
    aws_environment.setenv("PATH", f"{fake}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    aws_environment.setenv("AWS_SECRET_ACCESS_KEY", "none-may-see-this")
    results = make_bucket()
    options = ("--input", f"s3://{bucket}", "--output", f"s3://{results}", "--components", "3")
    done = run_docker_sh("--image", image, "--network", "host", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(list(photos.rglob('*.jpg')))} photos featurized" in done.stdout
    assert "none-may-see-this" not in (tmp_path / "told").read_text() + done.stdout + done.stderr
    assert list(store.list_files(f"s3://{results}/photos", ".parquet"))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_record_and_no_container(
    sign: signal.Signals, image: str, sample: Path, tmp_path: Path
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
        run.send_signal(sign)
        said = run.communicate(timeout=START_SECONDS)[0]
    assert run.returncode == 130, said
    assert "interrupted: this run is not committed" in said
    assert "Traceback" not in said and "Py4J" not in said and "\tat " not in said, said
    assert not list(output.glob("runs/*.json"))
    assert docker("ps", "--quiet", "--filter", f"ancestor={image}") == ""
    assert not output.exists() or {path.lstat().st_uid for path in output.rglob("*")} <= {os.getuid()}


def test_a_sign_that_comes_early_leaves_nothing(image: str, photos: Path, tmp_path: Path) -> None:
    # Before the container: docker itself is held up until the sign has come.
    fake, told, go = (tmp_path / name for name in ("bin", "told", "go"))
    fake.mkdir()
    os.mkfifo(told)
    os.mkfifo(go)
    hold = f'case "$*" in *change-owner*999:1000*) echo > {told}; cat {go} ;; esac'
    (fake / "docker").write_text(f'#!/bin/sh\n{hold}\nexec {shutil.which("docker")} "$@"\n')
    (fake / "docker").chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"}
    command = [str(ROOT / "scripts" / "run-docker.sh"), "--image", image, "--input", str(photos)]
    with subprocess.Popen([*command, "--output", str(tmp_path / "out")], env=environment) as run:
        told.read_text()
        run.send_signal(signal.SIGTERM)
        go.write_text("")
        assert run.wait(START_SECONDS) == 130
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
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
    options: list[str], code: int, said: str, image: str, tmp_path: Path
) -> None:
    given = options if "--image" in options else ["--image", image, *options]
    done = run_docker_sh(*given, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    told = done.stdout + done.stderr  # spark-submit puts what Python says on stdout
    assert said in told, told
    assert "Traceback" not in told and not list(tmp_path.iterdir())


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
