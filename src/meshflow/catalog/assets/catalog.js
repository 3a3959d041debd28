"use strict";
// Texts come from models and are never markup. They enter the page as text nodes and attributes, drawings as labels.
// The page's policy blocks everything else.

const catalog = JSON.parse(document.getElementById("catalog").textContent);
const models = new Map(catalog.models.map((model) => [model.name, model]));
const content = document.getElementById("content");
const search = document.getElementById("search");
const MAX_RESULTS = 200; // of a search
const MAX_MODELS = 40; // in the lineage of a model: if there are more, it shows one step
const LEGEND =
  "Data flow from left to right. Raw tables have a thick border. A dashed arrow is a dependency of audits only: " +
  "the query doesn't read the table.";

// Downstream models and columns: the catalog contains the upstream ones.
const downstreamModels = new Map();
const downstreamColumns = new Map();
const add = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value]);
const columnKey = (model, column) => JSON.stringify([model, column]);
for (const model of catalog.models) {
  for (const parent of [...model.upstream, ...model.audit_dependencies]) add(downstreamModels, parent, model.name);
  for (const column of model.columns)
    for (const parent of column.upstream) add(downstreamColumns, columnKey(...parent), [model.name, column.name]);
}
const upstreamOfModel = (name) =>
  models.has(name) ? [...models.get(name).upstream, ...models.get(name).audit_dependencies] : [];
const downstreamOfModel = (name) => downstreamModels.get(name) ?? [];
const columnOf = ([model, column]) => models.get(model)?.columns.find(({ name }) => name === column);
const upstreamOfColumn = (column) => columnOf(column)?.upstream ?? [];
const downstreamOfColumn = (column) => downstreamColumns.get(columnKey(...column)) ?? [];
const schemaOf = (name) => name.slice(0, Math.max(name.lastIndexOf("."), 0));
// A table that the loader or another project fills, not a query.
const isRaw = (name) => !models.has(name) || models.get(name).contract !== null || models.get(name).kind === "EXTERNAL";

// --- Elements

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  node.append(...children.flat(2));
  return node;
}
const route = (...parts) => "#/" + parts.map(encodeURIComponent).join("/");
const link = (name) => (models.has(name) ? element("a", { href: route("model", name) }, name) : name);
const columnLink = ([model, column], text = column) =>
  columnOf([model, column]) ? element("a", { href: route("column", model, column) }, text) : text;
const code = (text) => element("code", {}, text);
const join = (values, separator = ", ") => values.map((value, index) => [index ? separator : "", value]);
const linkList = (names) => join(names.map(link));
const firstSentence = (text) => text.match(/^.*?[.?!](?=\s|$)/s)?.[0] ?? text;
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function table(headings, rows) {
  return element(
    "table",
    {},
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        headings.map((heading) => element("th", { scope: "col" }, heading)),
      ),
    ),
    element(
      "tbody",
      {},
      rows.map((cells) =>
        element(
          "tr",
          {},
          cells.map((cell) => element("td", {}, cell ?? "")),
        ),
      ),
    ),
  );
}

