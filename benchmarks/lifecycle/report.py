"""The results as tables and a plot for people."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import circumstances, figures, markdown

PLOT = Path(__file__).with_name("seconds.svg")
SIDES = {"limit": "the limit", "ours": "meshflow", "dbt": "dbt", "dbt, what changed": "dbt, what changed"}
CASES = {
    "build": "A full build",
    "hour": "An hour like any other",
    "unchanged": "A plan with nothing changed",
    "branch": "One mart changed, in an environment of its own",
    "promotion": "And promoted into prod",
}
SIZE = 10_000_000
"""Of the warehouse that most targets are for."""
KINDS = {"queries": ", query", "merges": ", merge", "audits": ", audits"}
SLOWEST = 20
"""How many parts are named."""


@dataclass(frozen=True)
class Target:
    """A promise about a ratio or a figure. Missing where what it needs wasn't measured."""

    what: str
    value: float | None
    bound: float
    is_least: bool = False
    """Whether the bound is the least allowed and not the most."""

    @property
    def outcome(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if (self.value >= self.bound if self.is_least else self.value <= self.bound) else "**missed**"


def targets(steps: dict[str, Any]) -> list[dict[str, Any]]:
    """What was promised, and what came of it."""

    def of(step: str, figure: str, size: int = SIZE) -> float | None:
        found = steps.get(f"{size}/{step}")
        return found[figure]["median"] if found else None

    def ratio(one: float | None, other: float | None) -> float | None:
        return round(one / other, 2) if one is not None and other else None

    def side(case: str, one: str, other: str, figure: str = "seconds") -> float | None:
        return ratio(of(f"{case}/{one}", figure), of(f"{case}/{other}", figure))

    work = [of("hour/ours", "duckdb_seconds", size) for size in (50_000_000, 1_000_000)]
    written, memory = of("promotion/ours", "rows_written"), of("build/ours", "peak_mb", 50_000_000)
    found = [
        Target("Full build of 10 million, times the limit, audits on both sides", side("build", "ours", "limit"), 1.5),
        Target("Full build of 10 million, times dbt's", side("build", "ours", "dbt"), 1),
        Target("An hour onto 10 million, times dbt's, without start-up", side("hour", "ours", "dbt"), 1),
        Target("The same with start-up", side("hour", "ours", "dbt", "wall_seconds"), 1),
        Target("An hour's work of DuckDB onto 50 million, times that onto 1 million", ratio(*work), 1.3),
        Target(
            "One mart in a dev environment: dbt's seconds for all of it, times ours",
            side("branch", "dbt", "ours"),
            5,
            is_least=True,
        ),
        Target("Its promotion: dbt's seconds in prod, times ours", side("promotion", "dbt", "ours"), 20, is_least=True),
        Target("Rows that the promotion writes", written, 0),
        Target("Peak memory of a full build of 50 million, in GiB", ratio(memory and memory * 1e6, 2**30), 8),
    ]
    return [{**asdict(target), "outcome": target.outcome} for target in found]


def table(results: dict[str, Any]) -> str:
    """What was measured, and on what, in Markdown."""
    once = f"More than {results['settings']['once_above']:,} order lines once."
    parts = [f"{circumstances(results)} {once}", "", *map(_validation, results["targets"])]
    for case, title in CASES.items():
        parts += ["", f"### {title}", "", markdown(COLUMNS, _rows(results, case))]
    parts += ["", "### What DuckDB is busy with, at the limit", "", _parts(results)]
    return "\n".join([*parts, ""])


COLUMNS = (
    "order lines", "side", "seconds", "of these DuckDB", "with start-up", "processor seconds", "peak memory, MB",
    "statements", "rows written", "meshflow takes",
)  # fmt: skip


def _rows(results: dict[str, Any], case: str) -> list[list[str]]:
    rows = []
    for size in results["settings"]["sizes"]:
        ours = results["steps"][f"{size}/{case}/ours"]
        for side, name in SIDES.items():
            if step := results["steps"].get(f"{size}/{case}/{side}"):
                times = ours["seconds"]["median"] / step["seconds"]["median"]
                rows.append(
                    [
                        f"{size:,}",
                        name,
                        figures(step["seconds"], 1),
                        f"{step['duckdb_seconds']['median']:,.1f}",
                        figures(step["wall_seconds"], 1),
                        f"{step['cpu_seconds']['median']:,.1f}",
                        f"{step['peak_mb']['median']:,.0f}",
                        f"{step['statements']['median']:,.0f}",
                        f"{step['rows_written']['median']:,.0f}",
                        "" if side == "ours" else f"{times:.2f} times",
                    ]
                )
    return rows


def _parts(results: dict[str, Any]) -> str:
    """Of the limit's seconds: how those of an hour grow with the history, and where they are spent."""
    sizes = results["settings"]["sizes"]
    columns = [(f"{case}, {size:,}", f"{size}/{case}/limit") for case in ("build", "hour") for size in sizes]
    took = {title: results["steps"][step]["parts"] for title, step in columns}
    slowest: Counter[str] = Counter()
    for parts in took.values():
        slowest |= Counter(parts)
    rows = [
        [
            f"**all {kind}**",
            *(f"{sum(s for name, s in parts.items() if name.endswith(ends)):.1f}" for parts in took.values()),
        ]
        for kind, ends in KINDS.items()
    ]
    rows += [
        [name, *(f"{parts[name]:.1f}" if name in parts else "" for parts in took.values())]
        for name, _ in slowest.most_common(SLOWEST)
    ]
    return markdown(("seconds", *took), rows)


def _validation(target: dict[str, Any]) -> str:
    if target["value"] is None:
        return f"- {target['what']}: {target['outcome']}"
    bound = f"at {'least' if target['is_least'] else 'most'} {target['bound']:g}"
    return f"- {target['what']}: {target['value']:.2f}, {bound}: {target['outcome']}"


def plot(results: dict[str, Any]) -> None:
    """Seconds of a build and of an hour by size, on each side."""
    import matplotlib as mpl  # noqa: PLC0415 - only who measures has it
    from matplotlib import pyplot as plt  # noqa: PLC0415
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "meshflow", "font.size": 9})
    sizes = results["settings"]["sizes"]
    figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for panel, case in zip(panels, ("build", "hour"), strict=True):
        for side, colour in (("limit", "#8a8a8a"), ("ours", "#0b6e4f"), ("dbt", "#d1603d")):
            seconds = [results["steps"][f"{size}/{case}/{side}"]["wall_seconds"]["median"] for size in sizes]
            panel.plot(sizes, seconds, marker="o", color=colour, label=SIDES[side])
        panel.set(title=CASES[case], xscale="log", yscale="log", xlabel="order lines", ylabel="seconds, with start-up")
        panel.set_xticks(sizes, labels=[f"{size / 1e6:g} million" for size in sizes])
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.grid(visible=True, alpha=0.2)
    panels[0].legend(frameon=False)
    figure.savefig(PLOT, metadata={"Date": None, "Description": fingerprint(results)})
    plt.close(figure)
    PLOT.write_text("\n".join(line.rstrip() for line in PLOT.read_text().splitlines()) + "\n")


def fingerprint(results: dict[str, Any]) -> str:
    """Of the figures that the plot shows; stands in it, so that a test can tell whose it is."""
    return hashlib.sha256(json.dumps(results["steps"], sort_keys=True).encode()).hexdigest()
