"""Requests of SQLMesh's VS Code extension to `sqlmesh_lsp`, sent over a pipe as the extension does."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.lsp.client import BaseLanguageClient
from workspace import Workspace

MART = "models/retail/rpt_net_revenue_by_city.sql"
MART_FQN = '"ANALYTICS"."RETAIL"."RPT_NET_REVENUE_BY_CITY"'


@pytest.fixture(scope="module")
def workspace(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return built.clone(tmp_path_factory.mktemp("editor"), data=False)


class Editor(BaseLanguageClient):
    """An editor with a project open."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__("editor", "1")
        self.root = workspace.path

    def uri(self, file: str) -> str:
        return (self.root / file).as_uri()

    def open(self, file: str) -> types.TextDocumentIdentifier:
        text = (self.root / file).read_text(encoding="utf-8")
        item = types.TextDocumentItem(uri=self.uri(file), language_id="sql", version=1, text=text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return types.TextDocumentIdentifier(self.uri(file))

    def position(self, file: str, text: str) -> types.Position:
        """The first position of `text` after the MODEL header."""
        lines = (self.root / file).read_text(encoding="utf-8").splitlines()
        header = lines.index(");")
        return next(
            types.Position(number, line.index(text) + 1)
            for number, line in enumerate(lines)
            if number > header and text in line
        )

    async def api(self, url: str) -> Any:
        """A request of the extension's lineage panel. Pygls makes tuples of JSON objects, without keys like "A"."B"."""
        response = await self.protocol.send_request_async(
            "sqlmesh/api", {"requestId": "1", "url": url, "method": "GET"}
        )
        assert response.error is None
        return response.data


def texts(data: object) -> set[str]:
    if isinstance(data, (list, tuple)):
        return set().union(*map(texts, data))
    return {data} if isinstance(data, str) else set()


def run_session(workspace: Workspace, requests: Callable[[Editor], Awaitable[Any]]) -> Any:
    """Start the language server as the extension does, await `requests`, and stop it."""

    async def session() -> Any:
        editor = Editor(workspace)
        environment = {**os.environ, "MESHFLOW_DATA": str(workspace.data)}
        server = Path(sys.prefix, "bin", "sqlmesh_lsp")
        await editor.start_io(str(server), cwd=workspace.path, env=environment)
        folder = types.WorkspaceFolder(workspace.path.as_uri(), "meshflow")
        capabilities = types.ClientCapabilities(
            text_document=types.TextDocumentClientCapabilities(diagnostic=types.DiagnosticClientCapabilities())
        )
        await editor.initialize_async(
            types.InitializeParams(capabilities, root_uri=workspace.path.as_uri(), workspace_folders=[folder])
        )
        editor.initialized(types.InitializedParams())
        try:
            return await requests(editor)
        finally:
            await editor.shutdown_async(None)
            editor.exit(None)
            await editor.stop()

    return asyncio.run(session())


def test_the_extension_finds_the_server_where_make_installs_it(project: Path) -> None:
    settings = json.loads((project / ".vscode/settings.json").read_text(encoding="utf-8"))
    bin_ = Path(settings["python.defaultInterpreterPath"].replace("${workspaceFolder}", str(project))).parent
    assert bin_ == project / ".venv/bin"
    assert "tobikodata.sqlmesh" in json.loads((project / ".vscode/extensions.json").read_text())["recommendations"]
    assert Path(sys.prefix, "bin", "sqlmesh_lsp").exists()


def test_a_name_leads_to_its_model_and_lineage_to_the_source_columns(workspace: Workspace) -> None:
    async def requests(editor: Editor) -> tuple[Any, ...]:
        document = editor.open(MART)
        at = editor.position(MART, "retail.fct_sales")
        definition = await editor.text_document_definition_async(types.DefinitionParams(document, at))
        hover = await editor.text_document_hover_async(types.HoverParams(document, at))
        tables = await editor.api("/api/lineage/retail.rpt_net_revenue_by_city")
        columns = await editor.api(f"/api/lineage/{MART_FQN}/NET_REVENUE_AMOUNT")
        return definition, hover, tables, columns

    definition, hover, tables, columns = run_session(workspace, requests)
    assert [Path(link.target_uri).name for link in definition] == ["fct_sales.sql"]
    assert "One row per order line sold" in hover.contents.value
    assert '"RAW"."RETAIL"."SALES"' in texts(tables)
    assert {"PRICE", "QUANTITY", "DISCOUNT"} <= texts(columns), "columns that only the raw table has"
    assert list(workspace.data.iterdir()) == [], "an open editor never locks the database, so plans can run"


def test_linter_findings_are_shown_in_the_editor(workspace: Workspace) -> None:
    workspace.edit(MART, "  owner retail_analytics,\n", "")

    async def requests(editor: Editor) -> Any:
        return await editor.text_document_diagnostic_async(types.DocumentDiagnosticParams(editor.open(MART)))

    report = run_session(workspace, requests)
    assert [item for item in report.items if "owner" in item.message]
