"""The provenance of an output: it has one input at a time, and foreign files are never touched."""

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
    """Return the writer of a run that has just begun."""
    arguments = [f"--input={location}" for location in inputs or ("/photos",)] + ["--overwrite"] * overwrite
    log = Log("r-1", out=io.StringIO(), err=io.StringIO())
    return Pipeline(
        parse_settings([*arguments, f"--output={output}"], {}), log, pytest.fail
    ).exclusive_writer()


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
    """Return the content of every file in an output, by its name."""
    if not store.is_s3(output):
        return dict(tree(output))
    return {name.removeprefix(f"{output}/"): store.read_bytes(name) for name, *_ in s3.list_objects(output)}


def fill(output: str, *names: str) -> set[str]:
    """Write a file into each given folder of an output, and return the files' names."""
    names_of_files = {f"{name}/deep/file" for name in names}
    for file in names_of_files:
        store.write_bytes(f"{output}/{file}", b"x")
    return names_of_files


def make_earlier(output: str) -> set[str]:
    """Make an output of the layout before the Delta table, with files of the user's; return those."""
    store.write_bytes(f"{output}/_input.json", b'{"inputs": ["/photos"], "limit": null}')
    store.write_bytes(f"{output}/_lock.json", b"{}")
    fill(output, *layout.EARLIER[:5], *DERIVED)
    return fill(output, layout.ERASURES, "holiday")


def test_an_output_records_its_input_and_accepts_it_again(output: str) -> None:
    table = make(output, A)
    assert provenance.saved(table) == {"inputs": ["/photos"], "limit": None}
    with run(output) as writer:
        assert writer.snapshot.files == table.files
    with run(output, overwrite=True) as writer:
        assert writer.snapshot.files == table.files, "the same input replaces nothing"


def test_another_input_is_refused_with_the_difference_and_nothing_is_changed(output: str) -> None:
    make(output, A)
    before = contents(output)
    assert f"holds the tables of another input (inputs was /photos, now {', '.join(PLUMS)}): " in refusal(
        output, *PLUMS
    )
    table = snapshot(output)
    for requested, difference in (
        ({"inputs": ["/photos"], "limit": 5}, "(limit was not set, now 5)"),
        ({"inputs": ["/photos"], "limit": None, "new": 1}, "(new was not set, now 1)"),
        ({"limit": None}, "(inputs was /photos, now not set)"),
    ):
        with pytest.raises(UsageError) as caught:
            provenance.first_actions(output, table, requested, overwrite=False)
        assert f"{difference}: choose another --output, or replace them with --overwrite" in str(caught.value)
    assert contents(output) == before


@pytest.mark.parametrize("damaged", ["no JSON", "[]"])
def test_a_damaged_provenance_is_another_input(tmp_path: Path, damaged: str) -> None:
    table = replace(make(str(tmp_path), A), configuration={provenance.MADE_FROM: damaged})
    requested = provenance.of_run(["/photos"], None)
    with pytest.raises(UsageError, match="holds the tables of another input"):
        provenance.first_actions(str(tmp_path), table, requested, overwrite=False)
    assert provenance.first_actions(str(tmp_path), table, requested, overwrite=True)


def test_overwriting_removes_all_rows_in_the_first_commit_and_the_derived_files(
    output: str,
) -> None:
    version, old = make(output, A, "/photos/Pear/bad.jpg").version, snapshot(output).files
    fill(output, *DERIVED)
    store.write_bytes(f"{output}/{layout.REPORT}", b"a page of other photos")
    user_files = fill(output, layout.ERASURES, "holiday")
    with run(output, *PLUMS, overwrite=True) as writer:
        assert not store.is_file(f"{output}/{layout.REPORT}")
        assert (writer.snapshot.version, writer.snapshot.files) == (version + 1, {})
        removed = {action["remove"]["path"] for action in actions(output, version + 1) if "remove" in action}
        assert removed == old.keys()
        assert provenance.saved(snapshot(output))["inputs"] == list(PLUMS)
        writer.commit([written(output, writer.number, B)])
    assert photos(output) == [B]
    assert unnamed(output) == set()
    assert {name for name, data in contents(output).items() if data == b"x"} == user_files


def test_a_table_without_rows_accepts_any_input(output: str) -> None:
    with run(output):
        pass
    with run(output, *PLUMS):
        pass
    assert provenance.saved(snapshot(output))["inputs"] == list(PLUMS)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", layout.FOLDERS)
def test_foreign_files_under_the_jobs_names_are_never_claimed(
    output: str, name: str, overwrite: bool
) -> None:
    fill(output, name)
    before = contents(output)
    assert f"has a {name} that this job did not write" in refusal(output, overwrite=overwrite)
    assert contents(output) == before


@pytest.mark.parametrize("content", [b"", b"a page of somebody's"])
def test_a_foreign_report_is_never_claimed(output: str, content: bytes) -> None:
    store.write_bytes(f"{output}/{layout.REPORT}", content)
    store.write_bytes(f"{output}/{layout.REPORT}.old", b"x")
    assert f"has a {layout.REPORT} that this job did not write" in refusal(output, overwrite=True)
    assert contents(output) == {layout.REPORT: content, f"{layout.REPORT}.old": b"x"}


