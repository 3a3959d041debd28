"""Changes to admit or to hold for a reader: tables for the functions of admission and for its job."""

# ruff: noqa: E501, RUF001 - a case is a line, and some imitate Latin letters

import re

from meshflow.ci.declarative import MAX_BYTES

MODEL_FILE = "models/retail/{}.sql"
EXTERNAL_FILE = "external_models/{}.yaml"
TEST_FILE = "tests/models/retail/{}.yaml"

MODEL = """MODEL (
  name retail.dim_product,
  kind FULL,
  cron @cadence,
  physical_properties (creatable_type = @IF(@gateway = 'snowflake', TRANSIENT, NULL)),
  audits (unique_combination_of_columns(columns := product_id))
);

SELECT product_id::INT AS product_id, @money(price)::DECIMAL(18, 2) AS price_amount FROM intermediate.products;
"""
VIRTUAL = MODEL + "\nON_VIRTUAL_UPDATE_BEGIN;\n{};\nON_VIRTUAL_UPDATE_END;\n"
SEED = """MODEL (
  name shared.ref_color,
  kind SEED (path '$root/seeds/retail/sales.csv', csv_settings (delimiter = ',')),
  columns (color VARCHAR),
  enabled @IF(@gateway = 'local', TRUE, FALSE)
);
"""
AUDIT = (
    "AUDIT (name new, dialect snowflake, defaults (least = 0));\n\nSELECT * FROM @this_model WHERE @column < @least\n"
)
TEST = """test_new:
  model: retail.new
  vars: {execution_time: '2026-11-01 10:00:00'}
  inputs:
    retail.old:
      rows:
      - {name: "Robert'); DROP TABLE x; -- @EVAL(1)", at: '2026-11-01 10:00:00'}
  outputs:
    query:
      rows: []
"""
EXTERNAL = """- name: raw.retail.returns
  gateway: live
  description: Returns, as loaded. Questions to data@example.org.
  grain: (order_id, line)
  columns: {order_id: BIGINT, line: 'DECIMAL(9, 0)', at: TIMESTAMP WITH TIME ZONE}
  audits:
  - name: accepted_range
    column: line
    min_v: '0'
    inclusive: 'true'
"""
KIND = "kind CUSTOM (materialization 'replace_by_key', materialization_properties (key = product_id))"
TABLE = MODEL.replace("kind FULL", KIND)

CODE = "__import__('os').system('touch executed')"
EVAL = f"""@EVAL("a' + str({CODE}) + '")"""
QUOTED = f'''"x' + str({CODE}) + '"'''
PATH = f"""GET_PATH(a, '["x'' + str({CODE.replace("'", "''")}) + ''"]')"""


ENDED = "+str(__import__(chr(111)+chr(115)).getcwd())+"
ENDING = "'+str(eval(chr(49)))+' + '+str(1)+'"
"""An argument whose text ends the string of Python that an identifier with it is printed in."""


def spelled(text: str) -> str:
    """SQL whose value is the text, of nodes that arguments may have. The variable cadence is '@hourly'."""
    quote = "SUBSTRING(CONCAT('', (1, 'a')), 5, 1)"  # Python writes a tuple with a quote
    spelling = {"@": "LEFT(@cadence, 1)", "'": quote, '"': f"SUBSTRING(CONCAT('', ({quote}, 1)), 2, 1)"}
    parts = (spelling.get(part, f"'{part}'") for part in re.split("([@'\"])", text) if part)
    return f"CONCAT({', '.join(parts)})"


def audited(argument: str) -> str:
    """MODEL with an argument of SQLMesh's audit accepted_range, which evaluates it."""
    return MODEL.replace("audits (", f"audits (accepted_range(column := price, min_v := 0, inclusive := {argument}), ")


def selected(projection: str) -> str:
    return MODEL.replace("product_id::INT AS product_id", projection)


def described(text: str) -> str:
    """MODEL with a property. Audits replace its own."""
    if text.startswith("audits ("):
        return MODEL.replace("audits (unique_combination_of_columns(columns := product_id))", text)
    return MODEL.replace("kind FULL,", f"kind FULL, {text},")


