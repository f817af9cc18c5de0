"""The log: a commit is one exclusive write, and readers of Delta tables see exactly the committed rows."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from job.errors import JobError
from job.storage import store
from job.table import commits, schema
from job.table.layout import FEATURIZED, REJECTED
from scripts.s3_server.server import Server
from tests.support.chaos_s3 import BUCKET, chaos
from tests.support.tables import BAD, LOG, A, B, C, foreign, make, photos, rows, snapshot, writing, written

THREADS: Final = 8


@pytest.fixture
def server(aws_environment: pytest.MonkeyPatch) -> Iterator[Server]:
    with chaos(aws_environment) as started:
        yield started


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an output that does not exist yet."""
    if request.param == "folder":
        return str(tmp_path / "out")
    assert request.getfixturevalue("server")
    return f"s3://{BUCKET}/out"


def log(output: str) -> Path:
    return Path(output, LOG)


def test_exactly_one_of_eight_threads_commits_a_version(output: str) -> None:
    assert (commits.load(output), commits.exists(output, 0)) == (None, False)
    make(output, A)
    version, start = snapshot(output).version + 1, threading.Barrier(THREADS)

    def commit(number: int) -> bool:
        start.wait()
        return commits.write(
            output, version, [commits.command_action(commits.WRITER, number)], {"run": number}
        )

    with ThreadPoolExecutor(THREADS) as pool:
        landed = list(pool.map(commit, range(THREADS)))
    assert landed.count(True) == 1
    assert commits.commit_info(output, version)["run"] == snapshot(output).writer == landed.index(True)
    assert (commits.exists(output, version), commits.exists(output, version + 1)) == (True, False)


def test_a_commit_is_one_request_and_deltalake_sends_none(server: Server) -> None:
    output, prefix = f"s3://{BUCKET}/out", f"out/{LOG}/"
    make(output, A)
    last = snapshot(output).version

    def requests_since_last_call() -> Counter[tuple[str, str]]:
        sent = Counter((request.method, request.key.removeprefix(prefix)) for request in server.requests)
        server.requests.clear()
        return sent

    requests_since_last_call()
    assert commits.write(output, last + 1, [commits.command_action(commits.WRITER, 9)], {})
    assert requests_since_last_call() == {("PUT", f"{last + 1:020}.json"): 1}
    assert snapshot(output).writer == 9
    checkpoint = f"{last:020}{commits.CHECKPOINT}"
    expected = [
        ("GET", ""),
        ("GET", commits.LAST_CHECKPOINT),
        ("GET", checkpoint),
        ("GET", f"{last + 1:020}.json"),
    ]
    assert requests_since_last_call() == Counter(expected)
    commits.write_checkpoint(output)
    checkpoint_files = {("PUT", f"{last + 1:020}{commits.CHECKPOINT}"), ("PUT", commits.LAST_CHECKPOINT)}
    assert {sent for sent in requests_since_last_call() if sent[0] != "GET"} == checkpoint_files


def test_a_table_is_read_from_its_last_checkpoint_and_the_commits_after_it_only(output: str) -> None:
    expected = make(output, A, B, BAD)
    last = expected.version
    store.delete_files([store.join(output, LOG, f"{version:020}.json") for version in range(last + 1)])
    assert snapshot(output) == expected
    make(output, C)
    assert photos(output) == [A, B, BAD, C]
    assert (snapshot(output).writer, snapshot(output).ended) == (2, 2)
    assert snapshot(output).configuration == expected.configuration


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 0}', b'{"version": 99}'])
def test_the_file_that_names_the_last_checkpoint_may_be_torn_or_wrong(tmp_path: Path, content: bytes) -> None:
    output = str(tmp_path)
    make(output, A)
    expected = make(output, B)
    (log(output) / commits.LAST_CHECKPOINT).write_bytes(content)
    assert snapshot(output) == expected
    (log(output) / commits.LAST_CHECKPOINT).unlink()
    assert snapshot(output) == expected


def test_the_last_checkpoints_are_kept(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "CHECKPOINTS_KEPT", 2)
    make(output, A)
    for version in range(snapshot(output).version + 1, snapshot(output).version + 5):
        commits.write(output, version, [], {})
        commits.write_checkpoint(output)
    checkpoints = [location for location, _ in store.list_files(store.join(output, LOG), commits.CHECKPOINT)]
    assert checkpoints == [
        store.join(output, LOG, f"{number:020}{commits.CHECKPOINT}") for number in (version - 1, version)
    ]
    last = json.loads(store.read_bytes(store.join(output, LOG, commits.LAST_CHECKPOINT)))
    assert last["version"] == version
    assert photos(output) == [A]


