"""The catalog as a site: one HTML file that needs nothing else, from a folder or from a server."""

import json
from base64 import b64encode
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

from meshflow.catalog.contents import Catalog

ASSETS = files("meshflow.catalog") / "assets"


def page(catalog: Catalog) -> str:
    """HTML. What runs in it is named by its hash; everything else that a text might smuggle in is rejected."""
    script, graphviz, style = (
        (ASSETS / name).read_text(encoding="utf-8") for name in ("catalog.js", "viz-global.js", "catalog.css")
    )
    policy = {
        "default-src": "'none'",
        # Graphviz is WebAssembly.
        "script-src": f"{_hash(graphviz)} {_hash(script)} 'wasm-unsafe-eval'",
        "style-src": _hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        # Texts can't become markup, whatever the script does, but for what Graphviz has drawn.
        "require-trusted-types-for": "'script'",
        "trusted-types": "graphviz",
    }
    # In JSON '<' stands in texts only: escaped, no text can end the script it stands in.
    data = json.dumps(catalog.plain(), ensure_ascii=False, separators=(",", ":")).replace("<", r"\u003c")
    return (ASSETS / "index.html").read_text(encoding="utf-8") % {
        "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "style": style,
        "catalog": data,
        "graphviz": graphviz,
        "script": script,
    }


def write(html: str, folder: Path) -> Path:
    """Write index.html to `folder`, whole or not at all, and return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    target, new = folder / "index.html", folder / "index.html.new"
    try:
        new.write_text(html, encoding="utf-8")
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return target


def server(html: str, port: int) -> ThreadingHTTPServer:
    """A server of the page on this machine only; port 0 takes a free one."""
    body = html.encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in {"/", "/index.html"}:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: requests are the reader's own."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def _hash(text: str) -> str:
    """A source of the policy: exactly this text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
