"""Runs the steps of up and down; an error names its step, what was done before, and the command to resume."""

import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from job.errors import JobError, UsageError
from scripts.cloud.aws_session import aws_refusal

# Steps that AWS completes by itself once they are started.
COMPLETED_BY_AWS: Final = ("account", "network", "cluster", "runs", "virtual cluster")


class Step(NamedTuple):
    """A step's name, and a function that carries it out and returns whether it changed anything."""

    name: str
    run: Callable[[], bool]


def run_steps(steps: Sequence[Step], resume: str) -> bool:
    """Run steps in order and return whether any changed something.

    Parameters
    ----------
    steps : sequence of Step
        The steps.
    resume : str
        The command that continues after an interruption.

    Raises
    ------
    JobError, KeyboardInterrupt
        If a step fails or is interrupted: with its name, the reason and the steps before it.
    """
    done: list[str] = []
    changed = False
    for step in steps:
        print(f"\n== {step.name}", flush=True)
        try:
            changed = step.run() or changed
        except JobError as error:
            raise type(error)(_interruption(step.name, done, str(error), resume)) from error
        except (ClientError, BotoCoreError) as error:
            refused = aws_refusal(error)
            raise type(refused)(_interruption(step.name, done, str(refused), resume)) from error
        except KeyboardInterrupt:
            why = "interrupted"
            if step.name in COMPLETED_BY_AWS:
                why += ", and AWS may go on with what it has begun"
            raise KeyboardInterrupt(_interruption(step.name, done, why, resume)) from None
        done.append(step.name)
    return changed


def _interruption(name: str, done: list[str], why: str, resume: str) -> str:
    so_far = f"done before it: {', '.join(done)}" if done else "nothing was done before it"
    return f"step {name}: {why}; {so_far}; {resume} goes on from there"


def confirm(question: str, *, yes: bool, ask: Callable[[str], str], word: str = "y") -> None:
    """Ask the user to confirm, unless ``yes``.

    Raises
    ------
    UsageError
        If the answer is not ``word``, or there is no terminal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at: say --yes to go ahead, or --dry-run to look")
    try:
        answer = ask(f"{question} ")
    except EOFError:
        answer = ""
    if answer.strip().lower() != word:
        raise UsageError(f"the answer was not {word!r}: nothing was changed")
