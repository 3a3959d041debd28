"""Names of models, without an import that takes time: errors are described before SQLMesh is loaded."""

import re


def table_name(name: str) -> str:
    """`retail.dim_product` for SQLMesh's name of a model, `"ANALYTICS"."RETAIL"."DIM_PRODUCT"`."""
    return ".".join(part.strip('"') for part in re.findall(r'"[^"]*"|[^."]+', name)[-2:]).lower()
