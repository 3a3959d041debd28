"""Roles, privileges and owners of the emulated account, and which of them a statement needs.

They come from the DDL that infra/snowflake has for a new account. A role owns what its sessions create. A statement
without a privilege fails as on Snowflake: with error 3001 if the role sees the object, with 2003 if it doesn't.

Enforced: SELECT, writes, CREATE, ALTER, DROP, DESCRIBE, USE and GRANT on databases, schemas, tables and views, and the
roles that a user may take. docs/snowflake-readiness.md lists what isn't.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

ADMINISTRATOR = "SNOWDDL_ADMIN"
"""The role that may do everything: it has ACCOUNTADMIN, and owns what the DDL creates."""

GRANT = re.compile(
    r"(?P<verb>GRANT|REVOKE) (?P<privilege>[A-Z ]+?) ON ((FUTURE|ALL) (?P<kinds>[A-Z ]+) IN )?"
    r"(DATABASE|SCHEMA|TABLE|VIEW) (?P<name>[\w.$]+) (TO|FROM) (ROLE )?(?P<role>\w+)\b"
)
MEMBERSHIP = re.compile(r"GRANT ROLE (\w+) TO (?:ROLE|USER) (\w+)")
CREATED = re.compile(r"CREATE (?:OR REPLACE )?(DATABASE|SCHEMA|VIEW) ([\w.]+)")

WRITES = {
    exp.Copy: "INSERT",
    exp.Delete: "DELETE",
    exp.Insert: "INSERT",
    exp.Merge: "UPDATE",
    exp.TruncateTable: "TRUNCATE",
    exp.Update: "UPDATE",
}
"""The privilege on the table that a statement writes."""

KINDS = ("Database", "Schema", "Object")
"""What a name of one, two and three parts is, in Snowflake's errors."""


@dataclass(frozen=True)
class Session:
    """Who sends statements, and all roles that the session's role inherits."""

    user: str
    role: str
    roles: frozenset[str]


