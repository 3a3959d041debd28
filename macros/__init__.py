"""Macros for SQL that would be repeated, each under a name that reads better than the SQL."""

import os
import warnings
from pathlib import Path

from sqlmesh.utils.errors import ConfigError

DATA = Path(os.environ.get("MESHFLOW_DATA", "data"))
if not DATA.is_dir():
    # Without this check, DuckDB skips files it cannot create, and SQLMesh raises a traceback about a missing catalog.
    raise ConfigError(
        f"MESHFLOW_DATA: there is no folder '{DATA}'. Create it, or start sqlmesh in the project's folder."
    )

# SQLMesh 0.236 parses the dates of seeds with a pandas argument that pandas 2.3 warns about, twice per column.
warnings.filterwarnings("ignore", message="errors='ignore' is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", message="The argument 'infer_datetime_format' is deprecated", category=UserWarning)
