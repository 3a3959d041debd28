"""The catalog as a site: one self-contained HTML file."""

import gzip
import json
import re
import zlib
from base64 import b64decode, b64encode
from dataclasses import fields
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from meshflow.catalog.contents import Catalog, Model

ASSETS = files("meshflow.catalog") / "assets"
MAX_BYTES = 200_000_000
"""Of a catalog that is read. One of 500 models has 20 MB; a few KB could unpack to any size."""
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
        with gzip.open(BytesIO(b64decode(found[1]))) as file:
            text = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"Its data are damaged ({error})") from None
    if len(text) > MAX_BYTES:
        raise ValueError(f"Its data have more than {MAX_BYTES:,} bytes")
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(f"Its data are damaged ({error})") from None
    models = data.get("models", []) if isinstance(data, dict) else []
    if not _has_fields(data, Catalog) or not all(_has_fields(model, Model) for model in models):
        raise ValueError("It is a catalog of another version")
    return cast("dict[str, Any]", data)


def _has_fields(data: Any, kind: type[Catalog | Model]) -> bool:
    return isinstance(data, dict) and data.keys() == {field.name for field in fields(kind)}


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
