"""cluster.sh with the emulator and the recorders; its commands run in this process, for speed."""

import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import awscli  # type: ignore[import-untyped]
import boto3
import pytest
from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]
from botocore.loaders import create_loader

from scripts.cloud import manifests
from scripts.cluster import __main__ as cluster
from scripts.cluster import cluster_tools
from scripts.cluster.cluster_tools import CommandResult
from tests.support.aws_emulator import Cloud
from tests.support.recorders import emulator, fake_eksctl, fake_kubectl
from tests.support.recorders.arguments import Memory

HERE: Final = Path(__file__).parent
# AWS's models are read once, not for every command.
LOADERS: Final = cache(create_loader)
DATA: Final = str(Path(awscli.__file__).parent / "data")


class Outcome(NamedTuple):
    """cluster.sh's exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def commands(self) -> list[str]:
        """The commands that it printed, without their stdin."""
        return [line[2:] for line in self.out.splitlines() if line.startswith("+ ")]


@dataclass
class Desk:
    """A person at a terminal, with the tools."""

    cloud: Cloud
    memory: Memory
    capsys: pytest.CaptureFixture[str]
    # Called with each command before it runs; a returned result replaces the command's.
    before: list[Callable[[str], CommandResult | None]] = field(default_factory=list)
    after: list[Callable[[str], None]] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def __call__(self, *arguments: str, answer: str | None = None) -> Outcome:
        """Call cluster.sh, and answer its question."""
        self.capsys.readouterr()

        def ask(question: str) -> str:
            print(question)
            assert answer is not None, "nobody was to be asked"
            return answer

        code = cluster.main(arguments, run=self.run, pause=self.waited.append, ask=ask)
        return Outcome(code, *self.capsys.readouterr())

    def run(self, words: Sequence[str], stdin: str | None, *, shown: bool) -> CommandResult:
        """Run a command in this process."""
        line = shlex.join(words)
        self.ran.append(line)
        for hook in self.before:
            if (result := hook(line)) is not None:
                return result
        tools = {"aws": _aws, "eksctl": fake_eksctl.main, "kubectl": fake_kubectl.main}
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out if shown else err):
            code = tools[words[0]](words[1:], io.StringIO(stdin or ""))
        for follow in self.after:
            follow(line)
        return CommandResult(code, out.getvalue(), err.getvalue())

    def is_whole(self) -> bool:
        """Run up, and tell whether the stage is complete, with one virtual cluster."""
        outcome = self("up", "--yes")
        running = [virtual for virtual in self.cloud.virtual_clusters() if virtual.state == "RUNNING"]
        return "\nstage dev is complete" in outcome.out and len(running) == 1

    def start(self, name: str) -> Any:
        """Start a run, and return moto's."""
        boto3.client("emr-containers").start_job_run(
            virtualClusterId=self.cloud.virtual_clusters()[0].id,
            name=name,
            clientToken=name,
            executionRoleArn="arn:aws:iam::123456789012:role/fruits-dev-job",
            releaseLabel="emr-7.13.0-latest",
            jobDriver={"sparkSubmitJobDriver": {"entryPoint": "local:///opt/fruits/job/main.py"}},
        )
        return self.cloud.runs()[-1]

    def build(self) -> None:
        """Create what ``up`` creates, in less time."""
        stacks = boto3.client("cloudformation")
        parameters: Any = [{"ParameterKey": "Stage", "ParameterValue": "dev"}]
        for name, body in (("fruits-dev", ACCOUNT), ("fruits-dev-network", NETWORK)):
            stacks.create_stack(StackName=name, TemplateBody=body, Parameters=parameters)
        stack_outputs = {
            output["OutputKey"]: output["OutputValue"]
            for stack in stacks.describe_stacks()["Stacks"]
            for output in stack["Outputs"]
        }
        values = {**stack_outputs, "Cluster": "fruits-dev", "Stage": "dev", "PublicAccess": ["0.0.0.0/0"]}
        config = manifests.dump(manifests.fill(manifests.load("cluster.yaml"), values))
        create = ["create", "cluster", "-f", "-", "--write-kubeconfig=false"]
        kubeconfig = cluster_tools.BUILD / "kubeconfig-dev"
        kubeconfig.parent.mkdir()
        kubectl = ["--kubeconfig", str(kubeconfig), "apply", "--server-side", "--field-manager=fruits", "-k"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert fake_eksctl.main(create, io.StringIO(config)) == 0
            arn = boto3.client("eks").describe_cluster(name="fruits-dev")["cluster"]["arn"]
            context = {"name": "fruits-dev", "context": {"cluster": arn}}
            kubeconfig.write_text(json.dumps({"current-context": "fruits-dev", "contexts": [context]}))
            assert fake_kubectl.main([*kubectl, str(manifests.K8S / "overlays/dev")], io.StringIO()) == 0
            self.memory.put("annotations", {"fruits/checked": "2026-11-22T10:00Z"})
            trust = ["emr-containers", "update-role-trust-policy", "--cluster-name", "fruits-dev"]
            assert _aws([*trust, "--namespace", "fruits", "--role-name", "fruits-dev-job"], None) == 0
        emr = boto3.client("emr-containers")
        emr.create_virtual_cluster(
            name="fruits-dev",
            clientToken="built",
            containerProvider={
                "type": "EKS",
                "id": "fruits-dev",
                "info": {"eksInfo": {"namespace": "fruits"}},
            },
            tags={"project": "fruits", "stage": "dev"},
        )
        emr.list_virtual_clusters()  # the emulator's rule then sets its age

    def refuse(self, part: str, message: str) -> None:
        """Let the first command that contains a text fail."""
        results = [CommandResult(255, f"\n{message}\n")]
        self.before.append(lambda line: results.pop() if results and part in line else None)

    def interrupt(self, part: str) -> None:
        """Press Ctrl-C after the first command that contains a text."""
        presses = [True]

        def press(line: str) -> None:
            if presses and part in line:
                presses.pop()
                raise KeyboardInterrupt

        self.after.append(press)


@cache
def _driver() -> Any:
    """Return the CLI's driver, made once, since that takes a tenth of a second."""
    return create_clidriver()


def _aws(words: Sequence[str], _: Any) -> int:
    return _driver().main(list(words)) or 0


def sit(
    cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    """Return a desk with the recorders first on the PATH, small templates, and no stage."""
    monkeypatch.setenv("RECORDERS", str(folder / "recorders"))
    monkeypatch.setattr(cluster_tools, "BUILD", folder / "build")
    monkeypatch.setenv("AWS_DATA_PATH", DATA)  # the CLI's own folder, which the test's environment lacks
    monkeypatch.setattr("botocore.session.create_loader", LOADERS)
    monkeypatch.setenv("PATH", PATH + os.pathsep + os.environ["PATH"])
    small = folder / "k8s"
    small.mkdir()
    for name in ("base", "overlays", "emr", "cluster.yaml", "smoke-pod.yaml"):
        (small / name).symlink_to(manifests.K8S / name)
    (small / "account.yaml").write_text(ACCOUNT)
    (small / "network.yaml").write_text(NETWORK)
    monkeypatch.setattr(manifests, "K8S", small)
    cloud.rules.append(emulator.corrections(cloud))
    return Desk(cloud, Memory.here(), capsys)


# The recorders come before the real AWS CLI and its Python.
PATH: Final = f"{HERE}{os.pathsep}{Path(sys.executable).parent}"
# Small templates with the outputs of k8s/account.yaml and k8s/network.yaml, which moto creates quickly.
ACCOUNT: Final = """
Parameters:
  Stage: {Type: String}
  PhotoDays: {Type: Number, Default: 0}
  AlarmEmail: {Type: String, Default: ""}
  BudgetUsd: {Type: Number, Default: 0}
Resources:
  Photos: &bucket
    Type: AWS::S3::Bucket
    DeletionPolicy: RetainExceptOnCreate
    Properties: {BucketName: !Sub "fruits-${Stage}-photos-${AWS::AccountId}"}
  Results: {<<: *bucket, Properties: {BucketName: !Sub "fruits-${Stage}-results-${AWS::AccountId}"}}
  Logs: {<<: *bucket, Properties: {BucketName: !Sub "fruits-${Stage}-logs-${AWS::AccountId}"}}
  Key: {Type: AWS::KMS::Key, DeletionPolicy: Retain, Properties: {KeyPolicy: {Statement: []}}}
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: !Sub "fruits-${Stage}-job"
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{Sid: Nobody, Effect: Deny, Principal: {AWS: "*"}, Action: "sts:AssumeRole"}]
  Nodes:
    Type: AWS::IAM::Role
    Properties:
      RoleName: !Sub "fruits-${Stage}-node"
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Principal: {Service: ec2.amazonaws.com}, Action: "sts:AssumeRole"}]
  Policy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      ManagedPolicyName: !Sub "fruits-${Stage}-submit"
      PolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Action: "emr-containers:ListVirtualClusters", Resource: "*"}]
Outputs:
  PhotosBucket: {Value: !Ref Photos}
  ResultsBucket: {Value: !Ref Results}
  LogsBucket: {Value: !Ref Logs}
  KeyArn: {Value: !GetAtt Key.Arn}
  ExecutionRoleName: {Value: !Ref Role}
  NodeRoleArn: {Value: !GetAtt Nodes.Arn}
  SubmitPolicyArn: {Value: !Ref Policy}
"""
NETWORK: Final = """
Parameters: {Stage: {Type: String}, Nat: {Type: String, Default: "no", AllowedValues: ["no", "yes"]}}
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.20.0.0/16}}
  A: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.20.0.0/20}}
  B: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.20.16.0/20}}
  C: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.20.32.0/20}}
Outputs:
  VpcId: {Value: !Ref Vpc}
  PrivateSubnetA: {Value: !Ref A}
  PrivateSubnetB: {Value: !Ref B}
  PrivateSubnetC: {Value: !Ref C}
"""
