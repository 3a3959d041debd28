"""Dependencies between models."""

from sqlglot import exp
from sqlmesh.core.dialect import MacroVar, normalize_model_name
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model

# Layers, and the layers whose tables each may read.
ALLOWED_LAYERS = {
    "raw": (),
    "staging": ("raw", "run_log"),
    "intermediate": ("staging", "intermediate"),
    "quarantine": ("intermediate",),
    "history": ("intermediate",),
    "pii": ("intermediate",),
    "shared": ("intermediate", "shared"),
    "edtech": ("intermediate", "shared", "history", "edtech"),
    "retail": ("intermediate", "shared", "history", "retail"),
    "ops": (
        "staging",
        "intermediate",
        "quarantine",
        "history",
        "pii",
        "shared",
        "edtech",
        "retail",
        "ops",
    ),
    "run_log": (),
}


class LayerDependencies(Rule):
    """A model reads only the layers allowed by ALLOWED_LAYERS: marts read validated rows, and there are no cycles.

    Tables that only an audit reads count too, because they are in depends_on.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        layer = _layer(model.fqn)
        if layer not in ALLOWED_LAYERS:
            return [
                self.violation(
                    f"{model.name} is in schema {layer}, which is not a layer: use one of "
                    f"{', '.join(ALLOWED_LAYERS)}, or add it to ALLOWED_LAYERS in linter/layers.py"
                )
            ]
        allowed = ALLOWED_LAYERS[layer]
        dependencies = sorted(model.depends_on or ())
        return [
            self.violation(
                f"{model.name} reads {_display_name(fqn)}: read only from {', '.join(allowed) or 'no layer'}, "
                f"not from {_layer(fqn)}"
            )
            for fqn in dependencies
            if _layer(fqn) not in allowed
        ]


class AuditReadsDependencies(Rule):
    """A table that an audit of a model reads is a dependency of the model.

    In every environment SQLMesh reads any other table through its view in prod. The audit would compare a change with
    the rows of prod before the change, and SQLMesh would not build that table first.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        dependencies = model.depends_on or set()
        violations = []
        for audit, given in model.audits_with_args:
            arguments = {**audit.defaults, **given}
            for name in _table_arguments(audit.query):
                table = arguments[name].sql(dialect=model.dialect)
                fqn = normalize_model_name(table, default_catalog=model.default_catalog, dialect=model.dialect)
                if fqn not in dependencies:
                    violations.append(
                        self.violation(
                            f"{model.name} has the audit {audit.name} with {name} := {table}, but does not depend on "
                            f"that table: add {table} to depends_on"
                        )
                    )
        return violations


def _layer(fqn: str) -> str:
    """The schema; 'raw' for all schemas of the database RAW."""
    table = exp.to_table(fqn)
    return "raw" if table.catalog.lower() == "raw" else table.db.lower()


def _display_name(fqn: str) -> str:
    table = exp.to_table(fqn)
    parts = [table.catalog, table.db, table.name] if _layer(fqn) == "raw" else [table.db, table.name]
    return ".".join(parts).lower()


def _table_arguments(query: exp.Expr) -> list[str]:
    """The arguments that an audit's query reads as tables, `FROM @parent`, except the audited table."""
    sources = (clause.this.this for clause in query.find_all(exp.From, exp.Join))
    names = {source.name for source in sources if isinstance(source, MacroVar)}
    return sorted(names - {"this_model"})
