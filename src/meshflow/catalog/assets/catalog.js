// Pages and routes. Each page returns a title and its content.

const MAX_MODELS = 40; // in the lineage of a model: if there are more, it shows one step
const MAX_DRAWN = 150; // in the lineage of all models: if there are more, it shows layers
const LEGEND =
  "Data flow from left to right. Raw tables have a thick border. A dashed arrow is a table that an audit reads, or " +
  "the model's header names: the query doesn't read it.";

function homePage() {
  const schemas = new Map();
  for (const model of catalog.models) add(schemas, schemaOf(model.name), model);
  const columns = catalog.models.reduce((sum, model) => sum + model.columns.length, 0);
  return [
    catalog.project,
    [
      element(
        "p",
        {},
        `${plural(catalog.models.length, "model")} with ${plural(columns, "column")} in ${plural(schemas.size, "schema")}. Search, or select a model.`,
      ),
      filterTools("", {}),
      [...schemas].map(([schema, members]) => [
        element("h2", {}, schema || "No schema"),
        table(
          ["Model", "Kind", "Description"],
          members.map((model) => [link(model.name), model.kind, firstSentence(model.description)]),
        ),
      ]),
    ],
  ];
}

function modelPage(name) {
  const model = models.get(name);
  if (!model) return missingPage(`There is no model ${name}`);
  const steps = element(
    "select",
    { id: "steps", change: () => container.replaceChildren(graph()) },
    [
      ["1", "one step"],
      ["2", "two steps"],
      ["", "all"],
    ].map(([value, text]) => element("option", { value }, text)),
  );
  steps.value = neighbours(name, Infinity).size <= MAX_MODELS ? "" : "1";
  const graph = () =>
    drawing(`Lineage of ${name}`, tableGraph(neighbours(name, Number(steps.value) || Infinity), name));
  const container = element("div", {}, graph());
  const profiled = catalog.profile?.models[name];
  return [
    name,
    [
      element("p", { class: "description" }, model.description),
      definitionList([
        ["Kind", join([model.kind, ...model.settings.map(code)])],
        ["Grain", join(model.grain.map(code), " or ")],
        ["References", join(model.references.map(code))],
        ["Schedule", [code(model.cron), model.start ? ` from ${model.start}` : ""]],
        ["Owner", model.owner],
        ["Tags", model.tags.join(", ")],
        ["File", model.file && source(model.file)],
        ["Rows", profiled && `${profiled.row_count.toLocaleString("en")}, ${profileNote()}`],
        ["Upstream", linkList(model.upstream)],
        ["Depends on", linkList(model.declared_dependencies)],
        ["Downstream", linkList(downstreamOfModel(name).filter((one) => models.has(one)))],
        ["Shown in", join(exposuresOf(name).map(({ name: file, title }) => [source(file), title && ` (${title})`]))],
        ["Rows depend on", rowsDependOn(model)],
      ]),
      operation(name),
      element("h2", {}, "Columns"),
      model.lineage_problem && element("p", {}, model.lineage_problem),
      table(
        ["Column", "Type", "Description", ...(profiled ? PROFILED : []), "Upstream columns"],
        model.columns.map((column) => [
          columnLink([name, column.name]),
          code(column.type || "set by the engine"),
          column.description,
          ...(profiled ? figures(profiled.columns[column.name]) : []),
          upstreamColumns(column),
        ]),
      ),
      profiled ? element("p", { class: "quiet" }, PROFILE_NOTE) : "",
      element("h2", {}, "Lineage"),
      element("div", { class: "tools" }, element("label", { for: "steps" }, "Show"), steps),
      element("p", { class: "quiet" }, LEGEND),
      container,
      element("h2", {}, "Audits"),
      model.audits.length
        ? model.audits.map((audit) => collapsible(auditCall(audit, name), audit.query, "sql"))
        : element("p", {}, "None."),
      element("h2", {}, "Unit tests"),
      model.tests.length
        ? model.tests.map((test) => collapsible([code(test.name), ` in ${test.file}`], test.text, "yaml"))
        : element("p", {}, "None."),
      element("h2", {}, "SQL"),
      collapsible("As written", model.definition, model.file.endsWith(".py") ? "python" : "sql", true),
      Object.entries(model.rendered).map(([engine, sql]) =>
        collapsible(`Rendered for ${engine}, gateway ${catalog.gateways[engine]}`, sql, "sql"),
      ),
      Object.keys(model.rendered).length ? element("p", { class: "quiet" }, renderingNote()) : "",
      model.contract && [
        element("h2", {}, "Contract"),
        definitionList([
          ["File", source(model.contract.file)],
          ["Gateways", model.contract.gateways.join(", ")],
          ["Grain", model.contract.grain && code(model.contract.grain)],
        ]),
        table(
          ["Column", "Type"],
          Object.entries(model.contract.columns).map(([column, type]) => [columnLink([name, column]), code(type)]),
        ),
      ],
    ],
  ];
}

