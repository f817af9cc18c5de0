"""One LiteRT program from pixels to answers: the backbone's, with a classifier's operators behind it.

The driver appends them when it saves a classifier; ``predict`` and any app then run the one file, which needs
nothing else of this project. It is also a ZIP archive, as TensorFlow Lite's models with associated files are:
its entry ``classifier.json`` tells what the numbers mean.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job.network import litert

DESCRIPTION: Final = "classifier.json"
INPUT: Final = "pixels"
OUTPUTS: Final = ("probabilities", "distance", "squared_distances")
SIGNATURE: Final = "serving_default"  # the name that TensorFlow gives a model's only function
ALIGNMENT: Final = 16  # bytes, of each buffer: force_align in TensorFlow Lite's schema
# The operators that are appended, all of version 1, with the kinds of their options.
OPTIONS: Final = {
    "DIV": "DivOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions",
    "REDUCE_MIN": "ReducerOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SQRT": "",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
}
TINY: Final = 1e-30  # a divisor of features that are all 0
NO_BIAS: Final = -1  # an optional input that is left out

Distances = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float64], float]]
"""Pixels ``(224, 224, 3)`` uint8 → squared distances from labels ``(c,)``, and the relative distance."""


def append(
    program: bytes,
    *,
    mean: NDArray[np.float64],
    axes: NDArray[np.float64],
    centroids: NDArray[np.float64],
    spread: NDArray[np.float64],
    temperature: float,
    description: Mapping[str, object],
) -> bytes:
    """Return a program with three outputs, from one whose output is features ``(1, d)`` float32.

    With ``roots = sqrt(features / sum(features))`` and ``z = axes @ (roots - mean)``, the outputs are
    ``squared_distances`` ``d² = |z - centroids|²`` ``(1, c)``; ``probabilities`` ``(1, c)``,
    ``softmax(-d² / (2·temperature))``; and ``distance`` ``(1, 1)``, ``min(d²) - sum(z² / spread)``. The same
    arguments give the same bytes.

    Parameters
    ----------
    mean, axes, centroids, spread : arrays (d,), (r, d), (c, r) and (r,)
        Of a linear discriminant of c labels, in r coordinates.
    description : mapping
        The content of ``classifier.json``.
    """
    # Imported here: the schema of all operators takes 0.3 s.
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    model = schema.ModelT.InitFromPackedBuf(program, 0)
    # It names the oldest runtime for the backbone's operators alone.
    model.metadata = [entry for entry in model.metadata or () if entry.name != b"min_runtime_version"]
    graph = _Graph(schema, model)
    labels, width = centroids.shape
    origin, rows = graph.constant("mean", mean), graph.constant("axes", axes)
    means = graph.constant("centroids", centroids[np.newaxis])
    second, last = (graph.constant(f"axis_{number}", np.array([number])) for number in (1, 2))
    total = graph.add("SUM", [graph.features, second], (1, 1), "total", keepDims=True)
    divisor = graph.add("MAXIMUM", [total, graph.constant("least_total", np.array(TINY))], (1, 1), "divisor")
    shares = graph.add("DIV", [graph.features, divisor], (1, len(mean)), "shares")
    roots = graph.add("SQRT", [shares], (1, len(mean)), "roots")
    centred = graph.add("SUB", [roots, origin], (1, len(mean)), "centred")
    z = graph.add("FULLY_CONNECTED", [centred, rows, NO_BIAS], (1, width), "coordinates")

    squares = graph.add("SQUARED_DIFFERENCE", [means, z], (1, labels, width), "squares")
    distances = graph.add("SUM", [squares, last], (1, labels), OUTPUTS[2])
    factor = graph.constant("factor", np.array(-0.5 / temperature))
    logits = graph.add("MUL", [distances, factor], (1, labels), "logits")
    probabilities = graph.add("SOFTMAX", [logits], (1, labels), OUTPUTS[0], beta=1.0)

    nearest = graph.add("REDUCE_MIN", [distances, second], (1, 1), "nearest", keepDims=True)
    scaled = graph.add("MUL", [z, graph.constant("scale", 1 / np.sqrt(spread))], (1, width), "scaled")
    scaled_squares = graph.add("MUL", [scaled, scaled], (1, width), "scaled_squares")
    background = graph.add("SUM", [scaled_squares, second], (1, 1), "background", keepDims=True)
    distance = graph.add("SUB", [nearest, background], (1, 1), OUTPUTS[1])
    graph.finish([probabilities, distance, distances])
    return _with_description(_packed(model), description)


def load(program: bytes) -> Distances:
    """Return the function of a program that :func:`append` made.

    It returns no probabilities, because small ones are 0 in float32, and the order of their labels is lost.

    Raises
    ------
    ValueError, RuntimeError
        If the program is damaged or of another kind.
    """
    run = litert.build(program, OUTPUTS[1:])

    def distances(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
        distance, squares = run(pixels)
        return squares.astype(np.float64), float(distance[0])

    return distances


class _Graph:
    """The operators of a model's only subgraph; a tensor is its number."""

    def __init__(self, schema: Any, model: Any) -> None:
        (self._part,) = model.subgraphs
        self._schema, self._model = schema, model
        self.features = int(self._part.outputs[0])

    def constant(self, name: str, array: NDArray[Any]) -> int:
        """Add a constant tensor: int32 for integers, else float32."""
        kind, type_name = ("<i4", "INT32") if array.dtype.kind == "i" else ("<f4", "FLOAT32")
        data = np.frombuffer(array.astype(kind).tobytes(), np.uint8)
        self._model.buffers.append(self._schema.BufferT(data=data))
        return self._tensor(name, type_name, array.shape, len(self._model.buffers) - 1)

    def add(
        self, operator: str, inputs: list[int], shape: tuple[int, ...], name: str, **options: object
    ) -> int:
        """Add an operator, and return its output, a float32 tensor of this shape and name."""
        output = self._tensor(name, "FLOAT32", shape, 0)
        kind = OPTIONS[operator]
        step = self._schema.OperatorT(
            opcodeIndex=self._code(getattr(self._schema.BuiltinOperator, operator)),
            inputs=inputs,
            outputs=[output],
            builtinOptionsType=getattr(self._schema.BuiltinOptions, kind or "NONE"),
            builtinOptions=getattr(self._schema, f"{kind}T")(**options) if kind else None,
        )
        self._part.operators.append(step)
        return output

    def finish(self, outputs: list[int]) -> None:
        """Make these tensors the model's outputs, and give the model a signature with their names."""
        schema, tensors = self._schema, self._part.tensors
        (pixels,) = (int(number) for number in self._part.inputs)
        tensors[pixels].name = INPUT
        self._part.outputs = outputs
        results = [schema.TensorMapT(tensors[number].name, number) for number in outputs]
        signature = schema.SignatureDefT([schema.TensorMapT(INPUT, pixels)], results, SIGNATURE, 0)
        self._model.signatureDefs = [signature]

    def _tensor(self, name: str, type_name: str, shape: tuple[int, ...], buffer: int) -> int:
        kind = getattr(self._schema.TensorType, type_name)
        tensor = self._schema.TensorT(list(shape), kind, buffer, name, hasRank=True)
        self._part.tensors.append(tensor)
        return len(self._part.tensors) - 1

    def _code(self, builtin: int) -> int:
        """Return the index of an operator's code, added on first use."""
        codes = self._model.operatorCodes
        for index, code in enumerate(codes):
            if code.builtinCode == builtin and code.version == 1:
                return index
        codes.append(
            self._schema.OperatorCodeT(deprecatedBuiltinCode=builtin, builtinCode=builtin, version=1)
        )
        return len(codes) - 1


def _packed(model: Any) -> bytes:
    """Return a model's bytes, with each array at a multiple of 16 bytes."""
    import flatbuffers  # noqa: PLC0415

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 (FlatBuffers' name)
            self.Prep(ALIGNMENT, x.nbytes)  # which the generated code forgets
            offset: int = super().CreateNumpyVector(x)
            return offset

    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = AlignedBuilder(size + 2**18)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _with_description(program: bytes, description: Mapping[str, object]) -> bytes:
    """Append a ZIP archive of one file, uncompressed and without the time."""
    sink = io.BytesIO()
    sink.write(program)
    with zipfile.ZipFile(sink, "a") as archive:
        archive.writestr(zipfile.ZipInfo(DESCRIPTION), json.dumps(description, indent=2))
    return sink.getvalue()
