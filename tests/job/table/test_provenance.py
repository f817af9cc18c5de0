"""Whose output it is: one input at a time, and nothing is touched that is not ours."""

import errno
import io
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from deltalake import write_deltalake

from job.cli.log import Log
from job.cli.settings import parse_settings
from job.errors import JobError, UsageError
from job.run.pipeline import Pipeline
from job.storage import s3, store
from job.table import commits, files, layout, provenance
from job.table.writer import Writer
from tests.support.chaos_s3 import BUCKET, chaos
from tests.support.tables import LOG, A, B, actions, make, photos, rows, snapshot, tree, unnamed, written
from tests.support.unprivileged import unprivileged

PLUMS: Final = ("/plums", "s3://plums")
ODD: Final = "é 100%41 #1?&+.d"
DERIVED: Final = (layout.MOMENTS, layout.PCA, layout.PCA_CSV, layout.MODELS, layout.RUNS)


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return an output that does not exist yet."""
    if request.param == "folder":
        yield f"{tmp_path}/some/{ODD}"
        return
    with chaos(request.getfixturevalue("aws_environment")):
        yield f"s3://{BUCKET}/some/{ODD}"


def run(output: str, *inputs: str, overwrite: bool = False) -> AbstractContextManager[Writer]:
    """Be a run of the job that has just begun."""
    words = [f"--input={location}" for location in inputs or ("/photos",)] + ["--overwrite"] * overwrite
    log = Log("r-1", out=io.StringIO(), err=io.StringIO())
    return Pipeline(parse_settings([*words, f"--output={output}"], {}), log, pytest.fail).exclusive_writer()


def refusal(output: object, *inputs: str, overwrite: bool = False) -> str:
    """Return the sentence with which a run is refused."""
    with pytest.raises(UsageError) as caught, run(str(output), *inputs, overwrite=overwrite):
        pytest.fail("it has begun")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert f"output {output} " in sentence
    assert "--output" in sentence
    assert caught.value.exit_code == 2
    return sentence


def contents(output: str) -> dict[str, object]:
    """Return all that is in an output."""
    if not store.is_s3(output):
        return dict(tree(output))
    return {name.removeprefix(f"{output}/"): store.read_bytes(name) for name, *_ in s3.list_objects(output)}


def fill(output: str, *names: str) -> set[str]:
    """Write a file into each of some folders of an output, and return their names in it."""
    files = {f"{name}/deep/file" for name in names}
    for file in files:
        store.write_bytes(f"{output}/{file}", b"x")
    return files


def make_earlier(output: str) -> set[str]:
    """Make an output as it was before there was a Delta table, with something of its user's beside it."""
    store.write_bytes(f"{output}/_input.json", b'{"inputs": ["/photos"], "limit": null}')
    store.write_bytes(f"{output}/_lock.json", b"{}")
    fill(output, *layout.EARLIER[:5], *DERIVED)
    return fill(output, layout.ERASURES, "holiday")


def test_an_output_says_what_it_is_made_from_and_the_same_input_may_come_again(output: str) -> None:
    made = make(output, A)
    assert provenance.saved(made) == {"inputs": ["/photos"], "limit": None}
    with run(output) as own:
        assert own.snapshot.files == made.files
    with run(output, overwrite=True) as own:
        assert own.snapshot.files == made.files, "the same input replaces nothing"


def test_another_input_is_refused_with_the_difference_and_nothing_is_touched(output: str) -> None:
    make(output, A)
    before = contents(output)
    assert f"holds the tables of another input (inputs was /photos, now {', '.join(PLUMS)}): " in refusal(
        output, *PLUMS
    )
    found = snapshot(output)
    for wanted, words in (
        ({"inputs": ["/photos"], "limit": 5}, "(limit was not set, now 5)"),
        ({"inputs": ["/photos"], "limit": None, "new": 1}, "(new was not set, now 1)"),
        ({"limit": None}, "(inputs was /photos, now not set)"),
    ):
        with pytest.raises(UsageError) as caught:
            provenance.first_actions(output, found, wanted, overwrite=False)
        assert f"{words}: choose another --output, or replace them with --overwrite" in str(caught.value)
    assert contents(output) == before


