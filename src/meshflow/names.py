"""Names of models, without an import that takes time: errors are described before SQLMesh is loaded."""

import re


def name_parts(name: str) -> list[str]:
    """`["analytics", "retail", "dim_product"]` for SQLMesh's name of a model, `"ANALYTICS"."RETAIL"."DIM_PRODUCT"`.

    Every run splits some hundred names, and SQLGlot takes 0.1 ms for one.
    """
    return [part.strip('"').lower() for part in re.findall(r'"[^"]*"|[^."]+', name)]


def table_name(name: str) -> str:
    """`retail.dim_product` for the same."""
    return ".".join(name_parts(name)[-2:])
