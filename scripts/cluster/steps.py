"""Going through the steps of up and down: whatever ends one says which, what is done, and how to go on."""

import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from job.errors import JobError, UsageError
from scripts.cloud.aws_session import explained

# Steps that AWS finishes by itself once they are begun.
GOES_ON: Final = ("account", "network", "cluster", "runs", "virtual cluster")


class Step(NamedTuple):
    """A step: its name, and the function that does it and says whether there was anything to do."""

    name: str
    do: Callable[[], bool]


def walk(steps: Sequence[Step], again: str) -> bool:
    """Go through steps and return whether any had something to do.

    Parameters
    ----------
    steps : sequence of Step
        In their order.
    again : str
        The command that goes on from where this one ends.

    Raises
    ------
    JobError, KeyboardInterrupt
        With the step, the reason and what was done before it.
    """
    done: list[str] = []
    changed = False
    for step in steps:
        print(f"\n== {step.name}", flush=True)
        try:
            changed = step.do() or changed
        except JobError as error:
            raise type(error)(_ended(step.name, done, str(error), again)) from error
        except (ClientError, BotoCoreError) as error:
            refused = explained(error)
            raise type(refused)(_ended(step.name, done, str(refused), again)) from error
        except KeyboardInterrupt:
            why = "interrupted"
            if step.name in GOES_ON:
                why += ", and AWS may go on with what it has begun"
            raise KeyboardInterrupt(_ended(step.name, done, why, again)) from None
        done.append(step.name)
    return changed


def _ended(name: str, done: list[str], why: str, again: str) -> str:
    so_far = f"done before it: {', '.join(done)}" if done else "nothing was done before it"
    return f"step {name}: {why}; {so_far}; {again} goes on from there"


def confirm(question: str, *, yes: bool, ask: Callable[[str], str], word: str = "y") -> None:
    """Ask before anything is changed.

    Raises
    ------
    UsageError
        If the answer is not the word, or nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at: say --yes to go ahead, or --dry-run to look")
    try:
        said = ask(f"{question} ")
    except EOFError:
        said = ""
    if said.strip().lower() != word:
        raise UsageError(f"the answer was not {word!r}: nothing was changed")
