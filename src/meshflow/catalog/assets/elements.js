// Texts come from models and are never markup. They enter the page as text nodes and attributes, drawings as labels.
// The page's policy blocks everything else.

const catalog = await decompress(document.getElementById("catalog").textContent);
const models = new Map(catalog.models.map((model) => [model.name, model]));
// What reads models and is none, by its file.
const exposures = new Map(catalog.exposures.map((exposure) => [exposure.name, exposure]));
const content = document.getElementById("content");
const search = document.getElementById("search");
const schemaOf = (name) => name.slice(0, Math.max(name.lastIndexOf("."), 0));
// A table that the loader or another project fills, not a query.
const isRaw = (name) =>
  models.has(name) ? models.get(name).contract !== null || models.get(name).kind === "EXTERNAL" : !exposures.has(name);


/** The data: JSON, compressed to an eighth and in base64. */
function decompress(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  node.append(...children.flat(Infinity));
  return node;
}
const route = (...parts) => "#/" + parts.map(encodeURIComponent).join("/");
const link = (name) => (models.has(name) ? element("a", { href: route("model", name) }, name) : name);
const columnLink = ([model, column], text = column) =>
  columnOf([model, column]) ? element("a", { href: route("column", model, column) }, text) : text;
/** A file of the project, and a line of it. A link if the files are on the web. */
function source(file, line = 0) {
  const text = [code(file), line ? `, line ${line}` : ""];
  const href = catalog.files_address + file.split("/").map(encodeURIComponent).join("/") + (line ? `#L${line}` : "");
  return file && catalog.files_address ? element("a", { href, rel: "noreferrer" }, text) : text;
}
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

/** Text in a language of Prism, coloured as soon as it is opened. */
function collapsible(summary, text, language, open = false) {
  const pre = element("pre", {}, text);
  const colour = () => pre.replaceChildren(...highlighted(text, language));
  const details = element("details", { open }, element("summary", {}, summary), copyButton(text), pre);
  // An open one is toggled when it enters the page.
  if (text.length <= MAX_COLOURED) details.addEventListener("toggle", colour, { once: true });
  return details;
}

const MAX_COLOURED = 50_000; // characters: Prism blocks the page for a quarter of a second, and for one at 500,000
const COLOURED = new Set(["boolean", "comment", "function", "keyword", "number", "string"]);

/** The text as nodes. Prism's tokens have text only: nothing in it becomes markup. */
function highlighted(text, language) {
  const nodes = (tokens) =>
    tokens.map((token) => {
      if (typeof token === "string") return token;
      const inner = nodes([token.content].flat());
      return COLOURED.has(token.type) ? element("span", { class: token.type }, inner) : inner;
    });
  return nodes(Prism.tokenize(text, Prism.languages[language])).flat(Infinity);
}

function copyButton(text) {
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  };
  const button = element("button", { type: "button", class: "copy", click: copy }, "Copy");
  return button;
}
