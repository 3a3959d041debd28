// Graphs, laid out and drawn by Graphviz.

const LEGIBLE = 0.7; // the smallest scale at which labels can be read
const LAYER_COLOURS = 10; // in catalog.css
const TABLE = 'border="0" cellborder="1" cellspacing="0" cellpadding="4" bgcolor="gray"';
const trusted = window.trustedTypes?.createPolicy("graphviz", { createHTML: (svg) => svg });
let graphviz;
// Graphviz reads backslashes in labels, and in HTML-like labels markup too.
const label = (name) => name.replaceAll("\\", "\\\\");
const markup = (name) => label(name).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

// A layer is a schema. Tables that the loader or another project fills are the first one, exposures the last.
const SOURCES = "source tables";
const EXPOSURES = "exposures";
const layerOf = (name) =>
  exposures.has(name) ? EXPOSURES : isRaw(name) ? SOURCES : schemaOf(name) || "no schema";
const drawn = [...catalog.models, ...catalog.exposures];
/** How many models lie at most between a model and the sources. */
const depths = new Map();
function depth(name) {
  if (!depths.has(name)) {
    depths.set(name, 0); // if it reads itself
    const parents = (models.get(name) ?? exposures.get(name))?.upstream ?? [];
    depths.set(name, parents.reduce((deepest, parent) => Math.max(deepest, depth(parent) + 1), 0));
  }
  return depths.get(name);
}
/** All layers, from the sources on. */
const layers = (() => {
  const members = new Map();
  for (const { name } of drawn) add(members, layerOf(name), depth(name));
  const mean = (layer) => members.get(layer).reduce((sum, one) => sum + one, 0) / members.get(layer).length;
  const rank = (layer) => (layer === SOURCES ? 0 : layer === EXPOSURES ? 2 : 1);
  return [...members.keys()].sort((a, b) => rank(a) - rank(b) || mean(a) - mean(b));
})();
const layerClass = (layer) => `layer-${Math.max(layers.indexOf(layer), 0) % LAYER_COLOURS}`;

const legend = (shown) =>
  element(
    "p",
    { class: "legend" },
    layers
      .filter((layer) => shown.has(layer))
      .map((layer) => element("span", { class: layerClass(layer) }, layer)),
  );

/** A region that fills with the drawing of `graph`, fitted or with the current node in its middle. */
function drawing(name, graph) {
  const container = element(
    "div",
    { class: "graph", role: "region", tabindex: 0, "aria-label": name },
    element("p", { class: "quiet" }, "Drawing …"),
  );
  const tools = element("div", { class: "tools" });
  draw(name, container, tools, graph);
  return element("div", {}, legend(new Set(graph.layers)), tools, container);
}

