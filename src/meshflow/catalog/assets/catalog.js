"use strict";
// Texts come from models and are never markup: they go into the page as text nodes and attributes, and through
// Graphviz as labels. The page's policy rejects everything else.

const catalog = JSON.parse(document.getElementById("catalog").textContent);
const models = new Map(catalog.models.map((model) => [model.name, model]));
const content = document.getElementById("content");
const search = document.getElementById("search");
const SHOWN = 200; // search results: more is a question for another word
const NEAR = 40; // models: up to so many are drawn at once around a model, else its neighbours
const LEGEND =
  "From left to right. Loaded tables have a thick border; a dashed arrow means that a table waits for another without reading it.";

// What reads a model, and what each column feeds: the other direction of what the catalog holds.
const readers = new Map();
const feeds = new Map();
const add = (map, key, value) => map.set(key, [...(map.get(key) ?? []), value]);
const columnKey = (model, column) => JSON.stringify([model, column]);
for (const model of catalog.models) {
  for (const parent of [...model.reads, ...model.waits_for]) add(readers, parent, model.name);
  for (const column of model.columns)
    for (const source of column.sources) add(feeds, columnKey(...source), [model.name, column.name]);
}
const parents = (name) => (models.has(name) ? [...models.get(name).reads, ...models.get(name).waits_for] : []);
const children = (name) => readers.get(name) ?? [];
const columnOf = ([model, column]) => models.get(model)?.columns.find(({ name }) => name === column);
const sourcesOf = (column) => columnOf(column)?.sources ?? [];
const feedsOf = (column) => feeds.get(columnKey(...column)) ?? [];
const schemaOf = (name) => name.slice(0, Math.max(name.lastIndexOf("."), 0));
const isLoaded = (name) =>
  !models.has(name) || models.get(name).contract !== null || models.get(name).kind === "EXTERNAL";

// --- Elements

function element(tag, attributes = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  node.append(...inside.flat(2));
  return node;
}
const route = (...parts) => "#/" + parts.map(encodeURIComponent).join("/");
const link = (name) => (models.has(name) ? element("a", { href: route("model", name) }, name) : name);
const columnLink = ([model, column], text = column) =>
  columnOf([model, column]) ? element("a", { href: route("column", model, column) }, text) : text;
const code = (inside) => element("code", {}, inside);
const joined = (values, between = ", ") => values.map((value, index) => [index ? between : "", value]);
const list = (names) => joined(names.map(link));
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

function facts(pairs) {
  return element(
    "dl",
    {},
    pairs
      .filter(([, value]) => value && value.length !== 0)
      .map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}

function text(summary, body, open = false) {
  return element("details", { open }, element("summary", {}, summary), element("pre", {}, body));
}

// --- Graphs, laid out and drawn by Graphviz

const trusted = window.trustedTypes?.createPolicy("graphviz", { createHTML: (svg) => svg });
let graphviz;
// Graphviz reads backslashes in labels, and in HTML-like labels markup too.
const label = (name) => name.replaceAll("\\", "\\\\");
const markup = (name) => label(name).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** A place that fills with the drawing of `graph`, with `here` in view; `name` says what it shows. */
function drawing(name, graph) {
  const place = element(
    "div",
    { class: "graph", role: "region", tabindex: 0, "aria-label": name },
    element("p", { class: "quiet" }, "Drawing …"),
  );
  const tools = element("div", { class: "tools" });
  draw(place, tools, graph);
  return element("div", {}, tools, place);
}

async function draw(place, tools, graph) {
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
    // Titles would be read out and shown as tips: they are numbers, or what stands there anyway.
    for (const title of svg.querySelectorAll("title")) title.remove();
    for (const anchor of svg.querySelectorAll("a")) anchor.removeAttributeNS("http://www.w3.org/1999/xlink", "title");
    place.replaceChildren(document.adoptNode(svg));
    const [width, height] = [(svg.viewBox.baseVal.width * 4) / 3, (svg.viewBox.baseVal.height * 4) / 3];
    const room = Math.max(place.clientWidth - 2, 1);
    let scale = 1;
    const zoom = (to) => {
      const middle = (place.scrollLeft + room / 2) / scale;
      scale = Math.min(Math.max(to, 0.02), 4);
      svg.setAttribute("width", width * scale);
      svg.setAttribute("height", height * scale);
      place.scrollLeft = middle * scale - room / 2;
    };
    const whole = () => Math.min(room / width, (window.innerHeight * 0.75) / height, 1);
    tools.replaceChildren(
      element("button", { type: "button", click: () => zoom(whole()) }, "Whole"),
      element("button", { type: "button", click: () => zoom(1) }, "Full size"),
      element("button", { type: "button", "aria-label": "Larger", click: () => zoom(scale * 1.25) }, "+"),
      element("button", { type: "button", "aria-label": "Smaller", click: () => zoom(scale / 1.25) }, "−"),
    );
    zoom(Math.min(Math.max(whole(), 0.8), 1));
    const here = svg.querySelector(".here, .holds")?.getBoundingClientRect();
    if (here) {
      const frame = place.getBoundingClientRect();
      place.scrollLeft += here.left + here.width / 2 - frame.left - frame.width / 2;
      place.scrollTop += here.top + here.height / 2 - frame.top - frame.height / 2;
    }
  } catch (error) {
    graphviz = undefined; // what has failed inside may not be used again
    place.replaceChildren(element("p", {}, `Graphviz can't draw this: ${error.message}`));
  }
}