@pytest.mark.parametrize("create", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_file_or_a_link_in_place_of_a_folder_is_foreign(
    tmp_path: Path, create: Callable[[Path], None]
) -> None:
    create(tmp_path / "models")
    assert "has a models that" in refusal(tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == ["models"]  # noqa: PTH208


def test_empty_folders_and_names_that_only_begin_like_the_jobs_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "photos2").mkdir()
    (tmp_path / "photos2/file").touch()
    make(str(tmp_path), A)


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_programs_delta_table_is_refused_and_unchanged(tmp_path: Path, overwrite: bool) -> None:
    write_deltalake(tmp_path / "photos", rows(A))
    before = tree(tmp_path)
    assert "has a table photos that this job did not write" in refusal(tmp_path, overwrite=overwrite)
    with pytest.raises(UsageError, match="is no output of this job"):
        provenance.existing_table(str(tmp_path))
    assert tree(tmp_path) == before


def test_other_commands_need_an_existing_output(output: str) -> None:
    with pytest.raises(UsageError, match=r"is no output of this job .*: check --output"):
        provenance.existing_table(output)
    store.write_bytes(f"{output}/_input.json", b'{"inputs": []}')
    with pytest.raises(UsageError, match="was made by an earlier version of this job"):
        provenance.existing_table(output)
    table = make(f"{output}2", A)
    assert provenance.existing_table(f"{output}2") == table


def test_a_run_killed_in_its_first_commit_does_not_block_the_next(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.mkdir(parents=True)
    (log / f".0123456789abcdef{store.DRAFT}").touch()
    with run(str(tmp_path)):
        pass
    assert not list(store.list_drafts(str(tmp_path)))


def test_an_output_of_the_earlier_layout_is_refused_in_one_sentence(output: str) -> None:
    make_earlier(output)
    before = contents(output)
    for inputs in (["/photos"], PLUMS):
        assert (
            "was made by an earlier version of this job, without a Delta table: make it anew with "
            "--overwrite, which reads every photo again, or choose another --output"
        ) in refusal(output, *inputs)
    assert contents(output) == before


@pytest.mark.parametrize("name", [layout.PHOTOS, layout.TASKS])
def test_a_folder_that_the_earlier_layout_did_not_have_is_foreign(output: str, name: str) -> None:
    make_earlier(output)
    fill(output, name)
    before = contents(output)
    assert f"has a {name} that this job did not write" in refusal(output, overwrite=True)
    assert contents(output) == before


def test_an_earlier_layout_is_overwritten_even_after_an_interruption(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_files = make_earlier(output)
    delete, calls = store.delete_tree, iter(range(100))

    def delete_until_fault(location: str) -> None:
        if next(calls) == 8:
            raise OSError(errno.EIO, "Input/output error")
        delete(location)

    monkeypatch.setattr(store, "delete_tree", delete_until_fault)
    with pytest.raises(JobError, match="cannot be written: Input/output error"), run(output, overwrite=True):
        pytest.fail("it has begun")
    with run(output) as writer:
        writer.commit([written(output, writer.number, A)])
    assert {name for name, data in contents(output).items() if data == b"x"} == user_files
    assert {name.split("/")[0] for name in contents(output)} == {layout.PHOTOS, layout.ERASURES, "holiday"}
    assert photos(output) == [A]


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe", b'{"input": 1}'])
def test_a_foreign_input_file_is_no_earlier_layout(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "_input.json").write_bytes(content)
    fill(str(tmp_path), "features", "rejected")
    before = tree(tmp_path)
    with run(str(tmp_path), overwrite=True):
        pass
    assert before.items() <= tree(tmp_path).items()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that every user may read; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as location:
        Path(location).chmod(0o755)
        yield Path(location)


def test_an_output_that_cannot_be_written_is_refused_in_one_sentence(folder: Path) -> None:
    (folder / "file").write_text("content")
    (folder / "loop").symlink_to("loop")
    (folder / "closed").mkdir(mode=0o555)
    (folder / "hidden").mkdir(mode=0o000)
    with unprivileged():
        for location, reason in {
            "/proc/nope": "no such file or directory",
            folder / "file": "not a directory",
            folder / "file/deep/er": "not a directory",
            folder / ("x" * 300): "file name too long",
            folder / "loop/deep": "too many levels of symbolic links",
            folder / "closed": "permission denied",
            folder / "closed/out": "permission denied",
            folder / "hidden/out": "permission denied",
        }.items():
            assert f"cannot be written ({reason}): choose another --output, or mend that" in refusal(location)
    assert (folder / "file").read_text() == "content"
    assert not list((folder / "closed").iterdir())


@pytest.mark.parametrize(("name", "mode"), [("", 0o555), ("", 0o000), ("*0.json", 0o000)])
def test_a_table_without_read_or_write_permission_is_refused(folder: Path, name: str, mode: int) -> None:
    make(str(folder), A)
    log, before = folder / LOG, tree(folder)
    next(log.glob(name) if name else iter([log])).chmod(mode)
    with unprivileged():
        assert "cannot be written (permission denied)" in refusal(folder)
    assert tree(folder) == before


def test_a_full_disk_is_no_fault_of_the_output(tmp_path: Path) -> None:
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
def test_paths_of_outputs_and_inputs_may_contain_any_name(tmp_path: Path, name: str) -> None:
    output, source = f"{tmp_path}/{name}/out", f"{tmp_path}/{name}"
    with run(output, source) as writer:
        writer.commit([written(output, writer.number, store.printable(f"{source}/a/1.jpg"))])
        commits.write_checkpoint(output)
    with run(output, source):
        assert photos(output) == [store.printable(f"{source}/a/1.jpg")]
    assert f"inputs was {store.printable(source)}, now /photos" in refusal(output)
    assert files.location(output, next(iter(snapshot(output).files))).startswith(output)


def test_the_files_of_a_command_that_has_just_begun_are_not_foreign(output: str) -> None:
    seen = commits.load(output)
    make(output, A)
    assert seen is None
    requested = provenance.of_run(["/photos"], None)
    assert provenance.first_actions(output, seen, requested, overwrite=False), "its commit will fail"
