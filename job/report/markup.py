"""HTML elements with escaped texts: tables, pictures and lists of facts."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

Row = Sequence[object]


class Html(str):
    """Text that is HTML already, so that it is not escaped again."""

    __slots__ = ()


def html(value: object) -> Html:
    """Return a value as HTML; characters with a meaning in it are escaped."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def element(name: str, *contents: object, **attributes: object) -> Html:
    """Return an element; an attribute's ``_`` stands for ``-``, and a final one is left out (``class_``)."""
    texts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    ]
    return Html(f"<{name}{''.join(texts)}>{''.join(map(html, contents))}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Return parts one after the other."""
    return Html("".join(map(html, parts)))


def table(caption: str, head: Row, rows: Iterable[Row], numbers_from: int = 1) -> Html:
    """Return a table whose first column names its rows; columns from `numbers_from` on hold numbers."""
    columns = join(element("th", cell, scope="col") for cell in head)
    lines = []
    for first, *rest in rows:
        cells = [
            element("td", cell, **({"class_": "number"} if column >= numbers_from else {}))
            for column, cell in enumerate(rest, 1)
        ]
        lines.append(element("tr", element("th", first, scope="row"), *cells))
    content = element("thead", element("tr", columns)), element("tbody", *lines)
    return element("div", element("table", element("caption", caption), *content), class_="scroll")


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Return a list of names and values."""
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs)
    )


def picture(number: int, path: str, caption: object) -> Html:
    """Return the place of a photo's picture, which the page's script draws, as a button with a caption.

    `number` is the photo's position on the map, which the button shows.
    """
    canvas = element("canvas", data_photo=number, role="img", aria_label=path)
    button = element("button", canvas, type="button", data_show=number, title=path)
    return element("figure", button, element("figcaption", caption), class_="picture")


def json_script(name: str, value: Any) -> Html:
    """Return a block of JSON for the page's script; no text in it can end the block."""
    return Html(f'<script type="application/json" id="{escape(name)}">{json_text(value)}</script>')


def json_text(value: Any) -> str:
    """Return a value as JSON without a character that has a meaning in HTML or ends a line of a script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