const exposuresOf = (name) => downstreamOfModel(name).filter((one) => exposures.has(one)).map((one) => exposures.get(one));

const PROFILE_NOTE =
  "Distinct values are estimated. Masked columns have no figures. Text and rows of persons have no minimum and " +
  "maximum, unless dashboards show them.";
const PROFILED = ["NULL", "Distinct", "Minimum", "Maximum"];
const figures = (column) =>
  column
    ? [
        `${column.null_percent} %`,
        column.distinct_count.toLocaleString("en"),
        ...[column.minimum, column.maximum].map((bound) => bound && code(bound)),
      ]
    : PROFILED.map(() => "");
const profileNote = () => {
  const { environment, gateway, read_at: readAt } = catalog.profile;
  return `in ${environment}, gateway ${gateway}, read ${formatTimestamp(readAt)}.`;
};

/** What runs have recorded of a model, if the catalog was built with them. */
function operation(name) {
  const { operations } = catalog;
  if (!operations) return "";
  const found = operations.models[name];
  const duration = found?.seconds === null ? "" : `, ${found?.seconds.toFixed(1)} s`;
  return [
    element("h2", {}, "Runs"),
    found
      ? definitionList([
          ["Last run", found.run_at && `${found.status}, ${formatTimestamp(found.run_at)}${duration}`],
          ["Rows written", found.rows === null ? "" : found.rows.toLocaleString("en")],
          ["Processed until", found.processed_until && formatTimestamp(found.processed_until)],
          ["Late", found.late_at && lateness(found)],
          ["Failed models", found.failed_models && linkList(found.failed_models.split(", "))],
        ])
      : element("p", {}, `No run of ${operations.environment} has computed it.`),
    element(
      "p",
      { class: "quiet" },
      `As recorded by runs of ${operations.environment}, gateway ${operations.gateway}, ` +
        `read ${formatTimestamp(operations.read_at)}. Newer runs aren't shown.`,
    ),
  ];
}

const lateness = ({ late_at: lateAt, laggard }) => {
  const time = formatTimestamp(lateAt);
  return lateAt < catalog.operations.read_at
    ? [`since ${time}, because of `, models.has(laggard) ? link(laggard) : laggard]
    : `not before ${time}`;
};

/** The call of an audit, as in a MODEL header, and its last result. */
function auditCall({ name, arguments: parameters, blocking, upstream }, model) {
  const values = Object.entries(parameters).map(([key, value]) => `${key} := ${value}`);
  const results = catalog.operations?.models[model]?.audits ?? [];
  const result = results.find(({ audit, arguments: given }) => audit === name && given === values.join("; "));
  const found = result?.rows ? `, found ${plural(result.rows, "row")}` : "";
  return [
    code(name),
    ` (${values.join(", ")})`,
    blocking ? "" : ", non-blocking",
    upstream.length ? `, reads ${upstream.join(", ")}` : "", // no links: it is the summary that opens the query
    result ? `: ${result.status} ${formatTimestamp(result.at)}${found}` : "",
  ];
}

function renderingNote() {
  const day = catalog.interval[0].slice(0, 10);
  const unconfigured = catalog.unconfigured_gateways.map(
    (gateway) =>
      ` Gateway ${gateway} wasn't configured when the catalog was built: ` +
      "its SQL is rendered with the project's variables and the gateway's name.",
  );
  return (
    `Rendered for ${day}, UTC, in a run at ${formatTimestamp(catalog.built_at)}: ` +
    `the query only, with the table names of prod.${unconfigured.join("")}`
  );
}

/** What the query of a model does with columns that decide about its rows, 'filter: is_valid; join: customer_id'. */
function rowsDependOn({ rows_upstream: rows, has_untraced_rows: hasUntraced }) {
  const columns = new Map();
  for (const { model, column, transformations } of rows)
    for (const one of transformations) add(columns, one, columnLink([model, column], `${model}.${column}`));
  return join(
    [...[...columns].map(([transformation, links]) => [`${WORDS[transformation]} `, join(links)]), ...(hasUntraced ? [UNTRACED] : [])],
    "; ",
  );
}

const UNTRACED = "columns that can't be traced";
/** Models that may read columns which their lineage doesn't show. */
const isUntraced = ({ lineage_problem: problem, has_untraced_rows: rows, columns }) =>
  problem || rows || columns.some((column) => column.is_untraced);

