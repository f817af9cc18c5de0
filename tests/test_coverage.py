"""What moments and matrix cover: kept and loaded to the last bit, and told apart by the files' versions."""

from pathlib import Path

import numpy as np
import pytest

from job import coverage, store
from job.coverage import Matrix, Sums
from job.moments import Moments


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/out"


def moments(rows: int = 40, width: int = 9) -> Moments:
    return Moments.of(np.random.default_rng(rows).normal(1e3, 1, (rows, width)))


def test_where_nothing_is_kept_nothing_is_covered(output: str) -> None:
    assert coverage.load_sums(output) is None
    assert coverage.load_matrix(output) == Matrix("", {})


def test_moments_come_back_to_the_last_bit_with_the_files_they_are_of(output: str) -> None:
    kept, files = moments(), {"part-é.parquet": "v1", "part-1.parquet": "v2"}
    coverage.save_sums(output, Sums(moments(7), {}))
    coverage.save_sums(output, Sums(kept, files))
    found = coverage.load_sums(output)
    assert found is not None
    assert (found.files, found.moments.n) == (files, 40)
    assert found.moments.mean.tobytes() == kept.mean.tobytes()
    np.testing.assert_array_equal(found.moments.scatter, found.moments.scatter.T)
    lower = np.tril_indices(9)
    assert found.moments.scatter[lower].tobytes() == kept.scatter[lower].tobytes()
    [file] = store.list_stored(output)
    assert file.location == f"{output}/moments/moments.npz"


def test_half_of_the_symmetric_scatter_is_kept(output: str) -> None:
    coverage.save_sums(output, Sums(Moments.none(1280), {}))
    [(_, size)] = store.list_files(output)
    assert 6_500_000 < size < 6_700_000
    found = coverage.load_sums(output)
    assert found is not None
    assert found.moments.scatter.shape == (1280, 1280)
    assert not found.moments.scatter.any()


def test_a_matrix_comes_back_with_its_model_and_rows(output: str) -> None:
    matrix = Matrix("pca-3-abc", {"part-0.parquet": ("v1", 17), "part-é.parquet": ("v2", 0)})
    coverage.save_matrix(output, Matrix("pca-9-old", {"part-9.parquet": ("v", 1)}))
    coverage.save_matrix(output, matrix)
    assert coverage.load_matrix(output) == matrix


def test_a_file_that_is_written_again_has_another_version(output: str) -> None:
    for name in ("features/a.parquet", "features/b.parquet"):
        store.write_bytes(store.join(output, name), b"one")
    before = coverage.versions(store.list_stored(output))
    store.write_bytes(store.join(output, "features/b.parquet"), b"two")
    after = coverage.versions(store.list_stored(output))
    assert set(before) == set(after) == {"a.parquet", "b.parquet"}
    assert before["a.parquet"] == after["a.parquet"]
    assert before["b.parquet"] != after["b.parquet"]


@pytest.mark.parametrize("torn", [b"", b"PK\x03\x04 and no more", b"{}", b"[1]"])
def test_what_is_torn_is_as_nothing_for_it_can_be_made_again(output: str, torn: bytes) -> None:
    for name in (coverage.SUMS, coverage.MATRIX):
        store.write_bytes(store.join(output, "moments", name), torn)
    assert coverage.load_sums(output) is None
    assert coverage.load_matrix(output) == Matrix()
