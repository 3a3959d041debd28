"""Results of benchmarks, for tests."""

import json
from pathlib import Path
from typing import Any


def published(benchmarks: Path, name: str) -> dict[str, Any]:
    """The results in benchmarks/results, which the README shows."""
    results: dict[str, Any] = json.loads((benchmarks / "results" / f"{name}.json").read_text())
    return results
