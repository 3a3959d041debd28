"""The results as Markdown tables and a plot."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import circumstances, figures, markdown

PLOT = Path(__file__).with_name("seconds.svg")
VARIANTS = {"baseline": "baseline", "meshflow": "meshflow", "dbt": "dbt", "dbt_modified": "dbt, modified models"}
"""Names in tables, by key."""
CASES = {
    "build": "Full build",
    "hour": "Hourly incremental run",
    "day": "First run after midnight, with the audits of views",
    "unchanged": "Plan without changes",
    "branch": "One changed mart, in a dev environment",
    "promotion": "Promotion to prod",
}
SIZE = 10_000_000
"""Order lines of the warehouse that most targets are for."""
KINDS = {"queries": ", query", "merges": ", merge", "audits": ", audits"}
SLOWEST = 20
"""Number of parts shown."""


@dataclass(frozen=True)
class Target:
    """A bound on a ratio or a figure. `value` is None if a step that it needs wasn't measured."""

    what: str
    value: float | None
    bound: float
    is_minimum: bool = False
    """Whether the bound is a minimum; otherwise it is a maximum."""

    @property
    def outcome(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if (self.value >= self.bound if self.is_minimum else self.value <= self.bound) else "**missed**"


def targets(steps: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target with its value and outcome."""

    def of(step: str, figure: str, size: int = SIZE) -> float | None:
        found = steps.get(f"{size}/{step}")
        return found[figure]["median"] if found else None

    def ratio(one: float | None, other: float | None) -> float | None:
        return round(one / other, 2) if one is not None and other else None

    def compare(case: str, one: str, other: str, figure: str = "seconds") -> float | None:
        return ratio(of(f"{case}/{one}", figure), of(f"{case}/{other}", figure))

    busy = [of("hour/meshflow", "duckdb_seconds", size) for size in (50_000_000, 1_000_000)]
    written, memory = of("promotion/meshflow", "rows_written"), of("build/meshflow", "peak_mb", 50_000_000)
    found = [
        Target(
            "Full build of 10 million, audits included: meshflow ÷ baseline",
            compare("build", "meshflow", "baseline"),
            1.1,
        ),
        Target("Full build of 10 million: meshflow ÷ dbt", compare("build", "meshflow", "dbt"), 1),
        Target("Hourly run on 10 million, without start-up: meshflow ÷ dbt", compare("hour", "meshflow", "dbt"), 1),
        Target(
            "Hourly run on 10 million, with start-up: meshflow ÷ dbt",
            compare("hour", "meshflow", "dbt", "wall_seconds"),
            0.6,
        ),
        Target("DuckDB seconds of an hourly run: on 50 million ÷ on 1 million", ratio(*busy), 2),
        Target(
            "One mart in a dev environment: dbt, all models ÷ meshflow",
            compare("branch", "dbt", "meshflow"),
            5,
            is_minimum=True,
        ),
        Target(
            "Its promotion: dbt, all models in prod ÷ meshflow",
            compare("promotion", "dbt", "meshflow"),
            20,
            is_minimum=True,
        ),
        Target("Rows written by the promotion", written, 0),
        Target("Peak memory of a full build of 50 million, in GiB", ratio(memory and memory * 1e6, 2**30), 8),
    ]
    return [{**asdict(target), "outcome": target.outcome} for target in found]


def table(results: dict[str, Any]) -> str:
    """Targets, the figures of each case, and where the baseline's time goes."""
    once = f"More than {results['settings']['once_above']:,} order lines once."
    parts = [f"{circumstances(results)} {once}", "", *map(_outcome, results["targets"])]
    for case, title in CASES.items():
        if rows := _rows(results, case):
            parts += ["", f"### {title}", "", markdown(COLUMNS, rows)]
    parts += ["", "### DuckDB seconds of the baseline, by model", "", _parts(results)]
    return "\n".join([*parts, ""])


COLUMNS = (
    "order lines", "variant", "seconds", "DuckDB seconds", "seconds with start-up", "CPU seconds", "peak memory, MB",
    "statements", "rows written", "meshflow ÷ variant",
)  # fmt: skip


def _rows(results: dict[str, Any], case: str) -> list[list[str]]:
    rows = []
    for size in results["settings"]["sizes"]:
        for variant, name in VARIANTS.items():
            if step := results["steps"].get(f"{size}/{case}/{variant}"):
                meshflow = results["steps"][f"{size}/{case}/meshflow"]
                ratio = meshflow["seconds"]["median"] / step["seconds"]["median"]
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
                        "" if variant == "meshflow" else f"{ratio:.2f}",
                    ]
                )
    return rows


def _parts(results: dict[str, Any]) -> str:
    """Seconds of the baseline by part: how those of an hour grow with the history, and which parts take most."""
    sizes = results["settings"]["sizes"]
    columns = [(f"{case}, {size:,}", f"{size}/{case}/baseline") for case in CASES for size in sizes]
    took = {title: results["steps"][step]["parts"] for title, step in columns if step in results["steps"]}
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


def _outcome(target: dict[str, Any]) -> str:
    if target["value"] is None:
        return f"- {target['what']}: {target['outcome']}"
    bound = f"at {'least' if target['is_minimum'] else 'most'} {target['bound']:g}"
    return f"- {target['what']}: {target['value']:.2f}, {bound}: {target['outcome']}"


def plot(results: dict[str, Any]) -> None:
    """Plot the seconds of a full build and of an hourly run by size, for each variant."""
    import matplotlib as mpl  # noqa: PLC0415 - only installed for measuring
    from matplotlib import pyplot as plt  # noqa: PLC0415
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "meshflow", "font.size": 9})
    sizes = results["settings"]["sizes"]
    figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for panel, case in zip(panels, ("build", "hour"), strict=True):
        for variant, colour in (("baseline", "#8a8a8a"), ("meshflow", "#0b6e4f"), ("dbt", "#d1603d")):
            seconds = [results["steps"][f"{size}/{case}/{variant}"]["wall_seconds"]["median"] for size in sizes]
            panel.plot(sizes, seconds, marker="o", color=colour, label=VARIANTS[variant])
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
    """Hash of the results. The plot contains it, so that a test can compare the two."""
    return hashlib.sha256(json.dumps(results["steps"], sort_keys=True).encode()).hexdigest()
