"""Charts in Okabe and Ito's colours and viridis, which colour-blind people distinguish. None carries meaning alone.

`scale_max` is the largest value of all environments' charts, so that they share a scale. Where rows of two environments
share a chart, the column `environment` tells them apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd
import streamlit as st

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#757575"
STATUS_COLORS = {"succeeded": BLUE, "nothing_due": GREY, "failed": VERMILION, "killed": ORANGE, "running": GREEN}
LEVEL_COLORS = {"Beginner": GREEN, "Intermediate": BLUE, "Advanced": ORANGE}
OUTCOME_COLORS = {"accepted": BLUE, "deleted": GREY, "rejected": VERMILION, "missing": ORANGE}
LOAD_COLORS = {"with rows": BLUE, "without rows": GREY, "rejected": ORANGE, "failed": VERMILION, "killed": GREEN}
COURSE_STATUSES = ("Yet to Start", "Ongoing", "Ended")
# SVG marks are elements that screen readers read.
SVG = {"embedOptions": {"renderer": "svg"}}

LONGEST_WITH_POINTS = 100
"""Days of a line. The points of a longer one would hide it."""

FORMATS = {"USD": ",.2f", "%": ",.2f", "seconds": ",.2f", "": ",.2f"}
"""Decimals by unit: to the cent, and to the hundredth. Everything else is counted."""


@dataclass(frozen=True)
class Measure:
    """A column of figures."""

    label: str
    column: str
    unit: str
    """A key of FORMATS, or what is counted: `orders`; empty for other numbers."""
    description: str = ""
    """How it is defined, where its label doesn't say that."""

    @property
    def title(self) -> str:
        return f"{self.label}, {self.unit}" if self.unit and self.unit in FORMATS else self.label

    @property
    def format(self) -> str:
        return FORMATS.get(self.unit, ",.0f")

    def per(self, by: str) -> str:
        """The title of a panel: `Net revenue by country, USD`."""
        return f"{self.label} {by}, {self.unit}" if self.unit in FORMATS else f"{self.label} {by}"


def line(  # noqa: PLR0913 - what it draws
    rows: pd.DataFrame, scale_max: float, *, time: str, measure: Measure, series: str, steps: bool = False
) -> alt.LayerChart:
    """`measure` by the day or month in `time`, a line for each of up to two `series` in up to two environments.

    The first is blue and solid, the other orange or dashed. Points of incomplete days and months are hollow: the column
    `is_partial` says which. With `steps`, each value lasts until the next one.
    """
    names, environments = (list(dict.fromkeys(rows[column])) for column in (series, "environment"))
    color, colored = ("environment", environments) if len(environments) > 1 else (series, names)
    dash, dashed = (series, names) if len(names) > 1 else ("environment", environments)
    legend = alt.Legend(orient="top")
    base = alt.Chart(_in_utc(rows, time)).encode(
        x=alt.X(f"utcyearmonthdate({time}):T", title=None),  # the same day in every time zone
        y=_height(rows, measure, scale_max),
        color=alt.Color(f"{color}:N", title=None, sort=colored, legend=legend if len(colored) > 1 else None).scale(
            domain=colored, range=[BLUE, ORANGE]
        ),
        strokeDash=alt.StrokeDash(f"{dash}:N", title=None, legend=legend if len(dashed) > 1 else None).scale(
            domain=dashed, range=[[1, 0], [6, 4]]
        ),
        tooltip=[
            alt.Tooltip(f"utcyearmonthdate({time}):T", title="day"),
            *(f"{column}:N" for column in dict.fromkeys((color, dash))),
            _tooltip(measure),
        ],
    )
    size = 40 if len(rows) <= LONGEST_WITH_POINTS * len(names) * len(environments) else 4
    lines = base.mark_line(interpolate="step-after" if steps else "linear")
    points = base.encode(strokeDash=alt.value([1, 0]))
    layers = [lines, points.transform_filter("!datum.is_partial").mark_point(filled=True, size=size)]
    if rows["is_partial"].any():  # screen readers would read an empty layer
        layers.append(points.transform_filter("datum.is_partial").mark_point(filled=False, size=90))
    return alt.layer(*layers, usermeta=SVG)


