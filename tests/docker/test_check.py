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

from tests.support.engine import docker

ROOT: Final = Path(__file__).parents[2]
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

OLDER: Final = f"RUN sed -i 's/^Version: .*/Version: 0.1/' {SITE}/pillow-*.dist-info/METADATA"
LESS: Final = f"RUN rm -r {SITE}/pillow-*.dist-info"
PRIVATE_KEY: Final = "RUN echo LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t | base64 -d > /opt/fruits/job/key.pem"
SETUID: Final = "RUN cp /bin/true /usr/local/bin/ && chmod u+s /usr/local/bin/true"

# A part of the check and one of its requirements → lines of a Dockerfile, each of which violates it.
BREAKS: Final = {
    ("contract", "the last user is hadoop of group hadoop"): ["USER root"],
    ("contract", "that is uid 999 and gid 1000"): ["RUN usermod --uid 1234 hadoop"],
    ("contract", "the work directory is /home/hadoop"): ["WORKDIR /opt"],
    ("contract", "the entry point is the base's"): ['ENTRYPOINT ["/bin/bash"]'],
    ("contract", "the command is the base's"): ['CMD ["spark-submit"]'],
    ("contract", "the environment names Spark, Java, our Python and our cache"): [
        "ENV SPARK_HOME=/opt/spark",
        "ENV PYSPARK_PYTHON=python3",
    ],
    ("contract", "the rest of the environment is the base's"): ["ENV PATH=/opt:$PATH"],
    ("contract", "its labels say what it is made of"): [f"{LABEL}.revision=unknown"],
    ("contract", "Spark's files are there"): ["RUN rm -r /usr/lib/spark/jars"],
    ("contract", "no secret is in its environment, labels or history"): [
        "ENV AWS_SECRET_ACCESS_KEY=abc",
        f"{LABEL}.url=https://me:word@host/",
        "RUN MY_TOKEN=abc true",
    ],
    ("contents", "no file of ours is a secret"): ["RUN touch /opt/fruits/.netrc", PRIVATE_KEY],
    ("contents", "nothing of ours lies where EMR mounts over"): ["RUN cp -r /opt/fruits/job /home/hadoop/"],
    ("contents", "the job is in /opt/fruits/job"): [
        "RUN rm /opt/fruits/job/main.py",
        "RUN rm /opt/fruits/job/table/writer.py",
    ],
    ("contents", "the job is compiled"): ["RUN rm /opt/fruits/job/table/__pycache__/files.*"],
    ("contents", "only root could change our files"): [
        "RUN chmod o+w /opt/fruits/job/maths/pca.py",
        "RUN chown hadoop /opt/fruits/job/maths/pca.py",
    ],
    ("contents", "no file of ours runs with another user's rights"): [SETUID],
    ("contents", "the weights have their fingerprint"): [FLIP.format("*.npz")],
    ("contents", "the network's program is the one it says"): [
        FLIP.format("*.tflite"),
        "RUN rm /opt/fruits/cache/*.tflite",
    ],
    ("contents", "its SBOM and licences are in it"): ["RUN rm /opt/fruits/materials/sbom.cdx.json"],
    ("contents", "our Python runs in it"): ["RUN rm /opt/fruits/venv/bin/python"],
    ("packages", "the packages are those of the lock, and no others"): [INTRUDER, OLDER, LESS],
    ("packages", "no other file is among the packages"): [f"RUN echo 'import os' > {SITE}/every.pth"],
    ("packages", "the packages' files are as their wheels brought them"): [
        f"RUN rm {SITE}/keras/src/trainers/trainer.py",
        f"RUN echo >> {SITE}/numpy/__init__.py",
    ],
}
# Some lines violate a second requirement.
ALSO: Final = {
    "USER root": "that is uid 999 and gid 1000",
    "ENV AWS_SECRET_ACCESS_KEY=abc": "the rest of the environment is the base's",
    INTRUDER: "no other file is among the packages",
    LESS: "no other file is among the packages",
    OLDER: "the packages' files are as their wheels brought them",
}
CASES: Final = [(*about, line) for about, lines in BREAKS.items() for line in lines]


def check(image: str, base: str, *options: str) -> tuple[int, list[str], str]:
    """Run check.py; return its exit code, the violated requirements, and all its output."""
    command = [sys.executable, str(ROOT / "docker" / "check.py"), image, "--base", base, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    failed = [line[7:].partition(":")[0] for line in result.stdout.splitlines() if line.startswith("FAILED ")]
    return result.returncode, failed, result.stdout + result.stderr


def test_every_module_of_the_job_must_be_compiled_those_of_its_packages_too(tmp_path: Path) -> None:
    job_modules = runpy.run_path(str(ROOT / "docker" / "inside.py"))["job_modules"]
    shutil.copytree(ROOT / "job", tmp_path / "job", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(tmp_path / "job", quiet=1)
    modules = job_modules(tmp_path / "job")
    assert {"main.py", "table/__init__.py", "table/writer.py"} <= set(modules["job"])
    assert modules["uncompiled"] == []
    for file in (tmp_path / "job" / "table" / "__pycache__").glob("writer.*"):
        file.unlink()
    assert job_modules(tmp_path / "job")["uncompiled"] == ["table/writer.py"]


@pytest.mark.docker
def test_a_good_image_passes_and_runs_the_job(image: str, base: str) -> None:
    code, failed, output = check(image, base)
    assert (code, failed) == (0, []), output
    assert "ok     it has the features of 80 drawn photos" in output
    assert output.endswith("all holds\n")


@pytest.mark.docker
@pytest.mark.parametrize(("part", "sentence", "line"), CASES)
def test_each_break_of_the_contract_is_found(
    part: str, sentence: str, line: str, image: str, base: str
) -> None:
    # Root runs most lines; the last user is set back, because another one is a violation too.
    around = ([], []) if line.startswith("USER") else (["USER root"], ["USER hadoop:hadoop"])
    lines = [f"FROM {image}", *around[0], line, *around[1]]
    broken = f"fruits-broken:{uuid.uuid4().hex[:12]}"
    docker("build", "--network", "none", "--tag", broken, "-", data="\n".join(lines).encode())
    try:
        code, failed, output = check(broken, base, "--only", part)
    finally:
        docker("rmi", broken)
    assert code == 1, output
    assert sorted(failed) == sorted({sentence, ALSO.get(line, sentence)}), output


@pytest.mark.docker
def test_what_cannot_be_checked_is_said_in_one_sentence(image: str) -> None:
    code, _, output = check("fruits:none-such", "base:none")
    assert code == 2 and output.startswith("error: fruits:none-such cannot be checked: docker image: ")
    assert len(output.splitlines()) == 1
    assert json.loads(docker("image", "inspect", image))[0]["Config"]["User"] == "hadoop:hadoop"
