// Search.

const MAX_RESULTS = 100;

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
