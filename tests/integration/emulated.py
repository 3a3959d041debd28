"""Start an emulated Snowflake, query it and read its logs."""

import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import snowflake.connector
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

PYTHON = Path(__file__).parents[2] / ".venv-emulator" / "bin" / "python"
"""The Python of the environment that `make .venv-emulator/installed` creates."""

USERS = ("TRANSFORMER", "LOADER", "CI", "DASHBOARDS", "SNOWDDL")

NEW_ACCOUNT = Path(__file__).parents[2] / "infra" / "snowflake" / "new_account.sql"

IDENTITY = re.compile(r"CREATE USER \"(\w+)\"[^;]*ISSUER = '([^']*)'\s+SUBJECT = '([^']*)'")
"""User, issuer and subject in the DDL of a user who signs in by workload identity."""


@dataclass
class Keys:
    """A temporary certificate authority, a certificate for localhost, and a key pair for each user."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Keys":
        keys = cls(folder)
        authority, server = private_key(), private_key()
        keys.authority.write_bytes(_pem(_certificate("meshflow tests", authority)))
        (folder / "server.key").write_text(pem(server))
        (folder / "server.crt").write_bytes(_pem(_certificate("localhost", server, ("meshflow tests", authority))))
        for user in USERS:
            (folder / user).write_text(pem(private_key()))
        (folder / "issuer").write_text(pem(private_key()))
        return keys

    @property
    def authority(self) -> Path:
        return self.folder / "authority.crt"

    def private(self, user: str) -> str:
        return (self.folder / user).read_text()

    @cached_property
    def public(self) -> dict[str, str]:
        """The public key of every user, PEM."""
        return {user: self._public(user) for user in USERS}

    @property
    def identities(self) -> dict[str, Any]:
        """The users' workload identities, as the DDL of infra/snowflake creates them, and the key of their issuer."""
        found = IDENTITY.findall(NEW_ACCOUNT.read_text())
        [issuer] = {issuer for _, issuer, _ in found}
        return {
            "issuer": issuer,
            "key": self._public("issuer"),
            "subjects": {subject: user for user, _, subject in found},
        }

    def _public(self, name: str) -> str:
        key = serialization.load_pem_private_key(self.private(name).encode(), None).public_key()
        encoding, format_ = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_bytes(encoding, format_).decode()


def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey, passphrase: str = "") -> str:
    protection = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection).decode()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(
    name: str, key: rsa.RSAPrivateKey, signer: tuple[str, rsa.RSAPrivateKey] | None = None
) -> x509.Certificate:
    signer_name, signer_key = signer or (name, key)
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, signer_name))
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    if signer:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer_key, hashes.SHA256())


@dataclass
class Snowflake:
    """An emulator with the empty databases of a new account."""

    keys: Keys
    log: Path
    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, keys: Keys, folder: Path) -> "Snowflake":
        """Start an emulator. Its logs go to `folder`."""
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = folder / "statements.jsonl"
        arguments = ["--port", str(port), "--ssl-keyfile", keys.folder / "server.key"]
        arguments += ["--ssl-certfile", keys.folder / "server.crt", "--log-level", "warning"]
        with (folder / "emulator.log").open("w") as output:
            process = subprocess.Popen(
                [PYTHON, "-m", "uvicorn", "emulator:app", *arguments],
                cwd=Path(__file__).parent,
                env=os.environ
                | {
                    "EMULATOR_LOG": str(log),
                    "EMULATOR_USERS": json.dumps(keys.public),
                    "EMULATOR_IDENTITIES": json.dumps(keys.identities),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        emulator = cls(keys, log, port, process)
        while not emulator._is_listening():
            assert process.poll() is None, (folder / "emulator.log").read_text()
            time.sleep(0.1)
        emulator.query("CREATE DATABASE RAW")
        return emulator

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which SQLMesh and the loader use it."""
        return {
            "MESHFLOW_SNOWFLAKE_ACCOUNT": "emulated",
            "MESHFLOW_SNOWFLAKE_USER": "TRANSFORMER",
            "MESHFLOW_SNOWFLAKE_PRIVATE_KEY": self.keys.private("TRANSFORMER"),
            "MESHFLOW_SNOWFLAKE_LOADER_USER": "LOADER",
            "MESHFLOW_SNOWFLAKE_LOADER_PRIVATE_KEY": self.keys.private("LOADER"),
            "MESHFLOW_SNOWFLAKE_HOST": "localhost",
            "MESHFLOW_SNOWFLAKE_PORT": str(self.port),
            "REQUESTS_CA_BUNDLE": str(self.keys.authority),
        }

    def query(self, statement: str, role: str = "SNOWDDL_ADMIN") -> list[tuple[Any, ...]]:
        """The rows of a statement, sent by a user that has every role."""
        with self.session(role) as execute:
            return execute(statement)

    @contextmanager
    def session(self, role: str) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
        """A function that executes statements with a role, in one session."""
        with closing(
            snowflake.connector.connect(
                account="emulated",
                host="localhost",
                port=self.port,
                user="TEST",
                password="emulated",
                database="ANALYTICS",
                role=role,
            )
        ) as connection:
            yield lambda statement: list(connection.cursor().execute(statement).fetchall())

    def statements(self, user: str = "TRANSFORMER") -> list[str]:
        """Every statement that `user` has sent so far, in order."""
        return [entry["statement"] for entry in self.entries() if entry["user"] == user]

    @contextmanager
    def sent(self, user: str = "TRANSFORMER") -> Iterator[list[str]]:
        """Every statement that SQLMesh, or another user, sends while the block runs, without its comments."""
        start, statements = len(self.statements(user)), list[str]()
        yield statements
        statements += [re.sub(r"/\*.*?\*/", "", sql).strip() for sql in self.statements(user)[start:]]

    def definitions(self, schema: str = "") -> dict[str, str]:
        """The queries of the views in prod's schemas, or in one schema, by `SCHEMA.VIEW`."""
        rows = self.query("SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM ANALYTICS.INFORMATION_SCHEMA.VIEWS")
        return {
            f"{view_schema}.{view}": text
            for view_schema, view, text in rows
            if (view_schema == schema if schema else "__" not in view_schema and not view_schema.startswith("SQLMESH_"))
        }

    def entries(self) -> list[dict[str, Any]]:
        """Every statement with its user and session, and whether the emulator accepted it without executing it."""
        return [entry for entry in self._log() if "statement" in entry]

    def logins(self, user: str = "TRANSFORMER") -> list[dict[str, Any]]:
        """Every login with its session parameters, role and warehouse."""
        return [entry for entry in self._log() if entry.get("login") == user]

    def _log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def fail(self, *faults: dict[str, Any]) -> None:
        """Make the next login, or the next matching statement, fail. Each fault occurs once."""
        request = urllib.request.Request(
            f"https://localhost:{self.port}/faults", json.dumps(faults).encode(), method="POST"
        )
        context = ssl.create_default_context(cafile=str(self.keys.authority))
        urllib.request.urlopen(request, context=context).close()  # noqa: S310

    def _is_listening(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
