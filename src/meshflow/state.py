"""SQLMesh's state as data: what is executed is the checkout's, whatever the state's database has.

SQLMesh keeps each model there with its SQL and the Python of its macros, signals and audits. A run, a plan and the
janitor execute that, and reading it is enough. So whoever may write to the state would run code as prod.
"""

import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import click
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlmesh.core import constants as c
from sqlmesh.core.context import Context
from sqlmesh.core.environment import Environment, EnvironmentStatements, EnvironmentSummary
from sqlmesh.core.model import SqlModel
from sqlmesh.core.model.common import ParsableSql
from sqlmesh.core.node import _Node as Node
from sqlmesh.core.plan import PlanBuilder
from sqlmesh.core.snapshot import Snapshot, SnapshotFingerprint, SnapshotId, SnapshotTableInfo
from sqlmesh.core.snapshot.cache import SnapshotCache
from sqlmesh.core.snapshot.definition import SnapshotNameVersion, SnapshotTableCleanupTask
from sqlmesh.core.snapshot.evaluator import get_custom_materialization_type
from sqlmesh.core.state_sync import EngineAdapterStateSync, StateSync
from sqlmesh.core.state_sync.base import DelegatingStateSync
from sqlmesh.core.state_sync.common import ExpiredSnapshotBatch
from sqlmesh.core.state_sync.db.environment import EnvironmentState
from sqlmesh.core.state_sync.db.utils import snapshot_id_filter
from sqlmesh.utils.errors import SQLMeshError

from meshflow.names import table_name

logger = logging.getLogger(__name__)

RUNBOOK = "docs/runbooks/state.md"

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, SqlglotError, SQLMeshError)
"""What reading a row raises that SQLMesh hasn't written. None is an error of the database."""


class Project(Context):
    """The project of a checkout. Nothing that it reads from the state's database is executed.

    A model that the state has as the checkout does is the checkout's. Another version is a `Foreign`. Raises
    click.ClickException, naming them, if models of the state differ from the checkout under the checkout's fingerprint,
    and, when it plans, under a version of the checkout. Without its models, `load=False`, it reads the state's as they
    are: then nothing may be planned or run.
    """

    def _new_state_sync(self) -> StateSync:
        state = super()._new_state_sync()
        assert isinstance(state, EngineAdapterStateSync)  # noqa: S101 - the only kind, and nothing else is checked
        state.snapshot_state._snapshot_cache = _Snapshots(self)  # noqa: SLF001 - SQLMesh renders what it caches
        state.environment_state = _Environments(state.engine_adapter, state.schema)
        return _State(state, self)  # type: ignore[abstract]  # SQLMesh adds the methods when it is imported

    def plan_builder(self, *arguments: Any, **options: Any) -> PlanBuilder:
        """As SQLMesh does, after `require_same_data`."""
        require_same_data(self)
        return super().plan_builder(*arguments, **options)

    @property
    def nodes(self) -> dict[str, Node]:
        """The checkout's models and standalone audits, by name."""
        return _nodes(self)

    def prod(self) -> dict[SnapshotId, Snapshot]:
        """The models of prod, ready to be evaluated.

        Raises click.ClickException if there is no prod yet, or naming the models that are not the checkout's.
        """
        built = self.state_reader.get_environment("prod")
        if built is None:
            gateway = self.selected_gateway
            raise click.ClickException(
                f"There is no prod on gateway {gateway} yet: `sqlmesh --gateway {gateway} plan prod` builds it"
            )
        snapshots: dict[SnapshotId, Snapshot] = self.state_reader.get_snapshots(built.snapshots)
        read = {one.name for one in snapshots.values() if not isinstance(one.node, Foreign)}
        if other := {one.name for one in built.snapshots} - read:
            raise click.ClickException(
                f"Prod isn't the checkout at {_names(other)}: check out what prod was planned from, or plan it"
            )
        return snapshots


class Foreign(SqlModel):  # type: ignore[misc]  # a base class is frozen
    """A version of a model that the checkout doesn't have: what a plan compares, and nothing that is evaluated."""


COMPARED = (
    "name", "default_catalog", "dialect", "kind", "cron", "start", "physical_schema_override",
    "virtual_environment_mode",
)  # fmt: skip
"""Attributes of a `Foreign`, besides its columns and partitions."""