async function draw(name, container, tools, { nodes, links, ...graph }) {
  try {
    graphviz ??= Viz.instance();
    const viz = await graphviz;
    const svg = viz.renderSVGElement(
      {
        graphAttributes: { rankdir: "LR", nodesep: 0.12, ranksep: 0.6, bgcolor: "transparent" },
        nodeAttributes: { shape: "box", fontname: "Courier", fontsize: 11, margin: "0.12,0.06", height: 0.3 },
        edgeAttributes: { arrowsize: 0.6 },
        nodes,
        edges: links.map(({ tail, head, attributes }, index) => ({
          tail,
          head,
          attributes: { ...attributes, id: `link-${index}` },
        })),
        ...graph.attributes,
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
    const button = (text, click, attributes = {}) => element("button", { type: "button", click, ...attributes }, text);
    tools.replaceChildren(
      button("Fit", () => zoom(fitScale())),
      button("100 %", () => zoom(1)),
      button("+", () => zoom(scale * 1.25), { "aria-label": "Zoom in" }),
      button("−", () => zoom(scale / 1.25), { "aria-label": "Zoom out" }),
      button("SVG", () => download(`${name}.svg`, "image/svg+xml", standalone(svg))),
      button("JSON", () => download(`${name}.json`, "application/json", JSON.stringify(graph.data(), null, 2))),
    );
    const current = svg.querySelector(".current, .node polygon[fill='orange']");
    zoom(current ? Math.max(fitScale(), LEGIBLE) : fitScale());
    if (current) {
      const [box, frame] = [current.getBoundingClientRect(), container.getBoundingClientRect()];
      container.scrollLeft += box.left + box.width / 2 - frame.left - frame.width / 2;
      container.scrollTop += box.top + box.height / 2 - frame.top - frame.height / 2;
    }
    tracePaths(svg, links);
  } catch (error) {
    graphviz = undefined; // a failed instance can't be reused
    container.replaceChildren(element("p", {}, `Graphviz can't draw this: ${error.message}`));
  }
}

/** While the pointer or the focus is on a node, show everything upstream and downstream of it, and dim the rest. */
function tracePaths(svg, links) {
  const elementOf = (id) => svg.getElementById(id) ?? svg.getElementById(`a_${id}`);
  const trace = (event) => {
    const id = event.target.closest("[id^='node-'], [id^='a_node-']")?.id.replace("a_", "");
    for (const traced of svg.querySelectorAll(".traced")) traced.classList.remove("traced");
    svg.classList.toggle("tracing", id !== undefined);
    if (id === undefined) return;
    const found = new Set([id]);
    for (const [near, far] of [
      ["from", "to"],
      ["to", "from"],
    ]) {
      const frontier = [id];
      const seen = new Set(frontier);
      while (frontier.length) {
        const node = frontier.pop();
        links.forEach((link, index) => {
          if (link[near] !== node) return;
          found.add(`link-${index}`).add(link[far]);
          if (!seen.has(link[far])) frontier.push(link[far]);
          seen.add(link[far]);
        });
      }
    }
    for (const one of found) elementOf(one)?.classList.add("traced");
  };
  for (const event of ["pointerover", "focusin"]) svg.addEventListener(event, trace);
  for (const event of ["pointerleave", "focusout"]) svg.addEventListener(event, () => trace({ target: svg }));
}

function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name.replace(/[^\w.-]+/g, "_") }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** An SVG file in the page's colours, which are in its style sheet. */
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const originals = svg.querySelectorAll("polygon, path, text");
  copy.querySelectorAll("polygon, path, text").forEach((node, index) => {
    const style = getComputedStyle(originals[index]);
    for (const property of ["fill", "stroke", "stroke-width"])
      node.setAttribute(property, style.getPropertyValue(property));
  });
  for (const anchor of copy.querySelectorAll("a")) anchor.replaceWith(...anchor.childNodes);
  copy.setAttribute("style", `background: ${getComputedStyle(document.body).backgroundColor}`);
  return new XMLSerializer().serializeToString(copy);
}

const numbered = (names) => new Map([...names].map((name, index) => [name, String(index)]));

/** Tables and their upstream tables; dashed arrows if the query doesn't read them. */
function tableGraph(names, current) {
  const numbers = numbered(names);
  const links = [];
  for (const name of names) {
    const read = new Set((models.get(name) ?? exposures.get(name))?.upstream);
    for (const parent of upstreamOfModel(name))
      if (numbers.has(parent))
        links.push(tableLink(numbers.get(parent), numbers.get(name), { style: read.has(parent) ? "solid" : "dashed" }));
  }
  return {
    nodes: [...numbers].map(([name, number]) => ({
      name: number,
      attributes: {
        id: `node-${number}`,
        label: label(name),
        class: `${layerClass(layerOf(name))} ${name === current ? "current" : isRaw(name) ? "raw" : ""}`,
        ...(models.has(name) && { href: route("model", name) }),
      },
    })),
    links,
    layers: [...names].map(layerOf),
    attributes: {
      // All raw tables in one column on the left.
      subgraphs: [
        {
          graphAttributes: { rank: "min" },
          nodes: [...numbers].filter(([name]) => isRaw(name)).map(([, number]) => ({ name: number })),
        },
      ],
    },
    data: () => ({
      nodes: [...names],
      edges: [...names].flatMap((to) =>
        upstreamOfModel(to)
          .filter((from) => numbers.has(from))
          .map((from) => ({ from, to })),
      ),
    }),
  };
}

