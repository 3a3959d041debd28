"""A Snowflake on loopback: fakesnow 0.12.1, and what SQLMesh's adapter, dlt and write_pandas need beyond it.

An ASGI app in an environment of its own (requirements/emulator.lock), because fakesnow needs other versions of DuckDB
and SQLGlot than SQLMesh. It patches fakesnow's internals, so fakesnow is pinned exactly.

It logs every login and statement to the file EMULATOR_LOG as a line of JSON: {"login", "authenticator", "token_id",
"parameters", "warehouse", "roleName"} or {"statement", "user", "role", "session", "unchecked"}. `unchecked` is true
where the emulator accepts a statement without executing it, so that no test mistakes this for a proof. grants.py has
what each role may do. POST /faults makes the next login or matching statement fail as Snowflake would, or closes its
connection. EMULATOR_USERS contains the users that may log in and their keys, EMULATOR_IDENTITIES those that log in by
workload identity.
"""

import base64
import gzip
import hashlib
import json
import os
import re
from contextlib import suppress
from glob import glob
from pathlib import Path
from string import Template
from typing import Any

import duckdb
import fakesnow.arrow
import fakesnow.cursor
import fakesnow.info_schema
import fakesnow.macros
import fakesnow.server
import fakesnow.transforms
import jwt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlglot
from cryptography.hazmat.primitives import serialization
from fakesnow.transforms import stage
from grants import ADMINISTRATOR, Grants, Session
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

LOG = Path(os.environ["EMULATOR_LOG"]).open("a", encoding="utf-8")  # noqa: SIM115 - open as long as the server
USERS: dict[str, str] = json.loads(os.environ.get("EMULATOR_USERS", "{}"))
"""The public key, PEM, of every user that may log in."""

IDENTITIES: dict[str, Any] = json.loads(os.environ.get("EMULATOR_IDENTITIES", "{}"))
"""The issuer of identity tokens, its public key, PEM, and the users by subject."""

ACCOUNT = "emulated"

INFRASTRUCTURE = Path(__file__).parents[2] / "infra/snowflake"
GRANTS = Grants.of("".join((INFRASTRUCTURE / name).read_text("utf-8") for name in ("bootstrap.sql", "new_account.sql")))

SESSIONS: dict[str, Session] = {}
"""Each session by its token."""
NOBODY = Session("", "", frozenset())

FAULTS: list[dict[str, Any]] = []
"""Faults, each of which occurs once: {"statement": a regular expression, or "login": true; "code": …, "message": …}.

Without a code, the connection closes before the response is complete.
"""

HEAD = r"^(\s*(?:/\*.*?\*/\s*)?)"
"""SQLMesh begins a statement with a comment that identifies the plan."""

DONE = "SELECT 'Statement executed successfully.' AS status"

UNCHECKED = [
    re.compile(HEAD + kind, re.DOTALL | re.IGNORECASE)
    for kind in (
        r"ALTER\s+SESSION\s+(SET|UNSET)\s+(?!AUTOCOMMIT)",
        r"USE\s+SECONDARY\s+ROLES\b",
        r"ALTER\s+TABLE\s+\S+\s+(DROP\s+CLUSTERING\s+KEY|CLUSTER\s+BY)\b",
    )
]
"""Kinds of statements that the emulator accepts without executing them."""
ADMINISTRATION = re.compile(
    HEAD + r"((GRANT|REVOKE)\b(?!.*\bON (\w+ \w+ IN )?(DATABASE|SCHEMA|TABLE|VIEW) )|(CREATE|ALTER|DROP)\s+"
    r"(OR\s+REPLACE\s+)?(ROLE|USER|WAREHOUSE|RESOURCE\s+MONITOR|MASKING\s+POLICY|TAG)\b)",
    re.DOTALL | re.IGNORECASE,
)
"""Those of them that an administrator alone may send."""

