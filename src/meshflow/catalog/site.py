"""The catalog as a site: one self-contained HTML file."""

import gzip
import json
import re
import zlib
from base64 import b64decode, b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from meshflow.catalog.contents import Catalog

ASSETS = files("meshflow.catalog") / "assets"
SCRIPTS = ("elements.js", "lineage.js", "graphs.js", "search.js", "catalog.js")
"""The page's own, which are one script."""


def page(catalog: Catalog) -> str:
    """The HTML. Its policy allows its own scripts and style by hash, and blocks anything that a text might inject."""
    script = "".join(_asset(name) for name in SCRIPTS)
    graphviz, prism, style = _asset("viz-global.js"), _asset("prism.js"), _asset("catalog.css")
    policy = {
        "default-src": "'none'",
        # For Graphviz, which is WebAssembly.
        "script-src": f"{_hash(graphviz)} {_hash(prism)} {_hash(script)} 'wasm-unsafe-eval'",
        "style-src": _hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        # No text can become markup, whatever the script does. Only Graphviz's drawings may.
        "require-trusted-types-for": "'script'",
        "trusted-types": "graphviz",
    }
    data = json.dumps(catalog.as_dict(), ensure_ascii=False, separators=(",", ":"))
    return _asset("index.html") % {
        "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "style": style,
        # Base64 has no '<', so no text can end the script element. A time of 0 makes equal catalogs equal files.
        "catalog": b64encode(gzip.compress(data.encode(), mtime=0)).decode(),
        "graphviz": graphviz,
        "prism": prism,
        "script": script,
    }


def read(html: str) -> dict[str, Any]:
    """The data of a page, as Catalog.as_dict() returns it. Raises ValueError if it isn't one of this version's."""
    found = re.search(r'<script id="catalog" type="application/gzip;base64">([^<]*)</script>', html)
    if not found:
        raise ValueError("It isn't a catalog, or one of another version")
    try:
        data: dict[str, Any] = json.loads(gzip.decompress(b64decode(found[1])))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Its data are damaged ({error})") from None
    return data


def write(html: str, folder: Path) -> Path:
    """Write index.html to `folder` atomically, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    target, new = folder / "index.html", folder / "index.html.new"
    try:
        new.write_text(html, encoding="utf-8")
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return target


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source expression of the policy that allows exactly this text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
