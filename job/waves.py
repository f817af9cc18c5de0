"""What workers have written becomes part of the table while they work on: a thread of the driver commits it.

A wave is one commit: all files that were reported since the last one, and the files that they replace. So a
reader sees whole waves of distinct photos, and a run that is stopped has lost no more than its last seconds.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from job.featurize import Report
from job.table.writer import Writer

COMMIT_SECONDS: Final = 3.0


class Waves:
    """Commits, while a ``with`` block runs and once more at its end, what was reported.

    Parameters
    ----------
    writer : Writer
    reports : callable
        Returns all reports so far, in an order that stays.
    cancel : callable
        Ends the workers' job, when nothing can be committed any more.

    Raises
    ------
    JobError, OSError
        At the end of the block, whatever else has ended it: why a commit has failed.
    """

    def __init__(
        self, writer: Writer, reports: Callable[[], list[Report]], cancel: Callable[[], object]
    ) -> None:
        self._writer, self._reports, self._cancel = writer, reports, cancel
        self._committed = 0
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waves", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is None:
            self._commit()
        elif not isinstance(error, KeyboardInterrupt):
            raise self._failure from None

    def _run(self) -> None:
        while not self._stop.wait(COMMIT_SECONDS):
            try:
                self._writer.check()
                self._commit()
            except Exception as failure:  # noqa: BLE001 (raised again where the block ends)
                self._failure = failure
                self._cancel()
                return

    def _commit(self) -> None:
        reports = self._reports()[self._committed :]
        if reports:
            self._writer.commit(
                add=[file for report in reports for file in report.written],
                remove=[path for report in reports for path in report.replaced],
            )
            self._committed += len(reports)