REWRITTEN = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), replacement)
    for pattern, replacement in (
        (HEAD + r'USE\s+("?[\w$]+"?)\s*$', r"\1USE DATABASE \2"),
        (HEAD + r"(CREATE\s+(?:OR\s+REPLACE\s+)?)TEMP(?:ORARY)?\s+TABLE\b", r"\1\2TABLE"),
        (r"'(@[^']+)'", r"\1"),  # stages in quotes
        (HEAD + r"(CREATE) TRANSIENT (SCHEMA .*?) DATA_RETENTION_TIME_IN_DAYS = 0$", r"\1\2 \3"),
        (r"\bFILE_FORMAT\s*=\s*\(\s*(TYPE\s*=\s*'?\w+'?)[^)]*\)", r"FILE_FORMAT = (\1)"),  # options of reading Parquet
        (r"\b(MATCH_BY_COLUMN_NAME\s*=\s*)'(\w+)'", r"\1\2"),
        (r"\bTO_NUMBER\((.*?), 'X+'\)", r"_emulated_hex(\1)"),
        (r"\bDATE_PART\(EPOCH_MICROSECOND, (\w+)\)", r"_emulated_epoch_us(\1)"),
        (r"\bCURRENT_ROLE\(\)", "getvariable('session_role')"),
        (r"\bCURRENT_WAREHOUSE\(\)", "'EMULATED_WAREHOUSE'"),
        (r"[\w\"]+\.INFORMATION_SCHEMA\.TABLE_PRIVILEGES\b", "_fs_global.main.grants"),
    )
]
GRANT = re.compile(HEAD + r"(?:GRANT|REVOKE) .* ON ", re.IGNORECASE)
DDL = re.compile(HEAD + r"(CREATE|ALTER|DROP|COMMENT)\b", re.DOTALL | re.IGNORECASE)
CREATE_DATABASE = re.compile(HEAD + r"CREATE DATABASE (\w+)$", re.IGNORECASE)
DROP_DATABASE = re.compile(HEAD + r"DROP DATABASE (\w+)$", re.IGNORECASE)
REMOVE = re.compile(r"REMOVE @([^/\s]+)/?(.*)$", re.IGNORECASE)
COLUMN_COMMENTS = re.compile(
    HEAD + r"ALTER (?:TABLE|VIEW) (\S+) ALTER (COLUMN .* COMMENT .*)$", re.DOTALL | re.IGNORECASE
)
COMMENT = re.compile(r"""COLUMN "([^"]+)" COMMENT '((?:[^'\\]|\\.|'')*)'""")

_check = fakesnow.cursor.FakeSnowflakeCursor.check_db_and_schema
_execute = fakesnow.cursor.FakeSnowflakeCursor.execute
_integers = fakesnow.transforms.integer_precision
_identifier = fakesnow.transforms.identifier
_timestamps = fakesnow.arrow.timestamp_to_sf_struct
_connect = fakesnow.server.shared_fs.connect
_macros = fakesnow.macros.creation_sql


def macros(catalog: str) -> str:
    """SQL that creates the functions of each database."""
    return f"""
        {_macros(catalog)}
        CREATE OR REPLACE MACRO {catalog}._emulated_hex(digits) AS ('0x' || digits)::BIGINT;
        CREATE OR REPLACE MACRO {catalog}._emulated_epoch_us(ts) AS epoch_us(ts);
        CREATE OR REPLACE MACRO {catalog}.is_role_in_session(role) AS list_contains(getvariable('session_roles'), role);
    """


def execute(cursor: Any, command: str, *arguments: Any, **options: Any) -> Any:
    """FakeSnowflakeCursor.execute, extended to more of Snowflake's SQL."""
    cursor.parameters, cursor.done = options.get("binding_params"), []
    if DDL.match(command):
        # Snowflake ends a transaction first, also one that began with BEGIN.
        with suppress(duckdb.TransactionException):
            cursor._duck_conn.commit()
    command = rewritten(cursor, command)
    if found := COLUMN_COMMENTS.match(command):
        command = comment_columns(cursor, found[2], found[3])
    elif found := GRANT.match(command):
        command = grant(cursor, command[found.end(1) :])
    elif found := REMOVE.match(command):
        command = remove(cursor, *found.groups())
    elif found := DROP_DATABASE.match(command):
        cursor.check_db_and_schema(sqlglot.parse_one(command, read="snowflake"))
        cursor._duck_conn.execute(f"USE memory; DETACH {found[2].upper()}")
        command = DONE
    elif found := CREATE_DATABASE.match(command):
        _execute(cursor, command)
        command = f"CREATE SCHEMA IF NOT EXISTS {found[2].upper()}.PUBLIC"
    elif "infer_schema(" in command:
        command, options["binding_params"] = infer_schema(cursor, options["binding_params"][0]), None
    result = _execute(cursor, command, *arguments, **options)
    for record in cursor.done:
        record()
    return result


def rewritten(cursor: Any, command: str) -> str:
    """The statement in words that fakesnow knows; one that isn't executed only reports success."""
    if ADMINISTRATION.match(command):
        GRANTS.require_administrator(cursor._conn.session)
    if is_unchecked(command):
        return DONE
    for pattern, replacement in REWRITTEN:
        command = pattern.sub(replacement, command)
    return command


