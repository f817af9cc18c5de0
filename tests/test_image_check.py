"""docker/check.py: a good image passes, and each single break of the contract is found."""

import compileall
import json
import runpy
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Final

import pytest

from tests.engine import docker

ROOT: Final = Path(__file__).parents[1]
SITE: Final = "/opt/fruits/venv/lib/python3.11/site-packages"
FLIP: Final = (
    "RUN python3.11 -c \"import glob; file = open(glob.glob('/opt/fruits/cache/{0}')[0], 'r+b'); "
    'file.seek(4_000_000); byte = file.read(1)[0]; file.seek(4_000_000); file.write(bytes([byte ^ 1]))"'
)
INTRUDER: Final = (
    f"RUN mkdir {SITE}/intruder-1.0.dist-info && cd {SITE}/intruder-1.0.dist-info "
    "&& printf 'Metadata-Version: 2.1\\nName: intruder\\nVersion: 1.0\\n' > METADATA"
)
LABEL: Final = "LABEL org.opencontainers.image"

# What is done to a good image → the sentence that must not hold any more.
BREAKS: Final = {
    "another last user": ("USER root", "the last user is hadoop of group hadoop"),
    "another user id": ("RUN usermod --uid 1234 hadoop", "that is uid 999 and gid 1000"),
    "another work directory": ("WORKDIR /opt", "the work directory is /home/hadoop"),
    "another entry point": ('ENTRYPOINT ["/bin/bash"]', "the entry point is the base's"),
    "another command": ('CMD ["spark-submit"]', "the command is the base's"),
    "another Spark": (
        "ENV SPARK_HOME=/opt/spark",
        "the environment names Spark, Java, our Python and our cache",
    ),
    "another Python": (
        "ENV PYSPARK_PYTHON=python3",
        "the environment names Spark, Java, our Python and our cache",
    ),
    "another path": ("ENV PATH=/opt:$PATH", "the rest of the environment is the base's"),
    "no revision": (f"{LABEL}.revision=unknown", "its labels say what it is made of"),
    "no Spark": ("RUN rm -r /usr/lib/spark/jars", "Spark's files are there"),
    "a key in the environment": (
        "ENV AWS_SECRET_ACCESS_KEY=abc",
        "no secret is in its environment, labels or history",
    ),
    "a key in a label": (
        f"{LABEL}.url=https://me:word@host/",
        "no secret is in its environment, labels or history",
    ),
    "a key in a command": ("RUN MY_TOKEN=abc true", "no secret is in its environment, labels or history"),
    "a key in a file": ("RUN touch /opt/fruits/.netrc", "no file of ours is a secret"),
    "the job where EMR mounts": (
        "RUN cp -r /opt/fruits/job /home/hadoop/",
        "nothing of ours lies where EMR mounts over",
    ),
    "no job": ("RUN rm /opt/fruits/job/main.py", "the job is in /opt/fruits/job"),
    "no table": ("RUN rm /opt/fruits/job/table/writer.py", "the job is in /opt/fruits/job"),
    "a job to be compiled": ("RUN rm /opt/fruits/job/__pycache__/pca.*", "the job is compiled"),
    "a table to be compiled": ("RUN rm /opt/fruits/job/table/__pycache__/files.*", "the job is compiled"),
    "a file that others may change": (
        "RUN chmod o+w /opt/fruits/job/pca.py",
        "only root could change our files",
    ),
    "a file of the user's": ("RUN chown hadoop /opt/fruits/job/pca.py", "only root could change our files"),
    "a program with root's rights": (
        "RUN cp /bin/true /usr/local/bin/ && chmod u+s /usr/local/bin/true",
        "no file of ours runs with another user's rights",
    ),
    "a flipped byte in the weights": (FLIP.format("*.npz"), "the weights have their fingerprint"),
    "a flipped byte in the program": (FLIP.format("*.tflite"), "the network's program is the one it says"),
    "no program": ("RUN rm /opt/fruits/cache/*.tflite", "the network's program is the one it says"),
    "a package outside the lock": (INTRUDER, "the packages are those of the lock, and no others"),
    "a package of another version": (
        f"RUN sed -i 's/^Version: .*/Version: 0.1/' {SITE}/pillow-*.dist-info/METADATA",
        "the packages are those of the lock, and no others",
    ),
    "a package less": (
        f"RUN rm -r {SITE}/pillow-*.dist-info",
        "the packages are those of the lock, and no others",
    ),
    "a file of no package": (
        f"RUN echo 'import os' > {SITE}/every.pth",
        "no other file is among the packages",
    ),
    "a file less in a package": (
        f"RUN rm {SITE}/keras/src/trainers/trainer.py",
        "the packages' files are as their wheels brought them",
    ),
    "no list of what is inside": (
        "RUN rm /opt/fruits/materials/sbom.cdx.json",
        "its SBOM and licences are in it",
    ),
    "a private key": (
        "RUN echo LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t | base64 -d > /opt/fruits/job/key.pem",
        "no file of ours is a secret",
    ),
    "an altered package": (
        f"RUN echo >> {SITE}/numpy/__init__.py",
        "the packages' files are as their wheels brought them",
    ),
    "no Python": ("RUN rm /opt/fruits/venv/bin/python", "our Python runs in it"),
}
# Some breaks are two at once.
ALSO: Final = {
    "another last user": "that is uid 999 and gid 1000",
    "a key in the environment": "the rest of the environment is the base's",
    "a package outside the lock": "no other file is among the packages",
    "a package less": "no other file is among the packages",
    "a package of another version": "the packages' files are as their wheels brought them",
}
CONTENTS: Final = (
    "no file of ours is a secret",
    "nothing of ours lies where EMR mounts over",
    "the job is in /opt/fruits/job",
    "the job is compiled",
    "its SBOM and licences are in it",
    "only root could change our files",
    "no file of ours runs with another user's rights",
    "the weights have their fingerprint",
    "the network's program is the one it says",
    "our Python runs in it",
)


