// Search: every word of the query must be in an entry, spelled so or nearly so, or as a synonym of the glossary.

const MAX_RESULTS = 50;
const MIN_TYPO_LENGTH = 5; // a shorter word is near too many others
const NAME_WEIGHT = 10;
const PATH_WEIGHT = 5;
const LABEL_WEIGHT = 4; // owner, tag, kind, audit
const TEXT_WEIGHT = 2;
const MODEL_BONUS = 1.3; // a model before its columns
const LAYER_BONUS = 0.5; // for the last layer; none for the sources
const EXACT_BONUS = 1e6; // the end of a name comes first

/** Words of a text as [start, end, normalised]. */
const wordsOf = (text) =>
  [...text.matchAll(/[\p{L}\p{N}]+/gu)].map(({ 0: word, index }) => [index, index + word.length, normal(word)]);

/** The same with pairs of neighbours as one word: "E-mail" has email, "birth_date" and "Birth date" birthdate. */
function wordsAndPairsOf(text) {
  const words = wordsOf(text);
  const pairs = words.slice(1).flatMap(([start, end, word], index) => {
    const [before, beforeEnd, first] = words[index];
    return start - beforeEnd === 1 ? [[before, end, first + word]] : [];
  });
  return [...words, ...pairs];
}
/** A text as one word. */
const joined = (text) => normal(text.replace(/[^\p{L}\p{N}]/gu, ""));

const normals = new Map();
/** A word in lower case, without accents and without the ending of its form. */
function normal(word) {
  if (!normals.has(word)) normals.set(word, stem(word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase()));
  return normals.get(word);
}

/** A word without the ending of its form: cities and city, sold and solds, enrolled and enrolling. */
function stem(word) {
  if (word.length < 4 || /\d/.test(word)) return word;
  return word
    .replace(/(ss|sh|ch|x)es$/, "$1")
    .replace(/ies$/, "y")
    .replace(/([^s])s$/, "$1")
    .replace(/(.{3})(?:ing|ed)$/, "$1")
    .replace(/([^aeiouls])\1$/, "$1")
    .replace(/(.{3})e$/, "$1");
}

/** Edits (a letter more, less, other, or two swapped) that make `word` a beginning of `other`, if `max` suffice. */
function distance(word, other, max) {
  let [before, last] = [[], Array.from({ length: other.length + 1 }, (_, index) => index)];
  for (let i = 1; i <= word.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      const substitution = last[j - 1] + (word[i - 1] === other[j - 1] ? 0 : 1);
      row[j] = Math.min(substitution, last[j] + 1, row[j - 1] + 1);
      if (i > 1 && j > 1 && word[i - 1] === other[j - 2] && word[i - 2] === other[j - 1])
        row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    if (Math.min(...row) > max) return Infinity;
    [before, last] = [last, row];
  }
  return Math.min(...last.slice(Math.max(word.length - max, 0)));
}

// For each word, the entries that have it, with a weight for where. Typed arrays, because 500 models are 10,000 entries.
const entries = [];
const index = new Map();
const maxLayer = Math.max(layers.length - 1, 1);
const layerBonus = (name) => 1 + (LAYER_BONUS * layers.indexOf(layerOf(name))) / maxLayer;

function addEntry(target, fields) {
  target.bonus = (target.column ? 1 : MODEL_BONUS) * layerBonus(target.model.name);
  const number = entries.push(target) - 1;
  const addWord = (word, weight) => {
    if (!index.has(word)) index.set(word, new Map());
    const found = index.get(word);
    found.set(number, Math.max(found.get(number) ?? 0, weight));
  };
  addWord(joined(target.short), NAME_WEIGHT);
  for (const [text, weight] of fields) for (const [, , word] of wordsAndPairsOf(text)) addWord(word, weight);
}
for (const model of catalog.models) {
  const { name, description, owner, tags, kind, audits, columns } = model;
  const short = name.slice(schemaOf(name).length + 1);
  const labels = [owner, kind, ...tags, ...new Set(audits.map((audit) => audit.name))].join(" ; ");
  addEntry({ model, full: name, short, description }, [
    [short, NAME_WEIGHT],
    [name, PATH_WEIGHT],
    [labels, LABEL_WEIGHT],
    [description, TEXT_WEIGHT],
  ]);
  for (const column of columns)
    addEntry(
      { model, column: column.name, full: `${name}.${column.name}`, short: column.name, description: column.description },
      [
        [column.name, NAME_WEIGHT],
        [name, PATH_WEIGHT],
        [column.description, TEXT_WEIGHT],
      ],
    );
}
const synonyms = new Map(); // of a word, the words of the project
for (const { word, synonyms: others } of catalog.glossary)
  for (const other of others) add(synonyms, joined(other), joined(word));

/** The indexed words that a word of the query means, with how well: itself, a beginning, a part, a synonym, a typo. */
function meanings(word) {
  const found = new Map();
  for (const other of index.keys())
    if (other === word) found.set(other, 1);
    else if (other.startsWith(word) && (word.length > 1 || !/\d/.test(word))) found.set(other, 0.8);
    else if (word.length > 2 && other.includes(word)) found.set(other, 0.5);
  for (const other of synonyms.get(word) ?? []) if (index.has(other)) found.set(other, Math.max(found.get(other) ?? 0, 0.7));
  if (found.size || word.length < MIN_TYPO_LENGTH) return found;
  const max = word.length < 8 ? 1 : 2;
  for (const other of index.keys())
    if (Math.abs(other.length - word.length) <= max + 3 && distance(word, other, max) <= max) found.set(other, 0.4);
  return found;
}

