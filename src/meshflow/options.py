"""Options that several commands share."""

import math
from typing import Any

import click

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Output JSON (docs/json-output.md).")
AS_JSON_LINES = click.option(
    "--json", "as_json", is_flag=True, help="Output JSON, one event a line (docs/json-output.md)."
)


class FiniteRange(click.FloatRange):
    """A number in a range. click accepts `nan` in every range, and `inf` in some."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number in the range {self._describe_range()}.", param, ctx)
        return number


SECONDS = FiniteRange(0)
