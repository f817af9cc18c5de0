"""Waves: every version of a growing table holds whole waves and one row per photo."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from deltalake import DeltaTable

from job.table import takeover, writer
from tests.support.tables import FEATURIZED, REJECTED, assert_whole, counts, snapshot, table, vectors

pytestmark = pytest.mark.spark

Daily = Callable[..., dict[str, Any]]
MorePhotos = Callable[..., list[Path]]


def test_another_decoder_version_processes_all_photos_again(
    daily: Daily, more_photos: MorePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more_photos(24)[0].write_bytes(b"no photo")
    daily("--wave", 5)
    before = table(tmp_path / "out", FEATURIZED)
    monkeypatch.setattr("job.network.backbone.DECODE_VERSION", 99)
    record = daily()
    assert counts(record) == (24, 0, 23, 1, 0)
    after = table(tmp_path / "out", FEATURIZED)
    for frame in (after, table(tmp_path / "out", REJECTED)):
        assert frame["backbone"].unique().tolist() == [record["backbone"]]
        assert frame["run_id"].unique().tolist() == [record["run_id"]]
    assert record["backbone"].endswith("decode99")
    assert vectors(after).tobytes() == vectors(before).tobytes()
    model = tmp_path / "out" / "models" / record["model"]["model_id"] / "model.json"
    assert json.loads(model.read_text())["backbone"] == record["backbone"], "the model records its network"
    assert_whole(tmp_path / "out")


def test_every_version_holds_whole_waves_and_all_known_photos(
    daily: Daily, more_photos: MorePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(writer, "COMMIT_SECONDS", 0)
    old = more_photos(40)
    first_version = daily("--wave", 10)["table_version"]
    new = more_photos(60)
    for photo, other in zip(old[:12], new, strict=False):
        photo.write_bytes(other.read_bytes())
    old[12].write_bytes(b"no photo")
    record = daily("--wave", 10, "--keep-versions", 1)
    assert counts(record) == (100, 27, 72, 1, 0)
    wave_of = {
        path: file.rpartition("/")[2][:18]  # the writer's number and the task's
        for file in snapshot(tmp_path / "out").files
        for path in pd.read_parquet(tmp_path / "out" / "photos" / file, columns=["path"])["path"]
    }

    def photos_at(version: int) -> dict[str, str]:
        """Return the etags of a version's photos."""
        files = DeltaTable(tmp_path / "out" / "photos", version=version).file_uris()
        frame = pd.concat([pd.read_parquet(file, columns=["path", "etag"]) for file in files])
        assert frame["path"].is_unique
        return dict(zip(frame["path"], frame["etag"], strict=True))

    states = [photos_at(version) for version in range(first_version, record["table_version"] + 1)]
    assert all(state.keys() >= set(map(str, old)) for state in states)
    sizes = [len(state) for state in states]
    assert (sizes[0], sizes[-1]) == (40, 100)
    assert len(set(sizes)) > 3, "several versions hold only some waves"
    waves: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for frame in (table(tmp_path / "out", FEATURIZED), table(tmp_path / "out", REJECTED)):
        new_rows = frame[frame["run_id"] == record["run_id"]]
        for path, etag in new_rows["etag"].items():
            waves[wave_of[str(path)]][str(path)] = etag
    for wave in waves.values():
        assert all(wave.items() <= state.items() or not wave.items() & state.items() for state in states)
