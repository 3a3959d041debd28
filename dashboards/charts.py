"""Charts in Okabe and Ito's colours and viridis, which colour-blind people distinguish. None carries meaning alone.

`scale_max` is the largest value of all environments' charts, so that they share a scale.
"""

import altair as alt
import pandas as pd

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
STATUS_COLORS = {"succeeded": BLUE, "nothing_due": "#757575", "failed": VERMILION, "killed": ORANGE, "running": GREEN}
# SVG marks are elements that screen readers read.
SVG = {"embedOptions": {"renderer": "svg"}}


def line(  # noqa: PLR0913 - what it draws
    rows: pd.DataFrame, scale_max: float, *, day: str, measure: str, series: str, unit: str, steps: bool = False
) -> alt.Chart:
    """`measure` by `day`, a line for each of up to two `series`. The first is blue and solid, the other orange, dashed.

    With `steps`, each value lasts until the next day that has one.
    """
    names = list(dict.fromkeys(rows[series]))
    return (
        alt.Chart(_in_utc(rows, day), usermeta=SVG)
        .mark_line(point=True, interpolate="step-after" if steps else "linear")
        .encode(
            x=alt.X(f"utcyearmonthdate({day}):T", title=None),  # the same day in every time zone
            y=_height(measure, scale_max, unit),
            color=alt.Color(f"{series}:N", title=None, sort=names).scale(range=[BLUE, ORANGE]).legend(orient="top"),
            strokeDash=alt.StrokeDash(f"{series}:N", title=None, sort=names).scale(range=[[1, 0], [6, 4]]),
            tooltip=[
                alt.Tooltip(f"utcyearmonthdate({day}):T", title="day"),
                f"{series}:N",
                alt.Tooltip(f"{measure}:Q", title=unit, format=_format(unit)),
            ],
        )
    )


def points(  # noqa: PLR0913 - what it draws
    rows: pd.DataFrame, scale_max: float, *, x: str, measure: str, by: str, unit: str
) -> alt.Chart:
    """A point for each row at its time `x`, with a colour and a shape for each value of `by`."""
    return (
        alt.Chart(_in_utc(rows, x), usermeta=SVG)
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X(f"utcyearmonthdatehoursminutes({x}):T", title=None),
            y=_height(measure, scale_max, unit),
            color=alt.Color(f"{by}:N", title=None)
            .scale(domain=[*STATUS_COLORS], range=[*STATUS_COLORS.values()])
            .legend(orient="top"),
            shape=alt.Shape(f"{by}:N", title=None).scale(
                domain=[*STATUS_COLORS], range=["circle", "square", "cross", "triangle-up", "diamond"]
            ),
            tooltip=[
                alt.Tooltip(f"utcyearmonthdatehoursminutes({x}):T", title="time"),
                f"{by}:N",
                alt.Tooltip(f"{measure}:Q", title=unit, format=_format(unit)),
            ],
        )
    )


def bars(rows: pd.DataFrame, scale_max: float, *, by: str, measure: str, unit: str) -> alt.LayerChart:
    """A bar for each row, in the rows' order, with its figure."""
    base = alt.Chart(rows).encode(
        y=alt.Y(f"{by}:N", title=None, sort=None).axis(labelLimit=260),
        x=alt.X(f"{measure}:Q", title=unit).scale(domain=[0, scale_max * 1.2 or 1]),
        tooltip=[f"{by}:N", alt.Tooltip(f"{measure}:Q", title=unit, format=_format(unit))],
    )
    figures = base.mark_text(align="left", dx=4, aria=False).encode(text=alt.Text(f"{measure}:Q", format=_format(unit)))
    return alt.layer(base.mark_bar(color=BLUE), figures, usermeta=SVG).properties(height=alt.Step(26))


def stacks(  # noqa: PLR0913 - what it draws
    rows: pd.DataFrame, scale_max: float, *, x: str, measure: str, series: str, unit: str
) -> alt.Chart:
    """Stacked bars, a colour for each of up to four `series`."""
    return (
        alt.Chart(rows, usermeta=SVG)
        .mark_bar(stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X(x, title=None, sort=None).axis(labelAngle=-40),
            y=_height(measure, scale_max, unit),
            color=alt.Color(f"{series}:N", title=None, sort=None)
            .scale(range=[BLUE, ORANGE, VERMILION, GREEN])
            .legend(orient="top"),
            tooltip=[x, f"{series}:N", alt.Tooltip(f"{measure}:Q", title=unit, format=_format(unit))],
        )
    )


def heat_map(  # noqa: PLR0913 - what it draws
    rows: pd.DataFrame, scale_max: float, *, x: str, y: str, measure: str, unit: str
) -> alt.LayerChart:
    """A cell for each `x` and `y`, with its figure."""
    base = alt.Chart(rows).encode(
        x=alt.X(f"{x}:O", title=None, sort=None).axis(labelAngle=0), y=alt.Y(f"{y}:N", title=None).axis(labelLimit=200)
    )
    cells = base.mark_rect().encode(
        color=alt.Color(f"{measure}:Q", title=unit).scale(scheme="viridis", domain=[0, scale_max or 1]),
        tooltip=[f"{y}:N", f"{x}:O", alt.Tooltip(f"{measure}:Q", title=unit)],
    )
    is_dark = f"datum.{measure} < {scale_max / 2}"
    figures = base.mark_text(aria=False).encode(
        text=f"{measure}:Q", color=alt.condition(is_dark, alt.value("white"), alt.value("black"))
    )
    return alt.layer(cells, figures, usermeta=SVG).properties(height=alt.Step(26))


def _in_utc(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Days and timestamps as those of UTC. Without a zone, Streamlit takes them for the browser's."""
    return rows.assign(**{column: pd.to_datetime(rows[column], utc=True)})


def _format(unit: str) -> str:
    """Dollars to the cent, seconds to the hundredth, counts without decimals."""
    return ",.2f" if unit in {"USD", "seconds"} else ",.0f"


def _height(measure: str, scale_max: float, unit: str) -> alt.Y:
    return alt.Y(f"{measure}:Q", title=unit).scale(domain=[0, scale_max or 1], nice=True)