@pytest.mark.parametrize(
    "protocol",
    [
        {"minReaderVersion": 2, "minWriterVersion": 5},
        {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["appendOnly"]},
        {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["new"], "writerFeatures": ["new"]},
    ],
)
def test_a_table_with_unknown_features_is_refused(tmp_path: Path, protocol: dict[str, object]) -> None:
    output = str(tmp_path)
    make(output, A)
    assert commits.write(output, snapshot(output).version + 1, [{"protocol": protocol}], {})
    with pytest.raises(
        JobError, match=f"{output}/photos(/_delta_log cannot be read| was given Delta features)"
    ) as caught:
        commits.load(output)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("torn", [b'{"add": {"pa', b'{"commitInfo": {}}\n{"add"', b"\xff\xfe", None])
def test_a_torn_or_missing_commit_is_reported_in_one_sentence(tmp_path: Path, torn: bytes | None) -> None:
    output = str(tmp_path)
    make(output, A)
    version = snapshot(output).version + 1
    reads: list[Callable[[], object]] = [lambda: commits.load(output)]
    if torn is None:
        commits.write(output, version + 1, [], {})
    else:
        (log(output) / f"{version:020}.json").write_bytes(torn)
        reads.append(lambda: commits.commit_info(output, version))
        assert commits.exists(output, version), "a torn commit, too, shows that its writer lives"
    for read in reads:
        with pytest.raises(JobError, match=f"{log(output)}.*(cannot be read|is torn)") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_deltalake_and_polars_see_exactly_the_committed_rows_at_every_version(
    tmp_path: Path,
) -> None:
    output, table = str(tmp_path), str(tmp_path / "photos")
    good, bad, other = [(A, FEATURIZED), (B, FEATURIZED)], [(BAD, REJECTED)], [(C, FEATURIZED)]
    with writing(output) as run:
        kept = written(output, run.number, A, B)
        run.commit([kept])
        written(output, run.number, C)
        Path(table, "outcome=featurized/stray.parquet").write_bytes(b"x")
        run.commit([written(output, run.number, BAD, outcome=REJECTED)], [kept.path])
        commits.write_checkpoint(output)
        foreign(output, C)
        run.commit([kept])
        assert run.snapshot == snapshot(output)
        for version, expected in enumerate(([], good, bad, [*bad, *other], [*good, *bad, *other])):
            frame = DeltaTable(table, version=version).to_pandas(columns=["path", "outcome"])
            assert sorted(frame.itertuples(index=False, name=None)) == sorted(expected)
            pairs = pl.read_delta(table, version=version).select("path", "outcome").rows()
            assert sorted(pairs) == sorted(expected)
    assert {f"{table}/{file}" for file in snapshot(output).files} == set(DeltaTable(table).file_uris())
    all_rows = pl.read_delta(table).to_arrow().select(schema.PHOTOS.names).cast(schema.PHOTOS).sort_by("path")
    parts = [rows(A, B), rows(BAD, outcome=REJECTED), rows(C)]
    assert all_rows.equals(pa.concat_tables(parts).sort_by("path"))


def test_the_log_holds_no_path_and_no_hash_even_after_foreign_commits(tmp_path: Path) -> None:
    output = str(tmp_path)
    make(output, A, B, BAD)
    foreign(output, C)
    with writing(output) as run:
        run.commit(
            [written(output, run.number, A)], [file.path for file in run.snapshot.files_of(FEATURIZED)[:1]]
        )
        commits.write_checkpoint(output)
        log_bytes = b"".join(path.read_bytes() for path in log(output).iterdir())
        log_bytes += b"".join(
            pl.read_parquet(path).write_ndjson().encode() for path in log(output).glob("*.parquet")
        )
    assert b"numRecords" in log_bytes
    for secret in (A, B, C, BAD, *rows(A, B, C, BAD)["sha256"].to_pylist()):
        assert secret.encode() not in log_bytes
        assert secret.rpartition("/")[2].encode() not in log_bytes
