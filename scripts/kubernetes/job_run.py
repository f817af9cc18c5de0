"""What EMR on EKS makes of a StartJobRun request, as objects of Kubernetes, for a cluster without EMR.

Everything is read from k8s/emr: spark-submit's parameters and the classifications of job-run.yaml, and the
pod templates. What EMR adds to them is here: accounts with rights, the confinement of pods, and the
job-runner, which starts the driver. Credentials come from a secret, where EMR has the account's role.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.cloud import manifests, run_request
from scripts.cloud.pod_limits import POD_USER, WRITABLE
from scripts.cloud.run_request import POD_TEMPLATES, Plan
from scripts.cloud.sizes import Size
from scripts.cloud.stage import NAMESPACE, REQUIRED_OUTPUTS

Object = dict[str, Any]

# Pods that fit on a machine of two cores, where the sizes of scripts/cloud need nodes of four and more.
EXECUTOR_CPU: Final = 0.8
EXECUTOR: Final = {"ExecutorCores": 1, "ExecutorHeap": 1, "ExecutorOverhead": 1}
DRIVER_CORES, DRIVER_HEAP, DRIVER_OVERHEAD = 1, 1, 2
PHOTOS: Final = 20_000
# Where the job-runner finds the run's settings, its pod templates among them.
SETTINGS_FOLDER: Final = "/etc/fruits-run"
API_SERVER: Final = "k8s://https://kubernetes.default.svc"
SECRETS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
PULL_POLICY: Final = "IfNotPresent"
RUNNER_MEMORY: Final = "512Mi"
# Spark's prefix of executors' names has at most 47 characters, and the run's name is a part of it.
NAME_CHARACTERS: Final = 40
# The price is that of AWS's machines.
HOURLY_COST: Final = "spark.kubernetes.driverEnv.FRUITS_HOURLY_COST"
LOG4J: Final = """\
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
"""
SIDECAR: Final = "emr-container-fluentd"
# The rights that Spark uses. It applies services and configurations, which needs `create` and `patch`; the
# job-runner watches the driver. At its end, the driver deletes executors and what they had by label, volume
# claims included.
APPLY: Final = ("create", "get", "patch", "delete")
BY_LABEL: Final = ("list", "delete", "deletecollection")
RIGHTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "client": {
        "pods": ("create", "get", "list", "watch", "delete"),
        "services": APPLY,
        "configmaps": APPLY,
    },
    "driver": {
        "pods": ("create", "get", "watch", "patch", *BY_LABEL),
        "services": ("get", *BY_LABEL),
        "configmaps": ("create", "get", "patch", *BY_LABEL),
        "persistentvolumeclaims": BY_LABEL,
    },
    "executor": {},
}


@dataclass(frozen=True)
class JobRun:
    """A run on a cluster without EMR.

    ``plan`` has the image, the job's arguments and the numbers of pods. ``environment`` has the AWS variables
    of driver and executors, credentials included. ``has_pools`` tells whether nodes have the labels of the
    pools in k8s/base; without, pods may run on any node. ``sidecar`` adds a stand-in for EMR's log sidecar.
    """

    plan: Plan
    environment: Mapping[str, str]
    executor_cpu: float = EXECUTOR_CPU
    has_pools: bool = True
    sidecar: bool = False

    def __repr__(self) -> str:
        """Return the name only, because the environment has secrets."""
        return f"JobRun({self.plan.run_id})"

    @property
    def name(self) -> str:
        """The run's name in the names of its objects."""
        return run_request.object_name(self.plan.run_id)[:NAME_CHARACTERS].strip("-")

    @property
    def driver(self) -> str:
        """The name of the driver's pod."""
        return f"spark-{self.name}-driver"

    @property
    def runner(self) -> str:
        """The name of the job-runner's pod."""
        return f"{self.name}-runner"

    @property
    def start_timeout(self) -> float:
        """The seconds after which EMR ends a run whose driver has not started."""
        return float(self._classifications()["emr-containers-defaults"]["job-start-timeout"])

    def objects(self) -> list[Object]:
        """Return all objects of the run, in an order to apply them in: the job-runner is the last."""
        return [*self._accounts(), *self._secrets(), self._settings(), self._runner()]

    def template_values(self) -> dict[str, Any]:
        """Return the values for the templates in k8s/emr."""
        return {
            **self.plan.template_values(),
            **EXECUTOR,
            "ExecutorCpu": f"{self.executor_cpu * 1000:.0f}m",
            "SubmissionPrefix": SETTINGS_FOLDER,
        }

    def spark_defaults(self) -> dict[str, str]:
        """Return the run's Spark settings: those of the request, and what EMR sets for itself."""
        secret = {
            f"spark.kubernetes.{role}.secretKeyRef.{name}": f"{self.name}:{name}"
            for role in ("driver", "executor")
            for name in SECRETS
            if name in self.environment
        }
        public = {
            f"{prefix}.{name}": value
            for prefix in ("spark.kubernetes.driverEnv", "spark.executorEnv")
            for name, value in self.environment.items()
            if name not in SECRETS
        }
        properties = {**self._classifications()["spark-defaults"], **public, **secret}
        properties.pop(HOURLY_COST, None)
        return {
            **properties,
            "spark.kubernetes.namespace": NAMESPACE,
            "spark.kubernetes.authenticate.driver.serviceAccountName": f"{self.name}-driver",
            "spark.kubernetes.authenticate.executor.serviceAccountName": f"{self.name}-executor",
            "spark.kubernetes.driver.pod.name": self.driver,
            "spark.kubernetes.executor.podNamePrefix": f"spark-{self.name}",
            # EMR pulls always; here, nodes may hold an image that no registry has.
            "spark.kubernetes.container.image.pullPolicy": PULL_POLICY,
        }

    def pod_template(self, role: str) -> Object:
        """Return the pod template of the ``driver`` or the ``executor``, with EMR's additions."""
        template: Object = manifests.fill(manifests.load(f"emr/{role}-pod.yaml"), self.template_values())
        template["metadata"]["labels"] |= _emr_labels(role)
        spec = template["spec"]
        if not self.has_pools:
            del spec["nodeSelector"]
            spec.pop("affinity", None)  # by the zone, a label of a cloud's nodes
        if self.sidecar:
            spec["initContainers"] = [self._sidecar()]
        return _confined(template, f"spark-kubernetes-{role}")

    def _request(self) -> Object:
        request: Object = manifests.fill(manifests.load("emr/job-run.yaml"), self.template_values())
        return request

    def _classifications(self) -> dict[str, dict[str, str]]:
        configuration = self._request()["configurationOverrides"]["applicationConfiguration"]
        return {entry["classification"]: entry["properties"] for entry in configuration}

    def _metadata(self, name: str) -> Object:
        return {"name": name, "namespace": NAMESPACE, "labels": {"fruits/run": self.plan.run_id}}

    def _accounts(self) -> list[Object]:
        """Return an account with its rights for the job-runner (``client``), driver and executors."""
        group = "rbac.authorization.k8s.io"
        objects: list[Object] = []
        for role, rights in RIGHTS.items():
            name = f"{self.name}-{role}"
            objects.append({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": self._metadata(name),
                "automountServiceAccountToken": bool(rights),
            })  # fmt: skip
            if not rights:
                continue
            rules = [
                {"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}
                for resource, verbs in rights.items()
            ]
            objects.append({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": self._metadata(name),
                            "rules": rules})  # fmt: skip
            objects.append({
                "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": self._metadata(name),
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
            })  # fmt: skip
        return objects

    def _secrets(self) -> list[Object]:
        secrets = {name: self.environment[name] for name in SECRETS if name in self.environment}
        metadata = self._metadata(self.name)
        return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secrets}]

    def _settings(self) -> Object:
        """Return the job-runner's configuration; Spark hands Log4j's part on to the driver."""
        defaults, classifications = self.spark_defaults(), self._classifications()
        log4j = "".join(f"{key} = {value}\n" for key, value in classifications["spark-log4j"].items())
        files = {
            "spark-defaults.conf": "".join(f"{key} {value}\n" for key, value in defaults.items()),
            "log4j2.properties": log4j + LOG4J,
            **{
                name: manifests.dump(self.pod_template(name.removesuffix("-pod.yaml")))
                for name in POD_TEMPLATES
            },
        }
        metadata = self._metadata(self.name)
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}

    def _runner(self) -> Object:
        driver = self._request()["jobDriver"]["sparkSubmitJobDriver"]
        arguments = ["job", "--master", API_SERVER, "--deploy-mode", "cluster", "--name", self.plan.run_id]
        arguments += shlex.split(driver["sparkSubmitParameters"])
        arguments += [driver["entryPoint"], *driver["entryPointArguments"]]
        submitter = self._classifications()["emr-job-submitter"]
        metadata = self._metadata(self.runner)
        metadata["labels"] |= _emr_labels("job.submitter")
        metadata["annotations"] = _suffixes(submitter, "jobsubmitter.annotation.")
        pools = (
            {"nodeSelector": _suffixes(submitter, "jobsubmitter.node.selector.")} if self.has_pools else {}
        )
        container = {
            "name": "job-runner", "image": self.plan.image, "imagePullPolicy": PULL_POLICY, "args": arguments,
            "env": [{"name": "SPARK_CONF_DIR", "value": SETTINGS_FOLDER}],
            "resources": {"requests": {"memory": RUNNER_MEMORY}},
            "volumeMounts": [{"name": "run", "mountPath": SETTINGS_FOLDER, "readOnly": True}],
        }  # fmt: skip
        spec = {
            **pools, "restartPolicy": "Never", "serviceAccountName": f"{self.name}-client",
            "containers": [container], "volumes": [{"name": "run", "configMap": {"name": self.name}}],
        }  # fmt: skip
        if self.sidecar:
            spec["initContainers"] = [self._sidecar()]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        return _confined(pod, "job-runner")

    def _sidecar(self) -> Object:
        """Return a native sidecar of the size of EMR's, which ends at SIGTERM."""
        memory = self._classifications()["emr-containers-defaults"]["logging.request.memory"]
        return {
            "name": SIDECAR, "image": self.plan.image, "imagePullPolicy": PULL_POLICY,
            "restartPolicy": "Always",
            "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
            "resources": {"requests": {"memory": memory}}, "securityContext": _security_context(),
        }  # fmt: skip


