"""A stand-in for GitHub's issuer of identity tokens, on loopback: GitHub's own can't be had here."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import jwt
from emulated import Keys

EXAMPLE = Path(__file__).parents[2] / "infra" / "snowflake" / "account.example.yaml"


class Issuer:
    """Issues a token to each job that may request one: to the holder of the job's secret, for any audience."""

    def __init__(self, keys: Keys) -> None:
        self._keys, self._numbers = keys, count(1)
        self._environments: dict[str, str] = {}
        [self._repository] = re.findall(r"^github_subject: (\S+)$", EXAMPLE.read_text(), re.MULTILINE)
        self.issued: list[str] = []
        """All tokens, in order."""
        self.lifetime = 300
        """Seconds for which a token is valid, as GitHub's are."""
        self.failures: list[int] = []
        """Status of the next responses."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @contextmanager
    def serving(self) -> Iterator["Issuer"]:
        Thread(target=self._server.serve_forever, daemon=True).start()
        yield self
        self._server.shutdown()
        self._server.server_close()

    def admit(self, environment: str) -> dict[str, str]:
        """The variables of a job in `environment` with the permission `id-token: write`."""
        secret = f"the-secret-of-job-{next(self._numbers):04}-to-request-identity-tokens"
        self._environments[secret] = environment
        # As GitHub's URL, it already has a parameter.
        url = f"http://127.0.0.1:{self._server.server_port}/idtoken?api-version=2.0"
        return {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": secret}

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str]]:
        """Status and content of the response to a request."""
        if self.failures:
            return self.failures.pop(0), {}
        environment = self._environments.get(authorization.removeprefix("bearer "))
        if environment is None:
            return 401, {}
        now, query = int(time.time()), parse_qs(urlsplit(path).query)
        claims = {
            "iss": self._keys.identities["issuer"],
            "aud": query["audience"][0],
            "sub": f"{self._repository}:environment:{environment}",
            "iat": now,
            "exp": now + self.lifetime,
            "jti": f"token-{len(self.issued) + 1}",
        }
        token = jwt.encode(claims, self._keys.private("issuer"), algorithm="RS256")
        self.issued.append(token)
        return 200, {"value": token}


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = issuer.answer(self.path, self.headers.get("Authorization") or "")
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    return Handler
