"""An output whose report can be looked at: photos of one colour each, and labels that can be told apart.

The names of some photos try to be scripts.
"""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from job.commands import report
from job.report import contents, page, thumbnails
from job.storage import store
from tests.support import outputs, tables
from tests.support.outputs import Output

LABELS: Final = ("Apple Red", "Apple Green", "Banana", "Plum")
PER_LABEL: Final = {"Training": 12, "Test": 4}
HOSTILE: Final = (
    'Training/Plum/<img src=x onerror="document.title=1">.jpg',
    "Training/Plum <b></script><script>document.title=1</script>/'\"&amp;.jpg",
    "Test/Plum/\u2028${document.title=1}\u2029.jpg",
)
COMPONENTS: Final = 12  # enough for a search of near duplicates
SEPARATION: Final = 4.0  # of the labels' mean features, in standard deviations of one feature


def colour_of(path: str) -> tuple[int, int, int]:
    """Return a colour that no other photo has: far from white, and the same in every run."""
    red, green, blue = hashlib.sha256("/".join(path.rsplit("/", 3)[1:]).encode()).digest()[:3]
    return 40 + red % 170, 40 + green % 170, 40 + blue % 170


def jpeg_of(path: str, side: int = 60) -> bytes:
    """Return a photo of one colour, with EXIF that no report may hold."""
    exif = Image.Exif()
    exif[0x013B] = "Secret Artist"
    sink = io.BytesIO()
    Image.new("RGB", (side, side), colour_of(path)).save(sink, "JPEG", quality=95, exif=exif)
    return sink.getvalue()


def features_of(path: str) -> NDArray[np.float32]:
    """Return features by which a photo's label can be told."""
    noise = np.random.default_rng(int(outputs._digest(path), 16))
    of_label = np.random.default_rng(len(Path(path).parent.name) + ord(Path(path).parent.name[0]))
    centre = of_label.normal(size=outputs.FEW) * SEPARATION + 20
    return np.abs(centre + noise.normal(size=outputs.FEW)).astype(np.float32)


def make(folder: Path) -> Output:
    """Write photos, and make an output of them by one run; two of them are rejected."""
    source = folder / "photos"
    names = [
        f"{split}/{label}/{number}.jpg"
        for split, count in PER_LABEL.items()
        for label in LABELS
        for number in range(count)
    ]
    for name in (*names, *HOSTILE):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(jpeg_of(str(source / name)))
    paths = sorted(str(file) for file in source.rglob("*.jpg"))
    bad = [str(source / name) for name in (names[0], HOSTILE[0])]
    good = [path for path in paths if path not in bad]
    output = Output(str(folder / "out"), str(source), good, bad, {}, [], [])
    run(output, "--run-id", outputs.RUN_IDS[0])
    return output


def run(output: Output, *options: str) -> dict[str, Any]:
    """Run the job on an output of :func:`make`, and return its record."""
    with pytest.MonkeyPatch.context() as patch:
        outputs.quick(patch)
        patch.setattr(outputs, "features_of", features_of)
        return outputs.run(output, "--components", str(COMPONENTS), *options)


def html(output: Output) -> str:
    """Return an output's report."""
    return (Path(output.location) / "report.html").read_text("utf-8")


def report_without_photos(output: Output, away: Path) -> str:
    """Make the report of an output anew while its photos are elsewhere, and return it."""
    source = Path(output.source)
    source.rename(away)
    try:
        record = report.newest_record(output.location)
        page.write(output.location, record, tables.snapshot(output.location), "en", lambda: None)
    finally:
        away.rename(source)
    return html(output)


def enlarge(output: Output, count: int) -> int:
    """Replace an output's report by one of so many invented photos, and return its size in bytes."""
    record, snapshot = report.newest_record(output.location), tables.snapshot(output.location)
    shown = contents.gather(output.location, record, snapshot)
    origins = np.arange(count) % len(shown.photos)
    noise = np.random.default_rng(0).normal(size=(count, shown.photos.scores.shape[1]))
    photos = shown.photos.take(origins)
    assert photos.plane is not None
    assert shown.predicted is not None
    many = replace(
        photos,
        paths=[f"/many/{number // 1000:03}/{number:06}_100.jpg" for number in range(count)],
        scores=(photos.scores + noise).astype(np.float32),
        plane=photos.plane + noise[:, :2],
    )
    predicted = [shown.predicted[origin] for origin in origins]
    text = page.page(
        replace(
            shown,
            photos=many,
            predicted=predicted,
            total=count,
            read=count,
            sheets=thumbnails.no_pictures(count),
        ),
        "en",
        "0",
    )
    data = text.encode()
    store.write_bytes(f"{output.location}/report.html", data)  # not in place: copies share their files
    return len(data)