def small_plan(run_id: str, region: str, image: str, arguments: Sequence[str], executors: int) -> Plan:
    """Return the plan of a run for a small machine; what AWS alone has is empty in it."""
    size = Size("small", PHOTOS, executors, DRIVER_CORES, DRIVER_HEAP, DRIVER_OVERHEAD, attempts=1)
    return Plan(run_id, "dev", region, size, "", image, dict.fromkeys(REQUIRED_OUTPUTS, ""), tuple(arguments))


def executor_cpu(node_cores: float, executors: int) -> float:
    """Return the CPU of each executor, so that all have room on one node."""
    return min(EXECUTOR_CPU, int(900 * node_cores / executors) / 1000)


def _suffixes(properties: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in properties.items() if key.startswith(prefix)}


def _emr_labels(component: str) -> dict[str, str]:
    return {
        "emr-containers.amazonaws.com/resource.type": "job.run",
        "emr-containers.amazonaws.com/component": component,
    }


def _security_context() -> Object:
    user, group = map(int, POD_USER.split(":"))
    return {
        "runAsUser": user, "runAsGroup": group, "runAsNonRoot": True, "privileged": False,
        "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def _confined(pod: Object, container: str) -> Object:
    """Return a pod as EMR confines its main container, with volumes over the folders that EMR covers."""
    spec: Object = {**pod["spec"]}
    volumes = {folder: f"emr{folder.replace('/', '-')}" for folder in WRITABLE}
    mounts = [{"name": volume, "mountPath": folder} for folder, volume in volumes.items()]
    spec["volumes"] = [
        *spec.get("volumes", []),
        *({"name": name, "emptyDir": {}} for name in volumes.values()),
    ]
    spec["containers"] = [
        {
            **entry,
            "securityContext": _security_context(),
            "volumeMounts": [*entry.get("volumeMounts", []), *mounts],
        }
        if entry["name"] == container
        else entry
        for entry in spec["containers"]
    ]
    return {**pod, "spec": spec}
