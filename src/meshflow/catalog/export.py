"""The catalog for other tools: OpenLineage events, and dbt's manifest.json and catalog.json.

Names of tables have their database, 'analytics.retail.fct_sales', in the catalog's spelling.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from meshflow.catalog.contents import Audit, Catalog, Model, Upstream
from meshflow.catalog.lineage import DIRECT

OPENLINEAGE = "https://openlineage.io/spec"
DBT = "https://schemas.getdbt.com/dbt"
PRODUCER = f"https://pypi.org/project/meshflow/{version('meshflow')}"
MATERIALIZATIONS = {"VIEW": "view", "FULL": "table", "EMBEDDED": "ephemeral", "SEED": "seed", "CUSTOM": "incremental"}
"""dbt's word for SQLMesh's kind of model; any other kind is incremental."""


class OpenLineage:
    """One event for each model, as it is designed: https://openlineage.io/docs/spec/static-lineage."""

    def __init__(self, catalog: Catalog, namespace: str) -> None:
        """`namespace` is that of the datasets, such as snowflake://org-account; events are as of the build."""
        self.catalog = catalog
        self.namespace = namespace
        self.tables = {model.name: table_name(model) for model in catalog.models}

    def events(self) -> Iterator[dict[str, Any]]:
        """A JobEvent for each model with a query or Python, a DatasetEvent for a seed or source table."""
        for model in self.catalog.models:
            if model.kind in {"SEED", "EXTERNAL"}:
                yield self._event("DatasetEvent", dataset=self._dataset(model.name, self._facets(model)))
            else:
                yield self._event(
                    "JobEvent",
                    job={"namespace": self.catalog.project, "name": model.name, "facets": self._job_facets(model)},
                    inputs=[self._dataset(parent) for parent in model.upstream],
                    outputs=[self._dataset(model.name, self._facets(model) | self._lineage(model))],
                )

    def _event(self, kind: str, **contents: Any) -> dict[str, Any]:
        return {
            "eventTime": self.catalog.built_at.isoformat(),
            "producer": PRODUCER,
            "schemaURL": f"{OPENLINEAGE}/2-0-2/OpenLineage.json#/$defs/{kind}",
            **contents,
        }

    def _dataset(self, name: str, facets: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"namespace": self.namespace, "name": self.tables.get(name, name), "facets": facets or {}}

    def _facets(self, model: Model) -> dict[str, Any]:
        fields = [
            {"name": column.name, "type": column.type, "description": column.description} for column in model.columns
        ]
        facets = {"schema": _facet("SchemaDatasetFacet", "1-2-0", fields=fields)}
        if model.description:
            facets["documentation"] = _facet("DocumentationDatasetFacet", "1-1-0", description=model.description)
        if model.owner:
            owners = [{"name": model.owner, "type": "OWNER"}]
            facets["ownership"] = _facet("OwnershipDatasetFacet", "1-0-1", owners=owners)
        return facets

    def _lineage(self, model: Model) -> dict[str, Any]:
        fields = {
            column.name: {"inputFields": self._inputs(column.upstream)} for column in model.columns if column.upstream
        }
        rows = self._inputs(model.rows_upstream)
        return {"columnLineage": _facet("ColumnLineageDatasetFacet", "1-2-0", fields=fields, dataset=rows)}

    def _inputs(self, upstream: Iterable[Upstream]) -> list[dict[str, Any]]:
        return [
            {
                "namespace": self.namespace,
                "name": self.tables.get(one.model, one.model),
                "field": one.column,
                "transformations": [
                    {"type": "DIRECT" if subtype in DIRECT else "INDIRECT", "subtype": subtype}
                    for subtype in one.transformations
                ],
            }
            for one in upstream
        ]

    def _job_facets(self, model: Model) -> dict[str, Any]:
        facets = {
            "jobType": _facet(
                "JobTypeJobFacet", "2-0-4", processingType="BATCH", integration="SQLMESH", jobType="MODEL"
            )
        }
        if model.rendered:
            engine, query = next(iter(model.rendered.items()))
            facets["sql"] = _facet("SQLJobFacet", "1-1-0", query=query, dialect=engine.lower())
        return facets


def _facet(name: str, facet_version: str, **properties: Any) -> dict[str, Any]:
    url = f"{OPENLINEAGE}/facets/{facet_version}/{name}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **properties}


