"""The charts of the report, as documents that BokehJS draws: the map of photos and the scree plot.

The map's document holds no point: the page's own script fills it, filters it and gives all charts the colours
of a light or a dark page.
"""

import json
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from job.report.words import Words

if TYPE_CHECKING:
    from bokeh.model import Model
    from bokeh.plotting import figure

TOOLS: Final = "pan,wheel_zoom,box_zoom,reset"
_ID: Final = re.compile(r'"p\d+"')


def map_of_photos(words: Words) -> dict[str, Any]:
    """Return the document of an empty scatter plot, with a second layer that marks a photo."""
    from bokeh.models import Range1d  # noqa: PLC0415 (loading Bokeh takes 0.7 s)

    plot = _figure("map", TOOLS, "webgl")
    plot.x_range, plot.y_range = Range1d(start=0, end=1), Range1d(start=0, end=1)
    plot.match_aspect = False
    columns: dict[str, list[float]] = {"x": [], "y": [], "color": []}
    plot.scatter(
        "x", "y", source=_source("points", columns), color="color", line_color=None, size=6, alpha=0.8
    )
    marked: dict[str, list[float]] = {"x": [], "y": []}
    plot.scatter(
        "x", "y", source=_source("marked", marked), size=16, fill_color=None, line_width=3, name="ring"
    )
    plot.xaxis.axis_label, plot.yaxis.axis_label = words("component"), words("component")
    return _document(plot)


def scree(ratios: NDArray[np.float64], k: int, words: Words) -> list[dict[str, Any]]:
    """Return two documents: the share of the variance of each component, and of the first ones together.

    Parameters
    ----------
    ratios : array (rank,) float64
        Shares of all components, largest first.
    k : int
        The number of components that the model keeps.
    """
    from bokeh.models import BasicTickFormatter, HoverTool, LogTickFormatter  # noqa: PLC0415 (as above)

    numbers = np.arange(1, len(ratios) + 1)
    sums = np.cumsum(ratios)
    columns = {"number": numbers.tolist(), "share": _rounded(100 * ratios), "sum": _rounded(100 * sums)}
    documents = []
    for name, column, title in (("share", "share", "scree_share"), ("sum", "sum", "scree_sum")):
        axis = "log" if name == "share" else "linear"
        plot = _figure(f"scree_{name}", TOOLS, "canvas", None, y_axis_type=axis)
        source = _source(f"scree_{name}", columns)
        line = plot.line("number", column, source=source, line_width=2, name="line")
        plot.vspan(x=k, line_dash="dashed", line_width=2, name="k")
        plot.yaxis.formatter = LogTickFormatter() if name == "share" else BasicTickFormatter()
        plot.xaxis.axis_label, plot.yaxis.axis_label = words("component"), words(title)
        tips = [
            (words("component"), "@number"),
            (words("scree_share"), "@share{0.0000}"),
            (words("scree_sum"), "@sum{0.00}"),
        ]
        plot.add_tools(HoverTool(tooltips=tips, mode="vline", attachment="horizontal", renderers=[line]))
        documents.append(_document(plot))
    return documents


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _source(name: str, columns: dict[str, Any]) -> Any:
    from bokeh.models import ColumnDataSource  # noqa: PLC0415 (as above)

    return ColumnDataSource(columns, name=name)


def _figure(name: str, tools: str, backend: Any, scroll: Any = "wheel_zoom", **options: Any) -> "figure":
    """Return a plot without a colour of its own: the page sets them."""
    from bokeh.plotting import figure  # noqa: PLC0415 (as above)

    plot = figure(
        name=name,
        tools=tools,
        active_scroll=scroll,
        output_backend=backend,
        sizing_mode="stretch_both",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_alpha=0,
        lod_threshold=20_000,
        **options,
    )
    plot.toolbar.logo = None
    return plot


def _document(plot: "Model") -> dict[str, Any]:
    """Return a plot as a document; the same plot gives the same document, whatever was drawn before."""
    from bokeh.document import Document  # noqa: PLC0415 (as above)

    document = Document()
    document.add_root(plot)
    text = json.dumps(document.to_json(deferred=False))
    ids: dict[str, str] = {}  # Bokeh counts the objects of a process
    text = _ID.sub(lambda match: ids.setdefault(match[0], f'"p{len(ids) + 1}"'), text)
    content: dict[str, Any] = json.loads(text)
    return content