def is_unchecked(command: str) -> bool:
    return bool(ADMINISTRATION.match(command)) or any(kind.match(command) for kind in UNCHECKED)


def check(cursor: Any, statement: exp.Expression) -> None:
    """Raise an error if the statement names no database, or the role lacks a privilege."""
    _check(cursor, statement)
    cursor.done += GRANTS.check(cursor._conn.session, statement, lambda table, kind: name_of(cursor, table, kind))


def name_of(cursor: Any, table: exp.Table, kind: str) -> str:
    """The full name of an object, in upper case, as the emulator finds names in any case."""
    if isinstance(table.this, exp.DynamicIdentifier):
        # IDENTIFIER(?) is the first value of each statement that the connector sends with it.
        argument = table.this.this
        text = cursor.parameters[0] if isinstance(argument, exp.Placeholder) else argument.name
        table = exp.to_table(text, dialect="snowflake")
    return full_name(cursor, [part.name for part in table.parts], kind)


def full_name(cursor: Any, parts: list[str], kind: str = "") -> str:
    length = {"DATABASE": 1, "SCHEMA": 2}.get(kind, 3)
    current = [cursor._conn.database or "", cursor._conn.schema or ""]
    return ".".join([*current[: length - len(parts)], *parts]).upper()


def grant(cursor: Any, statement: str) -> str:
    """Grant or revoke a privilege. INFORMATION_SCHEMA shows those on tables and views."""
    session = cursor._conn.session
    verb, privilege, name, role = GRANTS.grant(session, statement)
    if name.count(".") == 2:
        row = [privilege, *name.split("."), role]
        cursor._duck_conn.execute(
            "DELETE FROM _fs_global.main.grants "
            "WHERE (privilege_type, table_catalog, table_schema, table_name, grantee) = (?, ?, ?, ?, ?)",
            row,
        )
        if verb == "GRANT":
            cursor._duck_conn.execute(
                "INSERT INTO _fs_global.main.grants VALUES (?, ?, ?, ?, ?, ?)", [session.role, *row]
            )
    return DONE


def remove(cursor: Any, location: str, path: str) -> str:
    """Delete the staged files whose path begins with `path`."""
    parts = stage.parts_from_var(location, cursor._conn.database, cursor._conn.schema)
    folder = stage.internal_dir(".".join(parts))
    for file in Path(folder).rglob("*"):
        if file.is_file() and str(file).startswith(f"{folder}{path}"):
            file.unlink()
    return DONE


def comment_columns(cursor: Any, table: str, actions: str) -> str:
    GRANTS.require(cursor._conn.session, "OWNERSHIP", full_name(cursor, table.replace('"', "").split(".")))
    for column, quoted in COMMENT.findall(actions):
        text = re.sub(r"\\(.)", r"\1", quoted.replace("''", "'")).replace("'", "''")
        cursor._duck_conn.execute(f"""COMMENT ON COLUMN {table}."{column}" IS '{text}'""")
    return DONE


def infer_schema(cursor: Any, location: str) -> str:
    """A query of the columns of a staged Parquet file, as write_pandas expects it."""
    parts = stage.parts_from_var(location[1:], cursor._conn.database, cursor._conn.schema)
    file = glob(stage.internal_dir(".".join(parts)) + "*")[0]  # noqa: PTH207
    columns = ", ".join(f"('{field.name}', '{snowflake_type(field.type)}')" for field in pq.read_schema(file))
    return f"SELECT * FROM (VALUES {columns}) AS t (COLUMN_NAME, TYPE)"


def snowflake_type(type_: pa.DataType) -> str:
    if pa.types.is_decimal(type_):
        return f"NUMBER({type_.precision},{type_.scale})"
    kinds = {
        "integer": "NUMBER(38,0)",
        "floating": "FLOAT",
        "boolean": "BOOLEAN",
        "date": "DATE",
        "timestamp": "TIMESTAMP_NTZ",
    }
    return next((name for kind, name in kinds.items() if getattr(pa.types, f"is_{kind}")(type_)), "VARCHAR")


def identifier(node: exp.Expression, parameters: Any) -> exp.Expression:
    """Split IDENTIFIER('"A"."B"') into its parts, which fakesnow treats as one name."""
    result = _identifier(node, parameters)
    if result is not node and '"."' in result.name:
        return exp.to_table(f'"{result.name}"', dialect="snowflake")
    return result


