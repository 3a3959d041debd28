"""Serves the catalog on localhost, and builds it again when a file of the project changes."""

import gzip
import os
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sqlmesh.core import constants as c
from sqlmesh.core.config.common import ALL_CONFIG_FILENAMES

PARTS = (
    *ALL_CONFIG_FILENAMES, c.EXTERNAL_MODELS_YAML, c.EXTERNAL_MODELS_DEPRECATED_YAML, c.EXTERNAL_MODELS, c.MODELS,
    c.MACROS, c.AUDITS, c.TESTS, c.SEEDS, c.SIGNALS, c.METRICS, c.MATERIALIZATIONS, c.LINTER, "docs/glossary.md",
)  # fmt: skip
"""Files and folders that SQLMesh or the catalog reads. SQLMesh writes only to others: .cache, logs and databases."""
HOSTS = {"127.0.0.1", "localhost"}
"""Names in requests of this machine. Another page could have its own name resolve to this machine."""
POLL_SECONDS = 0.5


class CatalogServer(ThreadingHTTPServer):
    """Listens on localhost only. A request waits until there is a page."""

    def __init__(self, port: int) -> None:
        """Listen on `port`, 0 for a free one. Raises OSError if another process does."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.body, self.compressed = b"", b""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of an error, unless the browser has closed its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def show(self, html: str) -> None:
        """Serve this page from the next request on."""
        self.body = html.encode()
        self.compressed = gzip.compress(self.body)


class _Handler(BaseHTTPRequestHandler):
    server: CatalogServer

    def do_GET(self) -> None:
        body = self._send_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._send_headers()

    def _send_headers(self) -> bytes:
        """Send the response up to its body, which is returned."""
        if self.headers.get("Host", "").partition(":")[0] not in HOSTS:
            self.send_error(421)
            return b""
        if self.path.partition("?")[0] not in {"/", "/index.html"}:
            self.send_error(404)
            return b""
        compresses = _accepts_gzip(self.headers.get("Accept-Encoding", ""))
        body = self.server.compressed if compresses else self.server.body
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("Cache-Control", "no-cache")  # a reload shows the newest catalog
        self.send_header("X-Content-Type-Options", "nosniff")
        if compresses:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        return body

    def log_message(self, *_: object) -> None:
        """Don't log: all requests are the user's own."""


def _accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding lists gzip with a quality above 0: 'br, gzip;q=0.5'."""
    for encoding in header.split(","):
        name, _, quality = encoding.partition(";")
        if name.strip().lower() == "gzip":
            return quality.replace(" ", "").lower() not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


class ProjectFiles:
    """The files of a project, and what has changed since this was made or last waited for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known = _files(folder)

    def wait_for_changes(self) -> None:
        """Return when files have changed, and nothing has for POLL_SECONDS: edits that come together are one."""
        before = self.known
        while True:
            time.sleep(POLL_SECONDS)
            found = _files(self.folder)
            if found == self.known != before:
                return
            self.known = found


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Time of change in ns and size in bytes by file."""
    found = {}
    for part in (folder / name for name in PARTS):
        # Not rglob(), which fails if a folder is removed meanwhile.
        files = [Path(root, name) for root, _, names in os.walk(part) for name in names] or [part]
        for file in files:
            if "__pycache__" not in file.parts and not file.name.startswith("."):
                with suppress(FileNotFoundError):
                    state = file.stat()
                    found[file] = (state.st_mtime_ns, state.st_size)
    return found