@pytest.mark.parametrize("damaged", ["no JSON", "[]"])
def test_a_damaged_provenance_is_another_input(tmp_path: Path, damaged: str) -> None:
    table = replace(make(str(tmp_path), A), configuration={provenance.MADE_FROM: damaged})
    requested = provenance.of_run(["/photos"], None)
    with pytest.raises(UsageError, match="holds the tables of another input"):
        provenance.first_actions(str(tmp_path), table, requested, overwrite=False)
    assert provenance.first_actions(str(tmp_path), table, requested, overwrite=True)


def test_overwriting_removes_all_rows_by_the_commit_that_begins_and_what_was_made_of_them(
    output: str,
) -> None:
    version, old = make(output, A, "/photos/Pear/bad.jpg").version, snapshot(output).files
    fill(output, *DERIVED)
    stay = fill(output, layout.ERASURES, "holiday")
    with run(output, *PLUMS, overwrite=True) as own:
        assert (own.snapshot.version, own.snapshot.files) == (version + 1, {})
        gone = {action["remove"]["path"] for action in actions(output, version + 1) if "remove" in action}
        assert gone == old.keys()
        assert provenance.saved(snapshot(output))["inputs"] == list(PLUMS)
        own.commit([written(output, own.number, B)])
    assert photos(output) == [B]
    assert unnamed(output) == set()
    assert {name for name, data in contents(output).items() if data == b"x"} == stay


def test_a_table_without_rows_may_be_of_any_input(output: str) -> None:
    with run(output):
        pass
    with run(output, *PLUMS):
        pass
    assert provenance.saved(snapshot(output))["inputs"] == list(PLUMS)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", layout.FOLDERS)
def test_what_has_a_name_of_ours_but_is_somebodys_is_never_claimed(
    output: str, name: str, overwrite: bool
) -> None:
    fill(output, name)
    before = contents(output)
    assert f"has a {name} that this job did not write" in refusal(output, overwrite=overwrite)
    assert contents(output) == before


