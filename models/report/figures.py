"""Drawings as plain plotly specifications: lists, dicts, strings and finite numbers.

Colours are names of the page's style variables (`--accent`), so that one drawing serves light, dark and paper.
Text that comes from data is escaped, since plotly reads a little HTML in its labels.
"""

import html
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from models.report import wording
from models.report.blocks import Block

ACCENT, BAND, BAND_INNER, SECOND, QUIET, INK = "--accent", "--band", "--band-inner", "--second", "--quiet", "--ink"
LABEL = 24  # characters of a name that an axis has room for on a phone
ROW = 44  # pixels per row of a dot plot
NO_HOVER = {"hoverinfo": "skip"}


def label(name: Any) -> str:
    """A name from data as harmless plotly text, short enough for an axis."""
    return html.escape(wording.shorten(str(name), LABEL), quote=False)


def figure(key: str, title: str, alt: str, data: list[dict[str, Any]], layout: dict[str, Any], height: int) -> Block:
    """A drawing with its title and what it shows in words."""
    spec = clean({"data": data, "layout": layout})
    return {"kind": "figure", "id": key, "title": title, "alt": alt, "spec": spec, "height": height}


def clean(value: Any) -> Any:
    """The same structure as JSON can carry it: missing for what is not finite, ISO text for dates."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [clean(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | bool | int) or value is None:
        return value
    return wording.number(value)


def rows_axis(names: Sequence[Any]) -> dict[str, Any]:
    """A vertical axis with one numbered row per name, first on top; two equal short names stay two rows."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [label(name) for name in names],
        "range": [len(names) - 0.4, -0.6],
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
    }


def dumbbell(
    key: str, title: str, names: Sequence[str], today: Sequence[float], planned: Sequence[float], unit: str
) -> Block:
    """Two dots per line, joined: where it stands and where it should go."""
    rows = list(range(len(names)))
    joins: dict[str, list[Any]] = {"x": [], "y": []}
    for row, start, end in zip(rows, today, planned, strict=True):
        joins["x"] += [start, end, None]
        joins["y"] += [row, row, None]
    data = [
        {**joins, "mode": "lines", "line": {"color": QUIET, "width": 2}, "showlegend": False, **NO_HOVER},
        _dots("Today", today, rows, {"color": "--paper", "size": 11, "line": {"color": INK, "width": 1.6}}),
        _dots("Planned", planned, rows, {"color": ACCENT, "size": 12}),
    ]
    words = "; ".join(
        f"{name} {wording.compact(start)} to {wording.compact(end)}"
        for name, start, end in zip(names, today, planned, strict=True)
    )
    layout = {
        "xaxis": {"title": {"text": unit}, "rangemode": "tozero", "zeroline": True},
        "yaxis": rows_axis(names),
        "showlegend": True,
    }
    return figure(key, title, f"Spend today and planned, per line: {words}.", data, layout, 96 + ROW * len(names))


def _dots(name: str, x: Sequence[float], y: Sequence[Any], marker: dict[str, Any]) -> dict[str, Any]:
    return {
        "x": list(x),
        "y": list(y),
        "name": name,
        "mode": "markers",
        "marker": marker,
        "hovertemplate": "%{x:,.4s}<extra>" + name + "</extra>",
    }


def intervals(
    key: str,
    title: str,
    names: Sequence[str],
    ends: Sequence[Sequence[float]],
    unit: str,
    *,
    mark: float | None = None,
    mark_name: str = "",
) -> Block:
    """A dot with its 90 % interval per row (`ends`: means, lows, highs), and a reference value where there is one."""
    mean, low, high = ends
    rows = list(range(len(names)))
    bars: dict[str, list[Any]] = {"x": [], "y": []}
    for row, start, end in zip(rows, low, high, strict=True):
        bars["x"] += [start, end, None]
        bars["y"] += [row, row, None]
    data = [
        {**bars, "mode": "lines", "line": {"color": BAND_INNER, "width": 7}, **NO_HOVER},
        _dots("mean", mean, rows, {"color": ACCENT, "size": 10}),
    ]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": unit}, "rangemode": "tozero", "zeroline": True},
        "yaxis": rows_axis(names),
    }
    if mark is not None:
        layout["shapes"] = [
            {
                "type": "line",
                "x0": mark,
                "x1": mark,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "layer": "below",
                "line": {"color": INK, "width": 1, "dash": "dot"},
            }
        ]
        layout["annotations"] = [
            {
                "x": mark,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "text": mark_name,
                "showarrow": False,
                "font": {"size": 11, "color": "--muted"},
            }
        ]
    words = "; ".join(
        f"{name} {wording.compact(m)}, {wording.compact(a)} to {wording.compact(b)}"
        for name, m, a, b in zip(names, mean, low, high, strict=True)
    )
    return figure(key, title, f"{title}, mean and 90 % interval: {words}.", data, layout, 92 + ROW * len(names))


