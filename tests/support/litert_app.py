"""An app that has a classifier's LiteRT file, NumPy and the runtime, and nothing of this project."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

APP: Final = """
import importlib.util, json, sys, zipfile
import numpy as np
from ai_edge_litert.interpreter import Interpreter

program, photos, answers = sys.argv[1:]
run = Interpreter(program).get_signature_runner("serving_default")
results = [run(pixels=photo[np.newaxis]) for photo in np.load(photos)]
np.savez(answers, **{name: np.concatenate([result[name] for result in results]) for name in results[0]})
description = json.loads(zipfile.ZipFile(program).read("classifier.json"))
loaded = {name.partition(".")[0] for name in sys.modules} & {"tensorflow", "pyarrow", "PIL", "pyspark"}
print(json.dumps([description, importlib.util.find_spec("job") is not None, sorted(loaded)]))
"""


def answers(
    program: bytes, photos: NDArray[np.uint8], folder: Path
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Return the outputs for photos ``(n, 224, 224, 3)``, by name, and the description in the file."""
    (folder / "classifier.tflite").write_bytes(program)
    np.save(folder / "photos.npy", photos)
    command = [sys.executable, "-I", "-c", APP, "classifier.tflite", "photos.npy", "answers.npz"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    description, has_job, loaded = json.loads(process.stdout)
    assert not has_job
    assert loaded == []
    with np.load(folder / "answers.npz") as arrays:
        return dict(arrays), description
