"""Writes ``report.html``: one page that opens from a disk, fetches nothing and runs no script but its own.

Its content security policy names each script by its hash and allows no other source, so the name of a photo
cannot become a script even if one slipped through the escaping.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from job import __version__
from job.model.classifier import species_of
from job.report import contents, figures, sections, thumbnails
from job.report.contents import Contents
from job.report.markup import Html, element, join, json_script
from job.report.words import Language, Words
from job.storage import store
from job.table import layout, sweep
from job.table.commits import Snapshot

MOST_BYTES: Final = 12_000_000
SENTENCE_BYTES: Final = 10_000  # of what the pictures add to the texts, and of where they are
BOKEH: Final = ("bokeh.min.js", "bokeh-gl.min.js")  # the second draws with the graphics card, if there is one
STEPS: Final = 65_535  # of a coordinate: a point moves by less than a pixel, unless one zooms in sixtyfold
STATE: Final = "fruits-state"
# The texts that the page's script uses.
SCRIPT_WORDS: Final = (
    *("all", "none", "other_species", "matching", "first_of", "show", "no_picture", "taken_for", "path"),
    *("label", "split", "outcome", "outcome_right", "outcome_wrong", "outcome_unsure", "outcome_unlike"),
    *("outcome_featurized", "outcome_rejected", "species", "discriminant_axis"),
    *("outcome_unlabelled", "recognized_as", "matching_sample"),
)


def write(
    output: str,
    record: Mapping[str, Any],
    snapshot: Snapshot,
    language: Language,
    confirm: Callable[[], object],
) -> int:
    """Write an output's report, and return its size in bytes.

    Parameters
    ----------
    record : mapping
        The run's record, from :mod:`job.run.run_record`.
    snapshot : Snapshot
        The table as the run has left it.
    confirm : callable
        Called before the page is written; raises if another command has taken the output over, since that
        may have erased photos whose pictures are on the page.

    Raises
    ------
    JobError
        If the output has no model.
    OSError
        If the table cannot be read or the report cannot be written. A photo that cannot be read has no
        picture.
    """
    gathered = contents.gather(output, record, snapshot)
    state_hash = state(output, record, snapshot, language)
    room = MOST_BYTES - len(_encoded(page(gathered, language, state_hash))) - SENTENCE_BYTES
    data = _encoded(page(contents.with_pictures(gathered, room), language, state_hash))
    confirm()
    store.write_bytes(store.join(output, layout.REPORT), data)
    return len(data)


def is_current(output: str, record: Mapping[str, Any], snapshot: Snapshot, language: Language) -> bool:
    """Tell whether an output's report exists and shows what this record and this table say."""
    try:
        start = store.read_start(store.join(output, layout.REPORT), 1_000)
    except (FileNotFoundError, IsADirectoryError):
        return False
    return state(output, record, snapshot, language).encode() in start


def state(output: str, record: Mapping[str, Any], snapshot: Snapshot, language: Language) -> str:
    """Return a hash of all that a report depends on, but for the times of the run."""
    names = ("listed", "skipped", "removed", "pruned")
    parts = [
        __version__,
        language,
        sorted(snapshot.files),
        sweep.current_model_id(output),
        (record.get("classifier") or {}).get("model_id"),
        record.get("settings", {}).get("hourly_cost"),
        {name: record["counts"][name] for name in names},
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def page(gathered: Contents, language: Language, state_hash: str) -> str:
    """Return the page."""
    words = Words(language)
    record = gathered.record
    finished = record["finished_at"][:16].replace("T", " ")
    made = words("made", run=record["run_id"], input=", ".join(record["input"]), time=finished)
    links = [element("a", words(name), href=f"#{name}-section") for name in sections.SECTIONS]
    content = [
        sections.summary(gathered, words),
        element("nav", *links, aria_label=words("contents")),
        element("noscript", element("p", words("no_script"))),
        *(
            element("section", element("h2", words(name)), section(gathered, words), id=f"{name}-section")
            for name, section in sections.SECTIONS.items()
        ),
    ]
    body = join(
        [
            element("header", element("h1", words("title")), element("p", made)),
            element("main", *content),
            element("footer", element("p", words("personal"))),
            json_script("data", _data(gathered, words)),
            json_script("charts", _charts(gathered, words)),
        ]
    )
    scripts = [_bokeh(name) for name in BOKEH] + [_own("report.js")]
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta name="{STATE}" content="{state_hash}">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="referrer" content="no-referrer">'),
            element("title", words("title")),
            Html(f"<style>{_own('report.css')}</style>"),
        ]
    )
    inline = join(Html(f"<script>{script}</script>") for script in scripts)
    parts = element("head", head), element("body", body, inline)
    return f"<!doctype html>\n{element('html', *parts, lang=language)}\n"


