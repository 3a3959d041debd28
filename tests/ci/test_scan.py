"""`make scan`: the SBOM and the known vulnerabilities of a lock, with a package and a database on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest

ADVISORY = {
    "id": "PYSEC-2026-1",
    "summary": "It is vulnerable.",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [{"package": {"name": "demo", "ecosystem": "PyPI"}, "versions": ["1.0"]}],
}


@contextmanager
def database(vulnerable: bool) -> Iterator[str]:
    """A stand-in for osv.dev, in which demo 1.0 is `vulnerable` or nothing is."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = {"vulns": [{"id": ADVISORY["id"], "modified": ADVISORY["modified"]}]} if vulnerable else {}
            self.respond({"results": [found for _ in body["queries"]]})

        def do_GET(self) -> None:
            self.respond(ADVISORY)

        def respond(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock with one package, whose wheel is next to it."""
    with ZipFile(tmp_path / "demo-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("demo.py", "")
        wheel.writestr("demo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        wheel.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("demo-1.0.dist-info/RECORD", "")
    lock = tmp_path / "demo.lock"
    lock.write_text("demo==1.0 ; python_full_version < '4' \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\n")
    return lock


def scan(project: Path, lock: Path, url: str) -> subprocess.CompletedProcess[str]:
    # uv knows no other package than the wheel.
    settings = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(lock.parent), "UV_NO_CACHE": "1", "UV_HTTP_RETRIES": "0"}
    return subprocess.run(
        [sys.executable, "requirements/scan", lock.parent / "sbom", lock, "--service-url", url],
        cwd=project,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("vulnerable", [False, True])
def test_a_scan_lists_the_packages_of_a_lock_and_fails_for_a_vulnerable_one(
    vulnerable: bool, project: Path, lock: Path
) -> None:
    with database(vulnerable) as url:
        done = scan(project, lock, url)
    assert done.returncode == int(vulnerable), done.stdout + done.stderr
    assert ("PYSEC-2026-1" in done.stdout) == vulnerable
    bill = json.loads((lock.parent / "sbom/demo.cdx.json").read_text())
    assert (bill["bomFormat"], [one["purl"] for one in bill["components"]]) == ("CycloneDX", ["pkg:pypi/demo@1.0"])


def test_a_scan_that_cannot_reach_the_database_is_no_success(project: Path, lock: Path) -> None:
    done = scan(project, lock, "http://127.0.0.1:9/")
    assert done.returncode == 2
    assert done.stderr.endswith("uv audit failed: check the network, the package index and osv.dev\n")