@pytest.mark.parametrize("make_it", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_file_or_a_link_in_the_place_of_a_folder_is_not_ours(
    tmp_path: Path, make_it: Callable[[Path], None]
) -> None:
    make_it(tmp_path / "models")
    assert "has a models that" in refusal(tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == ["models"]  # noqa: PTH208


def test_empty_folders_and_names_that_only_begin_like_ours_are_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "photos2").mkdir()
    (tmp_path / "photos2/file").touch()
    make(str(tmp_path), A)


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_programs_delta_table_is_refused_and_not_touched(tmp_path: Path, overwrite: bool) -> None:
    write_deltalake(tmp_path / "photos", rows(A))
    before = tree(tmp_path)
    assert "has a table photos that this job did not write" in refusal(tmp_path, overwrite=overwrite)
    with pytest.raises(UsageError, match="is no output of this job"):
        provenance.existing_table(str(tmp_path))
    assert tree(tmp_path) == before


def test_other_commands_want_an_output_that_is_there(output: str) -> None:
    with pytest.raises(UsageError, match=r"is no output of this job .*: check --output"):
        provenance.existing_table(output)
    store.write_bytes(f"{output}/_input.json", b'{"inputs": []}')
    with pytest.raises(UsageError, match="was made by an earlier version of this job"):
        provenance.existing_table(output)
    made = make(f"{output}2", A)
    assert provenance.existing_table(f"{output}2") == made


def test_a_run_that_was_killed_in_its_first_commit_is_in_nobodys_way(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.mkdir(parents=True)
    (log / f".0123456789abcdef{store.DRAFT}").touch()
    with run(str(tmp_path)):
        pass
    assert not list(store.list_drafts(str(tmp_path)))


def test_an_output_of_the_earlier_layout_is_refused_in_a_sentence(output: str) -> None:
    make_earlier(output)
    before = contents(output)
    for inputs in (["/photos"], PLUMS):
        assert (
            "was made by an earlier version of this job, without a Delta table: make it anew with "
            "--overwrite, which reads every photo again, or choose another --output"
        ) in refusal(output, *inputs)
    assert contents(output) == before


@pytest.mark.parametrize("name", [layout.PHOTOS, layout.TASKS])
def test_the_earlier_layout_had_no_such_folder_so_it_is_somebodys(output: str, name: str) -> None:
    make_earlier(output)
    fill(output, name)
    before = contents(output)
    assert f"has a {name} that this job did not write" in refusal(output, overwrite=True)
    assert contents(output) == before


def test_an_earlier_layout_is_replaced_by_overwriting_even_if_that_was_broken_off(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stay = make_earlier(output)
    delete, calls = store.delete_tree, iter(range(100))

    def breaks(location: str) -> None:
        if next(calls) == 8:
            raise OSError(errno.EIO, "Input/output error")
        delete(location)

    monkeypatch.setattr(store, "delete_tree", breaks)
    with pytest.raises(JobError, match="cannot be written: Input/output error"), run(output, overwrite=True):
        pytest.fail("it has begun")
    with run(output) as own:
        own.commit([written(output, own.number, A)])
    assert {name for name, data in contents(output).items() if data == b"x"} == stay
    assert {name.split("/")[0] for name in contents(output)} == {layout.PHOTOS, layout.ERASURES, "holiday"}
    assert photos(output) == [A]


@pytest.mark.parametrize("found", [b"", b"[1]", b"\xff\xfe", b'{"input": 1}'])
def test_a_file_that_is_no_claim_of_ours_makes_no_earlier_layout(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "_input.json").write_bytes(found)
    fill(str(tmp_path), "features", "rejected")
    before = tree(tmp_path)
    with run(str(tmp_path), overwrite=True):
        pass
    assert before.items() <= tree(tmp_path).items()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that anybody may look into; those above pytest's own are closed."""
    with tempfile.TemporaryDirectory() as made_one:
        Path(made_one).chmod(0o755)
        yield Path(made_one)


def test_an_output_that_cannot_be_written_is_refused_in_a_sentence(folder: Path) -> None:
    (folder / "file").write_text("mine")
    (folder / "loop").symlink_to("loop")
    (folder / "closed").mkdir(mode=0o555)
    (folder / "hidden").mkdir(mode=0o000)
    with unprivileged():
        for place, reason in {
            "/proc/nope": "no such file or directory",
            folder / "file": "not a directory",
            folder / "file/deep/er": "not a directory",
            folder / ("x" * 300): "file name too long",
            folder / "loop/deep": "too many levels of symbolic links",
            folder / "closed": "permission denied",
            folder / "closed/out": "permission denied",
            folder / "hidden/out": "permission denied",
        }.items():
            assert f"cannot be written ({reason}): choose another --output, or mend that" in refusal(place)
    assert (folder / "file").read_text() == "mine"
    assert not list((folder / "closed").iterdir())


@pytest.mark.parametrize(("name", "mode"), [("", 0o555), ("", 0o000), ("*0.json", 0o000)])
def test_a_table_that_may_not_be_read_or_written_any_more_is_refused(
    folder: Path, name: str, mode: int
) -> None:
    make(str(folder), A)
    log, before = folder / LOG, tree(folder)
    next(log.glob(name) if name else iter([log])).chmod(mode)
    with unprivileged():
        assert "cannot be written (permission denied)" in refusal(folder)
    assert tree(folder) == before


def test_another_output_would_not_mend_a_full_disk(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # as on a full disk, no file can grow
    try:
        with pytest.raises(JobError) as caught, run(f"{tmp_path}/out"):
            pytest.fail("it has begun")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"output {tmp_path}/out cannot be written: File too large"
    assert caught.value.exit_code == 1
    with run(f"{tmp_path}/out"):
        pass


@pytest.mark.parametrize("name", [os.fsdecode(b"\xff out"), "a\\b", ODD, "file:", "%FF"])
def test_any_name_may_be_in_the_path_of_an_output_and_of_an_input(tmp_path: Path, name: str) -> None:
    output, source = f"{tmp_path}/{name}/out", f"{tmp_path}/{name}"
    with run(output, source) as own:
        own.commit([written(output, own.number, store.printable(f"{source}/a/1.jpg"))])
        commits.write_checkpoint(output)
    with run(output, source):
        assert photos(output) == [store.printable(f"{source}/a/1.jpg")]
    assert f"inputs was {store.printable(source)}, now /photos" in refusal(output)
    assert files.location(output, next(iter(snapshot(output).files))).startswith(output)
