"""The period of a page: its filter, and the period that it is compared with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import streamlit as st

DAY, MONTH, YEAR = (pd.DateOffset(**{unit: 1}) for unit in ("days", "months", "years"))

Preset = tuple[Callable[[pd.Timestamp], tuple[pd.Timestamp, pd.Timestamp]], pd.DateOffset]
"""The first and the last day of a period, by the newest day; and how far the previous one is back."""

PRESETS: dict[str, Preset] = {
    "last 7 days": (lambda day: (day - 6 * DAY, day), 7 * DAY),
    "last 30 days": (lambda day: (day - 29 * DAY, day), 30 * DAY),
    "last 90 days": (lambda day: (day - 89 * DAY, day), 90 * DAY),
    "last 12 months": (lambda day: (day - YEAR + DAY, day), YEAR),
    "this month": (lambda day: (day.replace(day=1), day), MONTH),
    "last month": (lambda day: (day.replace(day=1) - MONTH, day.replace(day=1) - DAY), MONTH),
    "this quarter": (lambda day: (day.to_period("Q").start_time, day), 3 * MONTH),
    "this year": (lambda day: (day.replace(month=1, day=1), day), YEAR),
}
OTHER = "other days"
PREVIOUS, LAST_YEAR = "previous period", "same period last year"
BOUNDS = date(2000, 1, 1), date(2099, 12, 31)
"""Not those of the data: a link, or another warehouse, may have days without any."""


@dataclass(frozen=True)
class Period:
    """Days of sales or of other events, both inclusive."""

    preset: str
    day: date
    """The newest day of the data, from which the preset counts."""
    days: tuple[date, date]

    @classmethod
    def of(cls, preset: str, day: date) -> "Period":
        first, last = PRESETS[preset][0](pd.Timestamp(day))
        return cls(preset, day, (first.date(), last.date()))

    def __str__(self) -> str:
        return f"{self.days[0]} to {self.days[1]}"

    @property
    def length(self) -> int:
        """In days."""
        return (self.days[1] - self.days[0]).days + 1

    @property
    def months(self) -> list[date]:
        """The first day of each month of the period."""
        return list(pd.date_range(self.days[0].replace(day=1), self.days[1], freq="MS").date)

    def incomplete(self, grain: str) -> list[date]:
        """Months that the period doesn't contain to the day, by their first; with the grain `day`, one not yet over."""
        first, last = self.days
        if grain == "day":
            today = datetime.now(UTC).date()
            return [today] if first <= today <= last else []
        starts_late, ends_early = first.day > 1, (last + timedelta(days=1)).day > 1
        return sorted({*[first.replace(day=1)] * starts_late, *[last.replace(day=1)] * ends_early})

    def labels(self, months: Iterable[date]) -> list[str]:
        """`2026-03` for the first of a month; with a star if the month is incomplete."""
        incomplete = self.incomplete("month")
        return [f"{month:%Y-%m}{'*' * (month in incomplete)}" for month in months]

    @property
    def star(self) -> str:
        """What the star of a label means; empty if no month is incomplete."""
        return f"* isn't complete: the period is {self}." if self.incomplete("month") else ""

    def before(self, which: str) -> "Period":
        """The one that this is compared with: PREVIOUS or LAST_YEAR."""
        if self.preset == OTHER:
            step = YEAR if which == LAST_YEAR else self.length * DAY
            first, last = ((pd.Timestamp(day) - step).date() for day in self.days)
            return replace(self, days=(first, last))
        step = YEAR if which == LAST_YEAR else PRESETS[self.preset][1]
        return Period.of(self.preset, (pd.Timestamp(self.day) - step).date())


def select_period(newest: date, default: str, key: str) -> Period | None:
    """Show the filter. `newest` is the newest day of the data; None while the last day isn't selected yet."""
    presets = [*PRESETS, OTHER]
    box = st.container(width="content")  # one element, with or without days
    # One click instead of two. In one row, which scrolls: on a phone, the first figure is above the fold.
    preset = box.segmented_control(
        "Period", presets, default=default, required=True, key=key, bind="query-params", wrap=False
    )
    if preset in PRESETS:
        return Period.of(preset, newest)
    days = box.date_input(
        "Days",
        Period.of(default, newest).days,
        min_value=BOUNDS[0],
        max_value=BOUNDS[1],
        key=f"{key}_days",
        bind="query-params",
        width=240,
    )
    first, *last = days
    if not last:
        box.info("Select the last day, too.")
        return None
    return Period(OTHER, newest, (first, *last))
