"""What the SQLMesh extension of VS Code asks `sqlmesh_lsp`, asked as it does: over a pipe."""

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
        """Where `text` stands first after the MODEL header."""
        lines = (self.root / file).read_text(encoding="utf-8").splitlines()
        header = lines.index(");")
        return next(
            types.Position(number, line.index(text) + 1)
            for number, line in enumerate(lines)
            if number > header and text in line
        )

    async def api(self, url: str) -> Any:
        """What the extension's lineage panel asks. Pygls makes tuples of JSON's objects, without names like "A"."B"."""
        answer = await self.protocol.send_request_async("sqlmesh/api", {"requestId": "1", "url": url, "method": "GET"})
        assert answer.error is None
        return answer.data


def texts(answer: object) -> set[str]:
    if isinstance(answer, (list, tuple)):
        return set().union(*map(texts, answer))
    return {answer} if isinstance(answer, str) else set()


def edit(workspace: Workspace, work: Callable[[Editor], Awaitable[Any]]) -> Any:
    """Start the language server as the extension does, have `work` done, and stop it."""

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
            return await work(editor)
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


def test_names_lead_to_their_model_and_lineage_to_the_loaded_column(workspace: Workspace) -> None:
    async def work(editor: Editor) -> tuple[Any, ...]:
        document = editor.open(MART)
        at = editor.position(MART, "retail.rpt_revenue_daily")
        definition = await editor.text_document_definition_async(types.DefinitionParams(document, at))
        hover = await editor.text_document_hover_async(types.HoverParams(document, at))
        tables = await editor.api("/api/lineage/retail.rpt_net_revenue_by_city")
        columns = await editor.api(f"/api/lineage/{MART_FQN}/NET_REVENUE_AMOUNT")
        return definition, hover, tables, columns

    definition, hover, tables, columns = edit(workspace, work)
    assert [Path(link.target_uri).name for link in definition] == ["rpt_revenue_daily.sql"]
    assert "One row per day and place" in hover.contents.value
    assert '"RAW"."RETAIL"."SALES"' in texts(tables)
    assert {"PRICE", "QUANTITY", "DISCOUNT"} <= texts(columns), "as the loaded table calls them, and no other does"
    assert list(workspace.data.iterdir()) == [], "an editor that is open keeps no plan from its database"


def test_what_the_linter_forbids_is_underlined(workspace: Workspace) -> None:
    workspace.edit(MART, "  owner retail_analytics,\n", "")

    async def work(editor: Editor) -> Any:
        return await editor.text_document_diagnostic_async(types.DocumentDiagnosticParams(editor.open(MART)))

    report = edit(workspace, work)
    assert [one for one in report.items if "owner" in one.message]
