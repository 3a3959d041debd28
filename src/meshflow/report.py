"""A page of the dashboards as a picture, with its figures as text: `meshflow report`, for a scheduler.

A browser opens the page as a person does, so a report shows what the page shows.
"""

import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import SplitResult, unquote, urlsplit

import click

from meshflow import slack

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOME = "retail"
"""The page at the address of the dashboards."""
WIDTH = 1280
"""Pixels."""
START_SECONDS = 60
MAIL_SECONDS = 30
PAGE_SECONDS = 120
"""Also for the copy of a warehouse of tens of millions of rows."""
MAIL = ("MESHFLOW_SMTP_URL", "MESHFLOW_REPORT_FROM", "MESHFLOW_REPORT_TO")
"""smtp:// or smtps:// with user and password, and two addresses."""

READY = "[data-testid=stApp][data-test-script-state=notRunning]"
FIGURES = """metrics => metrics.map(metric => {
    const text = part => metric.querySelector(`[data-testid=stMetric${part}]`)?.innerText.trim() ?? "";
    return [text("Label"), text("Value"), text("Delta")];
})"""
NOTES = """() => {
    const chart = document.querySelector("[data-testid=stMain] h2");
    const isAbove = note => chart === null || note.compareDocumentPosition(chart) & Node.DOCUMENT_POSITION_FOLLOWING;
    const notes = document.querySelectorAll(
        "[data-testid=stMain] :is([data-testid=stMarkdown], [data-testid=stCaptionContainer], [data-testid=stAlert])"
    );
    return [...new Set([...notes].filter(isAbove).map(note => note.innerText.replace(/\\s+/g, " ").trim()))];
}"""
"""What the page says about its figures: the period, how far tables are processed, what has failed or is late."""


@dataclass(frozen=True)
class Report:
    """A page at one point in time."""

    title: str
    figures: list[tuple[str, str, str]]
    """Label, value and change, as shown; the change is empty if there is none."""
    notes: list[str]
    png: bytes

    @property
    def text(self) -> str:
        lines = [f"{label}: {value}{f' ({change})' if change else ''}" for label, value, change in self.figures]
        return "\n".join([self.title, "", *lines, "", *self.notes])


def read(page: str, view: str, project: Path) -> Report:
    """The page of that name, such as `retail`, with a query string such as `period=last+month`.

    Raises click.ClickException if there is no browser, or the page shows no figure within PAGE_SECONDS.
    """
    try:
        from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - needed here only
    except ImportError:
        raise click.ClickException("Reports need Playwright: run `make .venv/browser.installed`") from None
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise click.ClickException(f"Reports need a browser: install {' or '.join(BROWSERS)}")
    with _dashboards(project) as address, sync_playwright() as playwright:
        # Chromium has no sandbox for root.
        sandbox = os.geteuid() != 0
        with closing(playwright.chromium.launch(executable_path=browser, chromium_sandbox=sandbox)) as opened:
            shown = opened.new_page(viewport={"width": WIDTH, "height": 800})
            shown.set_default_timeout(PAGE_SECONDS * 1000)
            try:
                shown.goto(f"{address}/{'' if page == HOME else page}?{view}")
                shown.locator("h1").wait_for()
                shown.locator(f"{READY} [data-testid=stMetric]").first.wait_for()
                shown.wait_for_function("() => !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')")
            except Error as error:
                reason = shown.locator("[data-testid=stAlert]").all_inner_texts() or [str(error).splitlines()[0]]
                text = "; ".join(" ".join(one.split()) for one in reason)
                raise click.ClickException(f"The page {page} shows no figures: {text}") from None
            height = shown.get_by_test_id("stMain").evaluate("main => main.scrollHeight")
            shown.set_viewport_size({"width": WIDTH, "height": height})
            shown.wait_for_timeout(1000)  # charts are drawn again at another size
            figures = shown.get_by_test_id("stMetric").evaluate_all(FIGURES)
            return Report(
                shown.locator("h1").inner_text(),
                [(label, value, change) for label, value, change in figures],
                [note for note in shown.evaluate(NOTES) if note],
                shown.screenshot(animations="disabled"),
            )


def write(report: Report, folder: Path, name: str) -> list[Path]:
    """Write `name`.png and `name`.txt, for their owner only, and return their paths."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {folder / f"{name}.png": report.png, folder / f"{name}.txt": f"{report.text}\n".encode()}
    for path, content in files.items():
        path.touch(mode=0o600)
        path.write_bytes(content)
    return list(files)


def post_to_slack(report: Report) -> None:
    """Post the text: a webhook takes no pictures. Raises click.ClickException if WEBHOOK isn't set, or that fails."""
    [webhook] = _variables(slack.WEBHOOK)
    slack.post(webhook, report.text)


def mail(report: Report, name: str) -> None:
    """Send text and picture as MAIL says. Raises click.ClickException if that isn't set or fails."""
    url, sender, recipient = _variables(*MAIL)
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = f"meshflow: {report.title}", sender, recipient
    message.set_content(report.text)
    message.add_attachment(report.png, maintype="image", subtype="png", filename=f"{name}.png")
    server = urlsplit(url)
    if server.scheme not in {"smtp", "smtps"} or not server.hostname:
        raise click.ClickException(f"{MAIL[0]} is no URL of a mail server: use smtps://user:password@host:465")
    try:
        with _connect(server) as connection:
            if server.username:
                connection.login(unquote(server.username), unquote(server.password or ""))
            connection.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise click.ClickException(
            f"The mail server {server.hostname} didn't take it: {type(error).__name__}"
        ) from None


def _connect(server: SplitResult) -> smtplib.SMTP:
    """Raises click.ClickException if a password would be sent without encryption."""
    host, port, verified = server.hostname or "", server.port or 0, ssl.create_default_context()
    if server.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=MAIL_SECONDS, context=verified)
    connection = smtplib.SMTP(host, port, timeout=MAIL_SECONDS)
    connection.ehlo()
    if connection.has_extn("starttls"):
        connection.starttls(context=verified)
    elif server.username:
        connection.close()
        raise click.ClickException(f"The mail server {host} offers no encryption: use smtps://")
    return connection


def _variables(*names: str) -> list[str]:
    """Raises click.ClickException with those that aren't set."""
    if missing := [name for name in names if not os.environ.get(name)]:
        raise click.ClickException(f"Set {', '.join(missing)}")
    return [os.environ[name] for name in names]


@contextmanager
def _dashboards(project: Path) -> Iterator[str]:
    """Serve the project's dashboards on this machine, and yield their address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboards/server.py", "--server.port", str(port)]
    address = f"http://localhost:{port}"
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=project, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
        try:
            for _ in range(START_SECONDS * 10):
                if process.poll() is not None:
                    break
                with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):  # noqa: S310
                    yield address
                    return
                time.sleep(0.1)
            log.seek(0)
            reason = (log.read().strip().splitlines() or ["no output"])[-1]
            raise click.ClickException(
                f"The dashboards didn't start, is `make .venv/dashboards.installed` done? {reason}"
            )
        finally:
            process.terminate()
            process.wait()
