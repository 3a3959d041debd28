"""The results as a Markdown table."""

from typing import Any

from report import circumstances, figures, markdown

LARGEST_SHARE = 0.03
"""Of a run."""
NAMES = {"plan": "plan that builds all models", "run": "hourly run"}


def table(results: dict[str, Any]) -> str:
    """Seconds of each step, those of recording, and their share."""
    rows = [
        [
            NAMES[step],
            figures(found["seconds"], 2),
            figures(found["recording_seconds"], 3),
            f"{found['share']['median']:.2%} ({found['share']['minimum']:.2%})",
        ]
        for step, found in results["steps"].items()
    ]
    shares = [found["share"]["median"] for found in results["steps"].values()]
    outcome = "met" if max(shares) <= LARGEST_SHARE else "**missed**"
    return (
        f"{circumstances(results)} The plan once.\n\n"
        f"{results['settings']['sales']:,} order lines. Largest share of recording: {max(shares):.2%}, "
        f"at most {LARGEST_SHARE:.0%}: {outcome}.\n\n"
        f"{markdown(('step', 'seconds', 'seconds of recording', 'share'), rows)}\n"
    )
