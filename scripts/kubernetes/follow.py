"""Follows a run on a cluster without EMR: its pods' states, warnings about them, and the driver's lines."""

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from scripts.cloud import failures
from scripts.cloud.display import Display, utc_time
from scripts.cloud.failures import Directions
from scripts.cloud.job_lines import job_event
from scripts.cloud.run_outcome import FINAL, LAST_LINES, RunOutcome
from scripts.cloud.stage import NAMESPACE
from scripts.kubernetes.job_run import JobRun
from scripts.kubernetes.kubectl import Kubectl, KubectlError
from scripts.kubernetes.pod_log import PodLog
from scripts.kubernetes.run_pods import Pod, RunPods

# How long a pod may wait before it is said why: a configuration that comes a moment later is no news.
PENDING_SECONDS: Final = 10.0
# How long a cluster that does not answer is asked again.
LOST_SECONDS: Final = 300.0
DRIVER_CONTAINER: Final = "spark-kubernetes-driver"
# The frames of Java's stack traces, which would fill the last lines without telling why.
STACK_FRAME: Final = re.compile(r"\s+(at |\.\.\. \d+ more)")


@dataclass
class Follower:
    """Asks a cluster about one run until it has ended; ``wait`` sleeps for ``poll`` seconds between.

    ``clock`` returns seconds since some moment.
    """

    kubectl: Kubectl
    job_run: JobRun
    directions: Directions
    display: Display
    poll: float
    wait: Callable[[float], None]
    clock: Callable[[], float] = time.monotonic
    _log: PodLog = field(init=False)
    _outcome: RunOutcome = field(init=False)
    _last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    _had_runner: bool = False
    _had_driver: bool = False
    _began_at: float = field(init=False)
    _pending_since: dict[str, float] = field(default_factory=dict)
    _reported: set[object] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._log = PodLog(self.kubectl, self.job_run.driver, DRIVER_CONTAINER)
        self._began_at = self.clock()
        name = self.job_run.plan.run_id
        run = {"id": name, "name": name, "state": "", "createdAt": datetime.now(UTC)}
        self._outcome = RunOutcome(run)

    def follow(self) -> RunOutcome:
        """Follow the run to its end and return its outcome.

        Raises
        ------
        KubectlError
            If the cluster does not answer for `LOST_SECONDS`.
        """
        lost_at: float | None = None
        try:
            while True:
                try:
                    pods = RunPods.of(self.job_run, self.kubectl.items("pods,events", "-n", NAMESPACE))
                except KubectlError as error:
                    if lost_at is None:
                        self.display.print_note(f"{utc_time()} {error}; the run goes on; asking again")
                        lost_at = self.clock()
                    if self.clock() - lost_at >= LOST_SECONDS:
                        raise
                else:
                    if lost_at is not None:
                        self.display.print_note(f"{utc_time()} the cluster answers again")
                    lost_at = None
                    self._look_at(pods)
                    if self._outcome.run["state"] in FINAL:
                        return self._outcome
                self.wait(self.poll)
        finally:
            self._log.end()

    def _look_at(self, pods: RunPods) -> None:
        self._had_runner |= pods.runner is not None
        self._had_driver |= pods.driver is not None
        state, details = self._state(pods)
        if state == "RUNNING":
            self._print_state(state, details)
            self._record(self._log.new_lines())
        self._warn(pods, state)
        if state not in FINAL:
            self._print_state(state, details)
            return
        if pods.driver is not None:
            self._record(self._log.remaining_lines())
        elif not self._had_driver and pods.runner is not None:
            self._last_lines.extend(self._runner_lines())
        self._outcome.run["finishedAt"] = _end_time(pods.driver or pods.runner)
        self._outcome.last_lines = [*self._last_lines] if state == "FAILED" else []
        self._print_state(state, details)

    def _state(self, pods: RunPods) -> tuple[str, str]:
        """Return the run's state; a driver that does not start in time fails the run, as on EMR."""
        state, details = pods.state(self._had_runner, self._had_driver)
        if pods.runner is not None:
            self._outcome.run["createdAt"] = pods.runner.created_at
        if state not in ("PENDING", "SUBMITTED"):
            return state, details
        if self.clock() - self._began_at < self.job_run.start_timeout:
            return state, details
        minutes = self.job_run.start_timeout / 60
        waiting = [pods.obstacle(pod) for pod in pods.all if pods.obstacle(pod)]
        reason = f"the driver has not started after {minutes:.0f} minutes (job-start-timeout)"
        return "FAILED", "; ".join([reason, *waiting])

    def _print_state(self, state: str, details: str) -> None:
        run: dict[str, Any] = self._outcome.run
        if state == run["state"]:
            return
        run.update(state=state, stateDetails=details)
        self._outcome.has_run |= state == "RUNNING"
        self.display.print_state(run, self._outcome.seconds)

    def _record(self, lines: list[str]) -> None:
        for text in lines:
            self._outcome.record(text)
            self.display.print_line(text)
            if job_event(text) is None and text.strip() and not STACK_FRAME.match(text):
                self._last_lines.append(text)

    def _warn(self, pods: RunPods, state: str) -> None:
        """Print, once for each reason, why a pod does not start; and how an executor failed."""
        for pod in pods.all:
            if pod.phase == "Pending" and not pod.is_being_deleted:
                self._warn_of_pending(pod, pods.obstacle(pod))
            elif state == "RUNNING" and pod.is_executor and _has_failed(pod):
                self._report(pod.uid, f"warning: {pod.end_text}")

    def _warn_of_pending(self, pod: Pod, obstacle: str) -> None:
        since = self._pending_since.setdefault(pod.uid, self.clock())
        if not obstacle or self.clock() - since < PENDING_SECONDS:
            return
        advice = failures.known(obstacle)
        text = f"warning: {pod.role} does not start: {obstacle}"
        # Of many executors that wait for the same reason, one is reported.
        key = ("an executor" if pod.is_executor else pod.role, advice or obstacle.partition(":")[0])
        self._report(key, f"{text}; {self.directions.remedy(advice)}" if advice else text, hint=True)

    def _report(self, key: object, text: str, *, hint: bool = False) -> None:
        if key in self._reported:
            return
        self._reported.add(key)
        if hint:
            self.display.print_hint(f"{utc_time()} {text}", self.directions)
        else:
            self.display.print_note(f"{utc_time()} {text}")

    def _runner_lines(self) -> list[str]:
        """Return the job-runner's last lines, which tell why there was no driver."""
        try:
            text = self.kubectl.run("logs", "-n", NAMESPACE, self.job_run.runner, "-c", "job-runner")
        except KubectlError:  # it has written nothing, or its node is gone
            return []
        return [line for line in text.splitlines() if line.strip() and not STACK_FRAME.match(line)]


def _has_failed(pod: Pod) -> bool:
    """Tell whether an executor ended by itself, rather than because Spark or somebody deleted it."""
    end = pod.termination
    if end is None:
        return pod.phase == "Failed" and not pod.is_being_deleted
    return end["exitCode"] != 0 and (not pod.is_being_deleted or end.get("reason") == "OOMKilled")


def _end_time(pod: Pod | None) -> datetime:
    end = pod.termination if pod is not None else None
    return datetime.fromisoformat(end["finishedAt"]) if end and end.get("finishedAt") else datetime.now(UTC)
