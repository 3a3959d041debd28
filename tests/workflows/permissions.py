"""Permissions of a job's token, as GitHub enforces them on a private repository."""

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from itertools import count

from fake_github import FakeGitHub

Permissions = dict[str, str]
"""'read' or 'write' by scope, as in a workflow."""

SCOPES = [
    (r"PUT /pulls/\d+/merge", {"contents"}),
    (r"\w+ /pulls", {"pull-requests"}),
    # GitHub's documents aren't clear about pull-requests here, so it isn't relied on.
    (r"GET /issues/\d+/events", {"issues"}),
    (r"\w+ /(pulls/\d+.*|issues/(\d+|comments/\d+).*)", {"pull-requests", "issues"}),
    (r"\w+ /issues", {"issues"}),
    (r"\w+ /(check-runs.*|commits/[^/]+/check-runs)", {"checks"}),
    (r"\w+ /((commits|compare|git|contents|codeowners)/.*|activity)", {"contents"}),
    (r"\w+ /actions/.*", {"actions"}),
]
"""Scopes of which a request needs one; the first matching pattern counts. Other requests need no permission."""


class Tokens:
    """Tokens of jobs. GitHub rejects requests without the necessary permission, with status 403."""

    def __init__(self, github: FakeGitHub) -> None:
        self._prefix = f"/repos/{github.repository}"
        self._permissions: dict[str, Permissions] = {}
        self._numbers = count(1)
        self.rejected: list[str] = []
        """Rejected requests, with the permissions of their token."""
        github._server.RequestHandlerClass = _guarded(github._server.RequestHandlerClass, self._rejects)  # noqa: SLF001

    def issue(self, permissions: Permissions) -> str:
        token = f"ghs_token_of_job_{next(self._numbers):04}"
        self._permissions[token] = permissions
        return token

    def _rejects(self, method: str, path: str, token: str) -> bool:
        request = f"{method} {path.removeprefix(self._prefix)}"
        needed = next((scopes for pattern, scopes in SCOPES if re.fullmatch(pattern, request)), set())
        allowed = self._permissions.get(token)
        if allowed is not None and (not needed or any(_may(allowed, scope, method) for scope in needed)):
            return False
        self.rejected.append(f"{request}, with {allowed}")
        return True


def _may(allowed: Permissions, scope: str, method: str) -> bool:
    return allowed.get(scope) in ({"read", "write"} if method == "GET" else {"write"})


def _guarded(
    handler: type[BaseHTTPRequestHandler], rejects: Callable[[str, str, str], bool]
) -> type[BaseHTTPRequestHandler]:
    class Guarded(handler):  # type: ignore[misc, valid-type]
        def do_GET(self) -> None:  # noqa: N802 - name of http.server
            token = (self.headers.get("Authorization") or "").rpartition(" ")[2]
            if not rejects(self.command, self.path.partition("?")[0], token):
                super().do_GET()
                return
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = json.dumps({"message": "Resource not accessible by integration"}).encode()
            self.send_response(403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

    return Guarded