class _State(DelegatingStateSync):
    """The state's database, for the parts other than models."""

    def __init__(self, state: EngineAdapterStateSync, project: Project) -> None:
        super().__init__(state)
        self._state, self._project = state, project

    def migrate(self, *arguments: Any, **options: Any) -> None:
        """Create the tables. SQLMesh also migrates if the version is missing, and then evaluates all models."""
        if self._state.engine_adapter.table_exists(self._state.snapshot_state.snapshots_table):
            raise click.ClickException(f"SQLMesh's state has models but no version: restore it ({RUNBOOK})")
        self._state.migrate(*arguments, **options)

    def get_expired_snapshots(self, **options: Any) -> ExpiredSnapshotBatch | None:
        """The next batch to drop, without tables that an environment shows, and without those that aren't SQLMesh's.

        The state's row of a model says what its table is called and how it is dropped, and the role of pull requests
        may insert rows. Nothing is dropped for one that can't be read, contradicts itself, or has a materialization
        that the checkout lacks. SQLMesh deletes these rows: with an error, the janitor would fail until somebody does.
        """
        self._project._load_materializations()  # noqa: SLF001 - without models, nothing has loaded them
        batch: ExpiredSnapshotBatch | None = self._state.get_expired_snapshots(**options)
        if batch is None:
            return None
        shown = {
            name
            for environment in self._state.get_environments()
            for one in environment.snapshots
            if one.is_model and not one.is_symbolic
            # Prod shows no table of development. What another environment shows follows from its plan.
            for name in _tables(one, {True} if environment.name == c.PROD else {True, False})
        }
        catalog = str(self._project.default_catalog).upper()
        versions = self._versions(task.snapshot.snapshot_id for task in batch.cleanup_tasks)

        def may_drop(task: SnapshotTableCleanupTask) -> bool:
            own = task.snapshot.version, task.snapshot.dev_version
            # SQLMesh looks for other models with the table by the columns of the row, and drops what its JSON names.
            if own != versions[task.snapshot.snapshot_id] or not all(re.fullmatch("[0-9]+", one) for one in own):
                return False
            kind = task.snapshot.custom_materialization
            if kind is not None and get_custom_materialization_type(kind, raise_errors=False) is None:
                return False  # SQLMesh fails for a materialization that it doesn't know
            try:
                dropped = _tables(task.snapshot, {False, not task.dev_table_only})
            except UNREADABLE:
                return False
            are_own = all(parts[0] == catalog and parts[-2].startswith("SQLMESH_") for parts in dropped)
            return are_own and shown.isdisjoint(dropped)

        return batch.copy(update={"cleanup_tasks": list(filter(may_drop, batch.cleanup_tasks))})

    def _versions(self, ids: Iterable[SnapshotId]) -> dict[SnapshotId, tuple[str, str]]:
        """The columns `version` and `dev_version` of rows."""
        table = self._state.snapshot_state
        columns = exp.select("name", "identifier", "version", "dev_version").from_(table.snapshots_table)
        return {
            SnapshotId(name=name, identifier=identifier): (version, dev_version)
            for where in snapshot_id_filter(table.engine_adapter, ids, table.SNAPSHOT_BATCH_SIZE)
            for name, identifier, version, dev_version in table.engine_adapter.fetchall(
                columns.where(where), quote_identifiers=True
            )
        }

    def get_environment_statements(self, environment: str) -> list[EnvironmentStatements]:
        """The checkout's, or a statement that does nothing if the state has others: then a plan replaces them."""
        stored: list[EnvironmentStatements] = self._state.get_environment_statements(environment)
        own = self._project._environment_statements  # noqa: SLF001 - there is no public name
        if not self._project.nodes:
            return stored
        return own if stored == own else [EnvironmentStatements(before_all=[], after_all=[], python_env={})]


class _Environments(EnvironmentState):
    """Leaves out environments of pull requests that can't be read, as if missing. Their role writes these rows."""

    def get_environments(self) -> list[Environment]:
        return [found for found in super().get_environments() if found]

    def _fetch_environment_summaries(self, where: str | exp.Expr | None = None) -> list[EnvironmentSummary]:
        return [found for found in super()._fetch_environment_summaries(where) if found]

    def _environment_from_row(self, row: tuple[Any, ...]) -> Any:
        """None if it can't be read, which get_environment() returns too."""
        with _reading(_name(row, Environment)):
            environment: Environment = super()._environment_from_row(row)
            # SQLMesh reads these when it uses them.
            _ = environment.promoted_snapshot_ids
            for one in (*environment.snapshots, *(environment.previous_finalized_snapshots or ())):
                if one.is_model and not one.is_symbolic:
                    _ = _tables(one, {True, False}), one.qualified_view_name.for_environment(environment.naming_info)
            return environment
        return None

    def _environment_summmary_from_row(self, row: tuple[Any, ...]) -> Any:
        with _reading(_name(row, EnvironmentSummary)):
            return super()._environment_summmary_from_row(row)
        return None

    def get_environment_statements(self, environment: str) -> list[EnvironmentStatements]:
        with _reading(environment):
            return list(super().get_environment_statements(environment))
        return []


