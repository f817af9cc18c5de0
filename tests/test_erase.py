"""Erasing photos from an output: as if they had never been there, and no trace of them anywhere."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from job import coverage, erase, mend, pca, store
from job.erase import Erasure
from job.errors import UsageError
from job.log import Log
from job.pipeline import Pipeline
from job.settings import parse
from job.traces import Selection
from tests import outputs
from tests.outputs import Made, csv_rows, make, moments_of, photos, rows_of

TABLES = (store.FEATURES_TABLE, store.REJECTED_TABLE, store.PCA_TABLE)
LOG = Log("erasure", out=io.StringIO(), err=io.StringIO())


def do(made: Made, **chosen: Any) -> dict[str, Any]:
    chosen = {name: frozenset(values) for name, values in chosen.items()}
    return erase.run(Erasure(made.location, Selection(**chosen), "request 17"), "erasure-1", LOG)


def contents(folder: str) -> Iterator[tuple[Path, bytes]]:
    """Yield what each file of an output holds: its bytes, and what they are when they are unpacked."""
    for file in sorted(Path(folder).rglob("*")):
        if not file.is_file():
            continue
        yield file, file.read_bytes()
        if file.suffix == ".parquet":
            parquet = pq.ParquetFile(file)
            yield file, f"{parquet.read().to_pylist()!r} {parquet.metadata.to_dict()!r}".encode()
        if file.suffix == ".npz":
            with zipfile.ZipFile(file) as members:
                yield from ((file, members.read(name)) for name in members.namelist())


def traces_of(made: Made, paths: list[str]) -> list[tuple[str, str]]:
    """Return the files that hold a path, a file's name or a hash of some photos."""
    names = [Path(path).name for path in paths]
    wanted = [*paths, *names, *(made.sha256[path] for path in paths if path in made.sha256)]
    return [
        (str(file), one) for file, data in contents(made.location) for one in wanted if one.encode() in data
    ]


def assert_a_run_has_nothing_to_do(made: Made) -> None:
    def start_spark() -> Any:
        raise AssertionError("Spark was to be started")

    words = ["--input", made.source, "--output", made.location, "--components", str(outputs.COMPONENTS)]
    words += ["--max-rejected", "1", "--refit", "never"]
    settings = parse(words, {})
    run = Pipeline(settings, LOG, start_spark).run()
    assert run["counts"]["unchanged"] == run["counts"]["listed"]
    assert run["model"]["rows_projected"] == 0


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(str(tmp_path / "out"), photos(tmp_path / "photos", 64))


def snapshot(folder: str) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file()}


def assert_right(made: Made, gone: list[str]) -> None:
    """See to it that an output is what it would be without some photos."""
    left = [path for path in made.good if path not in gone]
    assert traces_of(made, gone) == []
    for table in (store.FEATURES_TABLE, store.PCA_TABLE):
        assert [row["path"] for row in rows_of(made.location, table)] == left
    assert [row["path"] for row in rows_of(made.location, "rejected")] == [
        path for path in made.bad if path not in gone
    ]
    assert [line.split(b'"')[1].decode() for line in csv_rows(made.location)] == left
    kept = coverage.load_sums(made.location)
    assert kept is not None
    assert mend.versions(made.location) == kept.files
    whole = moments_of(made.location)
    assert kept.moments.n == whole.n == len(left)
    np.testing.assert_allclose(kept.moments.mean, whole.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kept.moments.scatter, whole.scatter, rtol=1e-9, atol=1e-9)
    for path in gone:
        Path(path).unlink(missing_ok=True)
    assert_a_run_has_nothing_to_do(made)


