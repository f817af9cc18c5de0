"""The numbers of the page are what NumPy makes of the table's rows, in an output with known confusions."""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from job.maths.moments import Moments
from job.model import saved_classifier, saved_model
from job.model.classifier import Predictions
from job.report import contents, page
from job.report.contents import Contents
from job.table import layout, sweep
from tests.support import outputs, reports, tables
from tests.support.outputs import Output

COUNTS = {"Apple Red": (14, 7), "Apple Green": (11, 5), "Banana": (9, 6), "Plum": (12, 4)}
# Photos that look like those of another label, and how much so.
LOOKS = {
    "Test/Apple Red/0": ("Plum", 0.8),
    "Test/Apple Red/1": ("Plum", 1.0),
    "Test/Apple Red/2": ("Plum", 0.7),
    "Test/Apple Red/3": ("Apple Green", 1.0),
    "Test/Banana/0": ("Apple Green", 1.1),
    "Test/Banana/1": ("Apple Green", 1.0),
    "Test/Plum/0": ("Banana", 1.0),
    "Training/Apple Green/0": ("Banana", 1.0),
}
CONFUSED = [
    ("Apple Red", "Plum", 3, 7),
    ("Banana", "Apple Green", 2, 6),
    ("Apple Red", "Apple Green", 1, 7),
    ("Plum", "Banana", 1, 4),
]
RUN = outputs.RUN_IDS[0]
HOURLY = 0.36
Rows = list[dict[str, Any]]


def features_of(path: str) -> NDArray[np.float32]:
    """Return features of unequal spread, with more noise in Test than in Training."""
    split, label, name = path.rsplit("/", 3)[1:]
    look, share = LOOKS.get(f"{split}/{label}/{Path(name).stem}", (label, 0.0))
    own, other = (
        np.random.default_rng(sorted(COUNTS).index(of)).normal(size=outputs.FEW) for of in (label, look)
    )
    noise = np.random.default_rng(int(outputs._digest(path), 16)).normal(size=outputs.FEW)
    centre = ((1 - share) * own + share * other) * 1.5 + 20
    spread = 1 + np.arange(outputs.FEW) / 10
    return ((centre + noise * (1.3 if split == "Test" else 1.0)) * spread).astype(np.float32)


def output_of(folder: Path, *options: str) -> Output:
    """Make an output of these photos by one run."""
    source = folder / "photos"
    for label, counts in COUNTS.items():
        for split, count in zip(("Training", "Test"), counts, strict=True):
            for number in range(count):
                file = source / split / label / f"{number}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(reports.jpeg_of(str(file)))
    good = sorted(str(file) for file in source.rglob("*.jpg"))
    output = Output(str(folder / "out"), str(source), good, [], {}, [], [])
    run(output, "--run-id", RUN, "--hourly-cost", str(HOURLY), *options)
    return output


def run(output: Output, *options: str, **hidden: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        outputs.quick(patch)
        patch.setattr(outputs, "features_of", features_of)
        return outputs.run(output, "--components", str(reports.COMPONENTS), *options, **hidden)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Output:
    return output_of(tmp_path_factory.mktemp("numbers"))


def gathered(output: Output) -> Contents:
    record = json.loads(Path(output.location, layout.RUNS, f"{RUN}.json").read_text())
    return contents.gather(output.location, record, tables.snapshot(output.location))


def blocks_of(text: str) -> dict[str, Any]:
    """Return the page's blocks of JSON by their names."""
    found = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', text, re.DOTALL)
    return {name: json.loads(content) for name, content in found}


def section_of(text: str, name: str) -> str:
    return text.split(f'id="{name}-section"')[1].split("</section>", maxsplit=1)[0]


def table_of(text: str, caption: str) -> list[list[str]]:
    """Return the cells of the table with a caption, row by row."""
    body = text.split(f"<caption>{caption}</caption>")[1].split("</table>", maxsplit=1)[0]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in cells]


def series_of(chart: Any, name: str) -> list[float]:
    """Return a column of a chart's document."""

    def search(value: Any) -> Iterator[list[float]]:
        if isinstance(value, list) and len(value) == 2 and value[0] == name and isinstance(value[1], list):
            yield value[1]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for part in parts:
            yield from search(part)

    return next(search(chart))