def points(rows: pd.DataFrame, scale_max: float, *, x: str, measure: Measure, by: str) -> alt.Chart:
    """A point for each row at its time `x`, with a colour and a shape for each status in `by`."""
    return (
        alt.Chart(_in_utc(rows, x), usermeta=SVG)
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X(f"utcyearmonthdatehoursminutes({x}):T", title=None),
            y=_height(rows, measure, scale_max),
            color=alt.Color(f"{by}:N", title=None)
            .scale(domain=[*STATUS_COLORS], range=[*STATUS_COLORS.values()])
            .legend(orient="top"),
            shape=alt.Shape(f"{by}:N", title=None).scale(
                domain=[*STATUS_COLORS], range=["circle", "square", "cross", "triangle-up", "diamond"]
            ),
            tooltip=[
                alt.Tooltip(f"utcyearmonthdatehoursminutes({x}):T", title="time"),
                f"{by}:N",
                _tooltip(measure),
            ],
        )
    )


def bars(rows: pd.DataFrame, scale_max: float, *, by: str, measure: Measure) -> alt.LayerChart:
    """A bar for each row, in the rows' order, below its full name and before its figure.

    Beside the bar of the first environment is that of the second, in another colour.
    """
    environments = list(dict.fromkeys(rows["environment"]))
    name_row = ""
    base = alt.Chart(rows).encode(
        y=alt.Y(f"{by}:N", axis=None).scale(domain=list(dict.fromkeys(rows[by])), paddingInner=0.1),
        yOffset=alt.YOffset("environment:N").scale(domain=[name_row, *environments]),
    )
    values = base.encode(
        x=alt.X(f"{measure.column}:Q", title=measure.title)
        .scale(domain=[min(0, rows[measure.column].min()), max(scale_max, 0) * 1.25 or 1])
        .axis(**_ticks(measure)),
        tooltip=[f"{by}:N", *(["environment:N"] if len(environments) > 1 else []), _tooltip(measure)],
    )
    legend = alt.Legend(orient="top") if len(environments) > 1 else None
    color = alt.Color("environment:N", title=None, legend=legend).scale(domain=environments, range=[BLUE, ORANGE])
    names = (
        alt.Chart(rows.drop_duplicates(by).assign(environment=name_row))
        .mark_text(align="left", baseline="middle", aria=False, color=_ink())
        .encode(y=base.encoding.y, yOffset=base.encoding.yOffset, x=alt.value(0), text=f"{by}:N")
    )
    figures = values.mark_text(align="left", dx=4, aria=False, color=_ink()).encode(
        text=alt.Text(f"{measure.column}:Q", format=measure.format)
    )
    chosen = (
        values.mark_bar(cursor="pointer").encode(color=color).add_params(alt.selection_point("chosen", fields=[by]))
    )
    return alt.layer(chosen, figures, names, usermeta=SVG).properties(height=alt.Step(16, **{"for": "offset"}))


def columns(
    rows: pd.DataFrame, scale_max: float, *, x: str, measure: Measure, every_x: Sequence[str] | None = None
) -> alt.Chart:
    """A column for each row, in the rows' order; those of two environments beside each other.

    The axis has `every_x`, also those without a row.
    """
    environments = list(dict.fromkeys(rows["environment"]))
    legend = alt.Legend(orient="top") if len(environments) > 1 else None
    return (
        alt.Chart(rows, usermeta=SVG)
        .mark_bar()
        .encode(
            x=_across(x, every_x).axis(labelAngle=-40),
            xOffset=alt.XOffset("environment:N").scale(domain=environments),
            y=_height(rows, measure, scale_max),
            color=alt.Color("environment:N", title=None, legend=legend).scale(
                domain=environments, range=[BLUE, ORANGE]
            ),
            tooltip=[f"{x}:O", *(["environment:N"] if len(environments) > 1 else []), _tooltip(measure)],
        )
    )


