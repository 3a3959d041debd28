"""The results of benchmarks, for tests of them."""

import json
from pathlib import Path
from typing import Any


def kept(benchmarks: Path, name: str) -> dict[str, Any]:
    """The results that the README shows."""
    results: dict[str, Any] = json.loads((benchmarks / "results" / f"{name}.json").read_text())
    return results