def _name(row: tuple[Any, ...], kind: type[EnvironmentSummary]) -> str:
    return str(row[sorted(kind.all_fields()).index("name")])


@contextmanager
def _reading(environment: str) -> Iterator[None]:
    """Warn if the row of an environment can't be read. Raises what the block raises if it is prod's."""
    try:
        yield
    except UNREADABLE as error:
        if environment == c.PROD:
            raise
        logger.warning("The state's row of environment %s can't be read", environment, exc_info=error)


class _Snapshots(SnapshotCache):
    """Replaces SQLMesh's cache in files, which renders the models that it keeps."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def get_or_load(
        self, snapshot_ids: set[SnapshotId], loader: Callable[[set[SnapshotId]], Collection[Snapshot]]
    ) -> tuple[dict[SnapshotId, Snapshot], set[SnapshotId]]:
        """Nothing is cached, so the second value is empty. Rows that can't be read are left out, as if missing."""
        snapshots = list(_readable(snapshot_ids, loader))
        if nodes := self._project.nodes:
            snapshots = list(_checked(snapshots, nodes))
        return {one.snapshot_id: one for one in snapshots}, set()

    def put(self, snapshot: Snapshot) -> None:
        """Keep nothing."""

    def clear(self) -> None:
        """Nothing is kept."""


def _readable(
    snapshot_ids: set[SnapshotId], loader: Callable[[set[SnapshotId]], Collection[Snapshot]]
) -> Iterator[Snapshot]:
    try:
        snapshots = loader(snapshot_ids)
        for snapshot in snapshots:
            _ = snapshot.table_info  # which one without a version doesn't have
    except UNREADABLE as error:
        if len(snapshot_ids) > 1:
            for one in sorted(snapshot_ids):
                yield from _readable({one}, loader)
        else:
            logger.warning("The state's row of %s can't be read", next(iter(snapshot_ids)), exc_info=error)
        return
    yield from snapshots


def _checked(snapshots: Iterable[Snapshot], nodes: dict[str, Node]) -> Iterable[Snapshot]:
    """`snapshots` with the nodes of the checkout, or with a `Foreign`. Standalone audits of others are left out."""
    changed = []
    for snapshot in snapshots:
        _never_render(snapshot)
        own = _own(snapshot, nodes)
        if own is not None:
            changed += [] if _is_equal(snapshot, own) else [snapshot.name]
            snapshot.node = own  # type: ignore[assignment]  # each node is of one of the types
        elif snapshot.is_model:
            snapshot.node = _foreign(snapshot.model)
            SnapshotCache._update_node_hash_cache(snapshot)  # noqa: SLF001 - as SQLMesh's cache does
        else:
            continue
        yield snapshot
    _raise_if(changed)


class _NotRendered:
    """Replaces SQLMesh's renderer of a query."""

    def render(self, *_: Any, **__: Any) -> None:
        """No query, so no types and no comments of columns."""


def _never_render(snapshot: Snapshot) -> Snapshot:
    """A snapshot of the state, whose hashes can be computed without executing its SQL and its Python.

    SQLMesh hashes partitions and comments, for which it renders the query. To compare JSON instead would stop prod
    after a change of what no fingerprint has, such as the defaults of an audit.
    """
    if isinstance(snapshot.node, SqlModel):
        vars(snapshot.node)["_query_renderer"] = _NotRendered()
    return snapshot


def _own(snapshot: Snapshot, nodes: dict[str, Node]) -> Node | None:
    """The checkout's node, if the snapshot's fingerprint is that of this node."""
    own = nodes.get(snapshot.name)
    if own is not None and re.fullmatch(r"revert to \d+", snapshot.node.stamp or ""):
        # SQLMesh stamps a version that can't be restored, such as a forward-only one after a rollback.
        own = own.copy(update={"stamp": snapshot.node.stamp})
    stored = snapshot.fingerprint
    return own if own is not None and _hashes(own) == (stored.data_hash, stored.metadata_hash) else None


def _is_equal(snapshot: Snapshot, own: Node) -> bool:
    """Whether the state has what the fingerprint is made of, computed again, of a snapshot that can't be rendered.

    What doesn't determine data is compared by its CRC-32. Whatever has the same isn't found, and `own` is executed.
    """
    stored = snapshot.node
    # Where its table is follows from the model too.
    schemas = {None, getattr(own, "physical_schema", None)}
    is_elsewhere = snapshot.physical_schema_ not in schemas or snapshot.base_table_name_override
    is_moved = snapshot.is_model and is_elsewhere  # a standalone audit has no table
    if is_moved or type(stored) is not type(own):
        return False
    if isinstance(own, SqlModel):
        # Otherwise SQLMesh renders the query for the comments of its columns. The query is compared itself.
        vars(stored)["column_descriptions"] = own.column_descriptions
    return any(_hashes(stored) == _hashes(one) and _data(stored) == _data(one) for one in _readings(own))


