"""Macros for SQL that would be repeated, each under a name that reads better than the SQL."""

import sys
import warnings
from contextlib import suppress
from pathlib import Path

from sqlmesh.core import analytics
from sqlmesh.core.analytics.collector import AnalyticsCollector
from sqlmesh.core.analytics.dispatcher import NoopEventDispatcher

PROJECT = Path(__file__).parents[1]
CACHE, LOGS = PROJECT / ".cache", Path("logs")

with suppress(ModuleNotFoundError):  # not installed for `make ui`, which shows the models and no rows
    from meshflow.environment import data_folder, make_private, read_env

    # Without a folder, DuckDB skips files it can't create, and SQLMesh raises a traceback about a missing catalog.
    data_folder()
    read_env(PROJECT / ".env")
    # SQLMesh creates files that everybody may read. Its logs contain values that couldn't be converted.
    CACHE.mkdir(exist_ok=True)
    for folder in (CACHE, LOGS):
        if folder.exists():
            make_private(folder)

# Without analytics SQLMesh still writes the user's id to the home folder, and fails if that can't be written.
analytics.collector = AnalyticsCollector(NoopEventDispatcher(), CACHE)

# `sqlmesh fetchdf` prints what pandas makes of the result. By default that is the first and last columns and rows only.
if "fetchdf" in sys.argv:
    import pandas as pd  # type: ignore[import-untyped]

    for limit in ("columns", "rows", "colwidth"):
        pd.set_option(f"display.max_{limit}", None)

# SQLMesh 0.236 parses the dates of seeds with a pandas argument that pandas 2.3 warns about, twice per column.
warnings.filterwarnings("ignore", message="errors='ignore' is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message="The argument 'infer_datetime_format' is deprecated", category=UserWarning)
