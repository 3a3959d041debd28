"""No admitted text makes SQLMesh evaluate anything but values and main's own macros, or write other tables.

MESHFLOW_ADMISSIONS is the number of texts to try, 120 by default and the same ones each time.
"""

# ruff: noqa: E501, RUF001 - a line of a table is a form, and some texts imitate quotes

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_type_hints

import pytest
from evaluation import Recorder, is_value, recorded
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp
from sqlmesh.core.console import NoopConsole, get_console, set_console
from sqlmesh.core.context import Context
from sqlmesh.core.macros import get_supported_types, macro
from sqlmesh.core.model import SqlModel
from statements import foreign_statements

from meshflow.ci import declarative, declarative_sql, declarative_yaml
from meshflow.ci.declarative import Change, _names

PROJECT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("MESHFLOW_ADMISSIONS", "120"))
PLANS = EXAMPLES // 60

CONFIG = """
gateways: {local: {connection: {type: duckdb, catalogs: {ANALYTICS: ':memory:', RAW: ':memory:'}}}}
default_gateway: local
disable_anonymized_analytics: true
infer_python_dependencies: false
variables: {cadence: '@daily', history_start: '2026-10-25', as_of_date: '2026-11-01'}
model_defaults: {dialect: snowflake, start: '2026-10-30'}
linter: {enabled: true, rules: [ambiguousorinvalidcolumn, noselectstar, noambiguousprojections]}
"""
BASE = "MODEL (name retail.base, kind FULL);\nSELECT 1::INT AS a, 'x'::VARCHAR AS b, '2026-11-01'::TIMESTAMP AS _loaded_at\n"
EXTERNAL = "- name: raw.retail.returns\n  columns: {a: BIGINT, b: VARCHAR}\n"

CODE = "__import__('os').system('true')"
INJECTED = [
    *(f"x' + str({CODE}) + '", f"""x" + str({CODE}) + \"""", f"\\' + str({CODE}) #", CODE, f"'+{CODE}+'"),
    *(f"[\"x' + str({CODE}) + '\"]", f"[0] + {CODE}", f"{{{{ {CODE} }}}}", f"{{% set x = {CODE} %}}"),
    *("@EVAL(\"a' + str(" + CODE + ") + '\")", f"')+{CODE}+('", f"x')\n{CODE}#", f"*/ @EVAL('1') /* {CODE}"),
    *("or replace table raw.edtech.__import__ as select 1 --", "a = 1 clone raw.edtech.__import__ b"),
]
"""What ends a string, an identifier or a path in SQL or in Python, with code after it, or a statement unquoted."""
MARKS = [
    "@SQL('1')",
    "@{x}",
    "@'@x'",
    "\\",
    "'",
    '"',
    "''",
    "\\'",
    "${x}",
    "x\r",
    "ｅｖａｌ＂＇",
    "x'y",
    "$$",
    "𝐞𝐯𝐚𝐥(1)",
    "ﬁ",
    "ª",
]

injected = st.sampled_from(INJECTED) | st.sampled_from(INJECTED)
texts = injected | st.sampled_from(MARKS) | st.text("'\"\\@{}$()#/*-;:[],. \nax1＇", max_size=12)


def quoted(mark: str, doubled: bool) -> Callable[[str], str]:
    """Write a text between quotes, with its own quotes doubled or escaped by a backslash, or not at all."""
    return lambda text: f"{mark}{text.replace(mark, mark * 2) if doubled else text}{mark}"


