"""Watches for executors that Spark loses on a cluster: a pod killed for memory, a node taken back, a crash.

Spark writes them to its own log only, and repeats their tasks. It gives up after too many, and its JVM then
ends before anybody can ask it for the reason; so the losses are noted as they happen.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WATCH_SECONDS: Final = 5.0
# Spark's reason for an executor that it ended itself, because it was idle or the run is over.
ENDED_BY_DRIVER: Final = "killed by driver"
# A task that was lost with its executor eight times ends the run with these words (spark.task.maxFailures).
LOST_WITH_EXECUTOR: Final = "ExecutorLostFailure"


class Loss(NamedTuple):
    """An executor that was lost, and Spark's reason."""

    executor: str
    reason: str


class ExecutorLosses:
    """Notes the executors that a session loses, from now until ``stop``.

    Parameters
    ----------
    session : SparkSession
        The session; one without executors, as on a laptop, loses none.
    on_loss : callable
        Is told each loss, in a thread of its own.
    """

    def __init__(self, session: "SparkSession", on_loss: Callable[[Loss], None]) -> None:
        self.losses: list[Loss] = []
        self._context: Any = session.sparkContext
        self._on_loss = on_loss
        self._known: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="executor losses", daemon=True)
        if not str(self._context.master).startswith("local["):
            self._thread.start()

    def stop(self) -> None:
        """Stop watching, before the session ends its executors."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        from py4j.protocol import Py4JError  # noqa: PLC0415 (Spark is loaded only where it is needed)

        try:
            while not self._stop.wait(WATCH_SECONDS):
                self.look()
        except (Py4JError, OSError):  # the JVM has ended
            return

    def look(self) -> None:
        """Note what was lost since the last look."""
        executors = self._context._jsc.sc().statusStore().executorList(False)
        for index in range(executors.size()):
            executor = executors.apply(index)
            name = str(executor.id())
            if executor.isActive() or name in self._known:
                continue
            self._known.add(name)
            reason = str(executor.removeReason().getOrElse(None) or "no reason is known").strip()
            if ENDED_BY_DRIVER not in reason:
                loss = Loss(name, reason.splitlines()[0])
                self.losses.append(loss)
                self._on_loss(loss)


def explanation(losses: list[Loss], error: BaseException, *, has_stopped: bool) -> str | None:
    """Return a sentence on an error that lost executors have caused, or None if they have not.

    Parameters
    ----------
    losses : list of Loss
        The losses so far.
    error : BaseException
        What the run ended with.
    has_stopped : bool
        Whether Spark has stopped, as it does after too many losses.
    """
    if not (losses and has_stopped) and LOST_WITH_EXECUTOR not in str(error):
        return None
    last = f", the last one with: {losses[-1].reason}" if losses else ""
    return (
        f"Spark gave up after executors were lost ({len(losses) or 'unknown'} of them{last}): this run is "
        "not committed; started again, it fails the same way until their cause is mended"
    )
