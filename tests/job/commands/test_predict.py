"""``job predict``: answers for files, folders and objects, and one sentence where there is no answer."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import boto3
import numpy as np
import pytest
from numpy.typing import NDArray

from job import main
from job.cli import exits
from job.maths import discriminant
from job.maths.calibration import Calibration
from job.maths.grouped_moments import GroupedAccumulator
from job.maths.root_features import root_features
from job.model import saved_classifier
from job.model.classifier import STATES, Classifier, Predictions
from job.network import backbone
from job.photos.decode import decode
from job.table import layout
from tests.support import litert_app
from tests.support.keras_network import some
from tests.support.outputs import Output
from tests.support.s3_servers import make_bucket
from tests.support.spark_session import ROOT

BOUNDS: Final = Calibration(100.0, confidence=0.5, known_distance=1e9, answered_distance=1e9, photos=500)
ANSWER: Final = ["path", "state", "species", "species_probability", "labels", "distance"]


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "interrupt_on_signals", lambda: None)


@pytest.fixture(scope="module")
def photos(sample: Path) -> list[Path]:
    """Return 500 photos."""
    return some(sample, 500)


@pytest.fixture(scope="module")
def pixels(photos: list[Path]) -> NDArray[np.uint8]:
    return np.stack([decode(photo.read_bytes()).pixels for photo in photos])


@pytest.fixture(scope="module")
def features(program: bytes, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    network = backbone.network("litert", "predict", lambda: program)
    return np.stack([network(photo) for photo in pixels])


@pytest.fixture(scope="module")
def classifier(photos: list[Path], features: NDArray[np.float32]) -> Classifier:
    """Return a classifier that was fitted to half of the photos, and for which some of all are strangers."""
    accumulator = GroupedAccumulator(features.shape[1])
    half = photos[::2]
    accumulator.add(root_features(features[::2]), [""] * len(half), [photo.parent.name for photo in half])
    fitted = discriminant.fit(accumulator.moments(), [""], 0.5)
    assert fitted is not None
    distance = Classifier(fitted, BOUNDS).predict(features).distance
    known, answered = np.quantile(distance, (0.5, 0.75))
    return Classifier(fitted, replace(BOUNDS, known_distance=known, answered_distance=answered))


def save(classifier: Classifier, program: bytes, output: str, network: str = "litert") -> Path:
    """Save a classifier as an output's current one, and return its folder."""
    facts = {"backbone": network if "-" in network else backbone.name(network)}
    saved_classifier.save(classifier, output, facts, program)
    saved_classifier.set_current(output, classifier.model_id, "")
    return Path(output, layout.MODELS, classifier.model_id)


@pytest.fixture(scope="module")
def saved(classifier: Classifier, program: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an output with this classifier; tests only read it."""
    output = tmp_path_factory.mktemp("output é")
    save(classifier, program, str(output))
    return output


Ask = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def ask(saved: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that calls predict, and returns its exit code, its answers and its errors."""

    def call(*arguments: object, output: object = saved) -> tuple[int, list[dict[str, Any]], str]:
        code = main.main(["predict", "--output", str(output), "--json", *map(str, arguments)])
        streams = capsys.readouterr()
        return code, [json.loads(line) for line in streams.out.splitlines()], streams.err

    return call


def test_the_answers_are_those_of_the_classifier_and_of_the_exported_file(
    ask: Ask, saved: Path, classifier: Classifier, photos: list[Path], pixels: NDArray[np.uint8],
    features: NDArray[np.float32], tmp_path: Path,
) -> None:  # fmt: skip
    code, answers, errors = ask(*photos)
    assert (code, errors) == (0, "")
    assert [answer["path"] for answer in answers] == [str(photo) for photo in photos]
    assert all(list(answer) == ANSWER for answer in answers)
    exported = (saved / layout.MODELS / classifier.model_id / "classifier.tflite").read_bytes()
    outputs, description = litert_app.answers(exported, pixels, tmp_path)
    distances, relative = (outputs[name].astype(np.float64) for name in ("squared_distances", "distance"))
    for expected in (classifier.predict(features), classifier.answers(distances, relative[:, 0])):
        assert_equal(answers, classifier, expected)
    top = [description["labels"][number] for number in outputs["probabilities"].argmax(axis=1)]
    assert [answer["labels"][0]["label"] for answer in answers] == top
    probability = [answer["labels"][0]["probability"] for answer in answers]
    difference = np.abs(outputs["probabilities"].max(axis=1) - probability).max()
    states = {state: sum(answer["state"] == state for answer in answers) for state in STATES}
    print(f"{len(photos)} photos: probabilities differ by {difference:.1e}; {states}")
    assert difference < 1e-5
    assert min(states.values()) > 0
    assert [label.partition(" ")[0] for label in description["labels"]] == description["species"]
    assert description["model_id"] == classifier.model_id
    for name in ("confidence", "known_distance", "answered_distance"):
        assert description[name] == getattr(classifier.calibration, name)


def assert_equal(answers: list[dict[str, Any]], classifier: Classifier, expected: Predictions) -> None:
    """Check printed answers against those of a classifier."""
    assert [answer["state"] for answer in answers] == [STATES[number] for number in expected.state]
    species = [classifier.species[number] for number in expected.species]
    assert [answer["species"] for answer in answers] == species
    labels = [[label["label"] for label in answer["labels"]] for answer in answers]
    assert labels == [[classifier.labels[number] for number in numbers] for numbers in expected.labels]
    probabilities = [[label["probability"] for label in answer["labels"]] for answer in answers]
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)
    shares = [answer["species_probability"] for answer in answers]
    np.testing.assert_allclose(shares, expected.species_probability, atol=1e-5)
    distance = [answer["distance"] for answer in answers]
    np.testing.assert_allclose(distance, expected.distance, rtol=1e-3, atol=1e-3)