strings = texts.map(quoted("'", doubled=True))
strings |= texts.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
strings |= texts.map(quoted("'", doubled=False)) | texts.map(lambda text: f"$${text}$$")
identifiers = texts.map(quoted('"', doubled=True))
variables = st.sampled_from(["@start_ds", "@execution_ts", "@gateway", "@cadence", "@this_model", "@x", "@{start_ds}"])
PLAIN = ["0", "1", "2.5", "a", "b", "'x'", "'2026-11-01'", "TRUE", "NULL", "NOT FALSE", "(a, b)", "a > 0", "a::INT"]
RARE = [
    "1e5",
    "007",
    ".5",
    "1_0",
    '"A"',
    "base.a",
    "'a@example.org'",
    "'50%'",
    "'Québec'",
    "'𝐞𝐯𝐚𝐥(1)'",
    '"𝐞𝐯𝐚𝐥"',
    "𝐞𝐯𝐚𝐥(1)",
]
plain = st.sampled_from(PLAIN)
paths = texts.map(lambda text: "GET_PATH(a, '" + text.replace("'", "''") + "')") | texts.map(lambda text: f'a:"{text}"')
varied = strings | identifiers | identifiers | paths | variables | st.sampled_from(RARE)
leaves = plain | varied | varied


TYPES = ["INT", "DECIMAL(18, 2)", "VARCHAR", '"x\' + 1"', "OBJECT(a INT)", "my_type", "VARIANT", "VECTOR(INT, 2)"]
FORMS = [
    *("({0}, {1})", "[{0}, {1}]", "({0})", "{0} = {1}", "{0} + {1}", "{0} || {1}", "NOT {0}", "-{0}", "{0} IS NULL"),
    *("{0} IN ({1}, 1)", "{0} BETWEEN 1 AND {1}", "{0} LIKE {1}", "{0} AND {1}", "{0} IS NOT DISTINCT FROM {1}"),
    *("CASE WHEN {0} THEN {1} ELSE 1 END", "IFF({0}, {1}, 0)", "COALESCE({0}, {1})", "LENGTH({0})", "CONCAT({0}, {1})"),
    *("EXTRACT(DAY FROM {0})", "EXTRACT({1} FROM {0})", "DATEADD(DAY, 1, {0})", "DATE_TRUNC({1}, {0})", "{0}({1})"),
    *("GET_PATH({0}, {1})", "{0}:{1}", "{0}:a[{1}]", "{0}[{1}]", "{0}.{1}", "JSON_EXTRACT_PATH_TEXT({0}, {1})"),
    *("OBJECT_CONSTRUCT({0}, {1})", "PARSE_JSON({0})", "REGEXP_LIKE({0}, {1})", "{{{0}: {1}}}", "{0} COLLATE {1}"),
    *("{0} AT TIME ZONE {1}", "INTERVAL {0} DAY", "INTERVAL {0}", "(SELECT {0})", "EXISTS(SELECT {0})", "?", ":a", "$1"),
    *("EXTRACT({0} FROM {1})", "DATE_PART({0}, {1})", "TO_VARCHAR({0}, {1})", "TO_DATE({0}, {1})", "TO_TIMESTAMP({0}, {1})"),
    *("SPLIT_PART({0}, {1}, 1)", "REGEXP_REPLACE({0}, {1}, '')", "DECODE({0}, {1}, 1)", "LPAD({0}, 3, {1})", "NVL2({0}, {1}, 1)"),
    *("LISTAGG({0}, {1}) WITHIN GROUP (ORDER BY {0})", "ROW_NUMBER() OVER (PARTITION BY {0} ORDER BY {1} DESC)", "MAX_BY({0}, {1})"),
    *("CONVERT_TIMEZONE({0}, {1}, a)", "LAST_DAY({0}, {1})", "CHARINDEX({0}, {1})", "SHA2({0}, {1})", "TRY_TO_NUMBER({0}, {1})"),
    *("SUM({0}) OVER (PARTITION BY {1})", "x -> {0}", "({0} /* {1} */)", "{0} -- {1}\n", "eval({0})", "X'{0}'", "N{0}"),
    *("@IF({0}, {1}, 1)", "@EVAL({0})", "@EACH([{0}], x -> {1})", "@EACH((a, b), x -> @x > {0})", "@AND({0}, {1})"),
    *("@FILTER([1, 2], x -> x > {0})", "@REDUCE([{0}, 1], (x, y) -> x + y)", "@money({0})", "@normalized({0})", "@SQL({0})"),
    *("@full_name({0}, {1})", "@reject_reasons(bad := {0})", "@is_affected({0})", "@STAR(retail.base, prefix := {0})"),
    *("@GENERATE_SURROGATE_KEY({0}, hash_function := {1})", "@DATE_SPINE('day', {0}, {1})", "@month_pivot({0}, {1})"),
    *("@EACH([{0}], x -> a AS f_@x)", "@EACH((a, b), x -> {0} AS f_@x)", "@EACH([{0}], x -> f_@{{x}})", "@EACH([{0}], x -> @{{x}}_b)"),
    *("@FILTER([{0}], x -> f_@x > {1})", "@IF(@EACH([{0}], x -> f_@x), {1}, 0)", "@REDUCE([{0}, {1}], (x, y) -> f_@x + y)"),
    *("@PIVOT(a, [{0}])", "@DEDUPLICATE(a, [b], [{0}])", "@VAR({0})", "@{0}", "@x{0}", "a@{0}", "JINJA({0})", "@DEF(x, {0})"),
    *("@FILTER([{0}], x -> y.x = {1})", "@EACH([{0}], x -> @IF(y.@x = {1}, 1, 2))", "@EACH(@EACH([{0}], c -> y.c), x -> @IF(@x, {1}, 2))"),
    *("@EACH([{0}], day -> @IF({1} < INTERVAL '1' day, 1, 2))", "y.@column", "INTERVAL '1' @column"),
    *("@SAFE_DIV({0}, {1})", "@UNION({0}, a, b)", "@RESOLVE_TEMPLATE({0})", "@HAVERSINE_DISTANCE({0}, 1, 1, 1, 'mi')"),
]  # fmt: skip