def part(sentence: str) -> str:
    """Return the part of the check that says a sentence."""
    return "contents" if sentence in CONTENTS else "packages" if "packages" in sentence else "contract"


def check(image: str, base: str, *options: str) -> tuple[int, list[str], str]:
    """Run check.py; return its exit code, the sentences that do not hold, and all it printed."""
    command = [sys.executable, str(ROOT / "docker" / "check.py"), image, "--base", base, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = [line[7:].partition(":")[0] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return done.returncode, failed, done.stdout + done.stderr


def test_every_module_of_the_job_must_be_compiled_those_of_its_packages_too(tmp_path: Path) -> None:
    code = runpy.run_path(str(ROOT / "docker" / "inside.py"))["code"]
    shutil.copytree(ROOT / "job", tmp_path / "job", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(tmp_path / "job", quiet=1)
    found = code(tmp_path / "job")
    assert {"main.py", "table/__init__.py", "table/writer.py"} <= set(found["job"])
    assert found["uncompiled"] == []
    for file in (tmp_path / "job" / "table" / "__pycache__").glob("writer.*"):
        file.unlink()
    assert code(tmp_path / "job")["uncompiled"] == ["table/writer.py"]


@pytest.mark.docker
def test_a_good_image_passes_and_runs_the_job(image: str, base: str) -> None:
    code, failed, said = check(image, base)
    assert (code, failed) == (0, []), said
    assert "ok     it has the features of 80 drawn photos" in said
    assert said.endswith("all holds\n")


@pytest.mark.docker
@pytest.mark.parametrize("name", BREAKS)
def test_each_break_of_the_contract_is_found(name: str, image: str, base: str) -> None:
    line, sentence = BREAKS[name]
    # Most breaks are made as root, and the last user put back, for that is another break.
    keep = line.startswith("USER")
    lines = [
        f"FROM {image}",
        *([] if keep else ["USER root"]),
        line,
        *([] if keep else ["USER hadoop:hadoop"]),
    ]
    broken = f"fruits-broken:{uuid.uuid4().hex[:12]}"
    docker("build", "--network", "none", "--tag", broken, "-", data="\n".join(lines).encode())
    try:
        code, failed, said = check(broken, base, "--only", part(sentence))
    finally:
        docker("rmi", broken)
    assert code == 1, said
    assert sorted(failed) == sorted({sentence, ALSO.get(name, sentence)}), said


@pytest.mark.docker
def test_what_cannot_be_checked_is_said_in_one_sentence(image: str) -> None:
    code, _, said = check("fruits:none-such", "base:none")
    assert code == 2 and said.startswith("error: fruits:none-such cannot be checked: docker image: ")
    assert len(said.splitlines()) == 1
    assert json.loads(docker("image", "inspect", image))[0]["Config"]["User"] == "hadoop:hadoop"