# What nobody has read is held: an identifier, the file, its text and a part of the reason.
HOSTILE = [
    # The three of issue 19: a built-in audit, YAML of external models, defaults of a new audit.
    ("audit-identifier", MODEL_FILE, audited(f"NOT {QUOTED}"), "passes the text"),
    ("external-audit", EXTERNAL_FILE, EXTERNAL.replace("'true'", "'NOT " + QUOTED.replace("'", "''") + "'"), "passes the text"),
    ("audit-default", "audits/{}.sql", AUDIT.replace("= 0", f"= NOT {QUOTED}").replace("@column <", "@IF(@least, 1, 2) <"), "passes the text"),
    ("audit-backslash", MODEL_FILE, audited("'x\\\\\\' + 1 #'"), "passes the text x"),
    ("audit-string", MODEL_FILE, audited("'it''s'"), "passes the text it's"),
    ("audit-path", MODEL_FILE, audited(PATH), "passes JSONExtract"),
    ("audit-function", MODEL_FILE, audited("eval('1')"), "passes Anonymous"),
    ("audit-get-path", MODEL_FILE, audited("GET_PATH(a, 'b')"), "passes JSONExtract"),
    ("audit-query", MODEL_FILE, audited("(SELECT 1)"), "passes Subquery"),
    ("audit-dollar", MODEL_FILE, audited("$$x'y$$"), "passes RawString"),
    ("audit-unicode", MODEL_FILE, audited('"ｅｖａｌ"'), "passes the text ｅｖａｌ"),
    ("audit-name", MODEL_FILE, audited('"x y"()'), "passes"),
    ("audit-macro", MODEL_FILE, audited(f"@IF({QUOTED}, 1, 2)"), "passes Column"),
    ("audit-string-macro", MODEL_FILE, audited("@'x'"), "passes MacroStrReplace"),
    ("audit-comment", MODEL_FILE, audited("TRUE -- */ x\n"), "comment within a comment"),
    ("audit-macro-of-text", MODEL_FILE, audited("@GENERATE_SURROGATE_KEY(a, hash_function := 'eval(1)')"), "to @GENERATE_SURROGATE_KEY"),
    # Second review: templates, `:=` and a macro's output end up in what is evaluated.
    ("template-in-condition", MODEL_FILE, selected(f"@EACH([{ENDING}], x -> @IF(f_@x, 1, 2))"), "passes Column f_@x"),
    ("template-in-filter", MODEL_FILE, selected(f"@FILTER([{ENDING}], x -> f_@x > 1)"), "calls @FILTER"),
    ("template-in-enabled", MODEL_FILE, described(f"enabled @IF(@EACH([{ENDING}], x -> f_@x), TRUE, FALSE)"), "evaluates Python"),
    ("template-in-external", EXTERNAL_FILE, EXTERNAL.replace("'true'", f'"@EACH([{ENDING}], x -> f_@x)"'), "evaluate"),
    ("template-in-audit", "audits/{}.sql", AUDIT.replace("@column <", "@IF(f_@least, 1, 2) <"), "passes Column f_@least"),
    ("template-in-audit-query", "audits/{}.sql", AUDIT.replace("@column <", "f_@least <"), "contains the identifier f_@least"),
    ("template-of-texts", MODEL_FILE, selected(f"@EACH([{ENDING}], x -> a AS f_@x)"), "passes the identifier f_@x"),
    ("template-of-table", MODEL_FILE, MODEL.replace("SELECT product_id::INT", "@EACH([' TABLE prod.t'], x -> DROP@x);\n\nSELECT product_id::INT"), "statements besides its query"),
    ("assignment-in-lambda", MODEL_FILE, selected("@FILTER(['x)) or CODE or ((1'], x -> FALSE AND (a := 1))"), "calls @FILTER"),
    ("assignment-of-stage", MODEL_FILE, selected("@IF((runtime_stage := 'testing') = 'testing', 1, 2)"), "which is no argument of a macro"),
    ("macro-in-condition", MODEL_FILE, selected("@IF(@GENERATE_SURROGATE_KEY(a, hash_function := 'eval(1)') = 1, 1, 2)"), "where SQLMesh evaluates Python"),
    ("macro-in-if", MODEL_FILE, selected("@IF(1 = @GENERATE_SURROGATE_KEY(a, hash_function := 'eval(1)'), 1, 2)"), "where SQLMesh evaluates Python"),
    ("macro-deep-in-condition", MODEL_FILE, selected("@IF(1 = COALESCE(@AND(a, b), 1), 1, 2)"), "where SQLMesh evaluates Python"),
    ("mathematical-letters", MODEL_FILE, selected("@IF('𝐞𝐯𝐚𝐥(1)' = 1, 1, 2)"), "passes the text 𝐞𝐯𝐚𝐥"),
    ("attribute", MODEL_FILE, selected("@IF(EXTRACT('__class__' FROM 'x') = 1, 1, 2)"), "passes Extract"),
    ("attribute-of-function", MODEL_FILE, audited("EXTRACT(__class__ FROM a) IS NULL"), "passes Extract"),
    ("function-of-any-name", MODEL_FILE, audited("MY_UDF(a)"), "passes Anonymous"),
    ("signal", MODEL_FILE, described(f"signals (source_loaded(source := {QUOTED}, gateway := @gateway))"), "passes the text"),
    ("signal-sql", MODEL_FILE, described("signals (source_loaded(source := 'x'' OR TRUE --'))"), "passes the text"),
    ("physical-property", MODEL_FILE, MODEL.replace("TRANSIENT", QUOTED), "passes the text"),
    ("enabled", MODEL_FILE, described(f"enabled @IF({QUOTED} = 1, TRUE, FALSE)"), "passes Column"),
    ("enabled-string", MODEL_FILE, described("enabled @SQL('TRUE')"), "passes MacroSQL"),
    ("property-macro", MODEL_FILE, described("@EVAL('1')"), "in its header"),
    ("depends-on", MODEL_FILE, described(f"depends_on ({QUOTED})"), "passes the text"),
    ("grain", MODEL_FILE, described(f"grain {QUOTED}"), "passes the text"),
    ("partition", MODEL_FILE, described(f"partitioned_by ({QUOTED})"), "passes the text"),
    ("column", MODEL_FILE, described(f"columns ({QUOTED} INT)"), "passes the text"),
    ("kind-property", MODEL_FILE, TABLE.replace("key = product_id", f"key = {QUOTED}"), "passes the text"),
    ("kind-macro", MODEL_FILE, MODEL.replace("kind FULL", "kind @IF(TRUE, FULL, VIEW)"), "in its header"),
    ("kind-variable", MODEL_FILE, MODEL.replace("kind FULL", "kind @cadence"), "kind that a macro computes"),
    ("blueprints", MODEL_FILE, described(f"blueprints ((x := {QUOTED}))"), "sets blueprints"),
    ("gateway", MODEL_FILE, described("gateway local"), "sets gateway"),
    ("ignored-rules", MODEL_FILE, described("ignored_rules ALL"), "sets ignored_rules"),
    ("session", MODEL_FILE, described("session_properties (warehouse = 'PROD')"), "sets session_properties"),
    ("dialect", MODEL_FILE, described("dialect duckdb"), "sets dialect"),
    ("dialect-in-comment", MODEL_FILE, MODEL.replace("kind FULL,", "kind FULL, -- (dialect duckdb)\n"), "sets dialect"),
    ("duplicate-property", MODEL_FILE, described("gateway local, gateway snowflake"), "sets gateway"),
    ("materialization", MODEL_FILE, TABLE.replace("replace_by_key", "x"), "uses the materialization x"),
    ("materialization-comment", MODEL_FILE, TABLE.replace("'replace_by_key'", "/* 'replace_by_key', */ 'x'"), "uses the materialization x"),
    ("seed-of-environment", MODEL_FILE, SEED.replace("$root/seeds/retail/sales.csv", "/proc/self/environ"), "local file"),
    ("seed-outside", MODEL_FILE, SEED.replace("seeds/retail", "seeds/../retail"), "local file"),
    ("seed-link", MODEL_FILE, SEED.replace("sales.csv", "link.csv"), "local file"),
    ("eval", MODEL_FILE, selected("@EVAL('1')"), "calls @EVAL"),
    ("if", MODEL_FILE, selected(f"@IF({QUOTED} = 1, 1, 2)"), "passes Column"),
    ("if-statement", MODEL_FILE, VIRTUAL.format("@IF(TRUE, DROP TABLE x)"), "statements besides its query"),
    ("each", MODEL_FILE, selected(f"@EACH([1], x -> @IF({QUOTED} = 1, 1, 2))"), "passes Column"),
    ("filter-path", MODEL_FILE, selected(f"@IF({PATH} = 1, 1, 2)"), "passes JSONExtract"),
    ("sql", MODEL_FILE, selected("@SQL('1')"), "passes MacroSQL"),
    ("string-macro", MODEL_FILE, selected("@'@x'"), "passes MacroStrReplace"),
    ("def", MODEL_FILE, MODEL.replace("SELECT", "@DEF(x, 1);\nSELECT"), "statements besides its query"),
    ("new-macro", MODEL_FILE, selected("@new_macro(1)"), "no macro on main"),
    ("money-path", MODEL_FILE, selected(f"@money({PATH})"), "passes JSONExtract"),
    ("money-identifier", MODEL_FILE, selected(f"@money({QUOTED})"), "passes the text"),
    ("money-query", MODEL_FILE, selected("@money((SELECT @EVAL('1')))"), "passes Subquery"),
    ("template", MODEL_FILE, selected('"a@{x}"'), "contains the identifier"),
    ("variable", MODEL_FILE, selected("@engine_adapter"), "no variable"),
    ("stage", MODEL_FILE, MODEL.replace("FROM intermediate.products", "FROM @~"), "no variable"),
    ("jinja", MODEL_FILE, selected("{{ ''.__class__ }}"), "contains Jinja"),
    ("jinja-query", MODEL_FILE, MODEL.replace("SELECT", "Jinja_Query_Begin;\nSELECT").replace("products;", "products;\nJINJA_END;"), "statements besides its query"),
    ("jinja-function", MODEL_FILE, selected("JINJA('x')"), "contains"),
    ("put", MODEL_FILE, MODEL.replace("SELECT", "PUT file:///proc/self/environ '%x';\nSELECT"), "besides"),
    ("insert", MODEL_FILE, MODEL.replace("SELECT", "INSERT INTO x SELECT 1;\nSELECT"), "besides"),
    ("masking", MODEL_FILE, VIRTUAL.format("DROP TABLE x"), "besides"),
    ("no-header", MODEL_FILE, "SELECT 1 AS one", "has no header"),
    ("half-header", MODEL_FILE, "MODEL (", "can't be parsed"),
    ("audit-among-models", MODEL_FILE, AUDIT, "has no header"),
    ("empty", MODEL_FILE, "", "has no header"),
    ("nul", MODEL_FILE, selected("1\0"), "U+0000"),
    ("byte-order-mark", MODEL_FILE, "\ufeff" + MODEL, "U+FEFF"),
    ("carriage-return", MODEL_FILE, selected("1 -- \r @EVAL('1')"), "U+000D"),
    ("reversed", MODEL_FILE, selected("1 /* \u202e */"), "U+202E"),
    ("not-utf-8", MODEL_FILE, MODEL.encode() + b"-- \xff", "is not UTF-8"),
    ("too-large", MODEL_FILE, MODEL + "-- " + "x" * MAX_BYTES, "is larger than"),
    ("too-deep", MODEL_FILE, selected("(" * 5000 + "1" + ")" * 5000), "can't be parsed"),
    ("comments", MODEL_FILE, described("/* a */" * 40 + " owner x"), "takes more than"),
    ("nested-comments", MODEL_FILE, described("/* /* a */ */" * 40 + " owner x"), "takes more than"),
    ("nested-if", MODEL_FILE, selected("IF(" * 40), "takes more than"),
    ("description-macro", MODEL_FILE, described(f"description @DEDUPLICATE(a, [b], ['@EVAL({QUOTED})'])".replace("'('", "x")), "which can make SQL of a text"),
    ("test-jinja", TEST_FILE, TEST.replace("Robert", "{% print(1) %}"), "contains Jinja"),
    ("test-variable", TEST_FILE, TEST.replace("execution_time: '", "gateway: '\\'' + x #"), "where SQLMesh expects a name"),
    ("test-file", TEST_FILE, TEST.replace("rows: []", "path: docs/x.md"), "sets path"),
    ("test-csv", TEST_FILE, TEST.replace("rows: []", "{format: csv, rows: 'a', csv_settings: {engine: python}}"), "sets csv_settings"),
    ("test-statement", TEST_FILE, TEST.replace("rows: []", "query: COPY x TO 'y'"), "no query"),
    ("test-macro", TEST_FILE, TEST.replace("rows: []", "query: SELECT @EVAL('1')"), "which can make SQL of a text"),
    ("test-gateway", TEST_FILE, TEST.replace("  vars", "  gateway: snowflake\n  vars"), "sets gateway"),
    ("yaml-tag", TEST_FILE, TEST.replace("[]", "!!python/object/apply:os.getcwd []"), "YAML tag"),
    ("yaml-depth", TEST_FILE, "[" * 10_000, "levels"),
    ("yaml-aliases", EXTERNAL_FILE, "a: &a [x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in zip("abcdefghijklmnopqrstu", "bcdefghijklmnopqrstuv", strict=True)), "values"),
    ("yaml-recursion", EXTERNAL_FILE, "- &a [*a]\n", "values"),
    ("external-jinja", EXTERNAL_FILE, "- name: {{ 1 }}\n", "contains Jinja"),
    ("external-name", EXTERNAL_FILE, EXTERNAL.replace("raw.retail.returns", "'\"x''y\"'"), "expects a name"),
    ("external-type", EXTERNAL_FILE, EXTERNAL.replace("BIGINT", "'x''y'"), "expects a name"),
    ("external-signal", EXTERNAL_FILE, EXTERNAL + "  signals: []\n", "sets signals"),
    ("external-grain", EXTERNAL_FILE, EXTERNAL.replace("(order_id, line)", "'@IF(1, 1, 2) + GET_PATH(a, ''b'')'"), "passes"),
    # Third review: any text can be spelled, and @EVAL makes SQL of it, in which macros are evaluated again.
    ("spelled-macro", MODEL_FILE, selected(f"@EVAL({spelled(f'@EVAL({QUOTED})')})"), "calls @EVAL"),
    ("spelled-python-in-external", EXTERNAL_FILE, EXTERNAL.replace("'true'", f'"@EVAL({spelled(QUOTED)})"'), "calls @EVAL"),
    ("macro-in-external", EXTERNAL_FILE, EXTERNAL.replace("'true'", '"@money(1)"'), "where SQLMesh evaluates Python"),
    ("macro-in-defaults", "audits/{}.sql", AUDIT.replace("least = 0", "least = @money(1)"), "in its header"),
    ("statement-of-text", MODEL_FILE, MODEL.replace("SELECT", "@EVAL('DROP TABLE analytics.retail.t');\nSELECT"), "statements besides its query"),
    ("statement-of-function", MODEL_FILE, MODEL.replace("SELECT", "@GENERATE_SURROGATE_KEY(a, hash_function := 'DELETE FROM a WHERE MD5');\nSELECT"), "statements besides its query"),
    ("virtual-statement-of-text", MODEL_FILE, VIRTUAL.format("@EVAL('GRANT SELECT ON TABLE a.b TO ROLE public')"), "statements besides its query"),
    # Fourth review: SQLMesh writes columns and intervals into Python as texts, which the value of a variable ends.
    ("column-in-filter", MODEL_FILE, selected(f"@FILTER(['{ENDED}'], x -> y.x = 1)"), "calls @FILTER"),
    ("interval-in-filter", MODEL_FILE, selected(f"@FILTER(['{ENDED}'], day -> CURRENT_TIMESTAMP() < INTERVAL '1' day)"), "calls @FILTER"),
    ("column-in-condition", MODEL_FILE, selected(f"@EACH(['{ENDED}'], x -> @IF(y.@x = 1, 1, 2))"), "passes Column"),
    ("parameter-in-condition", MODEL_FILE, selected(f"@EACH(@EACH(['{ENDED}'], c -> y.c), x -> @IF(@x = 1, 1, 2))"), "passes MacroVar"),
    ("function-in-condition", MODEL_FILE, selected("@EACH([@GENERATE_SURROGATE_KEY(a, hash_function := 'PWN')], x -> @IF(@x > 1, 1, 2))"), "passes"),
    ("argument-in-condition", "audits/{}.sql", AUDIT.replace("least = 0", f"least = '{ENDED}'").replace("@column <", "@IF(@least = 1, 1, 2) <"), "passes MacroVar"),
    ("argument-in-argument", MODEL_FILE, described(f"audits (accepted_range(column := '{ENDED}', min_v := 0, inclusive := y.@column))"), "uses @column"),
    ("argument-in-external", EXTERNAL_FILE, EXTERNAL.replace("column: line", f"column: \"'{ENDED}'\"").replace("'true'", "y.@column"), "uses @column"),
    ("argument-of-sqlmesh", MODEL_FILE, described(f"audits (accepted_range(column := a, start_ds := '{ENDED}', inclusive := y.@start_ds))"), "has the argument start_ds"),
    ("argument-of-sqlmesh-in-external", EXTERNAL_FILE, EXTERNAL.replace("column: line", f"column: line\n    start_ds: \"'{ENDED}'\""), "has the argument start_ds"),
    # Fifth review: values that nobody visited, and macros that write an argument's text into SQL as it is.
    ("dialect-of-code", MODEL_FILE, described(f"dialect snowflake({EVAL})"), "passes"),
    ("dialect-with-index", MODEL_FILE, described(f"dialect snowflake[{EVAL}]"), "passes"),
    ("dialect-of-values", MODEL_FILE, described("dialect snowflake(1)"), "passes"),
    ("materialization-of-code", MODEL_FILE, TABLE.replace("'replace_by_key'", f"replace_by_key({EVAL})"), "passes"),
    ("materialization-with-index", MODEL_FILE, TABLE.replace("'replace_by_key'", f"'replace_by_key'[{EVAL}]"), "passes"),
    ("gateway-of-function", MODEL_FILE, described("enabled @GENERATE_SURROGATE_KEY(a, hash_function := 'TRUE, gateway local, owner x, tags (a), stamp y')"), "passes hash_function"),
    ("dialect-of-function", MODEL_FILE, described("enabled @GENERATE_SURROGATE_KEY(a, hash_function := 'TRUE, dialect duckdb(1), owner x, tags (a), stamp y')"), "passes hash_function"),
    ("gateway-of-templates", MODEL_FILE, described("enabled @EACH(['TRUE, gateway local'], x -> @EACH((x, b), y -> c AS f_@y))"), "passes the identifier"),
    ("gateway-of-outer-template", MODEL_FILE, described("enabled @EACH(['TRUE, gateway local'], x -> @EACH((a, b), y -> c AS f_@x))"), "passes the identifier"),
    ("function-in-header", MODEL_FILE, described("enabled @GENERATE_SURROGATE_KEY(a)"), "sets enabled"),
    ("each-in-header", MODEL_FILE, described("tags (@EACH((a, b), x -> x))"), "in its header"),
    ("own-macro-in-header", MODEL_FILE, described("title @money(1)"), "in its header"),
    ("statement-of-argument", MODEL_FILE, MODEL.replace("SELECT", "@is_affected(@GENERATE_SURROGATE_KEY(a));\nSELECT", 1), "within a statement"),
    ("virtual-statement-of-argument", MODEL_FILE, VIRTUAL.format("@mask(@GENERATE_SURROGATE_KEY(a, hash_function := 'TRUNCATE t --'))"), "within a statement"),
    ("function-of-text", MODEL_FILE, selected("@GENERATE_SURROGATE_KEY(a, hash_function := 'SYSTEM$CANCEL_ALL_QUERIES(1) --')"), "passes hash_function"),
    ("function-of-parameter", MODEL_FILE, selected("@EACH(['TRUNCATE t --'], x -> @GENERATE_SURROGATE_KEY(a, hash_function := @x))"), "passes hash_function"),
    ("function-of-function", MODEL_FILE, selected("@GENERATE_SURROGATE_KEY(a, hash_function := UPPER('TRUNCATE t --'))"), "passes hash_function"),
    ("prefix-of-text", MODEL_FILE, selected("@STAR(intermediate.products, prefix := 'a, (SELECT 1) AS ', quote_identifiers := FALSE)"), "passes"),
    ("prefix-without-name", MODEL_FILE, selected("@STAR(intermediate.products, p, [x], 'a, (SELECT 1) AS ', '', FALSE)"), "no name"),
    ("condition-by-name", MODEL_FILE, selected(f"@EACH(['{ENDED}'], x -> @IF(true := 1, condition := y.@x = 1))"), "to @IF"),
    ("audit-like-a-function", MODEL_FILE, described("audits (round(x = @EACH([1], x -> x), y = @cadence))"), "which is no audit or signal"),
    ("assignment-in-function", MODEL_FILE, audited("HASH(runtime_stage := 'testing') = 1"), "which is no argument of a macro"),
    ("test-csv-line-feed", TEST_FILE, TEST.replace("rows: []", "{format: csv, rows: \"\\n\\\"a'b\\\"\\n1\"}"), "where SQLMesh expects a name"),
    # Sixth review: texts that SQLMesh prints unquoted into the statements of a build.
    ("table-format", MODEL_FILE, described("table_format 'or replace table analytics.sqlmesh_retail.t as select 1 --'"), "sets table_format"),
    ("table-format-name", MODEL_FILE, described("table_format iceberg"), "sets table_format"),
    ("storage-format", MODEL_FILE, described("storage_format 'parquet, x'"), "sets storage_format"),
    ("time-format", MODEL_FILE, MODEL.replace("kind FULL", "kind INCREMENTAL_BY_TIME_RANGE (time_column (product_id, '0 or exists (select 1) --'))"), "has the time format"),
    ("physical-property-name", MODEL_FILE, MODEL.replace("(creatable", "('max_data_extension_time_in_days = 1 clone raw.edtech.students --' = 1, creatable"), "sets physical_properties"),
    ("physical-property-quoted", MODEL_FILE, MODEL.replace("(creatable", '("target_lag " = 1, creatable'), "passes the text target_lag"),
    ("creatable-type", MODEL_FILE, MODEL.replace("@IF(@gateway = 'snowflake', TRANSIENT, NULL)", "'DYNAMIC'"), "sets physical_properties"),
    ("materialized-view", MODEL_FILE, MODEL.replace("kind FULL", "kind VIEW (materialized TRUE)"), "sets materialized"),
    # Apostrophes pass where SQLMesh writes a literal, and in no other argument.
    ("apostrophe-in-expression", MODEL_FILE, described("audits (accepted_values(column := a, is_in := ('it''s' || b)))"), "passes the text it's"),
    ("apostrophe-in-column", MODEL_FILE, described("audits (accepted_values(column := 'it''s', is_in := (1)))"), "passes the text it's"),
    ("apostrophe-in-condition", MODEL_FILE, described("audits (accepted_values(column := a, is_in := (1), condition := 'it''s'))"), "passes the text it's"),
    ("apostrophe-in-lambda", MODEL_FILE, described("audits (match_like_pattern_list(column := a, patterns := ('it''s')))"), "passes the text it's"),
    ("apostrophe-after-backslash", MODEL_FILE, described("audits (accepted_values(column := a, is_in := ('a\\\\''b')))"), "passes the text a"),
    ("apostrophe-in-own-audit", MODEL_FILE, described("audits (new(column := a, is_in := ('it''s')))"), "passes the text it's"),
    ("audit-of-sqlmesh", "audits/{}.sql", AUDIT.replace("name new", "name (Accepted_Values)"), "has the name of an audit of SQLMesh"),
    # Lint and unit tests run on gateway local.
    ("enabled-elsewhere", MODEL_FILE, described("enabled @IF(@gateway = 'snowflake', TRUE, FALSE)"), "sets enabled"),
    ("enabled-but-locally", MODEL_FILE, described("enabled @IF(@gateway = 'local', FALSE, TRUE)"), "sets enabled"),
    ("enabled-by-variable", MODEL_FILE, described("enabled @gateway"), "sets enabled"),
    ("stored-elsewhere", MODEL_FILE, MODEL.replace("kind FULL", "kind INCREMENTAL_UNMANAGED (insert_overwrite @IF(@gateway = 'local', TRUE, FALSE))"), "in its header"),
    ("audited-elsewhere", "audits/{}.sql", AUDIT.replace("defaults", "skip @IF(@gateway = 'local', FALSE, TRUE), defaults"), "in its header"),
    ("template-of-second-item", MODEL_FILE, selected("@EACH((a, b), 'x, (SELECT 1) AS y', z -> c AS f_@z)"), "passes the identifier"),
]  # fmt: skip
FUNCTIONS = [
    *("COALESCE(a, 0)", "NVL(a, 0)", "NVL2(a, b, 0)", "NULLIF(a, 0)", "IFNULL(a, 0)", "ZEROIFNULL(a)", "DIV0(a, b)"),
    *("IFF(a > 1, b, 0)", "CASE WHEN a > 1 THEN b ELSE 0 END", "DECODE(a, 1, 'x', 'y')", "EQUAL_NULL(a, b)"),
    *("GREATEST(a, b)", "LEAST(a, b)", "ABS(a)", "CEIL(a)", "FLOOR(a)", "ROUND(a, 2)", "TRUNC(a, 2)", "MOD(a, 2)"),
    *("SQRT(a)", "LN(a)", "EXP(a)", "SIGN(a)", "TRIM(a)", "LTRIM(a)", "RTRIM(a, '0')", "UPPER(a)", "LOWER(a)", "LEFT(a, 3)"),
    *("RIGHT(a, 3)", "SUBSTR(a, 1, 3)", "SPLIT_PART(a, '-', 1)", "SPLIT(a, ',')", "REPLACE(a, 'x', 'y')", "LENGTH(a)"),
    *("TRANSLATE(a, 'x', 'y')", "CONCAT(a, b)", "CONCAT_WS('-', a, b)", "LPAD(a, 3, '0')", "RPAD(a, 3, '0')", "REPEAT(a, 3)"),
    *("REVERSE(a)", "CHARINDEX('x', a)", "POSITION('x' IN a)", "CONTAINS(a, 'x')", "STARTSWITH(a, 'x')", "ENDSWITH(a, 'x')"),
    *("REGEXP_LIKE(a, '[0-9]+')", "REGEXP_REPLACE(a, '[0-9]+', '')", "REGEXP_SUBSTR(a, '[0-9]+')", "MD5(a)", "SHA2(a, 256)"),
    *("HASH(a, b)", "TO_VARCHAR(a, 'YYYY-MM-DD')", "TO_CHAR(a)", "TO_NUMBER(a)", "TRY_TO_NUMBER(a)", "TO_BOOLEAN(a)"),
    *("TO_DATE(a, 'DD.MM.YYYY')", "TRY_TO_DATE(a)", "TO_TIMESTAMP(a)", "TO_TIMESTAMP_NTZ(a)", "TRY_CAST(a AS INT)"),
    *("DATEDIFF(DAY, a, b)", "DATEADD(MONTH, -1, a)", "TIMESTAMPDIFF(HOUR, a, b)", "ADD_MONTHS(a, 1)", "MONTHS_BETWEEN(a, b)"),
    *("DATE_TRUNC('month', a)", "LAST_DAY(a)", "YEAR(a)", "QUARTER(a)", "MONTH(a)", "WEEK(a)", "DAY(a)", "DAYOFWEEK(a)", "HOUR(a)"),
    *("DAYNAME(a)", "MONTHNAME(a)", "EXTRACT(YEAR FROM a)", "DATE_PART('year', a)", "DATE_FROM_PARTS(2026, 1, 1)"),
    *("CONVERT_TIMEZONE('UTC', 'America/Toronto', a)", "CURRENT_DATE", "CURRENT_TIMESTAMP()", "COUNT(*)", "COUNT_IF(a > 1)"),
    *("COUNT(DISTINCT a)", "SUM(a)", "AVG(a)", "MIN(a)", "MAX(a)", "MEDIAN(a)", "STDDEV(a)", "VARIANCE(a)", "ANY_VALUE(a)"),
    *("LISTAGG(DISTINCT a, ', ') WITHIN GROUP (ORDER BY a)", "ARRAY_AGG(a)", "BOOLOR_AGG(a)", "MAX_BY(a, b)", "MIN_BY(a, b)"),
    *("APPROX_COUNT_DISTINCT(a)", "ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC)", "RANK() OVER (ORDER BY a)"),
    *("INITCAP(a)", "ARRAY_SIZE(a)", "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY a)", "IFF(a > 1e6, b, 1e-6)"),
    *("CURRENT_DATE - INTERVAL '7 days'", "SUM(a) OVER (ORDER BY b ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"),
    *("LAG(a) OVER (ORDER BY b)", "LEAD(a, 1, 0) OVER (ORDER BY b)", "SUM(a) OVER (PARTITION BY b)"),
]  # fmt: skip
"""Common functions of Snowflake."""

CODE_FILES = [
    *("config.yaml", "config.py", ".env", "macros/{}.py", "signals/{}.py", "models/{}.py", "models/config.yaml"),
    *("audits/{}.py", "macros/{}.sql", "linter/{}.py", "materializations/{}.py", "metrics/{}.sql", "hooks/{}.py"),
    *("src/meshflow/{}.py", "requirements/base.lock", "pyproject.toml", "Makefile", "seeds/{}.py", "sqlmesh.py"),
    *(".github/workflows/{}.yml", ".github/actions/setup/action.yml", ".gitattributes", "tests/{}.yaml", "jinja.py"),
    *("external_models.yaml", "infra/snowflake/bootstrap.sql", ".pre-commit-config.yaml", "tests/models/test_x.yml"),
    *("docs/.gitattributes", "docs/{}/.gitattributes", "dashboards/.gitattributes", "benchmarks/.gitattributes"),
]
EVERYDAY = [
    ("cast", MODEL_FILE, MODEL.replace("::INT", "::BIGINT")),
    ("macro-argument", MODEL_FILE, MODEL.replace("@money(price)", "@money(COALESCE(price, 0) * 2)")),
    ("macro-first-use", MODEL_FILE, selected("@full_name(first_name, last_name) AS name")),
    ("macro-of-sqlmesh", MODEL_FILE, selected("@EACH((a, b), c -> c::INT AS @{c}_count)")),
    ("surrogate-key", MODEL_FILE, selected("@GENERATE_SURROGATE_KEY(a, b, hash_function := 'SHA256') AS key")),
    ("star", MODEL_FILE, selected("@STAR(intermediate.products, exclude := [price], prefix := 'product_')")),
    ("if", MODEL_FILE, selected("@IF(@gateway = 'snowflake', a, b) AS c")),
    ("if-later", MODEL_FILE, selected("@IF(@start_ds > '2026-01-01', a, b) AS c")),
    ("affected", MODEL_FILE, MODEL.replace("products;", "products WHERE @is_affected(products.product_id);")),
    ("reasons", MODEL_FILE, selected("@reject_reasons(no_price := price IS NULL, late := at > '2026-01-01'::DATE) AS r")),
    ("standard-variables", MODEL_FILE, selected("@start_ds, @end_ts, @execution_ts, @execution_date, @latest_epoch")),
    ("runtime-stage", MODEL_FILE, selected("@IF(@runtime_stage = 'evaluating', 1, 2) AS stage")),
    ("braces", MODEL_FILE, selected("@{start_ds} AS day")),
    ("variable-of-main", MODEL_FILE, MODEL.replace("cron @cadence", "cron @cadence, start '2026-10-25'")),
    ("email-in-comment", MODEL_FILE, selected("1 AS one /* mail data@example.org */")),
    ("email-in-line-comment", MODEL_FILE, selected("1 AS one -- mail data@example.org, or @ann\n")),
    ("email-in-string", MODEL_FILE, selected("'data@example.org' AS email, '@EVAL(\"1\")' AS text")),
    ("email-in-description", MODEL_FILE, described("description 'It''s read by data@example.org: \"why?\"'")),
    ("word-jinja", MODEL_FILE, selected("'jinja' AS jinja /* Jinja is a temple */")),
    ("title", MODEL_FILE, described("title 'Products, as sold'")),
    ("interval-unit", MODEL_FILE, described("interval_unit 'hour'")),
    ("timezone", MODEL_FILE, described("cron_tz 'America/Toronto', tags (retail, mart), owner retail_analytics")),
    ("columns", MODEL_FILE, described("columns (a INT, b DECIMAL(18, 2)), column_descriptions (a = 'It''s a', b = 'B')")),
    ("columns-not-null", MODEL_FILE, described("columns (a DATE NOT NULL, b INT NOT NULL COMMENT 'B')")),
    ("partition", MODEL_FILE, described("partitioned_by (DATE_TRUNC('day', at)), clustered_by (a, b)")),
    ("audits", MODEL_FILE, audited("TRUE AND NOT FALSE")),
    ("accepted-values", MODEL_FILE, described("audits (accepted_values(column := x, is_in := ('Yet to Start', 'Québec', 'A & B', '50%')))")),
    ("apostrophe", MODEL_FILE, described("audits (accepted_values(column := x, is_in := ('Prince Edward''s Island', 'Ontario')))")),
    ("one-apostrophe", MODEL_FILE, described("audits (not_accepted_values(column := x, is_in := ('Qu''Appelle')))")),
    ("pattern", MODEL_FILE, described("audits (match_regex_pattern_list(column := x, patterns := ('^#[0-9]+$', '[a-z]')))")),
    ("formatting", MODEL_FILE, described("formatting FALSE, optimize_query FALSE")),
    ("forall", MODEL_FILE, described("audits (forall(criteria := (a > 0, b IN (1, 2), c IS NULL, LENGTH(d) <= 3 * 2, e BETWEEN 1 AND 2)))")),
    ("measures", MODEL_FILE, described("audits (totals_reconcile(measures := IFF(a, 1, 0), against := edtech.fct_enrollment, by := (a, b)))")),
    ("signals", MODEL_FILE, described("signals (source_loaded(source := 'retail', gateway := @gateway), parents_processed())")),
    ("incremental", MODEL_FILE, MODEL.replace("kind FULL", "kind INCREMENTAL_BY_TIME_RANGE (time_column (at, '%Y-%m-%d'), lookback 2, batch_size 30)")),
    ("time-format", MODEL_FILE, MODEL.replace("kind FULL", "kind INCREMENTAL_BY_TIME_RANGE (time_column (at, 'YYYYMMDD'))")),
    ("unique-key", MODEL_FILE, MODEL.replace("kind FULL", "kind INCREMENTAL_BY_UNIQUE_KEY (unique_key (a, b))")),
    ("history", MODEL_FILE, MODEL.replace("kind FULL", "kind SCD_TYPE_2_BY_TIME (unique_key a, invalidate_hard_deletes TRUE)")),
    ("disabled", MODEL_FILE, described("enabled FALSE")),
    ("enabled-locally", MODEL_FILE, described("enabled @IF(@gateway = 'local', TRUE, FALSE)")),
    ("key", MODEL_FILE, TABLE.replace("key = product_id", "key = price, row_exists = price > 0")),
    ("new-seed", "models/shared/{}.sql", SEED),
    ("functions", MODEL_FILE, selected(", ".join(f"{one} AS f{n}" for n, one in enumerate(FUNCTIONS)))),
    ("functions-in-macros", MODEL_FILE, selected(", ".join(f"@money({one}) AS f{n}" for n, one in enumerate(FUNCTIONS)))),
    ("functions-in-audits", MODEL_FILE, described(f"audits (forall(criteria := ({', '.join(f'{one} = b' for one in FUNCTIONS)})))")),
    ("json-in-query", MODEL_FILE, selected("src:a.b::INT AS a, src['it''s'] AS b, REGEXP_LIKE(c, '\\\\d+\\'') AS d, $$x'y$$ AS e")),
    ("windows", MODEL_FILE, selected("ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) AS n, MY_UDF(a) AS u")),
    ("windows-line-ends", MODEL_FILE, MODEL.replace("\n", "\r\n")),
    ("virtual-statement", MODEL_FILE, VIRTUAL.format("@mask(price)")),
    ("statement-before", MODEL_FILE, MODEL.replace("SELECT", "@create_run_log();\nSELECT", 1)),
    ("trailing-comment", MODEL_FILE, MODEL + "-- the end\n"),
    ("new-audit", "audits/{}.sql", AUDIT),
    ("audit-with-macros", "audits/{}.sql", AUDIT.replace("@column <", "@AND(@EACH(@keys, key -> a.@key IS NULL)) AND @limit_of <")),
    ("unit-test", TEST_FILE, TEST),
    ("unit-test-csv", TEST_FILE, TEST.replace("rows: []", '{format: csv, rows: "a,b\\n1,x@y.z"}')),
    ("unit-test-query", TEST_FILE, TEST.replace("rows: []", "query: SELECT 1 AS a, 'x@y.z' AS b")),
    ("unit-test-cte", TEST_FILE, TEST.replace("    query:", "    partial: true\n    ctes: {sold: {rows: []}}\n    query:")),
    ("unit-test-jinja", TEST_FILE, TEST.replace("Robert", "Jinja")),
    ("external-model", EXTERNAL_FILE, EXTERNAL),
    ("seed-rows", "seeds/retail/{}.csv", "a,b\n1,{{ 2 }} @x\n"),
    ("document", "docs/{}.md", "{{ anything }} @anybody"),
    ("picture", "docs/{}.svg", "<svg/>"),
    ("readme", "models/{}.md", "hello"),
    ("license", "LICENSE", "Apache"),
    ("dashboard", "dashboards/{}.py", "import os\n"),
    ("test-in-python", "tests/python/{}.py", "import os\n"),
    ("ignored-files", ".gitignore", "*.duckdb\n"),
    ("example-of-variables", ".env.example", "MESHFLOW_DATA=data\n"),
    ("editor", ".vscode/settings.json", "{}"),
    ("issue-template", ".github/ISSUE_TEMPLATE/{}.yml", "name: x\n"),
]  # fmt: skip