/** Tables and what they read; dashed where a table only waits for another. */
function tableGraph(names, here) {
  const numbers = new Map([...names].map((name, index) => [name, String(index)]));
  const edges = [];
  for (const name of names)
    for (const [kind, style] of [
      ["reads", "solid"],
      ["waits_for", "dashed"],
    ])
      for (const parent of models.get(name)?.[kind] ?? [])
        if (numbers.has(parent))
          edges.push({ tail: numbers.get(parent), head: numbers.get(name), attributes: { style } });
  return {
    nodes: [...numbers].map(([name, number]) => ({
      name: number,
      attributes: {
        label: label(name),
        class: name === here ? "here" : isLoaded(name) ? "loaded" : "table",
        ...(models.has(name) && { href: route("model", name) }),
      },
    })),
    // Loaded tables stand in one column on the left, where everything begins.
    subgraphs: [
      {
        graphAttributes: { rank: "min" },
        nodes: [...numbers].filter(([name]) => isLoaded(name)).map(([, number]) => ({ name: number })),
      },
    ],
    edges,
  };
}

const TABLE = 'border="0" cellborder="1" cellspacing="0" cellpadding="4"';

/** Tables with those of their columns that `columns` holds, and arrows from column to column. */
function columnGraph(columns, here) {
  const tables = new Map();
  for (const [model, column] of columns) add(tables, model, column);
  for (const names of tables.values()) names.sort();
  const numbers = new Map([...tables.keys()].map((model, index) => [model, String(index)]));
  const port = ([model, column]) => String(tables.get(model).indexOf(column));
  const cell = (model, column) => {
    const at = columnOf([model, column]) ? ` href="${route("column", model, column)}"` : "";
    const color = model === here[0] && column === here[1] ? ' bgcolor="orange"' : "";
    return `<tr><td align="left" port="${port([model, column])}"${at}${color}>${markup(column)}</td></tr>`;
  };
  const head = (model) => {
    const at = models.has(model) ? ` href="${route("model", model)}"` : "";
    return `<tr><td align="left"${at}><b>${markup(model)}</b></td></tr>`;
  };
  const known = new Set(columns.map((column) => columnKey(...column)));
  return {
    nodeAttributes: { shape: "plain", fontname: "Courier", fontsize: 11 },
    nodes: [...tables].map(([model, names]) => ({
      name: numbers.get(model),
      attributes: {
        label: { html: `<table ${TABLE}>${head(model)}${names.map((name) => cell(model, name)).join("")}</table>` },
        class: `columns ${model === here[0] ? "holds" : isLoaded(model) ? "loaded" : ""}`,
      },
    })),
    edges: columns.flatMap((column) =>
      sourcesOf(column)
        .filter((source) => known.has(columnKey(...source)))
        .map((source) => ({
          tail: numbers.get(source[0]),
          head: numbers.get(column[0]),
          attributes: { tailport: `${port(source)}:e`, headport: `${port(column)}:w` },
        })),
    ),
  };
}

/** All that `next` reaches from `start`, nearest first, as [thing, steps]; `start` itself isn't among them. */
function reach(start, next, limit, key = (thing) => thing) {
  const seen = new Set([key(start)]);
  const found = [];
  let edge = [start];
  for (let steps = 1; edge.length && steps <= limit; steps++) {
    const further = [];
    for (const thing of edge.flatMap(next))
      if (!seen.has(key(thing))) {
        seen.add(key(thing));
        further.push(thing);
        found.push([thing, steps]);
      }
    edge = further;
  }
  return found;
}

/** A model with what stands up to so many steps above and below it. */
const around = (name, steps) =>
  new Set([name, ...[parents, children].flatMap((next) => reach(name, next, steps).map(([other]) => other))]);

// --- Pages: each returns a title and what the page holds

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
        `${plural(catalog.models.length, "model")} with ${plural(columns, "column")} in ${plural(schemas.size, "schema")}. Search, or start from a table.`,
      ),
      [...schemas].map(([schema, inside]) => [
        element("h2", {}, schema || "No schema"),
        table(
          ["Model", "Kind", "What it holds"],
          inside.map((model) => [link(model.name), model.kind, firstSentence(model.description)]),
        ),
      ]),
    ],
  ];
}