def curve(
    key: str,
    name: str,
    grid: Mapping[str, Sequence[float]],
    marks: Sequence[tuple[str, float]],
    units: tuple[str, str],
) -> Block:
    """A response curve with its band and the spends that matter on it.

    Parameters
    ----------
    grid : equal-length "spend", "response_mean", "response_p05", "response_p95", spend increasing.
    marks : (name, spend); drawn on the mean, first open, second filled.
    units : of spend and of response.
    """
    spend, mean = list(grid["spend"]), list(grid["response_mean"])
    data: list[dict[str, Any]] = [
        *_band(spend, list(grid["response_p05"]), list(grid["response_p95"]), BAND),
        {
            "x": spend,
            "y": mean,
            "mode": "lines",
            "line": {"color": ACCENT, "width": 2},
            "name": "mean",
            "hovertemplate": "spend %{x:,.4s}: %{y:,.4s}<extra></extra>",
        },
    ]
    styles: list[dict[str, Any]] = [
        {"color": "--paper", "size": 10, "line": {"color": INK, "width": 1.6}},
        {"color": ACCENT, "size": 10},
    ]
    words = []
    for (mark, at), marker in zip(marks, styles, strict=False):
        y = float(np.interp(at, spend, mean))
        data.append(_dots(mark, [at], [y], marker))
        words.append(f"{mark.lower()} {wording.compact(at)} returns {wording.compact(y)}")
    layout = {
        "xaxis": {"title": {"text": units[0]}, "nticks": 4, "rangemode": "tozero"},
        "yaxis": {"title": {"text": units[1]}, "nticks": 4, "rangemode": "tozero"},
        "margin": {"l": 52, "r": 8, "t": 8, "b": 44},
    }
    alt = f"Response curve of {name} with its 90 % band" + (": " + "; ".join(words) if words else "") + "."
    return figure(key, name, alt, data, layout, 230)


def _band(x: list[Any], low: list[Any], high: list[Any], colour: str) -> list[dict[str, Any]]:
    edge = {"mode": "lines", "line": {"width": 0, "color": colour}, "showlegend": False, **NO_HOVER}
    return [{"x": x, "y": low, **edge}, {"x": x, "y": high, "fill": "tonexty", "fillcolor": colour, **edge}]


def fan(
    key: str,
    title: str,
    periods: Sequence[date],
    quantiles: Mapping[str, Sequence[float]],
    unit: str,
    *,
    history: Sequence[tuple[date, float]] = (),
    other: tuple[str, Sequence[float]] | None = None,
    height: int = 340,
) -> Block:
    """A forecast as a fan: 90 % and 50 % of paths, the median, what was, and another scenario's median."""
    x = list(periods)
    data = [
        *_band(x, list(quantiles["p05"]), list(quantiles["p95"]), BAND),
        *_band(x, list(quantiles["p25"]), list(quantiles["p75"]), BAND_INNER),
    ]
    line = {"mode": "lines", "hovertemplate": "%{x|%-d %b %Y}: %{y:,.4s}<extra></extra>"}
    if history:
        data.append(
            {
                "x": [when for when, _ in history],
                "y": [value for _, value in history],
                "name": "Actual",
                "line": {"color": INK, "width": 1.6},
                **line,
            }
        )
    data.append(
        {
            "x": x,
            "y": list(quantiles["p50"]),
            "name": "Forecast, median",
            "line": {"color": ACCENT, "width": 2.4},
            **line,
        }
    )
    if other:
        data.append(
            {
                "x": x,
                "y": list(other[1]),
                "name": label(other[0]),
                "line": {"color": "--second", "width": 1.8, "dash": "dash"},
                **line,
            }
        )
    layout = {
        "xaxis": {"type": "date", "showgrid": False, "nticks": 6},
        "yaxis": {"title": {"text": unit}, "rangemode": "tozero", "nticks": 6},
        "showlegend": True,
        "legend": {"traceorder": "normal"},
        "hovermode": "closest",
    }
    first, last = x[0], x[-1]
    alt = (
        f"Fan chart of {title} from {wording.day(first)} to {wording.day(last)}: median from "
        f"{wording.compact(quantiles['p50'][0])} to {wording.compact(quantiles['p50'][-1])}; in the last period 90 % "
        f"of paths lie between {wording.compact(quantiles['p05'][-1])} and {wording.compact(quantiles['p95'][-1])}."
    )
    return figure(key, title, alt, data, layout, height)


def stacked(key: str, title: str, parts: Sequence[str], bars: Mapping[str, Sequence[float]]) -> Block:
    """Bars that add up to 100 %, cut into the same parts, to compare two divisions of a whole."""
    names = list(bars)
    tones = [f"--step-{round(1 + 3 * i / max(len(parts) - 1, 1))}" for i in range(len(parts))]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": label(part),
            "y": list(range(len(names))),
            "x": [bars[name][i] for name in names],
            "marker": {"color": tones[i], "line": {"color": "--paper", "width": 2}},
            "hovertemplate": "%{x:.1%}<extra>" + label(part) + "</extra>",
            "width": 0.55,
        }
        for i, part in enumerate(parts)
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"tickformat": ".0%", "range": [0, 1], "showgrid": False, "zeroline": False},
        "yaxis": rows_axis(names),
        "showlegend": True,
        "legend": {"traceorder": "normal"},
    }
    words = "; ".join(
        f"{name}: " + ", ".join(f"{part} {wording.percent(v)}" for part, v in zip(parts, values, strict=True))
        for name, values in bars.items()
    )
    return figure(key, title, f"{title}. {words}.", data, layout, 210)


def heatmap(key: str, title: str, names: Sequence[str], periods: Sequence[date], z: list[list[float]]) -> Block:
    """Spend per line and period as shades, darker is more."""
    data = [
        {
            "type": "heatmap",
            "x": list(periods),
            "y": list(range(len(names))),
            "z": z,
            "showscale": False,
            "xgap": 2,
            "ygap": 2,
            "colorscale": [[0, "--step-0"], [1, "--step-4"]],
            "hovertemplate": "%{x|%-d %b}: %{z:,.4s}<extra></extra>",
        }
    ]
    layout = {"xaxis": {"type": "date", "showgrid": False, "nticks": 6}, "yaxis": rows_axis(names)}
    alt = f"Planned spend of {len(names)} lines over {len(periods)} periods; the same numbers are in the plan's table."
    return figure(key, title, alt, data, layout, 80 + 30 * len(names))
