"""Exports of the catalog, checked with the libraries of those who publish the formats."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from dbt_artifacts_parser.parser import parse_catalog, parse_manifest
from openlineage.client.event_v2 import DatasetEvent, InputDataset, Job, JobEvent, OutputDataset, StaticDataset
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    documentation_dataset,
    job_type_job,
    ownership_dataset,
    schema_dataset,
    sql_job,
)
from openlineage.client.serde import Serde
from sqlmesh.core.context import Context
from workspace import Workspace

from meshflow.cli import main


@pytest.fixture(scope="module")
def context(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    context = built.clone(tmp_path_factory.mktemp("export"), data=False).context()
    yield context
    context.close()


def export(context: Context, folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(
        main, ["catalog", "export", "--paths", str(context.path), "--output", str(folder), *arguments]
    )
    assert result.exit_code == 0, result.output
    return result.output


def facets_of(facets: dict) -> dict:
    """The facets as objects of OpenLineage's client, which has no property that the schemas lack."""

    def fields(name: str, properties: dict) -> object:
        match name:
            case "schema":
                found = [schema_dataset.SchemaDatasetFacetFields(**one) for one in properties["fields"]]
                return schema_dataset.SchemaDatasetFacet(fields=found)
            case "columnLineage":
                return column_lineage_dataset.ColumnLineageDatasetFacet(
                    fields={
                        column: column_lineage_dataset.Fields(inputs(one["inputFields"]))
                        for column, one in properties["fields"].items()
                    },
                    dataset=inputs(properties["dataset"]),
                )
            case "ownership":
                return ownership_dataset.OwnershipDatasetFacet(
                    [ownership_dataset.Owner(**one) for one in properties["owners"]]
                )
        types = {
            "documentation": documentation_dataset.DocumentationDatasetFacet,
            "jobType": job_type_job.JobTypeJobFacet,
            "sql": sql_job.SQLJobFacet,
        }
        return types[name](**properties)

    def inputs(found: list[dict]) -> list[column_lineage_dataset.InputField]:
        return [
            column_lineage_dataset.InputField(
                **one
                | {"transformations": [column_lineage_dataset.Transformation(**use) for use in one["transformations"]]}
            )
            for one in found
        ]

    own = {name: {key: value for key, value in facet.items() if key[0] != "_"} for name, facet in facets.items()}
    return {name: fields(name, properties) for name, properties in own.items()}


def event_of(event: dict) -> DatasetEvent | JobEvent:
    common = {"eventTime": event["eventTime"], "producer": event["producer"]}
    if "dataset" in event:
        dataset = event["dataset"]
        return DatasetEvent(**common, dataset=StaticDataset(**dataset | {"facets": facets_of(dataset["facets"])}))
    return JobEvent(
        **common,
        job=Job(**event["job"] | {"facets": facets_of(event["job"]["facets"])}),
        inputs=[InputDataset(**one) for one in event["inputs"]],
        outputs=[OutputDataset(**one | {"facets": facets_of(one["facets"])}) for one in event["outputs"]],
    )


def without_empty(value: object) -> object:
    """Without empty properties, and the producer of facets: the client fills in its own."""
    if isinstance(value, dict):
        kept = {key: without_empty(one) for key, one in value.items() if key != "_producer"}
        return {key: one for key, one in kept.items() if one not in ({}, [], None)}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


def test_openlineage_events_are_those_that_its_client_writes(context: Context, tmp_path: Path) -> None:
    output = export(context, tmp_path, "--format", "openlineage", "--namespace", "snowflake://org-account")
    assert output == f"Wrote {len(context.models)} models to {tmp_path}/openlineage.jsonl\n"
    events = [json.loads(line) for line in (tmp_path / "openlineage.jsonl").read_text().splitlines()]
    assert len(events) == len(context.models)
    for event in events:
        assert without_empty(json.loads(Serde.to_json(event_of(event)))) == without_empty(event)


def test_openlineage_events_have_the_lineage_of_columns_and_of_rows(context: Context, tmp_path: Path) -> None:
    export(context, tmp_path, "--format", "openlineage", "--namespace", "snowflake://org-account")
    events = [json.loads(line) for line in (tmp_path / "openlineage.jsonl").read_text().splitlines()]
    (event,) = (one for one in events if one.get("job", {}).get("name") == "retail.rpt_net_revenue_by_city")
    (output,) = event["outputs"]
    assert (output["namespace"], output["name"]) == (
        "snowflake://org-account",
        "analytics.retail.rpt_net_revenue_by_city",
    )
    lineage = output["facets"]["columnLineage"]
    sales = {"namespace": "snowflake://org-account", "name": "analytics.retail.fct_sales"}
    assert lineage["fields"]["net_revenue_amount"]["inputFields"] == [
        sales | {"field": "net_revenue_amount", "transformations": [{"type": "DIRECT", "subtype": "AGGREGATION"}]}
    ]
    location = {"type": "INDIRECT", "subtype": "GROUP_BY"}, {"type": "INDIRECT", "subtype": "JOIN"}
    assert sales | {"field": "location_id", "transformations": [*location]} in lineage["dataset"]


def test_dbt_artifacts_have_models_columns_parents_and_audits(context: Context, tmp_path: Path) -> None:
    """dbt_artifacts_parser's classes are made from dbt's published schemas, and forbid what these lack."""
    export(context, tmp_path, "--format", "dbt")
    manifest = parse_manifest(json.loads((tmp_path / "manifest.json").read_text()))
    tables = parse_catalog(json.loads((tmp_path / "catalog.json").read_text()))
    assert len(tables.nodes) + len(tables.sources) == len(context.models)
    sales = manifest.nodes["model.meshflow.retail.fct_sales"]
    assert (sales.database, sales.schema_, sales.name) == ("analytics", "retail", "fct_sales")
    assert sales.depends_on.nodes == ["model.meshflow.intermediate.int_retail__sales_validated"]
    assert sales.columns["net_revenue_amount"].data_type == "DECIMAL(18, 2)"
    assert sales.unique_id in manifest.parent_map["model.meshflow.retail.rpt_net_revenue_by_city"]
    tests = [node for node in manifest.nodes.values() if getattr(node, "attached_node", "") == sales.unique_id]
    assert sorted(test.test_metadata.name for test in tests) == ["not_null", "relationships"]
    assert tables.nodes[sales.unique_id].columns["order_id"].index == 1


def test_tests_of_models_whose_names_differ_by_a_full_stop_only_are_all_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "config.yaml").write_text(
        "gateways: {local: {connection: {type: duckdb}}}\nmodel_defaults: {dialect: snowflake}\n"
    )
    for name in ("a.b_c", "a_b.c"):
        text = f"MODEL (name {name}, kind FULL, audits (not_null(columns := (x)))); SELECT 1::INT AS x"
        (tmp_path / f"models/{name}.sql").write_text(text)
    command = ["catalog", "export", "--paths", str(tmp_path), "--format", "dbt", "--output", str(tmp_path)]
    assert CliRunner().invoke(main, command).exit_code == 0
    nodes = json.loads((tmp_path / "manifest.json").read_text())["nodes"].values()
    assert len([node for node in nodes if node["resource_type"] == "test"]) == 2