class Dbt:
    """dbt's artifacts, with models, seeds, sources, and audits as tests. dbt's macros, metrics and so on are empty."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.ids = {model.name: self._id(model) for model in catalog.models}

    def manifest(self) -> dict[str, Any]:
        """manifest.json, version 12."""
        nodes: dict[str, Any] = {}
        sources: dict[str, Any] = {}
        for model in self.catalog.models:
            if model.kind == "EXTERNAL":
                sources[self.ids[model.name]] = self._source(model)
                continue
            nodes[self.ids[model.name]] = self._node(model)
            tests = (self._test(model, audit, number) for number, audit in enumerate(model.audits, start=1))
            nodes |= {test["unique_id"]: test for test in tests}
        parents = {name: node["depends_on"].get("nodes", []) for name, node in nodes.items()}
        parents |= {name: [] for name in sources}
        children: dict[str, list[str]] = {name: [] for name in parents}
        for child, names in parents.items():
            for parent in names:
                children[parent].append(child)
        empty = ("macros", "docs", "exposures", "metrics", "groups", "selectors", "disabled", "group_map")
        return {
            "metadata": self._metadata("manifest/v12") | {"project_name": self.catalog.project},
            "nodes": nodes,
            "sources": sources,
            "parent_map": parents,
            "child_map": children,
            **{name: {} for name in (*empty, "saved_queries", "semantic_models", "unit_tests")},
        }

    def columns(self) -> dict[str, Any]:
        """catalog.json, version 1: the columns with their types."""
        tables = {self.ids[model.name]: self._table(model) for model in self.catalog.models}
        return {
            "metadata": self._metadata("catalog/v1"),
            "nodes": {name: table for name, table in tables.items() if not name.startswith("source.")},
            "sources": {name: table for name, table in tables.items() if name.startswith("source.")},
            "errors": None,
        }

    def _id(self, model: Model) -> str:
        kind = {"SEED": "seed", "EXTERNAL": "source"}.get(model.kind, "model")
        return f"{kind}.{self.catalog.project}.{model.name}"

    def _metadata(self, schema: str) -> dict[str, Any]:
        return {"dbt_schema_version": f"{DBT}/{schema}.json", "generated_at": self.catalog.built_at.isoformat()}

    def _common(self, model: Model) -> dict[str, Any]:
        schema, table = split_name(model)
        return {
            "database": model.database,
            "schema": schema,
            "name": table,
            "resource_type": self.ids[model.name].partition(".")[0],
            "package_name": self.catalog.project,
            "path": model.file,
            "original_file_path": model.file,
            "unique_id": self.ids[model.name],
            "fqn": [self.catalog.project, *model.name.split(".")],
            "description": model.description,
            "columns": {
                column.name: {
                    "name": column.name,
                    "description": column.description,
                    "data_type": column.type or None,
                }
                for column in model.columns
            },
            "tags": model.tags,
            "relation_name": table_name(model),
        }

    def _node(self, model: Model) -> dict[str, Any]:
        node = self._common(model)
        node |= {
            "alias": node["name"],
            "checksum": {"name": "sha256", "checksum": sha256(model.definition.encode()).hexdigest()},
            "config": {
                "materialized": MATERIALIZATIONS.get(model.kind, "incremental"),
                "tags": model.tags,
                "meta": {"owner": model.owner},
            },
            "meta": {"owner": model.owner},
            "raw_code": model.definition,
        }
        if model.kind == "SEED":
            return node | {"depends_on": {"macros": []}}
        return node | {
            "depends_on": {"nodes": self._depends_on(model)},
            "language": "sql" if model.rendered else "python",
            "compiled": bool(model.rendered),
            "compiled_code": next(iter(model.rendered.values()), None),
        }

    def _depends_on(self, model: Model) -> list[str]:
        return [self.ids[name] for name in model.upstream if name in self.ids and name != model.name]

    def _source(self, model: Model) -> dict[str, Any]:
        source = self._common(model)
        return source | {
            "source_name": source["schema"],
            "source_description": "",
            "loader": "",
            "identifier": source["name"],
        }

    def _test(self, model: Model, audit: Audit, number: int) -> dict[str, Any]:
        node = self._common(model)
        # A full stop as two, or the tests of a.b_c and a_b.c would have one name.
        name = f"{audit.name}_{model.name.replace('.', '__')}_{number}"
        return node | {
            "name": name,
            "alias": name,
            "resource_type": "test",
            "unique_id": f"test.{self.catalog.project}.{name}",
            "fqn": [*node["fqn"], name],
            "checksum": {"name": "none", "checksum": ""},
            "description": "",
            "columns": {},
            "relation_name": None,
            "config": {"severity": "error" if audit.blocking else "warn", "materialized": "test"},
            "depends_on": {"nodes": [self.ids[model.name]]},
            "raw_code": audit.query,
            "language": "sql",
            "attached_node": self.ids[model.name],
            "test_metadata": {"name": audit.name, "kwargs": dict(audit.arguments)},
        }

    def _table(self, model: Model) -> dict[str, Any]:
        schema, table = split_name(model)
        return {
            "unique_id": self.ids[model.name],
            "metadata": {
                "type": "VIEW" if model.kind == "VIEW" else "BASE TABLE",
                "database": model.database,
                "schema": schema,
                "name": table,
                "comment": model.description,
                "owner": model.owner,
            },
            "columns": {
                column.name: {
                    "name": column.name,
                    "type": column.type,
                    "index": number,
                    "comment": column.description,
                }
                for number, column in enumerate(model.columns, start=1)
            },
            "stats": {},
        }


def split_name(model: Model) -> tuple[str, str]:
    """Schema and table of 'retail.fct_sales', and of 'raw.retail.sales', whose database is raw."""
    schema, _, table = model.name.rpartition(".")
    return schema.rpartition(".")[2], table


def table_name(model: Model) -> str:
    """With the database: 'analytics.retail.fct_sales'."""
    return ".".join(part for part in (model.database, *split_name(model)) if part)