@dataclass
class Grants:
    """The state of the account. Names are in upper case, such as ANALYTICS.EDTECH.DIM_STUDENT."""

    inherited: dict[str, set[str]] = field(default_factory=dict)
    """The roles that were granted to a role or user."""
    privileges: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """The roles with a privilege, by object. VIEWS IN ANALYTICS.EDTECH are all views in that schema."""
    objects: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Kind and owner of each object."""

    @classmethod
    def of(cls, ddl: str) -> "Grants":
        """Those of an account after the statements, of which each ends with a semicolon and a line break."""
        grants = cls()
        for statement in ddl.split(";\n"):
            text = " ".join(re.sub(r"--.*", "", statement).replace('"', "").split())
            if found := MEMBERSHIP.match(text):
                grants.inherited.setdefault(found[2], set()).add(found[1])
            elif found := CREATED.match(text):
                grants.objects[found[2]] = found[1], ADMINISTRATOR
            elif text.startswith("GRANT") and not re.search(" ON (ROLE|WAREHOUSE) ", text):
                grants.grant(Session("SNOWDDL", ADMINISTRATOR, frozenset({ADMINISTRATOR})), text)
        return grants

    def grant(self, session: Session, statement: str) -> tuple[str, str, str, str]:
        """Grant or revoke a privilege: GRANT or REVOKE, the privilege, the object and the role.

        It needs ownership of the schema, or of the database: all schemas of the DDL have managed access.
        """
        found = GRANT.match(statement.replace('"', "").upper())
        if not found:
            raise ProgrammingError(f"The emulator can't grant: {statement}", errno=1003, sqlstate="42000")
        name = f"{found['kinds']} IN {found['name']}" if found["kinds"] else found["name"]
        self.require(session, "OWNERSHIP", ".".join(found["name"].split(".")[:2]))
        holders = self.privileges.setdefault(name, {}).setdefault(found["privilege"], set())
        (holders.add if found["verb"] == "GRANT" else holders.discard)(found["role"])
        return found["verb"], found["privilege"], name, found["role"]

    def roles(self, name: str) -> frozenset[str]:
        """A role, or a user, and all roles that it inherits."""
        return frozenset({name}).union(*map(self.roles, self.inherited.get(name, ())))

    def held(self, roles: frozenset[str], name: str) -> set[str]:
        """The privileges of the roles on an object. Without any, it doesn't exist for them."""
        if name not in self.objects:
            return set()
        kind, owner = self.objects[name]
        if owner in roles:
            return {"OWNERSHIP"}
        targets = [name, *(f"{kind}S IN {container}" for container in containers(name))]
        return {
            privilege
            for target in targets
            for privilege, holders in self.privileges.get(target, {}).items()
            if not holders.isdisjoint(roles)
        }

    def require(self, session: Session, privilege: str, name: str) -> None:
        """Raise Snowflake's error if the session lacks a privilege on an object; an empty one stands for any.

        It also needs any privilege on the database and on the schema.
        """
        if ADMINISTRATOR in session.roles:
            return
        for one in (*containers(name), name):
            held = self.held(session.roles, one)
            if not held:
                kind = KINDS[one.count(".")]
                text = f"SQL compilation error:\n{kind} '{one}' does not exist or not authorized."
                raise ProgrammingError(text, errno=2003, sqlstate="42S02" if kind == "Object" else "02000")
        if privilege and not held & {privilege, "OWNERSHIP"}:
            raise insufficient(f"{self.objects[name][0].lower()} '{name.rpartition('.')[2]}'")

    def require_administrator(self, session: Session) -> None:
        if ADMINISTRATOR not in session.roles:
            raise insufficient("account")

    def check(
        self, session: Session, statement: exp.Expression, name_of: Callable[[exp.Table, str], str]
    ) -> list[Callable[[], None]]:
        """Raise an error if the statement needs what the session lacks. What to call once it has succeeded.

        `name_of` returns the full name of an object of a kind, as the session resolves it.
        """
        kind = str(statement.args.get("kind") or "").upper()
        targets = {id(table): name_of(table, kind) for table in targets_of(statement)}
        done = [one for name in targets.values() for one in self._check_target(session, statement, kind, name)]
        for table in tables_read(statement):
            if id(table) not in targets:
                self._check_read(session, name_of(table, ""))
        return done

    def _check_target(
        self, session: Session, statement: exp.Expression, kind: str, name: str
    ) -> Iterator[Callable[[], None]]:
        schema, _, _ = name.rpartition(".")
        exists, conditional = name in self.objects, statement.args.get("exists")
        match statement:
            case exp.Create():
                if schema:
                    self.require(session, f"CREATE {kind}", schema)
                else:
                    self.require_administrator(session)
                if exists and statement.args.get("replace"):
                    self.require(session, "OWNERSHIP", name)
                    if not statement.find(exp.CopyGrantsProperty):
                        yield partial(self._dropped, name)
                if not (exists and conditional):
                    yield partial(self._created, session, kind, name)
            case exp.Drop():
                if exists or not conditional:
                    self.require(session, "OWNERSHIP", name)
                yield partial(self._dropped, name)
            case exp.Alter() | exp.Comment():
                self.require(session, "OWNERSHIP", name)
            case exp.Describe() | exp.Use():
                self.require(session, "", name)
            case _:
                self.require(session, WRITES[type(statement)], name)

    def _check_read(self, session: Session, name: str) -> None:
        database, schema, _ = name.split(".")
        if schema == "INFORMATION_SCHEMA":
            self.require(session, "", database)
        else:
            self.require(session, "SELECT", name)

    def _created(self, session: Session, kind: str, name: str) -> None:
        """Record an object. It belongs to the role of the session, unless a future grant names another."""
        future = (self.privileges.get(f"{kind}S IN {one}", {}).get("OWNERSHIP", ()) for one in containers(name))
        [owner, *_] = [*(role for roles in future for role in roles), session.role]
        self.objects[name] = kind, owner

    def _dropped(self, name: str) -> None:
        for names in (self.objects, self.privileges):
            for one in [one for one in names if f"{one.split(' ')[-1]}.".startswith(f"{name}.")]:
                names.pop(one)


def insufficient(what: str) -> ProgrammingError:
    text = f"SQL access control error:\nInsufficient privileges to operate on {what}"
    return ProgrammingError(text, errno=3001, sqlstate="42501")


def containers(name: str) -> list[str]:
    """The database and the schema of an object."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def targets_of(statement: exp.Expression) -> Iterator[exp.Table]:
    """What the statement creates, writes, alters, drops, describes or uses."""
    match statement:
        case exp.Drop():
            found: list[Any] = statement.args.get("tables") or []
        case exp.TruncateTable():
            found = statement.expressions
        case exp.Use() if str(statement.args.get("kind")).upper() not in ("DATABASE", "SCHEMA"):
            found = []
        case exp.Create() | exp.Alter() | exp.Comment() | exp.Describe() | exp.Use():
            found = [statement.this]
        case _:
            found = [statement.this] if type(statement) in WRITES else []
    for one in found:
        table = one.this if isinstance(one, exp.Schema) else one
        if isinstance(table, exp.Table) and not is_stage(table):
            yield table


def tables_read(statement: exp.Expression) -> Iterator[exp.Table]:
    """Tables and views that the statement names, its targets among them. The name of a CTE is none."""
    if isinstance(statement, (exp.Use, exp.Show)):
        return
    expressions = {cte.alias.upper() for cte in statement.find_all(exp.CTE)}
    for table in statement.find_all(exp.Table):
        is_cte = len(table.parts) == 1 and table.name.upper() in expressions
        if not is_cte and not is_stage(table):
            yield table


def is_stage(table: exp.Table) -> bool:
    """Whether it is the location of files, such as @RAW.LOADER.FILES."""
    return isinstance(table.this, exp.Var)
