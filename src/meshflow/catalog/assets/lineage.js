// What is upstream and downstream of a model, of a column, and of the rows of a model.
// A node is [model, column], or [model, ROWS] for what its query filters, joins, groups and sorts by.

const ROWS = "";
const DIRECT = new Set(["IDENTITY", "TRANSFORMATION", "AGGREGATION"]);
const WORDS = {
  IDENTITY: "copied",
  TRANSFORMATION: "computed",
  AGGREGATION: "aggregated",
  FILTER: "filter",
  JOIN: "join",
  GROUP_BY: "group by",
  SORT: "sort",
  WINDOW: "window",
  CONDITIONAL: "condition",
  PARENT: "rows of a table that it reads",
};

const nodeKey = (node) => JSON.stringify(node);
const add = (map, key, value) => (map.has(key) ? map.get(key).push(value) : map.set(key, [value]));
const columnOf = ([model, column]) => columnsByKey.get(nodeKey([model, column]));
const columnsByKey = new Map(
  catalog.models.flatMap(({ name, columns }) => columns.map((column) => [nodeKey([name, column.name]), column])),
);

/** Edges by the node that they end in and start from: {from, to, transformations, direct}. */
const edgesTo = new Map();
const edgesFrom = new Map();
const downstreamModels = new Map();

function addEdge(from, to, transformations) {
  const edge = { from, to, transformations, direct: transformations.some((one) => DIRECT.has(one)) };
  add(edgesTo, nodeKey(to), edge);
  add(edgesFrom, nodeKey(from), edge);
}
// Whether the rows of a model depend on a column, its own or of a table that it reads.
const rowsDepend = new Map();
function rowsDependOnColumns(name) {
  const model = models.get(name);
  if (!model) return false;
  if (!rowsDepend.has(name)) {
    rowsDepend.set(name, false); // if it reads itself
    rowsDepend.set(name, model.rows_upstream.length > 0 || model.upstream.some(rowsDependOnColumns));
  }
  return rowsDepend.get(name);
}
/** What the query of a model doesn't read: tables that its audits do, and those that only its header names. */
const unreadUpstream = ({ upstream, audits, declared_dependencies: declared }) =>
  [...new Set([...audits.flatMap((audit) => audit.upstream), ...declared])].filter((one) => !upstream.includes(one));
for (const model of catalog.models) {
  const { name, upstream, columns, rows_upstream: rows } = model;
  for (const parent of [...upstream, ...unreadUpstream(model)]) add(downstreamModels, parent, name);
  for (const column of columns)
    for (const one of column.upstream) addEdge([one.model, one.column], [name, column.name], one.transformations);
  for (const one of rows) addEdge([one.model, one.column], [name, ROWS], one.transformations);
  for (const parent of upstream.filter(rowsDependOnColumns)) addEdge([parent, ROWS], [name, ROWS], ["PARENT"]);
}
for (const { name, upstream } of catalog.exposures) for (const parent of upstream) add(downstreamModels, parent, name);

const upstreamOfModel = (name) =>
  models.has(name)
    ? [...models.get(name).upstream, ...unreadUpstream(models.get(name))]
    : (exposures.get(name)?.upstream ?? []);
const downstreamOfModel = (name) => downstreamModels.get(name) ?? [];

/** Edges into a node. The rows of its model affect each column, unless only values count. */
function upstreamEdges(node, onlyValues) {
  const edges = edgesTo.get(nodeKey(node)) ?? [];
  if (onlyValues) return edges.filter(({ direct }) => direct);
  const [model, column] = node;
  return column === ROWS || !rowsDependOnColumns(model)
    ? edges
    : [...edges, { from: [model, ROWS], to: node, transformations: [], direct: false }];
}

/** Edges out of a node. What affects the rows of a model affects all its columns, which aren't repeated. */
const downstreamEdges = (node) => edgesFrom.get(nodeKey(node)) ?? [];

/**
 * Nodes reached from `start`, without it, breadth first; those with values come first. Each has what is done with it, or
 * if no value of it reaches `start`, what is done with the column between them that isn't a value.
 */
function reachable(start, edgesOf, end) {
  const found = new Map([[nodeKey(start), { node: start, steps: 0, direct: true }]]);
  const visit = (follows) => {
    let frontier = [...found.values()];
    while (frontier.length) {
      const next = [];
      for (const { node, steps, direct, selector } of frontier)
        for (const edge of edgesOf(node).filter(follows)) {
          const key = nodeKey(edge[end]);
          if (found.has(key)) continue;
          const isValue = direct && edge.direct;
          const selects = edge.direct ? selector : (edge.transformations.length && edge.transformations) || selector;
          const reached = {
            node: edge[end],
            steps: steps + 1,
            direct: isValue,
            selector: selects,
            transformations: isValue ? edge.transformations : selects,
          };
          found.set(key, reached);
          next.push(reached);
        }
      frontier = next;
    }
  };
  visit(({ direct }) => direct);
  visit(() => true);
  found.delete(nodeKey(start));
  return [...found.values()];
}

/** Models reachable by `next` within a number of steps. */
function reachableModels(start, next, maxSteps) {
  const seen = new Set([start]);
  let frontier = [start];
  for (let steps = 1; frontier.length && steps <= maxSteps; steps++) {
    frontier = [...new Set(frontier.flatMap(next))].filter((name) => !seen.has(name));
    frontier.forEach((name) => seen.add(name));
  }
  return seen;
}

/** A model and its upstream and downstream models up to the given number of steps. */
const neighbours = (name, steps) =>
  new Set([...reachableModels(name, upstreamOfModel, steps), ...reachableModels(name, downstreamOfModel, steps)]);

/** Joins that models declare: a column of `references` to the table whose grain it is, as edges. */
function declaredJoins() {
  // `guest_id AS account_id` is called account_id where it is the grain.
  const references = ({ references }) =>
    references.map((text) => text.split(/ AS /i)).map(([column, entity = column]) => [column, entity]);
  const isKeyOf = (entity) => (model) =>
    model.grain.includes(entity) && !references(model).some(([, other]) => other === entity);
  return catalog.models.flatMap((model) =>
    references(model).flatMap(([column, entity]) =>
      catalog.models.filter(isKeyOf(entity)).map(({ name }) => ({
        from: [model.name, column],
        to: [name, entity],
        transformations: ["REFERENCE"],
        direct: true,
      })),
    ),
  );
}
