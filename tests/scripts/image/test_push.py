"""push-image.sh: the image in ECR, the refusals, and the secrecy of the password."""

import base64
import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import boto3
import pytest
from moto.core.exceptions import JsonRESTError
from moto.ecr.responses import ECRResponse

from job.errors import UsageError
from scripts.cloud.stage import Stage
from scripts.image import push
from tests.support import registries
from tests.support.engine import docker
from tests.support.registries import (
    Checkout,
    Recorder,
    Registry,
    assert_refused,
    running_ecr,
    running_registry,
)


@pytest.fixture
def checkout(tmp_path: Path, aws_environment: pytest.MonkeyPatch) -> Checkout:
    """Make a checkout, without an AWS that answers."""
    aws_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws_environment.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    aws_environment.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def release(engine: str, checkout: Checkout) -> Iterator[Checkout]:
    """Make a checkout and the image of its revision."""
    assert engine
    checkout.build()
    yield checkout
    for image in checkout.images():
        docker("rmi", "--force", image)


@pytest.fixture
def ecr(release: Checkout, aws_environment: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Run ECR with the repository of the stage dev."""
    folder = release.root.with_name("registry")
    with running_registry(folder) as registry, running_ecr(registry, aws_environment):
        repository = Stage("dev").repository
        boto3.client("ecr").create_repository(repositoryName=repository, imageTagMutability="IMMUTABLE")
        yield registry


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Put a docker first on the PATH that records its arguments."""
    return Recorder(tmp_path / "recorder", monkeypatch)


@pytest.mark.docker
def test_a_push_prints_the_digest(release: Checkout, ecr: Registry) -> None:
    result = release.push()
    assert result.returncode == 0, result.stderr
    manifest, digest = ecr.manifest("fruits-dev", release.tag)
    assert digest == f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
    assert result.stdout == f"{ecr.address}/fruits-dev@{digest}\n"
    (image,) = boto3.client("ecr").describe_images(repositoryName="fruits-dev")["imageDetails"]
    assert (image["imageTags"], image["imageDigest"]) == ([release.tag], digest)
    assert ecr.address not in " ".join(release.names()), "the engine keeps its own names only"


@pytest.mark.docker
def test_a_second_push_pushes_nothing(release: Checkout, ecr: Registry, recorder: Recorder) -> None:
    first = release.push()
    assert "push" in recorder.commands()
    release.build()  # other bytes, and yet the revision that is in ECR
    assert recorder.commands() == ["load"]
    result = release.push()
    assert result.returncode == 0 and result.stderr == ""
    message = f"{ecr.address}/fruits-dev:{release.tag} is there already; nothing is pushed"
    assert result.stdout.splitlines() == [message, first.stdout.splitlines()[-1]]
    assert recorder.commands() == ["image"], "it looks, and neither tags nor pushes"


@pytest.mark.docker
def test_a_dry_run_says_what_it_would_do_and_changes_nothing(
    release: Checkout, ecr: Registry, recorder: Recorder
) -> None:
    result = release.push("--dry-run")
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout == f"would push {release.image} to {ecr.address}/fruits-dev:{release.tag}\n"
    assert recorder.commands() == ["image"] and ecr.tags("fruits-dev") == []


def run_aws_command(sentence: str) -> None:
    """Run the command of the AWS CLI at the end of a sentence, in another region than its own."""
    words = shlex.split(sentence[sentence.index("aws ecr") :])
    aws = Path(sys.executable).with_name(words[0])
    elsewhere = os.environ | {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1"}
    subprocess.run([aws, *words[1:]], check=True, capture_output=True, env=elsewhere)


@pytest.mark.docker
def test_a_missing_repository_is_refused_with_the_command_that_makes_it(
    release: Checkout, ecr: Registry
) -> None:
    by_stage = (
        "there is no repository fruits-prod in eu-west-1: make it with ./scripts/cluster.sh up --stage prod"
    )
    assert_refused(release.push("--stage", "prod"), 2, by_stage)
    assert_refused(release.push(FRUITS_STAGE="prod"), 2, by_stage)
    assert_refused(release.push("--repository", "fruits-prod"), 2, by_stage)
    result = release.push("--repository", "fruits")
    assert_refused(result, 2, "there is no repository fruits in eu-west-1: make it with aws ecr")
    run_aws_command(result.stderr)
    assert release.push("--repository", "fruits").returncode == 0
    assert ecr.tags("fruits") == [release.tag] and ecr.tags("fruits-dev") == []
    (repository,) = boto3.client("ecr").describe_repositories(repositoryNames=["fruits"])["repositories"]
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}


@pytest.mark.docker
def test_an_image_that_already_has_ecrs_name_keeps_it(release: Checkout, ecr: Registry) -> None:
    docker("tag", release.image, f"{ecr.address}/fruits-dev:{release.tag}")
    assert release.push("--name", f"{ecr.address}/fruits-dev").returncode == 0
    assert f"{ecr.address}/fruits-dev:{release.tag}" in release.names()


@pytest.mark.docker
def test_the_password_is_in_no_file_and_on_no_command_line(
    release: Checkout, ecr: Registry, recorder: Recorder, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    result = release.push(HOME=str(home), TMPDIR=str(home))
    assert result.returncode == 0 and ecr.tags("fruits-dev") == [release.tag], result.stderr
    user, password = registries.credentials()
    secrets = [word.encode() for word in (password, base64.b64encode(f"{user}:{password}".encode()).decode())]
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    settings = {path.name for path in files if path.parent == recorder.folder / "config"}
    assert settings == {"config.json", "docker-credential-fruits-ecr"}
    texts = [*files.values(), result.stdout.encode(), result.stderr.encode()]
    assert not any(secret in text for text in texts for secret in secrets)
    assert not list(home.iterdir()), "docker's settings are gone"


@pytest.mark.docker
def test_docker_logs_in_with_the_named_profile(release: Checkout, ecr: Registry, tmp_path: Path) -> None:
    keys = "aws_access_key_id = testing\naws_secret_access_key = testing\n"
    (tmp_path / "config").write_text(f"[profile pusher]\n{keys}")
    others = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_DEFAULT_REGION"), "")
    result = release.push("--profile", "pusher", AWS_CONFIG_FILE=str(tmp_path / "config"), **others)
    assert result.returncode == 0 and ecr.tags("fruits-dev") == [release.tag], result.stderr


@pytest.mark.docker
def test_without_the_right_password_no_image_reaches_ecr(
    release: Checkout, ecr: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"{ecr.address}/fruits-dev:{release.tag}"
    ecr.require("AWS", "another")
    assert_refused(release.push(), 1, f"docker could not push {target}")
    denied = Mock(side_effect=JsonRESTError("AccessDeniedException", "not you"))
    monkeypatch.setattr(ECRResponse, "get_authorization_token", lambda _: denied())
    result = release.push()
    assert_refused(result, 1, f"docker could not push {target}")
    assert "ECR gives no password (AccessDeniedException)" in result.stderr
    monkeypatch.setattr(ECRResponse, "describe_repositories", lambda _: denied())
    assert_refused(release.push(), 6, "these credentials may not DescribeRepositories: ask an administrator")
    assert boto3.client("ecr").describe_images(repositoryName="fruits-dev")["imageDetails"] == []
    assert ecr.address not in " ".join(release.names())


@pytest.mark.docker
def test_a_push_that_ecr_does_not_know_of_is_no_success(
    release: Checkout, ecr: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registries, "_add_pushed_images", lambda *_: None)
    assert_refused(release.push(), 1, "was pushed, and ECR does not know it")
    assert ecr.tags("fruits-dev") == [release.tag]


@pytest.mark.docker
def test_movable_tags_are_refused_with_the_command_that_mends_them(release: Checkout, ecr: Registry) -> None:
    boto3.client("ecr").create_repository(repositoryName="movable")
    result = release.push("--repository", "movable")
    assert_refused(result, 2, "can be moved")
    assert ecr.tags("movable") == []
    run_aws_command(result.stderr)
    assert release.push("--repository", "movable").returncode == 0


@pytest.mark.docker
def test_an_image_for_other_nodes_than_the_clusters_is_refused(release: Checkout) -> None:
    release.build(architecture="arm64")
    sentence = f"{release.image} is for arm64, and the cluster's nodes are amd64: build it with"
    assert_refused(release.push(), 2, f"{sentence} ./scripts/build-image.sh --release")


@pytest.mark.docker
@pytest.mark.parametrize(
    ("revision", "base", "sentence"),
    [
        ("f" * 40, registries.BASE, f"is of revision {'f' * 40}"),
        ("{0}-dirty", registries.BASE, "-dirty: build it again"),
        ("{0}", "base:latest", "a base without a digest"),
    ],
)
def test_another_image_is_refused(revision: str, base: str, sentence: str, release: Checkout) -> None:
    release.build(revision.format(release.revision), base)
    assert_refused(release.push(), 2, sentence)


@pytest.mark.parametrize("config", ['{"Labels": null}', "{}"])  # older and newer engines
def test_an_image_without_labels_is_refused(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "docker", lambda *_: f'[{{"Config": {config}}}]')
    with pytest.raises(UsageError, match="of revision None"):
        push._check_image("fruits:0", "0")


@pytest.mark.docker
def test_a_missing_image_is_refused(release: Checkout) -> None:
    assert_refused(
        release.push("--name", "none-such"), 2, f"there is no image none-such:{release.tag}: build it"
    )


@pytest.mark.docker
@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ([], "log in, or name a profile with --profile"),
        (["--profile", "nobody"], "there is no AWS profile nobody"),
    ],
)
def test_missing_credentials_are_told_with_what_to_do(
    option: list[str], sentence: str, release: Checkout
) -> None:
    assert_refused(release.push(*option, AWS_ACCESS_KEY_ID=""), 6, sentence)


@pytest.mark.parametrize("region", ["eu-west-2", "us-east-1"])
def test_a_region_outside_the_eu_is_refused(region: str, checkout: Checkout) -> None:
    assert_refused(checkout.push("--region", region), 4, f"region {region} is not one of the EU's")
    assert_refused(checkout.push(AWS_REGION=region), 4, f"region {region} is not one of the EU's")


@pytest.mark.parametrize("words", [["--dry"], ["--repository", "Fruits"], ["--repository", "f"]])
def test_a_mistake_is_one_sentence(words: list[str], checkout: Checkout) -> None:
    assert_refused(checkout.push(*words), 2, " ".join(words))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("echo >> job/maths/pca.py", "files differ from revision"),
        ("touch job/new.py", "files differ from revision"),
        ("rm -r .git", "no git checkout"),
    ],
)
def test_files_that_no_revision_has_are_refused(change: str, sentence: str, checkout: Checkout) -> None:
    subprocess.run(change, shell=True, check=True, cwd=checkout.root)
    assert_refused(checkout.push(), 2, sentence)


def test_the_shell_script_answers_help() -> None:
    text = subprocess.check_output([registries.ROOT / "scripts" / "push-image.sh", "--help"], text=True)
    assert "--dry-run" in text
