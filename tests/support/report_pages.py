"""What tests look at in a report's page: points, lists and colours, and the hands that use it."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page

from job.report.markup import json_text
from job.storage import store
from tests.support import reports
from tests.support.outputs import Output

DESKTOP = (1280, 800)
PHONE = (390, 844)
# The map as BokehJS has it, and where a photo's point is on the screen.
MAP = """
    const plot = Bokeh.documents.map((one) => one.get_model_by_name("map")).find((model) => model);
    const source = plot.document.get_model_by_name("points");
    const view = Bokeh.index.get_by_id(plot.id);
"""
POINT = f"""(number) => {{ {MAP}
    const box = view.el.getBoundingClientRect();
    return [box.left + view.frame.x_scale.compute(source.data.x[number]),
            box.top + view.frame.y_scale.compute(source.data.y[number])];
}}"""
COUNT = f"() => {{ {MAP} return source.data.x.length; }}"
RANGE = f"""() => {{ {MAP}
    return [plot.x_range.start, plot.x_range.end, plot.y_range.start, plot.y_range.end];
}}"""
EXTENT = f"""() => {{ {MAP}
    return ["x", "y"].flatMap((axis) => [Math.min(...source.data[axis]), Math.max(...source.data[axis])]);
}}"""
AXIS = f"() => {{ {MAP} return [plot.below[0].axis_label, plot.below[0].axis_label_text_color]; }}"
# The path and the outcome of each photo in the list.
LISTED = """() => [...document.querySelectorAll("#matches tbody tr")]
    .map((row) => [row.children[0].textContent, row.children[3].textContent])"""
UNDRAWN = """() => document.querySelectorAll(".picture canvas:not([data-drawn])").length"""
# The colours of some elements, and of the page behind them and of its text.
COLOURS = """(query) => {
    const style = getComputedStyle(document.querySelector("section"));
    const own = [...document.querySelectorAll(query)].map((one) => getComputedStyle(one).backgroundColor);
    return [style.backgroundColor, style.color, ...own];
}"""
DATA = re.compile(r'(<script type="application/json" id="data">)(.*?)(</script>)', re.DOTALL)
# The milliseconds between the frames that are drawn from now on.
FRAMES = """() => {
    window.frames_ms = [];
    let last = performance.now();
    const frame = (now) => { window.frames_ms.push(now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
}"""
# The milliseconds from the first movement of the mouse to the photo that is shown then, from now on.
HOVERS = """() => {
    window.hovers_ms = [];
    let start = 0;
    const moved = () => { start = start || performance.now(); };
    document.getElementById("map-chart").addEventListener("pointermove", moved, { capture: true });
    const shown = () => { window.hovers_ms.push(performance.now() - start); start = 0; };
    const shows = new MutationObserver(shown);
    shows.observe(document.getElementById("card"), { attributeFilter: ["data-photo"] });
}"""

Open = Callable[..., Page]


def pixels(shown: Page | Locator) -> NDArray[np.int64]:
    """Return what is on the screen ``(height, width, 3)``."""
    return np.asarray(Image.open(io.BytesIO(shown.screenshot())).convert("RGB"), np.int64)


def hover(shown: Page, number: int) -> None:
    """Move the mouse to the point of a photo, in two steps as a hand does."""
    shown.locator("#stage").scroll_into_view_if_needed()
    x, y = shown.evaluate(POINT, number)
    shown.mouse.move(x + 3, y + 2)
    shown.mouse.move(x, y)
    shown.wait_for_selector("#card:not([hidden])")


def packed(values: list[int]) -> dict[str, Any]:
    """Return numbers below 256 as the page has them."""
    return {"bytes": 1, "data": base64.b64encode(bytes(values)).decode()}


def rewrite(output: Output, **changes: Any) -> dict[str, Any]:
    """Change what the report of an output knows of its photos, and return all that it knew before."""
    text = reports.html(output)
    match = DATA.search(text)
    assert match is not None
    before: dict[str, Any] = json.loads(match[2])
    text = text[: match.start(2)] + json_text({**before, **changes}) + text[match.end(2) :]
    store.write_bytes(f"{output.location}/report.html", text.encode())  # not in place: copies share it
    return before


def classify(output: Output) -> list[tuple[str, int]]:
    """Give the photos answers of all kinds and some no label; return the text and share of each."""
    labels = [*rewrite(output)["labels"], ""]
    none = len(labels) - 1
    texts, columns = [], []
    for number, path in enumerate(sorted(output.good)):
        own = none if number % 5 == 0 else labels.index(Path(path).parent.name)
        state, share = number // 2 % 3, 20 + number
        wrong = (own + 1) % none
        predicted = own if number % 2 and own != none else wrong
        columns.append((own, predicted, state, share))
        right = ("recognized", "recognized, but unsure", "unlike all labels")[state]
        verb, unlike = "recognized as" if own == none else "taken for", "unlike all labels"
        answer = f"{verb} {labels[wrong]} ({share}%)"
        if predicted == own:
            texts.append((right, share))
        elif state < 2:
            texts.append((answer, share))
        else:
            texts.append((unlike if own == none else f"{answer}; {unlike}", share))
    names = ("label", "predicted", "state", "probability")
    changes = {
        name: packed(list(values)) for name, values in zip(names, zip(*columns, strict=True), strict=True)
    }
    rewrite(output, labels=labels, species=[label.split(" ")[0] for label in labels], **changes)
    return texts


def contrast(first: list[float], second: list[float]) -> float:
    """Return the contrast of two colours after WCAG 2, from 1 to 21."""

    def luminance(colour: list[float]) -> float:
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def colour(text: str, behind: list[float] | None = None) -> list[float]:
    """Return a computed colour as parts from 0 to 1, laid on another one if it lets that through."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", text)]
    parts = numbers[:3] if text.startswith("color(srgb") else [number / 255 for number in numbers[:3]]
    alpha = numbers[3] if len(numbers) > 3 else 1.0
    return [alpha * part + (1 - alpha) * back for part, back in zip(parts, behind or parts, strict=True)]


def swipe(shown: Page, fingers: list[tuple[int, int]], steps: list[tuple[int, int]]) -> None:
    """Put fingers on a phone, move each ten steps, and lift them."""
    session = shown.context.new_cdp_session(shown)
    for number in range(11):
        points = [
            {"x": x + number * right, "y": y + number * down, "id": finger}
            for finger, ((x, y), (right, down)) in enumerate(zip(fingers, steps, strict=True))
        ]
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        shown.wait_for_timeout(16)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    shown.wait_for_timeout(200)


def coloured(shown: Page) -> int:
    """Return the number of pixels of the map that are neither grey nor near grey."""
    part = pixels(shown.locator("#map-chart"))
    return int((part.max(axis=2) - part.min(axis=2) > 60).sum())