def decoded(column: dict[str, Any]) -> NDArray[np.int64]:
    """Return the whole numbers of a column of the page's data."""
    return np.frombuffer(base64.b64decode(column["data"]), f"<u{column['bytes']}").astype(np.int64)


def rows_and_answers(output: Output) -> tuple[Rows, NDArray[np.float64], list[str], Predictions]:
    """Return the table's rows, their features, the predicted labels, and all answers."""
    rows = outputs.rows_of(output.location, layout.FEATURIZED)
    features = np.array([row["features"] for row in rows], np.float64)
    classifier = saved_classifier.load(output.location) or pytest.fail("there is a classifier")
    answers = classifier.predict(features.astype(np.float32))
    return rows, features, [classifier.labels[number] for number in answers.labels[:, 0]], answers


@pytest.mark.parametrize("options", [(), ("--standardize",), ("--fit-on", "training")])
def test_the_scree_plot_shows_the_shares_of_the_variance(options: tuple[str, ...], tmp_path: Path) -> None:
    output = output_of(tmp_path, *options)
    text = reports.html(output)
    rows = outputs.rows_of(output.location, layout.FEATURIZED)
    features = np.array([row["features"] for row in rows], np.float64)
    if "training" in options:
        features = features[[row["split"] == "Training" for row in rows]]
    spread = np.corrcoef(features.T) if "--standardize" in options else np.cov(features.T)
    values = np.linalg.eigvalsh(spread)[::-1]
    shares = values / values.sum()
    charts = blocks_of(text)["charts"]
    for name in ("scree-share", "scree-sum"):
        np.testing.assert_allclose(series_of(charts[name], "share"), 100 * shares, rtol=1e-4)
        np.testing.assert_allclose(series_of(charts[name], "sum"), 100 * shares.cumsum(), rtol=1e-4)
        assert f'"x":{{"type":"value","value":{reports.COMPONENTS}}}' in json.dumps(charts[name]).replace(
            " ", ""
        )
    counts = [int(np.argmax(shares.cumsum() >= share)) + 1 for share in (0.5, 0.9, 0.99)]
    kept = f"{100 * shares[: reports.COMPONENTS].sum():.2f}%"
    sentence = (
        f"The model keeps 12 components, and {kept} of the variance; all {len(shares)} together make 100%."
    )
    assert sentence in text
    for count, share in zip(counts, ("50%", "90%", "99%"), strict=True):
        assert f"{count} component{'s keep' if count > 1 else ' keeps'} {share}" in text
    axes = blocks_of(text)["data"]["axes"]["pca"]
    assert axes == [f"component {n} ({100 * shares[n - 1]:.1f}% of the variance)" for n in (1, 2)]


def test_a_kept_model_of_few_photos_is_said_to_explain_little(tmp_path: Path) -> None:
    output = output_of(tmp_path)
    few = replace(output, location=str(tmp_path / "few"))
    four = [path for path in output.good if "Training/Banana" in path][:4]
    run(few, "--components", "3", gone=[path for path in output.good if path not in four])
    record = run(few, "--components", "3", "--run-id", RUN)
    assert record["model"]["variance_kept"] < 0
    text = reports.html(few)
    features = np.array(
        [row["features"] for row in outputs.rows_of(few.location, layout.FEATURIZED)], np.float64
    )
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    shares = series_of(blocks_of(text)["charts"]["scree-sum"], "share")
    np.testing.assert_allclose(shares, 100 * values / values.sum(), rtol=1e-4)
    assert "The kept model explains little of these photos" in section_of(text, "scree")
    assert f"all {outputs.FEW} components of these photos together make 100%" in text
    assert "-" not in re.findall(r"[-\d.]+%", text)[0]
    assert "Near duplicates are not searched with fewer than 10 components" in text


def test_shares_of_rounding_errors_are_no_components() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4)) @ np.random.default_rng(1).normal(size=(4, 32))
    centred = rows - rows.mean(axis=0)
    moments = Moments(6, rows.mean(axis=0), centred.T @ centred)
    assert len(contents.spectrum(moments, False)) == len(contents.spectrum(moments, True)) == 4
    assert not len(contents.spectrum(replace(moments, scatter=np.zeros((32, 32))), False))


