"""The program of `tests/support/kubectl.py`: ``python kubectl_program.py FOLDER WORDS…``.

``get`` prints the next of ``moments.json`` (the last again and again), or fails where a moment is a text;
``logs`` prints ``logs.txt``; ``config`` and ``kustomize`` print the file of that name; every other call
succeeds. ``calls.txt`` has all, and what was applied is in ``applied-0.json`` and so on.
"""

import json
import sys
from pathlib import Path


def main() -> int:
    """Answer one call."""
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    if words[:1] == ["--context"]:
        words = words[2:]
    with (folder / "calls.txt").open("a") as file:
        file.write(f"{' '.join(words)}\n")
    if "-f" in words:
        (folder / f"applied-{len(list(folder.glob('applied-*')))}.json").write_text(sys.stdin.read())
    text = folder / {"logs": "logs.txt"}.get(words[0], words[0])
    if text.exists():
        sys.stdout.write(text.read_text())
    if words[0] != "get" or words[1] != "pods,events":
        return 0
    number = (folder / "calls.txt").read_text().count("get pods,events")
    moments = json.loads((folder / "moments.json").read_text())
    moment = moments[min(number, len(moments)) - 1]
    if isinstance(moment, str):
        print(moment, file=sys.stderr)
        return 1
    print(json.dumps({"items": moment}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