def integers(node: exp.Expression) -> exp.Expression:
    """Keep the 38 digits of NUMBER(38, 0). fakesnow gives it 64 bits, as it does all integers."""
    return node if isinstance(node, exp.DataType) and node.is_type("DECIMAL(38, 0)") else _integers(node)


def unchanged(node: exp.Expression) -> exp.Expression:
    """Leave the node as it is. fakesnow would sum NUMBER as DOUBLE, and ignore which characters TRIM removes."""
    return node


def timestamps(values: Any) -> pa.StructArray:
    """Timestamps as the connector reads them. fakesnow returns NULL as 1970, which breaks histories."""
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    struct = _timestamps(values)
    fields = [pc.fill_null(struct.field(i), 0) for i in range(struct.type.num_fields)]
    return pa.StructArray.from_arrays(fields, fields=list(struct.type), mask=pc.is_null(values))


def unhandled(message: str, exc_info: BaseException | None = None) -> None:
    """Return fakesnow's own errors as SQL errors, because the connector retries forever after an HTTP 500."""
    raise ProgrammingError(f"{type(exc_info).__name__}: {exc_info}")


def write(**entry: Any) -> None:
    LOG.write(json.dumps(entry) + "\n")
    LOG.flush()


def failure(code: str, message: str, state: str = "42000") -> JSONResponse:
    data = {"errorCode": code, "sqlState": state}
    return JSONResponse({"success": False, "code": code, "message": message, "data": data})


def next_fault(**event: str) -> dict[str, Any] | None:
    """Remove and return the fault that is due at this login or statement, if any."""
    for fault in FAULTS:
        if ("login" in event and fault.get("login")) or (
            "statement" in event and fault.get("statement") and re.search(fault["statement"], event["statement"])
        ):
            FAULTS.remove(fault)
            return fault
    return None


async def close_midway(scope: Any, receive: Any, send: Any) -> None:
    """Close the connection in the middle of a response."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})


def fault_response(fault: dict[str, Any], state: str = "42000") -> ASGIApp:
    if "code" not in fault:
        return close_midway
    return failure(fault["code"], fault["message"], fault.get("state", state))


async def body_of(request: Request) -> dict[str, Any]:
    body = await request.body()
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    return json.loads(body)


async def login(request: Request) -> ASGIApp:
    """Log in a user with a valid key pair or workload identity, as Snowflake does, or with any OAuth token."""
    data = (await body_of(request))["data"]
    if fault := next_fault(login=""):
        return fault_response(fault, "08001")
    if data["ACCOUNT_NAME"] != ACCOUNT:
        return JSONResponse({}, 404)
    if data.get("AUTHENTICATOR") == "SNOWFLAKE_JWT" and not has_valid_signature(data["LOGIN_NAME"], data["TOKEN"]):
        return failure("394304", "JWT token is invalid.", "08001")
    token_id = None
    if data.get("AUTHENTICATOR") == "WORKLOAD_IDENTITY":
        try:
            token_id = valid_identity(data["LOGIN_NAME"], data["PROVIDER"], data["TOKEN"])["jti"]
        except jwt.InvalidTokenError as error:
            # The connector's documentation names neither Snowflake's code nor its text.
            return failure("390000", f"Workload identity is invalid: {error}", "28000")
    user = str(data.get("LOGIN_NAME", "")).upper()
    role = request.query_params.get("roleName") or ADMINISTRATOR
    if user in GRANTS.inherited and role not in GRANTS.roles(user):
        return failure("390189", f"Role '{role}' specified in the connect string is not granted to this user.", "08001")
    response = await fakesnow.server.login_request(request)
    write(
        login=data["LOGIN_NAME"],
        authenticator=data.get("AUTHENTICATOR"),
        token_id=token_id,
        parameters=data["SESSION_PARAMETERS"],
        **request.query_params,
    )
    token = json.loads(response.body)["data"]["token"]
    SESSIONS[token] = Session(user, role, GRANTS.roles(role))
    connection = fakesnow.server.sessions[token]
    connection.session = SESSIONS[token]
    connection._duck_conn.execute("SET VARIABLE session_role = ?", [role])
    connection._duck_conn.execute("SET VARIABLE session_roles = ?", [sorted(connection.session.roles)])
    return response


def has_valid_signature(user: str, token: str) -> bool:
    """Whether `token` is signed with the private key of the user's public key."""
    if user.upper() not in USERS:
        return False
    key = serialization.load_pem_public_key(USERS[user.upper()].encode())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()
    try:
        claims = jwt.decode(token, key, algorithms=["RS256"])
    except jwt.InvalidTokenError:
        return False
    return str(claims["iss"]).endswith(f".{user.upper()}.{fingerprint}")