def policy(scripts: Sequence[str]) -> str:
    """Return a content security policy that allows these inline scripts, and nothing from any other place.

    Bokeh sets styles on its elements, so styles may be inline; they cannot fetch anything either.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _data(gathered: Contents, words: Words) -> dict[str, Any]:
    """Return what the page's script knows of the photos, in columns."""
    photos, sheets = gathered.photos, gathered.sheets
    number_of = {label: number for number, label in enumerate(gathered.labels)}
    splits = sorted(set(photos.splits))
    folders = {path.rpartition("/")[0] for path in photos.paths}
    folder_of = {folder: number for number, folder in enumerate(sorted(folders))}
    parts = [path.rpartition("/") for path in photos.paths]
    answers, predicted = photos.predictions, gathered.predicted
    axes = [
        words("component_axis", number=number, share=words.percent(share))
        for number, share in enumerate(gathered.shares, 1)
    ]
    return {
        "words": {name: words(name) for name in SCRIPT_WORDS},
        "total": gathered.total,
        "rejectTotal": gathered.rejects.total,
        "folders": sorted(folders),
        "folder": _column([folder_of[folder] for folder, *_ in parts]),
        "names": [name for *_, name in parts],
        "labels": gathered.labels,
        "species": [species_of(label) for label in gathered.labels],
        "label": _column([number_of[label] for label in photos.labels]),
        "splits": splits,
        "split": _column([splits.index(split) for split in photos.splits]),
        "pca": _plane(photos.scores[:, :2]),
        "discriminant": None if photos.plane is None else _plane(photos.plane),
        "axes": {"pca": axes, "discriminant": [words("discriminant_axis", number=one) for one in (1, 2)]},
        "predicted": _column([number_of[label] for label in predicted]) if predicted else None,
        "probability": _column(np.round(100 * answers.probabilities[:, 0])) if answers else None,
        "state": _column(answers.state) if answers else None,
        "rejects": [
            [row["path"], row["label"], row["split"], row["reason"]] for row in gathered.rejects.rows
        ],
        "pictures": _column(np.flatnonzero(sheets.places >= 0)),  # in the order of their places
        "side": sheets.side,
        "columns": thumbnails.COLUMNS,
        "perSheet": thumbnails.PER_SHEET,
        "sheets": sheets.uris,
    }


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # the path of an input may be no Unicode


def _charts(gathered: Contents, words: Words) -> dict[str, Any]:
    share, total = figures.scree(gathered.ratios, gathered.k, words)
    return {"map": figures.map_of_photos(words), "scree-share": share, "scree-sum": total}


def _plane(points: NDArray[Any]) -> list[dict[str, Any]]:
    """Return coordinates ``(n, 2)`` as two columns of 65,536 steps from the lowest to the highest."""
    columns = []
    for values in points.T.astype(np.float64):
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
        step = (high - low) / STEPS or 1.0
        columns.append({"low": low, "step": step, **_column(np.round((values - low) / step))})
    return columns


def _column(values: Sequence[int] | NDArray[Any]) -> dict[str, Any]:
    """Return whole numbers in as few bytes as hold the largest, base64 of little endians."""
    numbers = np.asarray(values, np.int64)
    largest = int(numbers.max()) if len(numbers) else 0
    size = next(size for size in (1, 2, 4) if largest < 256**size)
    return {"bytes": size, "data": base64.b64encode(numbers.astype(f"<u{size}").tobytes()).decode()}


def _own(name: str) -> str:
    """Return a file that lies beside this module."""
    return resources.files("job.report").joinpath(name).read_text("utf-8")


def _bokeh(name: str) -> str:
    """Return one of BokehJS's scripts, from the package."""
    return resources.files("bokeh").joinpath("server", "static", "js", name).read_text("utf-8")
