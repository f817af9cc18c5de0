"""Runs LiteRT programs, TensorFlow's own format for inference, one photo at a time on one core."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Program = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]
"""Pixels ``(224, 224, 3)`` uint8 → the outputs without their first axis, of length 1."""


def build(program: bytes, outputs: Sequence[str] = ()) -> Program:
    """Return the function of a program; `outputs` selects outputs by name, by default all of them.

    Raises
    ------
    ValueError, RuntimeError
        If the bytes are no program that LiteRT can run, or an output is missing.
    """
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 (where the work happens)

    interpreter = Interpreter(model_content=program, num_threads=1)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    index_by_name = {details["name"]: details["index"] for details in interpreter.get_output_details()}
    if missing := set(outputs) - index_by_name.keys():
        raise ValueError(f"the program has no output {', '.join(sorted(missing))}")
    output_indices = [index_by_name[name] for name in outputs or index_by_name]

    def run(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        interpreter.set_tensor(input_index, pixels[np.newaxis])
        interpreter.invoke()
        return [interpreter.get_tensor(index)[0] for index in output_indices]

    return run