def test_confusions_are_those_of_test_with_the_most_certain_examples_first(numbered: Output) -> None:
    shown = gathered(numbered)
    assert [(one.actual, one.predicted, one.count, one.total) for one in shown.confusions] == CONFUSED
    rows, _, predicted, answers = rows_and_answers(numbered)
    certainty = {row["path"]: answers.probabilities[number, 0] for number, row in enumerate(rows)}
    answer = {row["path"]: label for row, label in zip(rows, predicted, strict=True)}
    for one in shown.confusions:
        paths = [shown.photos.paths[number] for number in one.examples]
        assert len(paths) == one.count
        assert all(f"/Test/{one.actual}/" in path and answer[path] == one.predicted for path in paths)
        assert [certainty[path] for path in paths] == sorted(
            (certainty[path] for path in paths), reverse=True
        )
        assert one.comparison is not None
        path = shown.photos.paths[one.comparison]
        assert f"/{one.predicted}/" in path
        assert answer[path] == one.predicted
    first = [certainty[shown.photos.paths[number]] for number in shown.confusions[0].examples]
    assert len(set(first)) == 3, "certainties differ, or their order would not be tested"
    text = reports.html(numbered)
    for actual, wrong, count, total in CONFUSED:
        assert f"<h3>{actual} taken for {wrong}: {count} of {total}</h3>" in text


def test_the_matrix_by_species_has_photos_in_rows_and_answers_in_columns(numbered: Output) -> None:
    rows = table_of(
        reports.html(numbered), "Species of the photos (rows) and the species they are taken for (columns)"
    )
    assert rows == [
        ["Species", "Apple", "Banana", "Plum"],
        ["Apple", "9", "", "3"],
        ["Banana", "2", "4", ""],
        ["Plum", "", "1", "3"],
    ]
    assert "This table counts 22 Test photos." in reports.html(numbered)


def test_species_beyond_the_shown_ones_are_added_up(numbered: Output) -> None:
    shown = gathered(numbered)
    species = [f"S{number:02}" for number in range(36)]
    confusion = Counter({(name, name): 40 - number for number, name in enumerate(species)})
    confusion.update({("S00", "S35"): 3, ("S00", "never tested"): 2, ("S01", "S00"): 5})
    text = page.page(replace(shown, species_confusion=confusion), "en", "0")
    rows = table_of(text, "Species of the photos (rows) and the species they are taken for (columns)")
    assert len(rows) == 31
    assert rows[0] == ["Species", *species[:30], "other species"]
    for name, *cells in rows[1:]:
        assert sum(int(cell or 0) for cell in cells) == sum(
            count for (actual, _), count in confusion.items() if actual == name
        )
    assert rows[1][-1] == "5"
    assert "30 of 36 species are shown." in text


def test_accuracy_is_that_of_labels_and_of_species(numbered: Output) -> None:
    text = section_of(reports.html(numbered), "accuracy")
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert facts["labels recognized"] == f"{100 * 15 / 22:.2f}%"
    assert facts["species recognized"] == f"{100 * 16 / 22:.2f}%"
    assert facts["Test photos"] == "22"
    assert table_of(text, "Labels recognized least") == [
        ["Label", "Test photos", "Recognized"],
        ["Apple Red", "7", "42.9%"],
        ["Banana", "6", "66.7%"],
        ["Plum", "4", "75.0%"],
    ]


def test_photos_are_counted_by_label_and_split(numbered: Output) -> None:
    rows = table_of(reports.html(numbered), "Photos by label and split")
    assert rows[0] == ["Label", "Test", "Training"]
    counts = [[label, str(COUNTS[label][1]), str(COUNTS[label][0])] for label in sorted(COUNTS)]
    assert rows[1:] == [*counts, ["Total", "22", "46"]]