/** The columns that a column has values of; after them those that only select values. */
function upstreamColumns({ upstream, set_by_sqlmesh: setBySqlmesh, is_untraced: isUntraced }) {
  const links = (found) => join(found.map(({ model, column }) => columnLink([model, column], `${model}.${column}`)));
  const isDirect = ({ transformations }) => transformations.some((one) => DIRECT.has(one));
  const others = upstream.filter((one) => !isDirect(one));
  return [
    setBySqlmesh ? `${setBySqlmesh} ` : "",
    links(upstream.filter(isDirect)),
    others.length ? element("span", { class: "quiet" }, " by condition or window: ", links(others)) : "",
    isUntraced ? element("span", { class: "quiet" }, upstream.length ? `; and ${UNTRACED}` : UNTRACED) : "",
  ];
}

const VALUES = "values";
const EVERYTHING = "everything";

function columnPage(model, name, shown = VALUES) {
  const column = columnOf([model, name]);
  if (!column) return missingPage(`There is no column ${name} in ${model}`);
  const current = [model, name];
  const onlyValues = shown !== EVERYTHING;
  const edgesInto = (node) => upstreamEdges(node, onlyValues);
  const upstream = reachable(current, edgesInto, "from");
  const downstream = reachable(current, downstreamEdges, "to");
  const listed = upstream.filter(({ node }) => node[1] !== ROWS);
  const nodes = (found) => [current, ...found.map(({ node }) => node)];
  const edges = new Set([...nodes(upstream).flatMap(edgesInto), ...nodes(downstream).flatMap(downstreamEdges)]);
  const graph = columnGraph([...new Map(nodes([...upstream, ...downstream]).map((node) => [nodeKey(node), node])).values()], [...edges], current);
  const select = element(
    "select",
    { id: "upstream", change: () => location.replace(route("column", model, name, select.value)) },
    [
      [VALUES, "values"],
      [EVERYTHING, "values, filters, joins, groups, sorts, windows, conditions"],
    ].map(([value, text]) => element("option", { value, selected: value === shown }, text)),
  );
  const rows = (found, unit) =>
    table(
      ["Column", unit, "Steps", "Description"],
      found.map(({ node: [other, name], direct, steps, transformations }) => [
        name === ROWS
          ? ["rows of ", link(other)]
          : [columnLink([other, name], `${other}.${name}`), isRaw(other) ? " (source column)" : ""],
        usage(transformations, direct),
        String(steps),
        name === ROWS ? firstSentence(models.get(other)?.description ?? "") : columnOf([other, name])?.description,
      ]),
    );
  return [
    `${model}.${name}`,
    [
      element("p", { class: "description" }, column.description),
      definitionList([
        ["Model", link(model)],
        ["Type", column.type ? code(column.type) : ""],
        ["Origin", column.set_by_sqlmesh],
        ["Defined in", column.line && source(models.get(model).file, column.line)],
      ]),
      element("div", { class: "tools" }, element("label", { for: "upstream" }, "Upstream shows"), select),
      element(
        "p",
        { class: "quiet" },
        "A solid arrow is a value. A dotted one is a filter, join, group, sort, window or condition; " +
          "at a table's name it decides about all rows of the table. Downstream shows both.",
      ),
      upstream.length + downstream.length ? drawing(`Lineage of column ${name} of ${model}`, graph) : "",
      element("h2", {}, "Upstream"),
      listed.length ? rows(listed, "Is read as") : element("p", {}, noUpstream(model, column)),
      listed.length && column.is_untraced ? element("p", {}, `It also depends on ${UNTRACED}.`) : "",
      element("h2", {}, "Downstream"),
      downstream.length ? rows(downstream, "Is used as") : "",
      noteOnDownstream(model, downstream.length),
    ],
  ];
}

/** 'value: computed, condition', or 'filter' if no value reaches the other column. */
function usage(transformations, isValue) {
  const words = (isDirect) => transformations.filter((one) => DIRECT.has(one) === isDirect).map((one) => WORDS[one]);
  return (isValue ? "value: " : "") + [...words(true), ...words(false)].join(", ");
}

/** What reads a column of `name` without a trace, or that nothing does. */
function noteOnDownstream(name, isRead) {
  const others = downstreamOfModel(name).filter((one) => models.has(one) && isUntraced(models.get(one)));
  if (others.length) return element("p", {}, "Not every column that these models read can be traced: ", linkList(others), ".");
  return isRead ? "" : element("p", {}, "No column or filter reads it.");
}

function noUpstream(name, { upstream, is_untraced: isUntraced }) {
  const { lineage_problem: problem, contract, kind } = models.get(name);
  if (problem) return problem;
  if (isUntraced) return "Its lineage is unknown: its query doesn't show which columns it reads.";
  if (contract || kind === "EXTERNAL") return "Source column (filled by the loader).";
  if (kind === "SEED") return "Column of a seed.";
  return upstream.length
    ? "No value of another column reaches it: it is chosen by conditions or windows."
    : "No column reaches it: a count of rows, a constant or a generated value.";
}

