"""`meshflow report` in Chromium: the figures of the page, as a picture and as text."""

import json
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest
from click.testing import CliRunner, Result
from serving import ROOT
from workspace import Workspace

from meshflow import report as report_module
from meshflow.cli import main
from meshflow.report import Report, mail, read, write

MAIL = {"MESHFLOW_REPORT_FROM": "dashboards@example.org", "MESHFLOW_REPORT_TO": "team@example.org"}
HIDDEN = "quark"
REPORT = Report("Retail", [("Net revenue", "1,234.50 USD", "+9.9%"), ("Units", "7", "")], ["Late <data>"], b"\x89PNG")


@pytest.fixture
def data(built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESHFLOW_DATA", str(built.data))
    return built.data


def report(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, ["report", *arguments])


def read_page(page: str, view: str) -> Report:
    """In a thread of its own: in this one, the tests of other files may have left Playwright's event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(read, page, view, ROOT).result()


def test_a_report_has_the_figures_of_what_is_selected(data: Path, tmp_path: Path) -> None:
    view = "period=last+month&country=Spain"
    found = read_page("retail", view)
    with closing(duckdb.connect()) as connection:
        connection.execute(f"ATTACH '{data}/local_analytics.duckdb' AS ANALYTICS (READ_ONLY)")
        [(net, orders)] = connection.execute(
            "SELECT SUM(net_revenue_amount), COUNT(DISTINCT order_id) FROM ANALYTICS.retail.fct_sales "
            "INNER JOIN ANALYTICS.shared.dim_location USING (location_id) "
            "WHERE country = 'Spain' AND order_date BETWEEN '2026-09-01' AND '2026-09-30'"
        ).fetchall()
    figures = {label: value for label, value, _ in found.figures}
    assert (figures["Net revenue"], figures["Orders"]) == (f"{net:,.2f} USD", f"{orders:,}")
    assert any("2026-09-01 to 2026-09-30." in note for note in found.notes)
    files = write(found, tmp_path / "reports", "retail")
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    width = int.from_bytes(found.png[16:20])
    assert (found.png[:4], width) == (b"\x89PNG", 1280)
    assert f"Net revenue: {net:,.2f} USD (" in (tmp_path / "reports" / "retail.txt").read_text()


def test_a_page_without_a_warehouse_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "PAGE_SECONDS", 20)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("MESHFLOW_DATA", str(tmp_path / "empty"))
    with pytest.raises(click.ClickException, match="The page retail shows no figures: No warehouse found"):
        read_page("retail", "")


@contextmanager
def serve(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_slack_gets_the_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[dict[str, Any]] = []

    class Slack(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Slack)
    monkeypatch.setattr(report_module, "read", lambda *_: REPORT)
    with serve(server):
        webhook = f"http://127.0.0.1:{server.server_port}/"
        assert report("--to", "slack", MESHFLOW_SLACK_WEBHOOK=webhook).exit_code == 0
    assert posted == [{"text": "Retail\n\nNet revenue: 1,234.50 USD (+9.9%)\nUnits: 7\n\nLate &lt;data&gt;"}]


def test_a_mail_has_the_text_and_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a server that speaks as much SMTP as a mail needs."""
    received: list[str] = []

    class Smtp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 test\r\n")
            while line := self.rfile.readline():
                if line.upper().startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    received.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")

    server = socketserver.TCPServer(("127.0.0.1", 0), Smtp)
    for name, value in (MAIL | {"MESHFLOW_SMTP_URL": f"smtp://127.0.0.1:{server.server_address[1]}"}).items():
        monkeypatch.setenv(name, value)
    with serve(server):
        mail(REPORT, "retail-2026-11-30")
        monkeypatch.setenv("MESHFLOW_SMTP_URL", f"smtp://ann:{HIDDEN}@127.0.0.1:{server.server_address[1]}")
        with pytest.raises(click.ClickException, match="offers no encryption"):
            mail(REPORT, "retail-2026-11-30")
    message = message_from_string(received[0])
    assert (message["From"], message["To"]) == ("dashboards@example.org", "team@example.org")
    assert message["Subject"] == "meshflow: Retail"
    text, picture = message.get_payload()
    assert "Net revenue: 1,234.50 USD (+9.9%)" in text.get_payload()
    assert (picture.get_filename(), picture.get_payload(decode=True)) == ("retail-2026-11-30.png", b"\x89PNG")


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("slack", {}, "Set MESHFLOW_SLACK_WEBHOOK"),
        (
            "slack",
            {"MESHFLOW_SLACK_WEBHOOK": "http://127.0.0.1:1/" + HIDDEN},
            "Posting to Slack failed: ConnectionError",
        ),
        ("email", {}, "Set MESHFLOW_SMTP_URL, MESHFLOW_REPORT_FROM, MESHFLOW_REPORT_TO"),
        ("email", MAIL | {"MESHFLOW_SMTP_URL": HIDDEN}, "MESHFLOW_SMTP_URL is no URL of a mail server"),
        (
            "email",
            MAIL | {"MESHFLOW_SMTP_URL": f"smtp://a:{HIDDEN}@127.0.0.1:1"},
            "127.0.0.1 didn't take it: Connection",
        ),
    ],
)
def test_a_target_that_fails_is_one_line_without_secrets(
    monkeypatch: pytest.MonkeyPatch, target: str, settings: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(report_module, "read", lambda *_: REPORT)
    result = report("--to", target, **settings)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert HIDDEN not in result.output


def test_without_a_browser_the_error_names_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "install chromium or" in report().stderr