function definitionList(pairs) {
  return element(
    "dl",
    {},
    pairs
      .filter(([, value]) => value && value.length !== 0)
      .map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}

function collapsible(summary, text, open = false) {
  return element("details", { open }, element("summary", {}, summary), element("pre", {}, text));
}

// --- Graphs, laid out and drawn by Graphviz

const trusted = window.trustedTypes?.createPolicy("graphviz", { createHTML: (svg) => svg });
let graphviz;
// Graphviz reads backslashes in labels, and in HTML-like labels markup too.
const label = (name) => name.replaceAll("\\", "\\\\");
const markup = (name) => label(name).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

/** A region that fills with the drawing of `graph`, scrolled to the current node; `name` is its accessible name. */
function drawing(name, graph) {
  const container = element(
    "div",
    { class: "graph", role: "region", tabindex: 0, "aria-label": name },
    element("p", { class: "quiet" }, "Drawing …"),
  );
  const tools = element("div", { class: "tools" });
  draw(container, tools, graph);
  return element("div", {}, tools, container);
}

async function draw(container, tools, graph) {
  try {
    graphviz ??= Viz.instance();
    const viz = await graphviz;
    const svg = viz.renderSVGElement(
      {
        graphAttributes: { rankdir: "LR", nodesep: 0.12, ranksep: 0.6, bgcolor: "transparent" },
        nodeAttributes: { shape: "box", fontname: "Courier", fontsize: 11, margin: "0.12,0.06", height: 0.3 },
        edgeAttributes: { arrowsize: 0.6 },
        ...graph,
      },
      { trustedTypePolicy: trusted },
    );
    // Screen readers and tooltips would repeat titles, which are numbers or equal to the labels.
    for (const title of svg.querySelectorAll("title")) title.remove();
    for (const anchor of svg.querySelectorAll("a")) anchor.removeAttributeNS("http://www.w3.org/1999/xlink", "title");
    container.replaceChildren(document.adoptNode(svg));
    const [width, height] = [(svg.viewBox.baseVal.width * 4) / 3, (svg.viewBox.baseVal.height * 4) / 3]; // points to px
    const available = Math.max(container.clientWidth - 2, 1);
    let scale = 1;
    const zoom = (newScale) => {
      const center = (container.scrollLeft + available / 2) / scale;
      scale = Math.min(Math.max(newScale, 0.02), 4);
      svg.setAttribute("width", width * scale);
      svg.setAttribute("height", height * scale);
      container.scrollLeft = center * scale - available / 2;
    };
    const fitScale = () => Math.min(available / width, (window.innerHeight * 0.75) / height, 1);
    tools.replaceChildren(
      element("button", { type: "button", click: () => zoom(fitScale()) }, "Fit"),
      element("button", { type: "button", click: () => zoom(1) }, "100 %"),
      element("button", { type: "button", "aria-label": "Zoom in", click: () => zoom(scale * 1.25) }, "+"),
      element("button", { type: "button", "aria-label": "Zoom out", click: () => zoom(scale / 1.25) }, "−"),
    );
    zoom(Math.min(Math.max(fitScale(), 0.8), 1));
    const current = svg.querySelector(".current, .current-table")?.getBoundingClientRect();
    if (current) {
      const frame = container.getBoundingClientRect();
      container.scrollLeft += current.left + current.width / 2 - frame.left - frame.width / 2;
      container.scrollTop += current.top + current.height / 2 - frame.top - frame.height / 2;
    }
  } catch (error) {
    graphviz = undefined; // a failed instance can't be reused
    container.replaceChildren(element("p", {}, `Graphviz can't draw this: ${error.message}`));
  }
}

/** Tables and their upstream tables; dashed arrows for dependencies of audits only. */
function tableGraph(names, current) {
  const numbers = new Map([...names].map((name, index) => [name, String(index)]));
  const edges = [];
  for (const name of names)
    for (const [kind, style] of [
      ["upstream", "solid"],
      ["audit_dependencies", "dashed"],
    ])
      for (const parent of models.get(name)?.[kind] ?? [])
        if (numbers.has(parent))
          edges.push({ tail: numbers.get(parent), head: numbers.get(name), attributes: { style } });
  return {
    nodes: [...numbers].map(([name, number]) => ({
      name: number,
      attributes: {
        label: label(name),
        class: name === current ? "current" : isRaw(name) ? "raw" : "table",
        ...(models.has(name) && { href: route("model", name) }),
      },
    })),
    // All raw tables in one column on the left.
    subgraphs: [
      {
        graphAttributes: { rank: "min" },
        nodes: [...numbers].filter(([name]) => isRaw(name)).map(([, number]) => ({ name: number })),
      },
    ],
    edges,
  };
}

const TABLE = 'border="0" cellborder="1" cellspacing="0" cellpadding="4"';

/** The given columns, grouped by table, and arrows from column to column. */
function columnGraph(columns, current) {
  const tables = new Map();
  for (const [model, column] of columns) add(tables, model, column);
  for (const names of tables.values()) names.sort();
  const numbers = new Map([...tables.keys()].map((model, index) => [model, String(index)]));
  const port = ([model, column]) => String(tables.get(model).indexOf(column));
  const cell = (model, column) => {
    const href = columnOf([model, column]) ? ` href="${route("column", model, column)}"` : "";
    const color = model === current[0] && column === current[1] ? ' bgcolor="orange"' : "";
    return `<tr><td align="left" port="${port([model, column])}"${href}${color}>${markup(column)}</td></tr>`;
  };
  const head = (model) => {
    const href = models.has(model) ? ` href="${route("model", model)}"` : "";
    return `<tr><td align="left"${href}><b>${markup(model)}</b></td></tr>`;
  };
  const known = new Set(columns.map((column) => columnKey(...column)));
  return {
    nodeAttributes: { shape: "plain", fontname: "Courier", fontsize: 11 },
    nodes: [...tables].map(([model, names]) => ({
      name: numbers.get(model),
      attributes: {
        label: { html: `<table ${TABLE}>${head(model)}${names.map((name) => cell(model, name)).join("")}</table>` },
        class: `columns ${model === current[0] ? "current-table" : isRaw(model) ? "raw" : ""}`,
      },
    })),
    edges: columns.flatMap((column) =>
      upstreamOfColumn(column)
        .filter((parent) => known.has(columnKey(...parent)))
        .map((parent) => ({
          tail: numbers.get(parent[0]),
          head: numbers.get(column[0]),
          attributes: { tailport: `${port(parent)}:e`, headport: `${port(column)}:w` },
        })),
    ),
  };
}

/** Nodes reachable from `start` by `next`, without `start`, breadth first, as [node, steps]. */
function reachable(start, next, maxSteps, key = (node) => node) {
  const seen = new Set([key(start)]);
  const found = [];
  let frontier = [start];
  for (let steps = 1; frontier.length && steps <= maxSteps; steps++) {
    const nextFrontier = [];
    for (const node of frontier.flatMap(next))
      if (!seen.has(key(node))) {
        seen.add(key(node));
        nextFrontier.push(node);
        found.push([node, steps]);
      }
    frontier = nextFrontier;
  }
  return found;
}

/** A model and its upstream and downstream models up to the given number of steps. */
const neighbours = (name, steps) =>
  new Set([
    name,
    ...[upstreamOfModel, downstreamOfModel].flatMap((next) => reachable(name, next, steps).map(([other]) => other)),
  ]);

// --- Pages: each returns a title and the page's content

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
        ["File", code(model.file)],
        ["Upstream", linkList(model.upstream)],
        ["Audit dependencies", linkList(model.audit_dependencies)],
        ["Downstream", linkList(downstreamOfModel(name))],
      ]),
      operation(name),
      element("h2", {}, "Columns"),
      model.lineage_problem && element("p", {}, model.lineage_problem),
      table(
        ["Column", "Type", "Description", "Upstream columns"],
        model.columns.map((column) => [
          columnLink([name, column.name]),
          code(column.type || "set by the engine"),
          column.description,
          join(column.upstream.map((parent) => columnLink(parent, parent.join(".")))),
        ]),
      ),
      element("h2", {}, "Lineage"),
      element("div", { class: "tools" }, element("label", { for: "steps" }, "Show"), steps),
      element("p", { class: "quiet" }, LEGEND),
      container,
      element("h2", {}, "Audits"),
      model.audits.length
        ? model.audits.map((audit) => collapsible(auditCall(audit, name), audit.query))
        : element("p", {}, "None."),
      element("h2", {}, "Unit tests"),
      model.tests.length
        ? model.tests.map((test) => collapsible([code(test.name), ` in ${test.file}`], test.text))
        : element("p", {}, "None."),
      element("h2", {}, "SQL"),
      collapsible("As written", model.definition, true),
      Object.entries(model.rendered).map(([engine, sql]) =>
        collapsible(`Rendered for ${engine}, gateway ${catalog.gateways[engine]}`, sql),
      ),
      Object.keys(model.rendered).length ? element("p", { class: "quiet" }, renderingNote()) : "",
      model.contract && [
        element("h2", {}, "Contract"),
        definitionList([
          ["File", code(model.contract.file)],
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
function auditCall({ name, arguments: parameters, blocking }, model) {
  const values = Object.entries(parameters).map(([key, value]) => `${key} := ${value}`);
  const results = catalog.operations?.models[model]?.audits ?? [];
  const result = results.find(({ audit, arguments: given }) => audit === name && given === values.join("; "));
  const found = result?.rows ? `, found ${plural(result.rows, "row")}` : "";
  return [
    code(name),
    ` (${values.join(", ")})`,
    blocking ? "" : ", non-blocking",
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

function columnPage(model, name) {
  const column = columnOf([model, name]);
  if (!column) return missingPage(`There is no column ${name} in ${model}`);
  const current = [model, name];
  const key = (column) => columnKey(...column);
  const upstream = reachable(current, upstreamOfColumn, Infinity, key);
  const downstream = reachable(current, downstreamOfColumn, Infinity, key);
  const { lineage_problem: lineageProblem } = models.get(model);
  const rows = (found) =>
    table(
      ["Column", "Steps", "Description"],
      found.map(([other, steps]) => [
        [columnLink(other, other.join(".")), isRaw(other[0]) ? " (source column)" : ""],
        String(steps),
        columnOf(other)?.description,
      ]),
    );
  return [
    `${model}.${name}`,
    [
      element("p", { class: "description" }, column.description),
      definitionList([
        ["Model", link(model)],
        ["Type", column.type ? code(column.type) : ""],
      ]),
      element("p", { class: "quiet" }, "Lineage of values: columns that queries filter, join or group by don't count."),
      upstream.length + downstream.length
        ? drawing(
            `Lineage of column ${name} of ${model}`,
            columnGraph([current, ...[...upstream, ...downstream].map(([other]) => other)], current),
          )
        : "",
      element("h2", {}, "Upstream"),
      upstream.length
        ? rows(upstream)
        : element(
            "p",
            {},
            lineageProblem ||
              (isRaw(model)
                ? "Source column (filled by the loader)."
                : "No upstream column (count, generated, constant or seed)."),
          ),
      element("h2", {}, "Downstream"),
      downstream.length ? rows(downstream) : element("p", {}, "No downstream column."),
    ],
  ];
}

function lineagePage(schema) {
  const schemas = [...new Set(catalog.models.map((model) => schemaOf(model.name)))];
  const members = catalog.models.map((model) => model.name).filter((name) => !schema || schemaOf(name) === schema);
  const names = new Set(
    members.flatMap((name) => [name, ...upstreamOfModel(name), ...(schema ? downstreamOfModel(name) : [])]),
  );
  const navigate = () => (location.hash = select.value ? route("lineage", select.value) : "#/lineage");
  const select = element(
    "select",
    { id: "schema", change: navigate },
    element("option", { value: "" }, "all schemas"),
    schemas.map((name) => element("option", { value: name, selected: name === schema }, `${name} and its neighbours`)),
  );
  return [
    "Lineage",
    [
      element("div", { class: "tools" }, element("label", { for: "schema" }, "Show"), select),
      element("p", { class: "quiet" }, LEGEND, " The page of each model lists its dependencies as text."),
      drawing(schema ? `Lineage of schema ${schema}` : "Lineage of all schemas", tableGraph(names)),
    ],
  ];
}

// A result contains all words of the query. Results with a word in their name come first.
const entries = catalog.models.flatMap(({ name, description, columns }) => [
  searchEntry({ model: name, short: name.slice(schemaOf(name).length + 1), full: name, description }),
  ...columns.map((column) =>
    searchEntry({
      model: name,
      column: column.name,
      short: column.name,
      full: `${name}.${column.name}`,
      description: column.description,
    }),
  ),
]);

function searchEntry({ short, full, description, ...target }) {
  const name = full.toLowerCase();
  const text = `${name} ${description.toLowerCase()}`;
  return { ...target, full, description, name, short: short.toLowerCase(), text };
}

function findEntries(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const ranks = [
    ({ short, name }) => words.every((word) => short === word || name === word),
    ({ short }) => words.some((word) => short.startsWith(word)),
    ({ short }) => words.some((word) => short.includes(word)),
    ({ name }) => words.some((word) => name.includes(word)),
    () => true,
  ];
  return entries
    .filter(({ text }) => words.every((word) => text.includes(word)))
    .map((result) => [ranks.findIndex((matches) => matches(result)), result])
    .sort(([a], [b]) => a - b)
    .map(([, result]) => result);
}

function searchPage(query) {
  const results = findEntries(query);
  const found = plural(results.length, "result");
  const count = results.length > MAX_RESULTS ? `${found}, the first ${MAX_RESULTS} shown` : found;
  document.getElementById("status").textContent = count;
  return [
    `Search: ${query}`,
    [
      element("p", {}, count),
      results.length > 0 &&
        table(
          ["Result", "Type", "Description"],
          results
            .slice(0, MAX_RESULTS)
            .map(({ model, column, full, description }) => [
              column ? columnLink([model, column], full) : link(model),
              column ? "column" : "model",
              firstSentence(description),
            ]),
        ),
    ],
  ];
}

const missingPage = (message) => [
  "Not found",
  [element("p", {}, `${message}. `, element("a", { href: "#/" }, "All models"))],
];

// --- Routes

const pages = { "": homePage, model: modelPage, column: columnPage, lineage: lineagePage, search: searchPage };
const scrollPositions = new Map(); // by page, restored when the user goes back or forward
let traversed = false;
window.navigation?.addEventListener("navigate", ({ navigationType }) => (traversed = navigationType === "traverse"));

function show({ focus }) {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  const [title, body] = (pages[parts[0]] ?? (() => missingPage("There is no such page")))(...parts.slice(1));
  const heading = element("h1", { tabindex: -1 }, title);
  content.replaceChildren(heading, ...body.flat(3).filter(Boolean));
  document.title = `${title} · ${catalog.project} catalog`;
  if (parts[0] !== "search") search.value = "";
  else if (document.activeElement !== search) search.value = parts[1] ?? "";
  if (!focus) return;
  heading.focus({ preventScroll: true });
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
  const hash = search.value.trim() ? route("search", search.value) : "#/";
  const searching = location.hash.startsWith("#/search/");
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
  `${catalog.project}, built ${formatTimestamp(catalog.built_at)}. Graphs are drawn by Graphviz (Viz.js).`;
show({ focus: false });