def require_same_data(context: Context) -> None:
    """Raise click.ClickException, naming them, if the state has other data under a version of the checkout's models.

    A version is a CRC-32, and anybody can write a definition that has the same. A plan shows the table that was built
    first, whatever built it. So what determines data has to be equal, of a model and of all that it reads. Nothing of
    the state is evaluated. Seeds are compared by CRC-32 only, because the state doesn't have their rows.
    """
    nodes: Any = _nodes(context)
    fingerprints = dict[str, SnapshotFingerprint]()
    own = {name: Snapshot.from_node(node, nodes=nodes, cache=fingerprints) for name, node in nodes.items()}
    stored = {one.snapshot_id: one for one in _stored(context, own.values())}

    @cache
    def is_same(found: SnapshotId) -> bool:
        one, other = own.get(found.name), stored.get(found)
        if one is None or other is None or type(one.node) is not type(other.node):
            return False
        if {parent.name for parent in one.parents} != {parent.name for parent in other.parents}:
            return False
        data = _data(other.node)
        return any(data == _data(node) for node in _readings(one.node)) and all(map(is_same, other.parents))

    versions = {name: one.fingerprint.to_version() for name, one in own.items()}
    # A forward-only change has another model's version, but not its fingerprint.
    same_version = [one for one in stored.values() if one.fingerprint.to_version() == versions.get(one.name)]
    _raise_if({one.name for one in same_version if not is_same(one.snapshot_id)})


def _stored(context: Context, own: Collection[Snapshot]) -> Iterator[Snapshot]:
    """What the state has under ids and versions of `own`, and all that it reads. Nothing is rendered."""
    state = context.state_sync
    while isinstance(state, DelegatingStateSync):
        state = state.state_sync
    assert isinstance(state, EngineAdapterStateSync)  # noqa: S101 - the only kind
    table = state.snapshot_state
    versions = [SnapshotNameVersion(name=one.name, version=one.fingerprint.to_version()) for one in own]
    same_version: Any = table._get_snapshots_with_same_version(versions)  # noqa: SLF001 - there is no public name
    known = set[SnapshotId]()
    missing = {one.snapshot_id for one in (*own, *same_version)}
    while missing:
        known |= missing
        parents = set[SnapshotId]()
        for where in snapshot_id_filter(table.engine_adapter, missing, table.SNAPSHOT_BATCH_SIZE):
            query = exp.select("name", "snapshot").from_(table.snapshots_table).where(where)
            for name, text in table.engine_adapter.fetchall(query, quote_identifiers=True):
                try:
                    snapshot = _never_render(Snapshot(**json.loads(text), updated_ts=0))
                except UNREADABLE:
                    _raise_if([name])
                    raise
                parents.update(snapshot.parents)
                yield snapshot
        missing = parents - known


def _tables(snapshot: SnapshotTableInfo, deployable: set[bool]) -> set[tuple[str, ...]]:
    """Its tables, of prod if True is `deployable`, of development if False is: catalog, schema and name of each.

    They are read as whatever drops them does, because a name has several spellings. In capitals: engines ignore the
    case.
    """
    tables = (exp.to_table(snapshot.table_name(is_deployable)) for is_deployable in deployable)
    return {tuple(part.name.upper() for part in table.parts) for table in tables}


def _nodes(context: Context) -> dict[str, Node]:
    return {**context.models, **context.standalone_audits}


def _readings(own: Node) -> Iterator[Node]:
    """A node of the checkout, also as it is read from JSON, as in the state.

    An expression may then be an equivalent one: IFF(a, b, c) an IF or a CASE.
    """
    yield own
    yield type(own).parse_raw(own.json())


def _data(node: Node) -> list[str | None]:
    """What SQLMesh hashes for the version of a model."""
    return list(getattr(node, "_data_hash_values", ()))  # a standalone audit has none


def _raise_if(changed: Collection[str]) -> None:
    if changed:
        raise click.ClickException(
            f"SQLMesh's state differs from the checkout at {_names(changed)}, though its fingerprints say otherwise. "
            "Nothing of it was executed. Somebody may have written to the database, or forged a fingerprint in a pull "
            f"request: see {RUNBOOK}"
        )


def _hashes(node: Node) -> tuple[str, str]:
    return node.data_hash, node.metadata_hash


def _foreign(model: Any) -> Foreign:
    return Foreign(
        **{name: getattr(model, name) for name in COMPARED},
        columns=model.columns_to_types_,
        partitioned_by=model.partitioned_by_,
        query=ParsableSql(sql="SELECT not_in_the_checkout()"),
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(map(table_name, names)))