const tableLink = (tail, head, attributes) => ({ tail, head, from: `node-${tail}`, to: `node-${head}`, attributes });

/** Each layer as one node, with its number of models, and arrows with the number of dependencies. */
function layerGraph() {
  const numbers = numbered(layers);
  const counts = new Map();
  const sizes = new Map();
  for (const { name } of drawn) {
    sizes.set(layerOf(name), (sizes.get(layerOf(name)) ?? 0) + 1);
    for (const parent of upstreamOfModel(name)) {
      const pair = nodeKey([layerOf(parent), layerOf(name)]);
      if (layerOf(parent) !== layerOf(name)) counts.set(pair, (counts.get(pair) ?? 0) + 1);
    }
  }
  const edges = [...counts].map(([pair, count]) => [...JSON.parse(pair), count]).filter(([from]) => numbers.has(from));
  return {
    nodes: [...numbers].map(([layer, number]) => ({
      name: number,
      attributes: {
        id: `node-${number}`,
        label: label(`${layer}: ${plural(sizes.get(layer), layer === EXPOSURES ? "file" : "model")}`),
        class: layerClass(layer),
        href: route("lineage", layer),
      },
    })),
    links: edges.map(([from, to, count]) =>
      tableLink(numbers.get(from), numbers.get(to), { label: String(count), fontname: "Courier", fontsize: 9 }),
    ),
    layers,
    attributes: {},
    data: () => ({ nodes: layers, edges: edges.map(([from, to, count]) => ({ from, to, dependencies: count })) }),
  };
}

/** The given nodes of column lineage, grouped by table. Arrows from what isn't a value are dotted. */
function columnGraph(nodes, edges, current) {
  const tables = new Map();
  for (const [model, column] of nodes) add(tables, model, column);
  for (const names of tables.values()) names.sort(); // ROWS is first: the port of a table's name
  const numbers = numbered(tables.keys());
  const id = ([model, column]) => `node-${numbers.get(model)}-${tables.get(model).indexOf(column)}`;
  const port = (node) => id(node).replace("node-", "p");
  const cell = (model, column) => {
    const href = columnOf([model, column]) ? ` href="${route("column", model, column)}"` : "";
    const color = model === current[0] && column === current[1] ? ' bgcolor="orange"' : "";
    const node = [model, column];
    return `<tr><td align="left" port="${port(node)}" id="${id(node)}"${href}${color}>${markup(column)}</td></tr>`;
  };
  const head = (model, names) => {
    const href = models.has(model) ? ` href="${route("model", model)}"` : "";
    const rows = names[0] === ROWS ? ` port="${port([model, ROWS])}" id="${id([model, ROWS])}"` : "";
    return `<tr><td align="left"${rows}${href}><b>${markup(model)}</b></td></tr>`;
  };
  const html = (model, names) =>
    `<table ${TABLE}>${head(model, names)}${names
      .filter((name) => name !== ROWS)
      .map((name) => cell(model, name))
      .join("")}</table>`;
  const known = new Set(nodes.map(nodeKey));
  // That its rows affect a column is clear from the table around both.
  const shown = edges.filter(
    ({ from, to, transformations }) => transformations.length && known.has(nodeKey(from)) && known.has(nodeKey(to)),
  );
  return {
    nodes: [...tables].map(([model, names]) => ({
      name: numbers.get(model),
      attributes: { label: { html: html(model, names) }, class: `columns ${layerClass(layerOf(model))}` },
    })),
    links: shown.map(({ from, to, direct }) => ({
      tail: numbers.get(from[0]),
      head: numbers.get(to[0]),
      from: id(from),
      to: id(to),
      attributes: {
        tailport: `${port(from)}:e`,
        headport: `${port(to)}:w`,
        style: direct ? "solid" : "dotted",
      },
    })),
    layers: [...tables.keys()].map(layerOf),
    attributes: { nodeAttributes: { shape: "plain", fontname: "Courier", fontsize: 11 } },
    data: () => ({
      nodes: nodes.map(([model, column]) => ({ model, column: column || null })),
      edges: shown.map(({ from, to, transformations }) => ({ from, to, transformations })),
    }),
  };
}
