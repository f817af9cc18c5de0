"""``job predict``: names the fruit on photos by an output's classifier, without Spark and TensorFlow.

The classifier's LiteRT file holds the network too. Photos are fetched ahead, and judged and decoded as a run
does; each gets its line as soon as it is answered. Nothing is written to the output.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from job.cli.log import Log
from job.errors import DataError, UsageError
from job.inventory import listing
from job.inventory.folder_listing import ListedFile
from job.inventory.listing import Listing, Source
from job.model import saved_classifier
from job.model.classifier import STATES, Classifier
from job.network import backbone, classifier_program
from job.network.quiet_stderr import quiet_stderr
from job.photos.decode import DEFAULT_LIMITS, Rejected, decode
from job.photos.fetch import REQUESTS_FOLDER, REQUESTS_S3, Row, fetch
from job.storage import residency, s3, store
from job.storage.residency import EU_REGIONS
from job.table import layout, provenance, sweep

ENGINES: Final = ("litert", "tensorflow")  # whose features the classifier's program computes
REJECTED: Final = "rejected"

Answer = dict[str, Any]
"""``state, species, species_probability, labels`` (of each: ``label, probability``) and ``distance``."""


def run(
    output: str,
    photos: Sequence[str],
    log: Log,
    as_json: bool = False,
    regions: Sequence[str] = EU_REGIONS,
) -> dict[str, Any]:
    """Log the answer for each photo as one line, of JSON if `as_json`, and return how many have which state.

    Parameters
    ----------
    photos : sequence of str
        Files and objects, and folders and prefixes, which are listed as a run lists them.

    Raises
    ------
    UsageError
        If there is no classifier, it is damaged or of another network, or an input is missing.
    DataError
        If there is no photo, or at the end, if some were rejected.
    """
    residency.check([output, *photos], regions)
    classifier, program = _load(output)
    answer = _answers(classifier, program)
    columns = _Columns(classifier)
    requests = REQUESTS_S3 if any(store.is_s3(location) for location in photos) else REQUESTS_FOLDER
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(requests) as pool:
        for row, data in fetch(_rows(photos, output), pool, requests, DEFAULT_LIMITS.max_bytes):
            result = {"path": row["path"], **_answer_or_reason(answer, data)}
            counts[result["state"]] += 1
            log.result("photo", json.dumps(result) if as_json else columns.line(result), **result)
    if counts[REJECTED]:
        raise DataError(f"{counts[REJECTED]:,} of {counts.total():,} photos rejected: their lines say why")
    return {"output": output, "photos": counts.total(), "states": {state: counts[state] for state in STATES}}


def summary(result: Mapping[str, Any]) -> str:
    """Return nothing: the photos' lines have said all."""
    del result
    return ""


def _load(output: str) -> tuple[Classifier, bytes]:
    """Return the classifier of an output and its program, if they are of this version's network."""
    model_id = sweep.current_classifier_id(output)
    if not model_id:
        provenance.existing_table(output)
        raise UsageError(
            f"output {output} has no classifier: run the job on it once more, or read in the record of its "
            "last run why there can be none"
        )
    classifier = saved_classifier.load(output, model_id)
    record = saved_classifier.load_record(output, model_id)
    program = b""
    with suppress(FileNotFoundError):
        program = store.read_bytes(store.join(output, layout.MODELS, model_id, saved_classifier.LITERT_FILE))
    is_whole = hashlib.sha256(program).hexdigest() == record.get("litert_sha256")
    if classifier is None or not is_whole:
        if sweep.current_classifier_id(output) != model_id:  # a run has replaced it meanwhile
            return _load(output)
        folder = store.join(output, layout.MODELS, model_id)
        raise UsageError(f"the classifier {folder} is damaged: delete that folder and run the job once more")
    if record["backbone"] not in {backbone.name(engine) for engine in ENGINES}:
        raise UsageError(
            f"the classifier of output {output} was fitted to features of another network or decoder, "
            f"{record['backbone']}: run the job on that output once more"
        )
    return classifier, program


def _answers(classifier: Classifier, program: bytes) -> Callable[[bytes], Answer]:
    """Return a function from a photo's bytes to its answer, which raises Rejected."""
    with quiet_stderr():
        distances = classifier_program.load(program)

    def answer(data: bytes) -> Answer:
        squares, distance = distances(decode(data).pixels)
        found = classifier.answers(squares[np.newaxis], np.array([distance]))
        names = [classifier.labels[number] for number in found.labels[0]]
        return {
            "state": STATES[found.state[0]],
            "species": classifier.species[found.species[0]],
            "species_probability": float(found.species_probability[0]),
            "labels": [
                {"label": name, "probability": float(probability)}
                for name, probability in zip(names, found.probabilities[0], strict=True)
            ],
            "distance": distance,
        }

    return answer


def _answer_or_reason(answer: Callable[[bytes], Answer], data: bytes | Rejected) -> Answer:
    try:
        if isinstance(data, Rejected):
            raise data
        return answer(data)
    except Rejected as rejected:
        return {"state": REJECTED, "reason": rejected.reason, "detail": rejected.detail}


def _rows(locations: Sequence[str], output: str) -> Iterator[Row]:
    """Return the photos: first those that are named, then those that are listed, in order of their paths."""
    sizes = {location: _size(location) for location in locations}
    folders = tuple(sorted({location for location, size in sizes.items() if size is None}))
    listed: Iterable[ListedFile] = ()
    if folders:
        source = Source(folders, output)
        listing.check_inputs(source)
        listed = Listing(source)
    return chain(
        ({"path": store.printable(path), "bytes": size} for path, size in sizes.items() if size is not None),
        ({"path": file.path, "bytes": file.bytes} for file in listed),
    )


def _size(location: str) -> int | None:
    """Return the size of a file or object in bytes; None if it must be listed."""
    if store.is_s3(location):
        try:
            return s3.size(location) if s3.split(location)[1] else None
        except FileNotFoundError:
            return None
    path = Path(location)
    return path.stat().st_size if path.is_file() else None


class _Columns:
    """The lines of text: state, species, the most probable labels, path."""

    def __init__(self, classifier: Classifier) -> None:
        self._species = max(map(len, classifier.species))
        self._label = max(map(len, classifier.labels))

    def line(self, result: Answer) -> str:
        """Return the line of a photo."""
        if result["state"] == REJECTED:
            return f"{REJECTED}  {result['reason']}: {result['detail']}  {result['path']}"
        species = f"{result['species']:{self._species}} {result['species_probability']:6.1%}"
        labels = [f"{label['label']:{self._label}} {label['probability']:6.1%}" for label in result["labels"]]
        return "  ".join([f"{result['state']:{len(REJECTED)}}", species, *labels, result["path"]])