def test_erasing_100_of_1560_photos_gives_the_output_of_a_run_that_never_saw_them(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", 1560)
    made = make(str(tmp_path / "out"), source, files=8, removed=0)
    gone = [*made.good[5::15][:99], made.bad[0]]
    assert len(gone) - 1 == sum(path in made.sha256 for path in gone)
    by_prefix, by_hash, by_path = gone[0], gone[1:20], gone[20:]
    hashes = {made.sha256[path] for path in by_hash}
    selection = Selection(frozenset(by_path), (by_prefix,), frozenset(hashes))
    done = erase.run(Erasure(made.location, selection, "request 17"), "erasure-1", LOG)
    assert done["rows"][store.FEATURES_TABLE] == len(gone) - 1
    assert done["rows"][store.REJECTED_TABLE] == 1
    assert done["moments"] == "the rows were taken out exactly"
    assert done["photos"] == {"there": 100, "gone": 0, "unknown": 0}
    assert traces_of(made, gone) == []
    assert traces_of(made, made.good[:1]), "the search finds what is there"

    never = make(str(tmp_path / "never"), source, files=8, removed=0, rejected=2, without=gone)
    for table, column in ((store.FEATURES_TABLE, "features"), (store.REJECTED_TABLE, "reason")):
        ours, theirs = rows_of(made.location, table), rows_of(never.location, table)
        assert [(row["path"], row[column]) for row in ours] == [(row["path"], row[column]) for row in theirs]
    kept, wanted = coverage.load_sums(made.location), coverage.load_sums(never.location)
    assert kept is not None
    assert wanted is not None
    assert kept.moments.n == wanted.moments.n
    np.testing.assert_allclose(kept.moments.mean, wanted.moments.mean, rtol=1e-9)
    scale = np.abs(wanted.moments.scatter).max()
    np.testing.assert_allclose(kept.moments.scatter, wanted.moments.scatter, rtol=1e-9, atol=1e-9 * scale)
    one_fit, other_fit = (
        pca.fit(one.moments, outputs.COMPONENTS, 0.95, standardize=False) for one in (kept, wanted)
    )
    np.testing.assert_allclose(
        one_fit.explained_variance_ratio, other_fit.explained_variance_ratio, rtol=1e-9
    )
    np.testing.assert_allclose(one_fit.components, other_fit.components, atol=1e-9)

    again = erase.run(Erasure(made.location, selection, "request 17"), "erasure-2", LOG)
    assert not any(again["rows"].values())
    assert_right(made, gone)


def test_every_table_loses_the_photo_and_the_next_run_has_nothing_to_do(made: Made) -> None:
    gone = [made.changed[0], made.removed[0], made.good[9], made.bad[0]]
    lines, before = csv_rows(made.location), rows_of(made.location, "features")
    done = do(made, paths=gone)
    assert done["rows"] == {"features": 3, "rejected": 1, "pca": 3, "pca_csv": 3, "inventory": 6}
    assert_right(made, gone)
    assert rows_of(made.location, "features") == [row for row in before if row["path"] not in gone]
    assert csv_rows(made.location) == [
        line for line in lines if not any(path.encode() in line for path in gone)
    ], "not a byte of the other lines is changed"


def test_a_prefix_is_taken_letter_by_letter(made: Made) -> None:
    folder = made.good[0].rpartition("/")[0]
    gone = [path for path in [*made.good, *made.bad] if path.startswith(folder[:-1])]
    assert 1 < len(gone) < len(made.good) / 2
    selection = Selection(prefixes=(folder[:-1],))
    done = erase.run(Erasure(made.location, selection, "request 17"), "erasure-1", LOG)
    assert done["selected_by"] == ["prefix"]
    assert_right(made, gone)


def test_a_hash_leads_to_all_traces_of_its_photo(made: Made) -> None:
    do(made, sha256=[made.sha256[made.changed[0]]])
    assert_right(made, made.changed)


def test_the_moments_are_summed_up_anew_where_most_rows_go(made: Made) -> None:
    gone = made.good[:50]
    assert do(made, paths=gone)["moments"] == "summed up anew"
    assert_right(made, gone)


def test_all_photos_can_go(made: Made) -> None:
    everything = [*made.good, *made.bad]
    done = do(made, paths=everything)
    assert done["rows"]["features"] == len(made.good)
    assert traces_of(made, everything) == []
    assert rows_of(made.location, "features") == []


def test_the_record_says_who_when_and_how_many_and_never_what(made: Made) -> None:
    gone = made.good[3]
    do(made, paths=[gone])
    data = Path(made.location, "erasures/erasure-1.json").read_text()
    said = json.loads(data)
    assert said["requested_by"] == "request 17"
    assert said["at"].startswith("2")
    assert said["selected_by"] == ["path"]
    assert said["rows"]["features"] == 1
    assert said["files_rewritten"] == 4
    assert Path(gone).name not in data
    assert made.sha256[gone] not in data


def test_nothing_found_is_said_and_recorded_and_changes_nothing_else(made: Made) -> None:
    before = snapshot(made.location)
    done = do(made, paths=["/nowhere/at-all.jpg"], sha256=["0" * 64])
    assert erase.summary(done).startswith("nothing found: no row was erased")
    record = f"{made.location}/erasures/erasure-1.json"
    assert snapshot(made.location) == {**before, record: Path(record).read_bytes()}


def test_a_rehearsal_counts_and_changes_nothing(made: Made) -> None:
    before = snapshot(made.location)
    erasure = Erasure(made.location, Selection(frozenset(made.changed)), "request 17", dry_run=True)
    done = erase.run(erasure, "erasure-1", LOG)
    assert erase.summary(done) == ("would erase rows: 1 of features, 1 of pca, 1 of pca_csv, 2 of inventory")
    assert snapshot(made.location) == before


def test_what_is_no_output_of_ours_is_refused_and_no_lock_is_left_there(tmp_path: Path) -> None:
    erasure = Erasure(str(tmp_path / "mine"), Selection(frozenset(["/a.jpg"])), "request 17")
    with pytest.raises(UsageError, match=r"mine is no output of this job \(there is no _input.json\)"):
        erase.run(erasure, "erasure-1", LOG)
    assert not (tmp_path / "mine").exists()


class Killed(BaseException):
    """Ends a command at once, as a kill does; its lock is released, which a kill would leave to time."""