def _composed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    forms = st.builds(lambda form, one, two: form.format(one, two), st.sampled_from(FORMS), inner, inner)
    return forms | st.builds(lambda one, name: f"{one}::{name}", inner, st.sampled_from(TYPES))


values = leaves | leaves | _composed(leaves) | _composed(_composed(leaves))


def _yaml(text: str) -> str:
    """A YAML string in double quotes, or as it is if it starts with `=`."""
    return (
        text[1:]
        if text.startswith("=")
        else '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    )


AUDITS = [
    *("accepted_range(column := a, min_v := 0, inclusive := NOT {0})", "accepted_range(column := a, max_v := {0})"),
    *("accepted_range(column := a, min_v := {0}, inclusive := {1})", "accepted_range(column := {0}, min_v := 0)"),
    *("forall(criteria := ({0}, {1}))", "not_null(columns := ({0}, b), condition := {1})", "number_of_rows(threshold := {0})"),
    *("accepted_values(column := a, is_in := ({0}, {1}))", "not_accepted_values(column := b, is_in := ({0}))"),
    *("accepted_values(column := {0}, is_in := ({1}, 1))", "unique_values(columns := {0}, condition := {1})"),
    *("totals_reconcile(measures := {0}, against := retail.base, by := {1})", "fuzzed(x := {0}, y := {1})", "{0}", "{0}({1})"),
    *("at_least_one(column := {0})", "string_length_between(column := b, min_v := {0}, max_v := {1})", "max_deletion_rate(max_rate := {0})"),
    *("mutually_exclusive_ranges(lower_bound_column := {0}, upper_bound_column := b, inclusive := {1})", "x({0})"),
    *("match_regex_pattern_list(column := b, patterns := ({0}, {1}))", "stddev_in_range(column := a, min_v := {0})"),
    *("valid_uuid(column := {0})", "sequential_values(column := {0}, interval := {1})", "z_score(column := a, threshold := {0})"),
]  # fmt: skip
HEADERS = [
    *("description {0}", "title {0}", "owner {0}", "cron {0}", "start {0}", "tags ({0}, {1})", "interval_unit {0}"),
    *("grain {0}", "references ({0}, {1})", "depends_on ({0})", "enabled {0}", "partitioned_by ({0})", "stamp {0}"),
    *("clustered_by {0}", "physical_properties (x = {0}, y = {1})", "columns (a {0})", "columns (a INT COMMENT {0})", "columns (a {0} NOT NULL, b INT NOT NULL COMMENT {1})"),
    *("column_descriptions (a = {0})", "signals (parents_processed())", "signals (source_loaded(source := {0}, gateway := {1}))"),
    *("allow_partials {0}", "dialect {0}", "gateway {0}", "blueprints ((x := {0}))", "{0}", "{0} {1}", "@EVAL({0})", "-- {0}\n"),
    *("/* {0} */ owner x", "session_properties (x = {0})", "ignored_rules {0}", "storage_format {0}", "cron_tz {0}"),
]  # fmt: skip
KINDS = [
    *("FULL", "VIEW", "VIEW (materialized {0})", "INCREMENTAL_BY_TIME_RANGE (time_column ({0}, {1}))", "@IF({0}, FULL, VIEW)"),
    *("INCREMENTAL_BY_UNIQUE_KEY (unique_key ({0}, b))", "INCREMENTAL_BY_UNIQUE_KEY (unique_key a, merge_filter {0})"),
    *("SCD_TYPE_2_BY_COLUMN (unique_key {0}, columns [{1}])", "SEED (path {0})", "SEED (path '$root/seeds/{0}.csv')"),
    *("CUSTOM (materialization {0})", "INCREMENTAL_BY_TIME_RANGE (time_column _loaded_at, lookback {0})", "EMBEDDED"),
    *("CUSTOM (materialization 'replace_by_key', materialization_properties (key = {0}, row_exists = {1}))", "{0}"),
    *("INCREMENTAL_BY_PARTITION", "SEED (path '$root/seeds/x.csv', csv_settings (delimiter = {0}, na_values = ({1})))"),
]  # fmt: skip
WORDS = {"dialect": "snowflake", "materialization": "replace_by_key"}


def called(keys: set[str]) -> list[str]:
    """For each key a name that is called with a value: a name that is admitted may hide it."""
    return [f"{key} {WORDS.get(key, 'x')}{call}" for key in sorted(keys) for call in ("({0})", "[{0}]", "({1})[{0}]")]


CALLED = called(declarative_sql.MODEL_PROPERTIES - {"kind"})
CALLED_KINDS = [f"CUSTOM ({one})" for one in called({"materialization"})]
CALLED_KINDS += [f"CUSTOM (materialization 'replace_by_key', {one})" for one in called(declarative_sql.KIND_PROPERTIES)]
WRITING = [
    *("@GENERATE_SURROGATE_KEY(a, hash_function := {0})", "@IF(TRUE, {0}, {1})", "@STAR(retail.base, prefix := {0})"),
    *("@EACH([{0}], x -> @EACH((x, b), y -> c AS f_@y))", "@EACH([{0}], x -> @EACH((a, b), y -> c AS f_@x))", "{0}"),
]
"""What may write a text into a header as it is."""
QUERIES = [
    *("SELECT a::INT AS a, b::VARCHAR AS b FROM retail.base", "SELECT a::INT AS a, {0} AS b FROM retail.base WHERE {1}"),
    *("SELECT {0}::INT AS a, {1} AS b FROM retail.base", "WITH c AS (SELECT {0} AS a) SELECT a, 'x' AS b FROM c"),
    *("SELECT a /* {0} */, b FROM retail.base -- {1}", "SELECT a AS {0}, b FROM retail.base", "SELECT a, b FROM {0}"),
    *("SELECT a, b FROM retail.base @WHERE({0}) a > 1", "JINJA_QUERY_BEGIN;\nSELECT {0}\nJINJA_END", "@UNION({0})", "{0}"),
    *("SELECT a, b FROM TABLE({0})", "SELECT {0}, {1} UNION ALL SELECT 1, 'x'", "SELECT a, b FROM retail.base QUALIFY {0}"),
]  # fmt: skip
PRE_STATEMENTS = [
    *("@mask(mask_text, {0});\n", "@EACH([{0}], x -> DROP@x);\n", "@EACH((a, b), x -> @mask(@x, {0}));\n", "{0};\n"),
    *("@IF({0}, @mask({1}), NULL);\n", "@money({0});\n", "SET x = {0};\n", "@DEF(x, {0});\n", "@EVAL({0});\n", "-- {0}\n"),
]  # fmt: skip
ENDS = ["", ";\n", ";\nON_VIRTUAL_UPDATE_BEGIN;\n@mask(mask_text, {0});\nON_VIRTUAL_UPDATE_END;", ";\n{0}", ";\n-- {0}"]


def filled(forms: list[str], inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda form, one, two: form.format(one, two), st.sampled_from(forms), inner, inner)


def calls(name: str) -> st.SearchStrategy[str]:
    return st.lists(filled(AUDITS, values), min_size=1, max_size=2).map(lambda found: f"{name} ({', '.join(found)})")


PARTS = {"kind": "FULL", "header": "owner retail", "before": "", "query": QUERIES[0], "end": ""}


def model(**part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A model that is plain but for the given part, so that it is admitted unless that part isn't."""
    text = "MODEL (\n  name retail.fuzzed,\n  kind {kind},\n  {header}\n);\n\n{before}{query}{end}\n"
    return st.builds(text.format, **{name: st.just(plain_part) for name, plain_part in PARTS.items()} | part)


PROPERTIES = st.sampled_from(
    [f"'TRUE, {one}, owner x, tags (a), stamp y'" for one in ("gateway local", "dialect duckdb", "dialect duckdb(1)")]
)
"""Texts that are properties of their own if a macro writes them into the header as they are."""
CALLS = st.sampled_from([f"""@EVAL("a' + str({CODE}) + '")""", f"""@IF("a' + str({CODE}) + '", 1, 2)"""])
headers = model(header=filled(HEADERS, values))
headers |= model(header=filled(CALLED, CALLS | identifiers))
formats = model(header=filled(["table_format {0}"], strings))
names = model(header=filled(["physical_properties ({0} = 1)", "physical_properties (creatable_type = {0})"], strings))
headers |= model(header=filled([f"enabled {one}" for one in WRITING], PROPERTIES))
kinds = model(kind=filled(KINDS, values)) | model(kind=filled(CALLED_KINDS, CALLS | identifiers))
audited = model(header=calls("audits"))
queried = model(query=filled(QUERIES, values))
models = st.one_of(
    *(kinds, headers, headers, formats, names, model(end=filled(ENDS, values))),
    model(before=filled(PRE_STATEMENTS, values)),
    *(audited, audited, queried, queried),
)
audits = st.builds(
    lambda one, two, query, where: (
        f"AUDIT (name fuzzed, {one}, defaults (x = {two}));\n\nSELECT * FROM {query} WHERE {where}\n"
    ),
    st.just("dialect snowflake")
    | st.just("blocking TRUE")
    | filled(["blocking {0}", "dialect {0}", "skip {0}", "{0} {1}"], values),
    values,
    st.just("@this_model"),
    filled(["@IF(@x, {0}, {1})", "@x = {0}", "a@x = {0}", "@EACH(@x, c -> c = {0})", "@EVAL(@x)", "{0}"], values),
)

negated = varied.map("NOT {}".format)
scalars = negated | values | texts | st.sampled_from(["=0", "=1.5", "=true", "=null", "=[]"])
AUDIT_ARGUMENTS = [
    *(("accepted_range", "inclusive"), ("accepted_range", "max_v"), ("forall", "criteria"), ("not_null", "columns")),
    *(("accepted_values", "is_in"), ("number_of_rows", "threshold"), ("fuzzed", "y"), ("at_least_one", "condition")),
]
EXTERNAL_KEYS = ["description", "grain", "gateway", "tags", "start", "kind", "signals", "physical_properties"]
external = st.builds(
    lambda audit, value, other: (
        "- name: raw.retail.returns\n  columns: {a: BIGINT, b: VARCHAR}\n  audits:\n"
        f"  - name: {audit[0]}\n    column: a\n    min_v: '0'\n    {audit[1]}: {_yaml(value)}\n  {other}\n"
    ),
    st.just(AUDIT_ARGUMENTS[0]) | st.sampled_from(AUDIT_ARGUMENTS),
    scalars,
    st.just("owner: retail")
    | st.builds(lambda key, one: f"{key}: {_yaml(one)}", st.sampled_from(EXTERNAL_KEYS), scalars),
)
UNIT_TESTS = [
    *("{{vars: {{gateway: {0}}}", "{{vars: {{cadence: {0}, x: {0}}}", "{{vars: {{execution_time: {0}}}", "{{description: {0}", "{{x: {0}"),
    *("{{inputs: {{retail.base: {{rows: [{{a: 1, b: {0}}}]}}}}", "{{inputs: {{retail.base: {{rows: [{{a: 1, {0}: x}}]}}}}"),
    *("{{inputs: {{retail.base: {{query: {0}}}}}", "{{inputs: {{retail.base: {{path: {0}}}}}", "{{inputs: {{{0}: {{rows: []}}}}"),
    *("{{inputs: {{retail.base: {{format: csv, rows: {0}}}}}", "{{inputs: {{retail.base: {{columns: {{a: {0}}}, rows: []}}}}"),
]  # fmt: skip
selects = values.map("SELECT 1 AS a, {} AS b".format)
unit_tests = st.builds(
    lambda form, value: (
        f"test_fuzzed: {form.format(_yaml(value))}, model: retail.fuzzed, outputs: {{query: {{rows: []}}}}}}\n"
    ),
    st.sampled_from(UNIT_TESTS),
    scalars | selects | texts,
)


MODEL_FILE = "models/retail/fuzzed.sql"
AUDIT_FILE = "audits/fuzzed.sql"
EXTERNAL_FILE = "external_models/fuzzed.yaml"
TEST_FILE = "tests/models/retail/test_fuzzed.yaml"

changes = st.one_of(
    *[models.map(lambda text: (MODEL_FILE, text))] * 4,
    audits.map(lambda text: (AUDIT_FILE, text)),
    external.map(lambda text: (EXTERNAL_FILE, text)),
    unit_tests.map(lambda text: (TEST_FILE, text)),
)


@dataclass
class Fuzzed:
    """A small project with main's macros, signals and audits, in which one file is fuzzed."""

    path: Path
    change: Change
    sources: set[str] = field(default_factory=set)
    """What Python executes without the file."""
    admitted: int = 0
    loaded: int = 0
    planned: int = 0

    def try_text(self, file: str, text: str, *, needle: str = "") -> None:
        """Raises AssertionError if the text is admitted and makes SQLMesh evaluate more than values.

        A text without `needle` is skipped, to save time.
        """
        if needle not in text or self.reason(file, text):
            return
        self.admitted += 1
        for source in self.observe(file, text) - self.sources:
            assert is_value(source, self.change.names.macros), f"{file} evaluates {source!r}\nbecause of\n{text}"

    def reason(self, file: str, text: str) -> str:
        (self.path / file).write_text(text)
        try:
            return self.change.reason(file, "100644")
        finally:
            (self.path / file).unlink()

    def observe(self, file: str = "", text: str = "") -> set[str]:
        """What Python executes while SQLMesh loads, lints, renders, tests and, sometimes, plans the project.

        A gateway or a dialect of a model counts as well: no admitted header sets them. So does a statement for
        another table than the model's.
        """
        files = {MODEL_FILE: MODEL, AUDIT_FILE: AUDIT, file: text}
        for name, content in files.items():
            if name:
                (self.path / name).write_text(content)
        try:
            with recorded() as recorder, suppress(Exception):
                self._use(recorder)
        finally:
            for name in filter(None, files):
                (self.path / name).unlink()
            shutil.rmtree(self.path / ".cache", ignore_errors=True)
        return set(recorder.executed)

    def _use(self, recorder: Recorder) -> None:
        context = Context(paths=str(self.path))
        try:
            self.loaded += 1
            for model in context.models.values():
                if isinstance(model, SqlModel) and (model.gateway, model.dialect) != (None, "snowflake"):
                    recorder.executed.append(f"gateway {model.gateway}, dialect {model.dialect}")
                if isinstance(model, SqlModel) and model.name == "retail.fuzzed":
                    recorder.executed += foreign_statements(model)
                # The state stores models as JSON.
                for one in (model, type(model).parse_raw(model.json())):
                    with suppress(Exception):
                        one.render_query()
                    for use in (one.render_signal_calls, one.render_physical_properties, one.render_merge_filter):
                        with suppress(Exception):
                            use()
                    with suppress(Exception):
                        [list(one.render_pre_statements()), list(one.render_on_virtual_update())]
                    one_audits = []
                    with suppress(Exception):
                        one_audits = one.audits_with_args
                    for audit, arguments in one_audits:
                        with suppress(Exception):
                            one.render_audit_query(audit, **arguments)
            with suppress(Exception):
                context.lint_models(raise_on_error=False)
            with suppress(Exception):
                context.test()
            if self.planned < PLANS and any(isinstance(model, SqlModel) for model in context.models.values()):
                self.planned += 1
                context.plan("dev", no_prompts=True, auto_apply=True, skip_tests=True, skip_linter=True)
        finally:
            context.close()


MODEL = "MODEL (name retail.fuzzed, kind FULL, cron @cadence, audits (fuzzed(y := 1)));\n\n" + QUERIES[0] + "\n"
AUDIT = (
    "AUDIT (name fuzzed, defaults (x = TRUE));\n\nSELECT * FROM @this_model WHERE @IF(@x, FALSE, TRUE) AND a <> @y\n"
)


SIGNALS = "signals (parents_processed(), source_loaded(source := 'x', gateway := 'y'), reconciled(gateway := 'y'))"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Fuzzed:
    path = tmp_path_factory.mktemp("fuzzed")
    for folder in ("macros", "signals", "materializations", "audits"):
        shutil.copytree(PROJECT / folder, path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, text in {
        "config.yaml": CONFIG,
        "models/retail/base.sql": BASE,
        "external_models/base.yaml": EXTERNAL.replace("returns", "base"),
        "seeds/x.csv": "a,b\n1,x\n",
        "tests/models/retail/test_base.yaml": "test_base:\n  model: retail.base\n  outputs: {query: {rows: []}}\n",
    }.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_text(text)
    console = get_console()
    set_console(NoopConsole())
    names = replace(_names(PROJECT, "HEAD"), seeds=frozenset({"seeds/x.csv"}))
    project = Fuzzed(path, LocalChange(path, names))
    for one in macro.get_registry().values():
        with recorded() as recorder, suppress(NameError, TypeError):
            get_type_hints(one.func, localns=get_supported_types())  # SQLMesh evaluates annotations that are texts
        project.sources |= set(recorder.executed)
    own = sorted(names.macros - macro.get_registry().keys())
    calls_of_all = ", ".join(f"@{name}(a)" for name in own)
    for text in (MODEL, MODEL.replace("SELECT", f"SELECT {calls_of_all},").replace("cron @cadence", SIGNALS)):
        project.sources |= project.observe(MODEL_FILE, text)
    project.planned = 0
    yield project
    set_console(console)


class LocalChange(Change):
    """Reads files from the folder instead of a commit."""

    def _bytes(self, path: str) -> bytes:
        return (self.checkout / path).read_bytes()


def settings_for(examples: int, *phases: Phase) -> settings:
    return settings(
        max_examples=examples,
        derandomize="MESHFLOW_ADMISSIONS" not in os.environ,
        database=None,
        deadline=None,
        print_blob=True,
        phases=phases or (Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def test_no_admitted_text_evaluates_more_than_values(fuzzed: Fuzzed) -> None:
    @settings_for(EXAMPLES)
    @given(changes)
    def tried(change: tuple[str, str]) -> None:
        fuzzed.try_text(*change)

    tried()
    print(f"{fuzzed.admitted} admitted, {fuzzed.loaded} loaded, {fuzzed.planned} planned")  # noqa: T201
    assert fuzzed.admitted > EXAMPLES // 10
    assert fuzzed.loaded > EXAMPLES // 20


def test_the_oracle_sees_what_a_project_executes_when_it_is_loaded(fuzzed: Fuzzed) -> None:
    """SQLMesh loads it in processes of its own unless MAX_FORK_WORKERS is 1. Then nothing is seen."""
    header = f"""enabled @EVAL("a' + str({CODE}) + '")"""
    assert any(CODE in source for source in fuzzed.observe(MODEL_FILE, MODEL.replace("cron @cadence", header)))


JSON_PATH = {exp.JSONExtract, exp.JSONExtractScalar, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey}
ANYTHING = re.compile(".*", re.DOTALL)


def _forgotten(*_: object, **__: object) -> None:
    """A check that was left out."""


def _except_paths(check: Callable[..., None]) -> Callable[..., None]:
    return lambda node, string: None if type(node) in JSON_PATH else check(node, string)


WEAKENINGS = {
    "identifiers may contain anything": (declarative_sql, {"NAME": ANYTHING}, MODEL_FILE, audited),
    "JSON paths are values": (
        declarative_sql,
        {
            "VALUE": declarative_sql.VALUE | JSON_PATH,
            "_require_leaf": _except_paths(declarative_sql._require_leaf),  # noqa: SLF001
        },
        MODEL_FILE,
        audited,
    ),
    "arguments of audits aren't checked": (declarative_sql, {"_require_call": _forgotten}, MODEL_FILE, audited),
    "values of headers aren't checked": (
        declarative_sql,
        {"_require_plain": _forgotten},
        MODEL_FILE,
        headers | kinds,
    ),
    "formats of tables are values": (
        declarative_sql,
        {"MODEL_PROPERTIES": declarative_sql.MODEL_PROPERTIES | {"table_format"}},
        MODEL_FILE,
        formats,
    ),
    "names of physical properties are values": (declarative_sql, {"FIXED": {}}, MODEL_FILE, names),
    "queries aren't checked": (declarative_sql, {"require_query": _forgotten}, MODEL_FILE, queried),
    "values of YAML aren't checked": (declarative_yaml, {"require_argument": _forgotten}, EXTERNAL_FILE, external),
    "Jinja isn't found": (declarative, {"JINJA": re.compile("(?!)")}, TEST_FILE, unit_tests),
}


@pytest.mark.parametrize("weakening", WEAKENINGS)
def test_a_weaker_list_is_found(fuzzed: Fuzzed, weakening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, replaced, file, texts = WEAKENINGS[weakening]
    for name in ("_require_known_calls", "_require_same_when_printed"):  # they would find most of it again
        monkeypatch.setattr(declarative_sql, name, _forgotten)
    for name, value in replaced.items():
        monkeypatch.setattr(module, name, value)

    @settings_for(2000, Phase.generate)
    @given(texts)
    def tried(text: str) -> None:
        fuzzed.try_text(file, text, needle="__import__")

    with pytest.raises(AssertionError, match="evaluates"):
        tried()
