"""Who reads whom."""

from sqlglot import exp
from sqlmesh.core.dialect import MacroVar, normalize_model_name
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model

# Each layer, and the layers it may read: data flows one way, down this table.
MAY_READ = {
    "raw": (),
    "staging": ("raw",),
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
}


class LayersFlowOneWay(Rule):
    """A model reads only the layers before it: what is served has passed the checks, and nothing goes in circles.

    Audits count as readers too, by the depends_on in the header.
    """

    def check_model(self, model: Model) -> list[RuleViolation] | None:
        layer = _layer(model.fqn)
        if layer not in MAY_READ:
            return [
                self.violation(
                    f"{model.name} is in {layer}, which is no layer: use one of {', '.join(MAY_READ)}, "
                    "or say in MAY_READ what it may read (linter/layers.py)"
                )
            ]
        allowed = MAY_READ[layer]
        dependencies = sorted(model.depends_on or ())
        return [
            self.violation(
                f"{model.name} reads {_readable(fqn)}: {layer} may read {', '.join(allowed) or 'nothing'}, "
                f"not {_layer(fqn)}"
            )
            for fqn in dependencies
            if _layer(fqn) not in allowed
        ]


class AuditReadsDependencies(Rule):
    """A table that an audit compares with is a dependency of the model.

    SQLMesh reads any other table through its view in prod, in every environment: the audit would compare a change
    with what prod held before it, and nothing would make the two wait for each other.
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
                            f"{model.name} is audited by {audit.name} with {name} := {table}, on which it doesn't "
                            f"depend: add {table} to depends_on"
                        )
                    )
        return violations


def _layer(fqn: str) -> str:
    """RAW is a database of its own and one layer; elsewhere the schema is the layer."""
    table = exp.to_table(fqn)
    return "raw" if table.catalog.lower() == "raw" else table.db.lower()


def _readable(fqn: str) -> str:
    table = exp.to_table(fqn)
    parts = [table.catalog, table.db, table.name] if _layer(fqn) == "raw" else [table.db, table.name]
    return ".".join(parts).lower()


def _table_arguments(query: exp.Expr) -> list[str]:
    """The arguments that an audit's query reads from, `FROM @parent`, other than the audited table itself."""
    sources = (clause.this.this for clause in query.find_all(exp.From, exp.Join))
    names = {source.name for source in sources if isinstance(source, MacroVar)}
    return sorted(names - {"this_model"})