const ALL = "*"; // no schema has this name

function lineagePage(shown = catalog.models.length > MAX_DRAWN ? "" : ALL) {
  const members = drawn.map(({ name }) => name).filter((name) => shown === ALL || layerOf(name) === shown);
  const names = new Set(
    members.flatMap((name) => [name, ...upstreamOfModel(name), ...(shown === ALL ? [] : downstreamOfModel(name))]),
  );
  const select = element(
    "select",
    { id: "layer", change: () => (location.hash = route("lineage", select.value)) },
    element("option", { value: ALL, selected: shown === ALL }, "all models"),
    element("option", { value: "", selected: shown === "" }, "layers"),
    layers.map((name) => element("option", { value: name, selected: name === shown }, `${name} and its neighbours`)),
  );
  return [
    "Lineage",
    [
      element("div", { class: "tools" }, element("label", { for: "layer" }, "Show"), select),
      element("p", { class: "quiet" }, LEGEND, " The page of each model lists its dependencies as text."),
      shown === ""
        ? drawing("Lineage of layers", layerGraph())
        : drawing(shown === ALL ? "Lineage of all models" : `Lineage of ${shown}`, tableGraph(names)),
    ],
  ];
}

function entitiesPage() {
  const joins = declaredJoins();
  const nodes = [...new Map(joins.flatMap(({ from, to }) => [from, to]).map((node) => [nodeKey(node), node])).values()];
  const columns = (key) => key.replace(/^\(|\)$/g, "").split(", "); // (run_id, model)
  const sql = ({ from, to }) => {
    const equal = columns(from[1]).map((column, index) => `${from[0]}.${column} = ${to[0]}.${columns(to[1])[index]}`);
    return `LEFT JOIN ${to[0]} ON ${equal.join(" AND ")}`;
  };
  return [
    "Entities",
    joins.length
      ? [
          element("p", {}, "Columns that a model declares as references, and the tables that have one row for each value."),
          drawing("Entities", columnGraph(nodes, joins, ["", ""])),
          element("h2", {}, "Joins"),
          table(
            ["From", "To", "SQL"],
            joins.map((one) => [link(one.from[0]), link(one.to[0]), [code(sql(one)), " ", copyButton(sql(one))]]),
          ),
        ]
      : [element("p", {}, "No model has references to the grain of another.")],
  ];
}

const missingPage = (message) => [
  "Not found",
  [element("p", {}, `${message}. `, element("a", { href: "#/" }, "All models"))],
];

// --- Routes

const pages = {
  "": homePage,
  model: modelPage,
  column: columnPage,
  lineage: lineagePage,
  entities: entitiesPage,
  search: searchPage,
};
const scrollPositions = new Map(); // by page, restored when the user goes back or forward
let traversed = false;
window.navigation?.addEventListener("navigate", ({ navigationType }) => (traversed = navigationType === "traverse"));

function show({ focus }) {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  const page = Object.hasOwn(pages, parts[0]) ? pages[parts[0]] : () => missingPage("There is no such page");
  const [title, body] = page(...parts.slice(1));
  const heading = element("h1", { tabindex: -1 }, title);
  const focused = document.activeElement?.matches("select") && document.activeElement.id;
  content.replaceChildren(heading, ...body.flat(3).filter(Boolean));
  document.title = `${title} · ${catalog.project} catalog`;
  if (parts[0] !== "search") search.value = "";
  else if (document.activeElement !== search) search.value = parts[1] ?? "";
  if (!focus) return;
  // Arrow keys choose the next value of a list, which shows another page: its list keeps the focus.
  ((focused && document.getElementById(focused)) || heading).focus({ preventScroll: true });
  window.scrollTo(0, traversed ? (scrollPositions.get(location.hash) ?? 0) : 0);
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const formatTimestamp = (iso) => `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;

search.form.addEventListener("submit", (event) => event.preventDefault());
search.addEventListener("input", () => {
  // A search is one entry in the history, not one for each letter.
  const searching = location.hash.startsWith("#/search/");
  const filters = searching ? decode(location.hash.split("/")[3] ?? "") : "";
  const hash = search.value.trim() || filters ? route("search", search.value, ...(filters ? [filters] : [])) : "#/";
  history[searching ? "replaceState" : "pushState"](null, "", hash);
  show({ focus: false });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
window.addEventListener("scroll", () => scrollPositions.set(location.hash, window.scrollY), { passive: true });
window.addEventListener("hashchange", () => show({ focus: true }));
document.getElementById("built").textContent =
  `${catalog.project}, built ${formatTimestamp(catalog.built_at)}. Graphs are drawn by Graphviz (Viz.js), SQL is coloured by Prism.`;
show({ focus: false });