def stacks(  # noqa: PLR0913 - what it draws
    rows: pd.DataFrame,
    scale_max: float,
    *,
    x: str,
    measure: Measure,
    series: str,
    colors: Mapping[str, str],
    every_x: Sequence[str] | None = None,
) -> alt.Chart:
    """Stacked bars in the rows' order; the `series` in the order and colours of `colors`, others in grey above them.

    The axis has `every_x`, also those without a row.
    """
    found = list(dict.fromkeys(rows[series]))
    names = [*(name for name in colors if name in found), *(name for name in found if name not in colors)]
    return (
        alt.Chart(rows.assign(rank=rows[series].map(names.index)), usermeta=SVG)
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            x=_across(x, every_x).axis(labelAngle=-40),
            y=_height(rows, measure, scale_max),
            color=alt.Color(f"{series}:N", title=None)
            .scale(domain=names, range=[colors.get(name, GREY) for name in names])
            .legend(orient="top"),
            order="rank:Q",
            tooltip=[f"{x}:O", f"{series}:N", _tooltip(measure)],
        )
    )


def heat_map(  # noqa: PLR0913 - what it draws
    rows: pd.DataFrame, scale_max: float, *, x: str, y: str, measure: Measure, every_x: Sequence[str] | None = None
) -> alt.LayerChart:
    """A cell for each `x` and `y`, with its figure. The axis has `every_x`, also those without a row."""
    base = alt.Chart(rows).encode(
        x=_across(x, every_x).axis(labelAngle=0), y=alt.Y(f"{y}:N", title=None).axis(labelLimit=200)
    )
    cells = base.mark_rect().encode(
        color=alt.Color(f"{measure.column}:Q", title=measure.title).scale(scheme="viridis", domain=[0, scale_max or 1]),
        tooltip=[f"{y}:N", f"{x}:O", _tooltip(measure)],
    )
    is_dark = f"datum.{measure.column} < {scale_max / 2}"
    figures = base.mark_text(aria=False).encode(
        text=alt.Text(f"{measure.column}:Q", format=",.0f"),
        color=alt.condition(is_dark, alt.value("white"), alt.value("black")),
    )
    return alt.layer(cells, figures, usermeta=SVG).properties(height=alt.Step(26))


def _ink() -> str:
    """The colour of text. Streamlit's theme reaches axes and legends, not text in a chart."""
    return "#FAFAFA" if st.context.theme.type == "dark" else "#31333F"


def _in_utc(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Days and timestamps as those of UTC. Without a zone, Streamlit takes them for the browser's."""
    return rows.assign(**{column: pd.to_datetime(rows[column], utc=True)})


def _across(x: str, every_x: Sequence[str] | None) -> alt.X:
    axis = alt.X(f"{x}:O", title=None, sort=None)
    return axis.scale(domain=list(every_x)) if every_x else axis


def _tooltip(measure: Measure) -> alt.Tooltip:
    return alt.Tooltip(f"{measure.column}:Q", title=measure.title, format=measure.format)


def _height(rows: pd.DataFrame, measure: Measure, scale_max: float) -> alt.Y:
    return (
        alt.Y(f"{measure.column}:Q", title=measure.title)
        .scale(domain=[min(0, rows[measure.column].min()), max(scale_max, 0) or 1], nice=True)
        .axis(**_ticks(measure))
    )


def _ticks(measure: Measure) -> dict[str, object]:
    """`12k` and `1.5M`; a count has no ticks between its numbers."""
    counted = {} if measure.unit in FORMATS else {"tickMinStep": 1}
    text = "format(datum.value, datum.value >= 1000 ? '~s' : ',.2~f')"
    return {"labelExpr": f"replace({text}, 'G', 'B')", "tickCount": 6, **counted}