def test_a_photo_has_one_line_of_text(
    saved: Path, photos: list[Path], ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (answer,), _ = ask(photos[0])
    assert main.main(["predict", str(photos[0]), "--output", str(saved)]) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    (line,) = streams.out.splitlines()
    assert line.startswith(f"{answer['state']}  ")
    assert line.endswith(f"  {photos[0]}")
    words = [answer["species"], *(label["label"] for label in answer["labels"])]
    shares = [answer["species_probability"], *(label["probability"] for label in answer["labels"])]
    cells = line.removesuffix(str(photos[0])).split("%")
    for cell, word, share in zip(cells, words, shares, strict=False):
        assert cell.endswith(f"{share:6.1%}".removesuffix("%"))
        assert word in cell


def test_as_a_log_each_photo_is_an_event(
    saved: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["predict", "--output", str(saved), "--log-format", "json", *map(str, photos[:2])]) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    *events, end = (json.loads(line) for line in streams.out.splitlines())
    assert [(event["event"], event["path"]) for event in events] == [("photo", str(p)) for p in photos[:2]]
    assert (end["event"], end["photos"], sum(end["states"].values())) == ("summary", 2, 2)


def test_options_can_stand_in_the_environment_beside_photos(
    saved: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRUITS_OUTPUT", str(saved))
    monkeypatch.setenv("FRUITS_JSON", "yes")
    assert main.main(["predict", str(photos[0])]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(photos[0])


def test_a_folder_is_listed_as_a_run_lists_it_after_the_named_files(
    ask: Ask, photos: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    names = ["b/2.jpg", "a.png", "__MACOSX/3.jpg", "notes.txt", "b/._2.jpg"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos[0], folder / name)
    (folder / "b/._2.jpg").write_bytes(b"\x00\x05\x16\x07 the rest of a Mac's file")
    shutil.copy(photos[1], tmp_path / "no ending")
    code, answers, _ = ask(folder, tmp_path / "no ending")
    assert code == 0
    listed = [str(tmp_path / "no ending"), f"{folder}/a.png", f"{folder}/b/2.jpg"]
    assert [answer["path"] for answer in answers] == listed
    assert answers[1]["labels"] == answers[2]["labels"]


@pytest.mark.parametrize("as_text", [False, True])
def test_rejected_photos_have_their_reason_and_the_others_their_answers(
    ask: Ask, saved: Path, photos: list[Path], tmp_path: Path, as_text: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "cut.jpg").write_bytes(photos[0].read_bytes()[:900])
    (tmp_path / "text.jpg").write_bytes(b"no photo")
    asked = [tmp_path / "cut.jpg", photos[0], tmp_path / "text.jpg"]
    if as_text:
        code = main.main(["predict", "--output", str(saved), *map(str, asked)])
        streams = capsys.readouterr()
        lines, errors = streams.out.splitlines(), streams.err
        assert lines[0].startswith("rejected  truncated: the JPEG ends ")
        assert [line.endswith(f"  {photo}") for line, photo in zip(lines, asked, strict=True)] == [True] * 3
    else:
        code, answers, errors = ask(*asked)
        assert [answer.get("reason") for answer in answers] == ["truncated", None, "not_an_image"]
        assert [answer["state"] == "rejected" for answer in answers] == [True, False, True]
    assert code == 3
    assert errors == "error: 2 of 3 photos rejected: their lines say why\n"


def refused(ask: Ask, *arguments: object, **options: object) -> tuple[int, str]:
    """Return the exit code and the sentence of a refusal."""
    code, answers, errors = ask(*arguments, **options)
    assert answers == []
    assert errors.count("\n") == 1, "one sentence"
    return code, errors


def test_without_a_photo_the_answer_is_one_sentence(ask: Ask, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no photo")
    cases = {
        tmp_path / "missing.jpg": (2, f"input {tmp_path}/missing.jpg does not exist: check the path"),
        tmp_path / "empty": (3, f"no photos in {tmp_path}/empty: there is no file"),
        tmp_path: (3, "all files are skipped by name (1 .txt)"),
        saved: (2, "is in the output"),
    }
    for photo, (code, sentence) in cases.items():
        assert refused(ask, photo)[0] == code
        assert sentence in refused(ask, photo)[1]


def test_a_missing_photo_is_found_before_the_first_is_answered(ask: Ask, photos: list[Path]) -> None:
    assert refused(ask, *photos[:9], "/missing.jpg")[0] == 2


def test_an_output_without_a_classifier_is_refused(ask: Ask, output: Output) -> None:
    saved_classifier.set_current(output.location, "", "")
    code, sentence = refused(ask, output.good[0], output=output.location)
    assert code == 2
    assert (
        f"output {output.location} has no classifier: run the job on it once more, or read in the record"
        in sentence
    )


@pytest.mark.parametrize("name", ["classifier.npz", "classifier.tflite", "model.json"])
@pytest.mark.parametrize("is_missing", [True, False])
def test_a_damaged_classifier_is_refused(
    ask: Ask, saved: Path, photos: list[Path], tmp_path: Path, name: str, is_missing: bool
) -> None:
    output = Path(shutil.copytree(saved, tmp_path / "out"))
    (file,) = output.glob(f"models/*/{name}")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    if is_missing:
        file.unlink()
    code, sentence = refused(ask, photos[0], output=output)
    assert code == 2
    assert f"{file.parent} is damaged: delete that folder and run the job once more" in sentence


def test_a_classifier_of_another_network_is_refused(
    ask: Ask, classifier: Classifier, program: bytes, photos: list[Path], tmp_path: Path
) -> None:
    save(classifier, program, str(tmp_path), "tensorflow")
    assert ask(photos[0], output=tmp_path)[0] == 0
    save(classifier, program, str(tmp_path), "another-network")
    code, sentence = refused(ask, photos[0], output=tmp_path)
    assert code == 2
    assert "fitted to features of another network or decoder, another-network: run the job" in sentence


def test_two_labels_are_all_that_is_named(
    ask: Ask, photos: list[Path], features: NDArray[np.float32], program: bytes, tmp_path: Path
) -> None:
    accumulator = GroupedAccumulator(features.shape[1])
    chosen = [0, 1, 2, len(photos) - 2, len(photos) - 1]
    accumulator.add(root_features(features[chosen]), [""] * 5, ["Fig", "Fig", "Fig", "Kiwi 1", "Kiwi 1"])
    fitted = discriminant.fit(accumulator.moments(), [""], 0.5)
    assert fitted is not None
    save(Classifier(fitted, BOUNDS), program, str(tmp_path))
    code, answers, _ = ask(photos[0], photos[-1], output=tmp_path)
    assert code == 0
    names = [[label["label"] for label in answer["labels"]] for answer in answers]
    assert names == [["Fig", "Kiwi 1"], ["Kiwi 1", "Fig"]]
    assert answers[1]["species"] == "Kiwi"


def test_objects_and_prefixes_are_read_from_s3(
    bucket: str, ask: Ask, classifier: Classifier, program: bytes, photos: list[Path]
) -> None:
    client = boto3.client("s3")
    for name in ("new/1.jpg", "new/2.jpg", "one.jpg", "new/notes.txt"):
        client.put_object(Bucket=bucket, Key=name, Body=photos[0].read_bytes())
    output = f"s3://{bucket}/out"
    save(classifier, program, output)
    _, (expected,), _ = ask(photos[0])
    code, answers, _ = ask(f"s3://{bucket}/new", f"s3a://{bucket}/one.jpg", output=output)
    assert code == 0
    assert [answer.pop("path") for answer in answers] == [
        f"s3://{bucket}/{name}" for name in ("one.jpg", "new/1.jpg", "new/2.jpg")
    ]
    del expected["path"]
    assert answers == [expected] * 3
    code, sentence = refused(ask, f"s3://{bucket}/missing.jpg", output=output)
    assert code == 3
    assert f"nothing in s3://{bucket}/missing.jpg: check the bucket and the prefix" in sentence


def test_a_photo_outside_the_eu_is_not_read(s3_server: str, ask: Ask) -> None:
    assert s3_server
    code, sentence = refused(ask, f"s3://{make_bucket('us-east-1')}/a.jpg")
    assert code == 4
    assert "us-east-1" in sentence


def test_a_photo_takes_less_than_three_seconds_of_cpu_and_no_spark(saved: Path, photos: list[Path]) -> None:
    program = (
        "import json, sys, time; from job.main import main; code = main(sys.argv[1:]); import pyspark;"
        "spark = pyspark.SparkContext._gateway; heavy = {'tensorflow', 'keras', 'h5py'} & set(sys.modules);"
        "print(json.dumps([code, time.process_time(), spark, sorted(heavy)]), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "predict", "--output", str(saved), str(photos[0])]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    code, seconds, spark, heavy = json.loads(result.stderr)
    print(f"one photo: {seconds:.2f} s")
    assert (code, spark, heavy) == (0, None, [])
    assert seconds < 3
