"""A run's pods as Kubernetes describes them: the state in EMR's words, and what keeps one from starting."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scripts.kubernetes.job_run import JobRun

Object = Mapping[str, Any]

RUN_LABEL: Final = "fruits/run"
# The reasons of a container that waits for its node or its volumes; if these fail, a warning says so.
STARTING: Final = ("ContainerCreating", "PodInitializing")
MAIN_CONTAINERS: Final = ("job-runner", "spark-kubernetes-driver", "spark-kubernetes-executor")


@dataclass(frozen=True)
class Pod:
    """A pod of a run."""

    manifest: Object

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.manifest["metadata"].get("labels", {})  # type: ignore[no-any-return]

    @property
    def uid(self) -> str:
        """Its identity: a later pod of the same name has another."""
        return str(self.manifest["metadata"].get("uid", self.name))

    @property
    def created_at(self) -> datetime:
        """When it was created."""
        return datetime.fromisoformat(self.manifest["metadata"]["creationTimestamp"])

    @property
    def role(self) -> str:
        """What it is in a sentence."""
        match self.labels.get("spark-role"):
            case "driver":
                return "the driver"
            case "executor":
                return f"executor {self.labels.get('spark-exec-id', '')}".strip()
            case _:
                return "the job-runner"

    @property
    def is_executor(self) -> bool:
        """Whether it is an executor."""
        return self.labels.get("spark-role") == "executor"

    @property
    def is_being_deleted(self) -> bool:
        """Whether it has been deleted, and may still be there for its time of grace."""
        return "deletionTimestamp" in self.manifest["metadata"]

    @property
    def phase(self) -> str:
        """Kubernetes's word for its state."""
        return str(self.manifest.get("status", {}).get("phase", "Pending"))

    @property
    def is_running(self) -> bool:
        """Whether its main container runs."""
        return "running" in self._state()

    @property
    def termination(self) -> Object | None:
        """How its main container ended; None if it has not."""
        terminated: Object | None = self._state().get("terminated")
        return terminated

    @property
    def waiting(self) -> str:
        """The reason why its main container waits, with Kubernetes's message; empty if it does not."""
        waiting = self._state().get("waiting", {})
        return ": ".join(waiting[key] for key in ("reason", "message") if waiting.get(key))

    @property
    def end_text(self) -> str:
        """How it ended, in words."""
        if (end := self.termination) is not None:
            reason = end.get("reason", "")
            reason = "" if reason in ("", "Error", "Completed") else f" ({reason})"
            return f"{self.role} ended with exit code {end['exitCode']}{reason}"
        status = self.manifest.get("status", {})
        details = [status[key] for key in ("reason", "message") if status.get(key)]
        return f"{self.role} failed: {': '.join(details) or 'Kubernetes gives no reason'}"

    def _state(self) -> Mapping[str, Any]:
        """Return the state of the main container, which has one key: waiting, running or terminated."""
        for status in self.manifest.get("status", {}).get("containerStatuses", ()):
            if status["name"] in MAIN_CONTAINERS:
                return status.get("state", {})  # type: ignore[no-any-return]
        return {}


@dataclass(frozen=True)
class RunPods:
    """The pods of a run and the warnings about them, at one moment."""

    runner: Pod | None
    driver: Pod | None
    executors: tuple[Pod, ...]
    warnings: Mapping[str, str]

    @classmethod
    def of(cls, job_run: JobRun, objects: Iterable[Object]) -> "RunPods":
        """Return a run's pods among the pods and events of a namespace."""
        pods: dict[str, Pod] = {}
        events: list[Object] = []
        for item in objects:
            if item["kind"] == "Event":
                events.append(item)
            elif Pod(item).labels.get(RUN_LABEL) == job_run.plan.run_id:
                pods[item["metadata"]["name"]] = Pod(item)
        executors = tuple(pod for pod in pods.values() if pod.is_executor)
        return cls(pods.get(job_run.runner), pods.get(job_run.driver), executors, _warnings(events))

    @property
    def all(self) -> tuple[Pod, ...]:
        """All pods of the run."""
        return tuple(pod for pod in (self.runner, self.driver) if pod is not None) + self.executors

    def obstacle(self, pod: Pod) -> str:
        """Return what keeps a pending pod from starting: why it waits, or the last warning about it."""
        is_told = pod.waiting.partition(":")[0] not in ("", *STARTING)
        return pod.waiting if is_told else self.warnings.get(pod.uid, "")

    def state(self, had_runner: bool, had_driver: bool) -> tuple[str, str]:
        """Return the run's state in EMR's words and its details; the arguments tell which pods were seen."""
        if self.driver is not None:
            return _driver_state(self.driver)
        if had_driver:
            return "FAILED", "the driver's pod was deleted"
        if self.runner is None:
            return ("FAILED", "the job-runner's pod was deleted") if had_runner else ("PENDING", "")
        if self.runner.termination is not None or self.runner.phase == "Failed":
            return "FAILED", f"{self.runner.end_text} before there was a driver"
        return ("SUBMITTED", "") if self.runner.is_running else ("PENDING", "")


def _driver_state(driver: Pod) -> tuple[str, str]:
    if driver.termination is not None:
        has_failed = driver.termination["exitCode"] != 0
        return ("FAILED", driver.end_text) if has_failed else ("COMPLETED", "")
    if driver.phase == "Failed":  # evicted, for example: its container may have no state
        return "FAILED", driver.end_text
    return ("RUNNING", "") if driver.is_running else ("SUBMITTED", "")


def _warnings(events: Iterable[Object]) -> dict[str, str]:
    """Return the last warning about each pod, by the pod's uid."""
    warnings: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.get("type") != "Warning":
            continue
        uid = str(event["involvedObject"].get("uid", ""))
        time = _event_time(event)
        text = f"{event.get('reason', '')}: {' '.join(event.get('message', '').split())}"
        warnings[uid] = max(warnings.get(uid, ("", "")), (time, text))
    return {uid: text for uid, (_, text) in warnings.items()}


def _event_time(event: Object) -> str:
    """Return an event's time: events of the scheduler have it elsewhere than those of kubelets."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in times if time), event["metadata"].get("creationTimestamp", "")))