def test_points_lie_where_the_model_projects_them(numbered: Output) -> None:
    data = blocks_of(reports.html(numbered))["data"]
    rows, features, predicted, answers = rows_and_answers(numbered)
    paths = [
        f"{data['folders'][folder]}/{name}"
        for folder, name in zip(decoded(data["folder"]), data["names"], strict=True)
    ]
    assert paths == [row["path"] for row in rows]
    model_id = sweep.current_model_id(numbered.location)
    model, _ = saved_model.load(numbered.location, model_id) or pytest.fail("there is a model")
    centred = features - features.mean(axis=0)
    for number in range(2):
        values = centred @ model.components[number]
        column = data["pca"][number]
        points = column["low"] + column["step"] * decoded(column)
        np.testing.assert_allclose(points, values, atol=np.ptp(values) / 60_000)
    assert [data["labels"][number] for number in decoded(data["predicted"])] == predicted
    np.testing.assert_array_equal(decoded(data["probability"]), np.round(100 * answers.probabilities[:, 0]))
    assert [data["splits"][number] for number in decoded(data["split"])] == [row["split"] for row in rows]
    assert (data["total"], data["rejectTotal"]) == (len(rows), 0)


def test_outliers_are_the_furthest_photos_first_and_a_sample_keeps_them(
    numbered: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _, _, answers = rows_and_answers(numbered)
    order = np.argsort(-answers.distance, kind="stable")[: contents.OUTLIERS_SHOWN]
    furthest = [rows[number]["path"] for number in order]
    text = section_of(reports.html(numbered), "outliers")
    assert re.findall(r'data-show="\d+" title="(.*?)"', text) == furthest
    assert f"distance {answers.distance[order[0]]:,.0f}" in text
    monkeypatch.setattr(contents, "OUTLIERS_SHOWN", 9)
    monkeypatch.setattr(contents, "MOST_TEXT_BYTES", 1_000)
    shown = gathered(numbered)
    unlike = int((answers.state == contents.UNLIKE).sum())
    assert max(unlike, 20) < len(shown.photos) < len(rows)
    assert [shown.photos.paths[number] for number in shown.outliers] == furthest[:9]
    assert [(one.actual, one.predicted, one.count, one.total) for one in shown.confusions] == CONFUSED
    assert sum(map(len, (one.examples for one in shown.confusions))) == 7, "their examples are in the sample"


def test_pictures_keep_to_the_limits_of_the_settings(numbered: Output) -> None:
    shown = gathered(numbered)
    assert (contents.with_pictures(shown, 7_000_000).sheets.places >= 0).all()
    for name, value in (("max_photo_bytes", 10), ("max_photo_pixels", 10)):
        record = {**shown.record, "settings": {**shown.record["settings"], name: value}}
        limited = contents.with_pictures(replace(shown, record=record), 7_000_000)
        assert (limited.sheets.places < 0).all(), name


def test_the_state_of_a_page_holds_all_that_it_shows(numbered: Output) -> None:
    record, snapshot = gathered(numbered).record, tables.snapshot(numbered.location)
    changed = [
        record,
        {**record, "settings": {**record["settings"], "hourly_cost": 9.0}},
        {**record, "classifier": {**record["classifier"], "model_id": "another"}},
        *(
            {**record, "counts": {**record["counts"], name: 77}}
            for name in ("listed", "skipped", "removed", "pruned")
        ),
    ]
    states = [page.state(numbered.location, one, snapshot, "en") for one in changed]
    assert len(set(states)) == len(changed)
    timed = {**record, "seconds": {"total": 1.0}, "photos_per_second": 9.0}
    assert page.state(numbered.location, timed, snapshot, "en") == states[0]


def test_the_policy_allows_nothing_but_its_scripts_styles_and_pictures() -> None:
    assert page.policy(["a"]) == (
        "default-src 'none'; script-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_the_report_itself_counts_for_neither_time_nor_cost(numbered: Output) -> None:
    shown = gathered(numbered)
    seconds = {"inventory": 10.0, "featurize": 80.0, "report": 20.0, "total": 120.0}
    record = {**shown.record, "seconds": seconds, "photos_per_second": 100.0}
    text = section_of(page.page(replace(shown, record=record), "en", "0"), "cost")
    assert table_of(text, "Steps of the run")[1:] == [
        ["list the photos, compare with the table", "10.0", ""],
        ["read the photos, compute their features", "80.0", ""],
        ["Total, without this report", "100.0", ""],
    ]
    assert 'max="100.0" aria-label="read the photos, compute their features"' in text
    assert "The machines cost $0.36 an hour, so this run cost $0.0100." in text
