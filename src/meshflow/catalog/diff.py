"""What differs between two catalogs: models, columns, types, descriptions, lineage, audits and SQL."""

from collections.abc import Iterator
from typing import Any

PROPERTIES = ("kind", "settings", "description", "owner", "cron", "start", "grain", "references", "tags")
"""Of a model, in the order in which they are shown."""


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    """One line for each difference, by model. Both are data of built catalogs: meshflow.catalog.site.read."""
    old, new = ({model["name"]: model for model in catalog["models"]} for catalog in (before, after))
    found = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            found[name] = [f"added, with {len(new[name]['columns'])} columns"]
        elif name not in new:
            found[name] = ["removed"]
        elif lines := list(_model(old[name], new[name])):
            found[name] = lines
    return found


def _model(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in PROPERTIES:
        yield from _value(name, old[name], new[name])
    columns, new_columns = ({column["name"]: column for column in model["columns"]} for model in (old, new))
    for name in sorted(columns.keys() | new_columns.keys()):
        if name not in columns:
            yield f"column {name} added: {new_columns[name]['type']}"
        elif name not in new_columns:
            yield f"column {name} removed"
        else:
            before, after = columns[name], new_columns[name]
            yield from _value(f"type of {name}", before["type"], after["type"])
            yield from _value(f"description of {name}", before["description"], after["description"])
            yield from _items(
                f"upstream of {name}",
                _inputs(before["upstream"], is_untraced=before["is_untraced"]),
                _inputs(after["upstream"], is_untraced=after["is_untraced"]),
            )
    yield from _items(
        "rows depend on",
        _inputs(old["rows_upstream"], is_untraced=old["has_untraced_rows"]),
        _inputs(new["rows_upstream"], is_untraced=new["has_untraced_rows"]),
    )
    yield from _items("audit", _audits(old), _audits(new))
    queries, new_queries = ({audit["name"]: audit["query"] for audit in model["audits"]} for model in (old, new))
    for name in sorted(queries.keys() & new_queries.keys()):
        if queries[name] != new_queries[name]:
            yield f"query of audit {name} changed"
    if old["definition"] != new["definition"]:
        yield f"text of {new['file']} changed"


def _value(name: str, before: Any, after: Any) -> Iterator[str]:
    if before != after:
        yield f"{name}: {_text(before)} → {_text(after)}"


def _items(name: str, before: set[str], after: set[str]) -> Iterator[str]:
    for item in sorted(before - after):
        yield f"{name}: {item} removed"
    for item in sorted(after - before):
        yield f"{name}: {item} added"


def _text(value: Any) -> str:
    text = " ".join((", ".join(value) if isinstance(value, list) else str(value)).split())
    return "".join(one if one.isprintable() else "�" for one in text) or "none"  # a terminal would obey the others


def _inputs(upstream: list[dict[str, Any]], *, is_untraced: bool) -> set[str]:
    columns = {f"{one['model']}.{one['column']} ({', '.join(one['transformations'])})" for one in upstream}
    return columns | ({"columns that can't be traced"} if is_untraced else set())


def _audits(model: dict[str, Any]) -> set[str]:
    return {
        f"{audit['name']}({', '.join(f'{name} := {value}' for name, value in audit['arguments'].items())})"
        + ("" if audit["blocking"] else ", non-blocking")
        for audit in model["audits"]
    }
