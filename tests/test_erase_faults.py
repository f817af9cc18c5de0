"""An erasure that was killed, and what other commands that were killed have left: all of it goes."""

from pathlib import Path

import pytest

from job import store
from tests import outputs
from tests.outputs import make, photos
from tests.test_erase import Killed, assert_right, do


def test_the_draft_of_a_command_that_was_killed_while_it_wrote_is_a_trace_too(tmp_path: Path) -> None:
    made = make(str(tmp_path / "out"), photos(tmp_path / "photos", 32), files=1)
    gone = made.good[3]
    draft = Path(made.location, "features/.0123456789abcdef.draft")
    draft.write_text(gone)
    do(made, paths=[gone])
    assert not draft.exists()
    assert_right(made, [gone])


def test_an_erasure_that_was_killed_at_any_write_is_completed_by_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writes, allowed = store.write_bytes, 0, 0

    def or_die(location: str, data: bytes, only_if_new: bool = False) -> bool:
        nonlocal writes
        if "/_lock" not in location:
            writes += 1
            if writes > allowed:
                raise Killed
        return write(location, data, only_if_new)

    whole = make(str(tmp_path / "out"), photos(tmp_path / "photos", 32), files=1)
    gone = [whole.changed[0], whole.good[7]]
    hashes = [whole.sha256[path] for path in gone]
    killed = True
    while killed:
        made = outputs.copied(whole, str(tmp_path / f"out-{allowed}"))
        killed, writes = False, 0
        with monkeypatch.context() as patch:
            patch.setattr(store, "write_bytes", or_die)
            try:
                do(made, sha256=hashes)
            except Killed:
                killed = True
        if killed:
            do(made, sha256=hashes)
        assert_right(made, gone)
        allowed += 1
    assert allowed > 8