function modelPage(name) {
  const model = models.get(name);
  if (!model) return missingPage(`There is no model ${name}`);
  const all = around(name, Infinity);
  const steps = element(
    "select",
    { id: "steps", change: () => place.replaceChildren(picture()) },
    [
      ["1", "one step"],
      ["2", "two steps"],
      ["", "everything"],
    ].map(([value, words]) => element("option", { value }, words)),
  );
  steps.value = all.size <= NEAR ? "" : "1";
  const picture = () =>
    drawing(`Lineage around ${name}`, tableGraph(around(name, Number(steps.value) || Infinity), name));
  const place = element("div", {}, picture());
  return [
    name,
    [
      element("p", { class: "description" }, model.description),
      facts([
        ["Kind", joined([model.kind, ...model.settings.map(code)])],
        ["Grain", joined(model.grain.map(code), " or ")],
        ["References", joined(model.references.map(code))],
        ["Schedule", [code(model.cron), model.start ? ` from ${model.start}` : ""]],
        ["Owner", model.owner],
        ["Tags", model.tags.join(", ")],
        ["File", code(model.file)],
        ["Reads", list(model.reads)],
        ["Waits for", list(model.waits_for)],
        ["Read or waited for by", list(children(name))],
      ]),
      element("h2", {}, "Columns"),
      model.untraced && element("p", {}, model.untraced),
      table(
        ["Column", "Type", "Description", "Computed from"],
        model.columns.map((column) => [
          columnLink([name, column.name]),
          code(column.type || "known to the engine"),
          column.description,
          joined(column.sources.map((source) => columnLink(source, source.join(".")))),
        ]),
      ),
      element("h2", {}, "Lineage"),
      element("div", { class: "tools" }, element("label", { for: "steps" }, "Show"), steps),
      element("p", { class: "quiet" }, LEGEND),
      place,
      element("h2", {}, "Audits"),
      model.audits.length ? model.audits.map((audit) => text(called(audit), audit.query)) : element("p", {}, "None."),
      element("h2", {}, "Unit tests"),
      model.tests.length
        ? model.tests.map((test) => text([code(test.name), ` in ${test.file}`], test.text))
        : element("p", {}, "None."),
      element("h2", {}, "SQL"),
      text("As written", model.written, true),
      Object.entries(model.rendered).map(([engine, sql]) =>
        text(`Rendered for ${engine}, gateway ${catalog.gateways[engine]}`, sql),
      ),
      Object.keys(model.rendered).length ? element("p", { class: "quiet" }, renderingNote()) : "",
      model.contract && [
        element("h2", {}, "Contract of the loaded table"),
        facts([
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

/** An audit as a MODEL header calls it. */
function called({ name, arguments: given, blocking }) {
  const values = Object.entries(given).map(([key, value]) => `${key} := ${value}`);
  return [code(name), ` (${values.join(", ")})`, blocking ? "" : ", a warning"];
}

function renderingNote() {
  const day = catalog.interval[0].slice(0, 10);
  const unconfigured = catalog.unconfigured.map(
    (gateway) =>
      ` Gateway ${gateway} isn't configured where this was built: ` +
      "its SQL is rendered with the project's variables and the gateway's name.",
  );
  return (
    `Rendered for ${day}, UTC, in a run at ${moment(catalog.at)}: ` +
    `the query alone, with the tables' names of prod.${unconfigured.join("")}`
  );
}

function columnPage(model, name) {
  const column = columnOf([model, name]);
  if (!column) return missingPage(`There is no column ${name} in ${model}`);
  const here = [model, name];
  const key = (column) => columnKey(...column);
  const up = reach(here, sourcesOf, Infinity, key);
  const down = reach(here, feedsOf, Infinity, key);
  const { untraced } = models.get(model);
  const rows = (found) =>
    table(
      ["Column", "Steps", "Description"],
      found.map(([other, steps]) => [
        [columnLink(other, other.join(".")), isLoaded(other[0]) ? " (loaded)" : ""],
        String(steps),
        columnOf(other)?.description,
      ]),
    );
  return [
    `${model}.${name}`,
    [
      element("p", { class: "description" }, column.description),
      facts([
        ["Column of", link(model)],
        ["Type", column.type ? code(column.type) : ""],
      ]),
      element("p", { class: "quiet" }, "Values only: what a query filters, joins or groups by isn't followed."),
      up.length + down.length
        ? drawing(
            `Lineage of column ${name} of ${model}`,
            columnGraph([here, ...up.map(([other]) => other), ...down.map(([other]) => other)], here),
          )
        : "",
      element("h2", {}, "Comes from"),
      up.length
        ? rows(up)
        : element(
            "p",
            {},
            untraced ||
              (isLoaded(model)
                ? "It has loaded: nothing in this project computes it."
                : "No column: it is counted, generated, constant or a seed's."),
          ),
      element("h2", {}, "Feeds"),
      down.length ? rows(down) : element("p", {}, "No column."),
    ],
  ];
}

function lineagePage(schema) {
  const schemas = [...new Set(catalog.models.map((model) => schemaOf(model.name)))];
  const inside = catalog.models.map((model) => model.name).filter((name) => !schema || schemaOf(name) === schema);
  const names = new Set(inside.flatMap((name) => [name, ...parents(name), ...(schema ? children(name) : [])]));
  const go = () => (location.hash = choice.value ? route("lineage", choice.value) : "#/lineage");
  const choice = element(
    "select",
    { id: "schema", change: go },
    element("option", { value: "" }, "whole project"),
    schemas.map((name) => element("option", { value: name, selected: name === schema }, `${name} and its neighbours`)),
  );
  return [
    "Lineage",
    [
      element("div", { class: "tools" }, element("label", { for: "schema" }, "Show"), choice),
      element("p", { class: "quiet" }, LEGEND, " Each model's page lists the same as text."),
      drawing(schema ? `Lineage of schema ${schema}` : "Lineage of the whole project", tableGraph(names)),
    ],
  ];
}

// Every word has to occur; hits in a name stand before hits in a description.
const entries = catalog.models.flatMap(({ name, description, columns }) => [
  entry({ model: name, short: name.slice(schemaOf(name).length + 1), full: name, description }),
  ...columns.map((column) =>
    entry({
      model: name,
      column: column.name,
      short: column.name,
      full: `${name}.${column.name}`,
      description: column.description,
    }),
  ),
]);

function entry({ short, full, description, ...where }) {
  const [name, column] = [full.toLowerCase(), short.toLowerCase()];
  return { ...where, full, description, name, short: column, text: `${name} ${description.toLowerCase()}` };
}

function found(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const better = [
    ({ short, name }) => words.every((word) => short === word || name === word),
    ({ short }) => words.some((word) => short.startsWith(word)),
    ({ short }) => words.some((word) => short.includes(word)),
    ({ name }) => words.some((word) => name.includes(word)),
    () => true,
  ];
  return entries
    .filter(({ text }) => words.every((word) => text.includes(word)))
    .map((hit) => [better.findIndex((holds) => holds(hit)), hit])
    .sort(([a], [b]) => a - b)
    .map(([, hit]) => hit);
}

function searchPage(query) {
  const hits = found(query);
  const count =
    hits.length > SHOWN ? `${plural(hits.length, "hit")}, the first ${SHOWN} shown` : plural(hits.length, "hit");
  document.getElementById("status").textContent = count;
  return [
    `Search: ${query}`,
    [
      element("p", {}, count),
      hits.length > 0 &&
        table(
          ["Hit", "Is a", "Description"],
          hits
            .slice(0, SHOWN)
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
  "Not here",
  [element("p", {}, `${message}. `, element("a", { href: "#/" }, "All models"))],
];

// --- Routes

const pages = { "": homePage, model: modelPage, column: columnPage, lineage: lineagePage, search: searchPage };
const position = new Map(); // where a page was left, for whoever comes back
let traversed = false;
window.navigation?.addEventListener("navigate", ({ navigationType }) => (traversed = navigationType === "traverse"));

function show({ focus }) {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  const [title, inside] = (pages[parts[0]] ?? (() => missingPage("There is no such page")))(...parts.slice(1));
  const heading = element("h1", { tabindex: -1 }, title);
  content.replaceChildren(heading, ...inside.flat(3).filter(Boolean));
  document.title = `${title} · ${catalog.project} catalog`;
  if (parts[0] !== "search") search.value = "";
  else if (document.activeElement !== search) search.value = parts[1] ?? "";
  if (!focus) return;
  heading.focus({ preventScroll: true });
  window.scrollTo(0, traversed ? (position.get(location.hash) ?? 0) : 0);
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const moment = (iso) => `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;

search.form.addEventListener("submit", (event) => event.preventDefault());
search.addEventListener("input", () => {
  // One entry in the history for a search, however many letters it took.
  const hash = search.value.trim() ? route("search", search.value) : "#/";
  const searching = location.hash.startsWith("#/search/");
  history[searching ? "replaceState" : "pushState"](null, "", hash);
  show({ focus: false });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
window.addEventListener("scroll", () => position.set(location.hash, window.scrollY), { passive: true });
window.addEventListener("hashchange", () => show({ focus: true }));
document.getElementById("built").textContent =
  `${catalog.project}, built ${moment(catalog.at)}. Graphs are drawn by Graphviz (Viz.js).`;
show({ focus: false });