/** Entries with all words of the query that pass the filters, best first, and the words that were found. */
function findEntries(query, filters) {
  const texts = query.split(/\s+/).filter(Boolean);
  const words = [...new Set(texts.flatMap((text) => queryWords(text)))];
  const matched = new Set();
  const scores = new Float32Array(entries.length).fill(1);
  for (const word of words) {
    const best = new Float32Array(entries.length);
    for (const [meaning, quality] of meanings(word)) {
      matched.add(meaning);
      for (const [number, weight] of index.get(meaning)) best[number] = Math.max(best[number], quality * weight);
    }
    for (let number = 0; number < scores.length; number++) scores[number] *= best[number] && best[number] + 1;
  }
  const chosen = Object.entries(filters);
  const exact = query.trim().toLowerCase();
  const results = [];
  entries.forEach(({ model, column, full, bonus }, number) => {
    if (!scores[number] || (!words.length && (column || query))) return; // only filters find models, "." nothing
    if (!chosen.every(([name, value]) => FILTERS[name](model).includes(value))) return;
    const isExact = `.${full.toLowerCase()}`.endsWith(`.${exact}`);
    results.push([number, scores[number] * bonus * (isExact ? EXACT_BONUS : 1), full.length]);
  });
  results.sort((a, b) => b[1] - a[1] || a[2] - b[2]);
  return { results: results.map(([number]) => entries[number]), matched };
}

/** The words of one text of the query: "sign-up" is signup if the project has that, else sign and up. */
function queryWords(text) {
  const word = joined(text);
  return index.has(word) || synonyms.has(word) ? [word] : wordsOf(text).map(([, , word]) => word);
}

/** The text with the words that the query found marked. */
function marked(text, matched) {
  const parts = [];
  let done = 0;
  const short = text.lastIndexOf(".") + 1;
  for (const [start, end] of [...wordsAndPairsOf(text), [short, text.length, joined(text.slice(short))]]
    .filter(([, , word]) => matched.has(word))
    .sort(([a], [b]) => a - b)) {
    if (start < done) continue;
    parts.push(text.slice(done, start), element("mark", {}, text.slice(start, end)));
    done = end;
  }
  return [...parts, text.slice(done)];
}

const FILTERS = {
  layer: ({ name }) => [layerOf(name)],
  owner: ({ owner }) => [owner],
  tag: ({ tags }) => tags,
  kind: ({ kind }) => [kind],
};

const filterValues = Object.entries(FILTERS).map(([name, valuesOf]) => [
  name,
  name === "layer" ? layers : [...new Set(catalog.models.flatMap(valuesOf).filter(Boolean))].sort(),
]);

/** A select for each property by which models differ. */
function filterTools(query, filters) {
  const selects = filterValues.map(([name, values]) => {
    if (values.length < 2 && !filters[name]) return "";
    const change = ({ target }) => {
      const chosen = new URLSearchParams({ ...filters, [name]: target.value });
      if (!target.value) chosen.delete(name);
      location.hash = query || chosen.size ? route("search", query, chosen) : "#/";
    };
    const id = `filter-${name}`;
    return element(
      "span",
      {},
      element("label", { for: id }, name),
      element(
        "select",
        { id, change },
        element("option", { value: "" }, "all"),
        values.map((value) => element("option", { value, selected: filters[name] === value }, value)),
      ),
    );
  });
  return element("div", { class: "tools filters", role: "group", "aria-label": "Filters" }, selects);
}

function searchPage(query, chosen = "") {
  const filters = Object.fromEntries([...new URLSearchParams(chosen)].filter(([name]) => Object.hasOwn(FILTERS, name)));
  const { results, matched } = findEntries(query, filters);
  const found = plural(results.length, "result");
  const count = results.length > MAX_RESULTS ? `${found}, the first ${MAX_RESULTS} shown` : found;
  document.getElementById("status").textContent = count;
  return [
    query ? `Search: ${query}` : "Models",
    [
      filterTools(query, filters),
      element("p", {}, results.length ? count : "No result. Try fewer words or filters."),
      results.length > 0 &&
        table(
          ["Result", "Type", "Description"],
          results.slice(0, MAX_RESULTS).map(({ model, column, full, description }) => [
            element(
              "a",
              { href: column ? route("column", model.name, column) : route("model", model.name), class: "result" },
              marked(full, matched),
            ),
            column ? "column" : model.kind,
            marked(firstSentence(description), matched),
          ]),
        ),
    ],
  ];
}

/** Keys: / goes to the search, arrows go through its results, Enter opens the first one. */
document.addEventListener("keydown", (event) => {
  if (event.isComposing) return; // Enter ends the word that an input method composes
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    search.focus();
    search.select();
    return;
  }
  const results = [...document.querySelectorAll("a.result")];
  const current = results.indexOf(document.activeElement);
  if (event.target !== search && current < 0) return;
  if (event.key === "Enter" && event.target === search) results[0]?.click();
  if (event.key === "ArrowDown") results[current + 1]?.focus();
  if (event.key === "ArrowUp") (results[current - 1] ?? search).focus();
  if (event.key.startsWith("Arrow") && event.key.match(/Up|Down/)) event.preventDefault();
});