def valid_identity(user: str, provider: str, token: str) -> dict[str, Any]:
    """The claims of an identity token. Raises jwt.InvalidTokenError if it isn't valid, or isn't the user's."""
    if provider != "OIDC":
        raise jwt.InvalidTokenError(f"provider {provider}")
    options = {"require": ["exp", "iat", "sub", "jti"]}
    claims: dict[str, Any] = jwt.decode(
        token,
        IDENTITIES["key"],
        algorithms=["RS256"],
        audience="snowflakecomputing.com",
        issuer=IDENTITIES["issuer"],
        options=options,
    )
    if IDENTITIES["subjects"].get(claims["sub"]) != user.upper():
        raise jwt.InvalidTokenError(f"subject {claims['sub']} isn't {user}'s")
    return claims


async def query(request: Request) -> ASGIApp:
    """Run one statement or several. Of several, return the response to the last, which is all that dlt reads."""
    body = await body_of(request)
    statement = body["sqlText"]
    token = fakesnow.server.to_token(request)
    sender = SESSIONS.get(token, NOBODY)
    write(
        statement=" ".join(statement.split()),
        user=sender.user,
        role=sender.role,
        session=token[:8],
        unchecked=is_unchecked(statement),
    )
    if fault := next_fault(statement=statement):
        return fault_response(fault)
    response: Response = JSONResponse({})
    for sql in statements(body):
        try:
            response = await fakesnow.server.query_request(with_body(request, {**body, "sqlText": sql}))
        except Exception as error:  # noqa: BLE001 - the connector needs a response to any error
            return failure("001003", str(error))
        if not json.loads(response.body)["success"]:
            return response
    return response


def with_body(request: Request, body: dict[str, Any]) -> Request:
    """The same request with another body."""
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-encoding"]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    return Request({**request.scope, "headers": headers}, receive)


def statements(body: dict[str, Any]) -> list[str]:
    text = body["sqlText"]
    if str((body.get("parameters") or {}).get("MULTI_STATEMENT_COUNT", "1")) == "1" or ";" not in text.strip("; \n"):
        return [text]
    tokens = sqlglot.tokenize(text, read="snowflake")
    parts, start = [], 0
    for token in tokens:
        if token.token_type == sqlglot.TokenType.SEMICOLON:
            parts.append(text[start : token.start])
            start = token.end + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


async def faults(request: Request) -> Response:
    FAULTS[:] = json.loads(await request.body())
    return JSONResponse({})


# INFORMATION_SCHEMA.TABLES contains views too.
template = fakesnow.info_schema.SQL_CREATE_INFORMATION_SCHEMA_TABLES_VIEW.template
views = template.split(" AS\n", 1)[1]
for old, new in (
    ("'BASE TABLE'", "'VIEW'"),
    ("tables.table_name", "tables.view_name"),
    ("tables.estimated_size", "NULL"),
    ("duckdb_tables tables", "duckdb_views tables"),
):
    views = views.replace(old, new)
fakesnow.info_schema.SQL_CREATE_INFORMATION_SCHEMA_TABLES_VIEW = Template(
    f"{template} union all {views} and not tables.internal"
)
fakesnow.cursor.FakeSnowflakeCursor.check_db_and_schema = check
fakesnow.cursor.FakeSnowflakeCursor.execute = execute
fakesnow.macros.creation_sql = macros
fakesnow.transforms.identifier = identifier
fakesnow.transforms.numeric_agg_implicit_cast = unchanged
fakesnow.transforms.trim_cast_varchar = unchanged
fakesnow.transforms.integer_precision = integers
fakesnow.arrow.timestamp_to_sf_struct = timestamps
fakesnow.server.logger.error = unhandled
# The default schema of a session.
fakesnow.server.shared_fs.connect = lambda database=None, schema=None, **options: _connect(
    database, schema or (database and "PUBLIC"), **options
)
fakesnow.server.shared_fs.create_schema_on_connect = False
fakesnow.server.shared_fs.duck_conn.execute(
    "CREATE TABLE _fs_global.main.grants AS SELECT '' AS grantor, '' AS privilege_type, '' AS table_catalog, "
    "'' AS table_schema, '' AS table_name, '' AS grantee WHERE false"
)
app = fakesnow.server.app
app.router.routes[:0] = [
    Route("/session/v1/login-request", login, methods=["POST"]),
    Route("/queries/v1/query-request", query, methods=["POST"]),
    Route("/faults", faults, methods=["POST"]),
]
