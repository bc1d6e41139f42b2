// The leaderboard: defenses down, measures across.

const columnKey = (column) => [column.group, column.label, column.detail, column.threat].filter(Boolean).join("/");
const columnText = (column) => [column.group, column.label, column.detail, column.threat].filter(Boolean).join(", ");

function boardControls() {
  const withAll = (names) => [...names.map((name) => [name, name]), [ALL, "all"]];
  const seeds = [[MEAN, "mean ± std"], [ALL, "each"], ...report.seeds.map((seed) => [String(seed), `seed ${seed}`])];
  const preprocess = [["both", "both"], ["without", "without"], ["with", "with"]];
  return [
    several(report.datasets)
      ? choice("Data set", withAll(report.datasets), state.dataset, (dataset) => change({ dataset }))
      : null,
    several(report.backbones)
      ? choice("Backbone", withAll(report.backbones), state.backbone, (backbone) => change({ backbone }))
      : null,
    several(report.seeds) ? choice("Seeds", seeds, state.seed, (seed) => change({ seed })) : null,
    several(threats)
      ? segments("Threat model", threats.map((name) => [name, name]), state.threat, (threat) => change({ threat }))
      : null,
    several(report.preprocessings)
      ? segments("Preprocessing", preprocess, state.pre, (pre) => change({ pre }))
      : null,
    filterField(),
  ];
}

function filterField() {
  const input = element("input", {
    type: "search",
    placeholder: "name contains …",
    value: state.q,
    oninput: (event) => {
      state.q = event.target.value;
      history.replaceState(null, "", addressOf(state.view));
      showBoardTable();
    },
  });
  return element("label", { class: "field" }, element("span", {}, "Defense"), input);
}

// The rows of the chosen data set, backbone, preprocessing and seeds, whatever the filter says.
function boardRows() {
  const seed = several(report.seeds) ? state.seed : MEAN;
  const wanted = report.scores.filter((part) =>
    seed === MEAN ? part.seed === null : part.seed !== null && (seed === ALL || String(part.seed) === seed),
  );
  return wanted.flatMap((part) =>
    Object.entries(part.values)
      .map(([place, scores]) => ({ entry: report.entries[place], seed: part.seed, scores }))
      .filter(({ entry }) => entryIsWanted(entry)),
  );
}

const isPreprocessed = (entry) => report.preprocessings[entry[ofPreprocess]] !== "";

function entryIsWanted(entry) {
  return (
    (state.dataset === ALL || report.datasets[entry[ofDataset]] === state.dataset) &&
    (state.backbone === ALL || report.backbones[entry[ofBackbone]] === state.backbone) &&
    (state.pre === "both" || isPreprocessed(entry) === (state.pre === "with"))
  );
}

// The columns that have a number in any row: of closed groups only the summaries.
function boardColumns(rows) {
  const filled = new Set(rows.flatMap((row) => Object.keys(row.scores)));
  const open = openGroups();
  return report.columns
    .map((column, place) => ({ ...column, place }))
    .filter((column) => filled.has(String(column.place)))
    .filter((column) => !column.threat || column.threat === state.threat)
    .map((column) => ({ ...column, open: open.has(column.group) }))
    .filter((column, _, all) => column.summary || column.open || !all.some((c) => c.group === column.group && c.summary))
    .map((column, number, all) => ({ ...column, first: column.group !== all[number - 1]?.group }));
}

// The column that rows are sorted by: the one asked for, else corruptions, else the first.
function sortColumn(columns) {
  return (
    columns.find((column) => columnKey(column) === state.sort) ??
    columns.find((column) => column.group.startsWith("Corruption") && column.summary) ??
    columns[0]
  );
}

function sorted(rows, column) {
  if (state.sort === "defense") {
    const byName = [...rows].sort((one, other) => one.entry[ofDefense] - other.entry[ofDefense]);
    return state.up ? byName : byName.reverse();
  }
  if (!column) return rows;
  const sign = state.up ? 1 : -1;
  const score = (row) => row.scores[column.place];
  const value = (one, other) => sign * (score(one)[VALUE] - score(other)[VALUE]);
  const complete = competing(rows, column.place);
  const incomplete = rows.filter((row) => score(row) && !isComplete(score(row)));
  return [...complete.sort(value), ...incomplete.sort(value), ...rows.filter((row) => !score(row))];
}

const isComplete = (score) => score[CONDITIONS] === score[EXPECTED];
const competing = (rows, place) => rows.filter((row) => row.scores[place] && isComplete(row.scores[place]));

// Rows are compared on one data set, backbone and seed, with preprocessing or without it, as the tables do.
function contests(rows, place) {
  const key = ({ entry, seed }) => [entry[ofDataset], entry[ofBackbone], isPreprocessed(entry), seed].join("~");
  return [...grouped(competing(rows, place), key).values()];
}

// The scores that are the highest of their contest as shown, all that tie; none where the whole contest does.
function bestScores(rows, columns) {
  const best = new Set();
  for (const { place } of columns) {
    for (const scores of contests(rows, place).map((rivals) => rivals.map((row) => row.scores[place]))) {
      const top = Math.max(...scores.map((score) => score[VALUE]));
      const leading = scores.filter((score) => score[VALUE] === top);
      if (leading.length < scores.length) leading.forEach((score) => best.add(score));
    }
  }
  return best;
}

// By row, how many of its contest are better, and one; nothing for incomplete and blank rows, or under no column.
function ranks(rows, column) {
  if (!column || state.sort === "defense") return new Map();
  const value = (row) => row.scores[column.place][VALUE];
  return new Map(
    contests(rows, column.place).flatMap((rivals) =>
      rivals.map((row) => [row, 1 + rivals.filter((other) => value(other) > value(row)).length]),
    ),
  );
}

function showBoard() {
  replace(byId("board-controls"), boardControls());
  showBoardTable();
}

function showBoardTable() {
  const all = boardRows();
  const columns = boardColumns(all);
  const by = sortColumn(columns);
  const rows = sorted(all.filter((row) => nameOf(row).toLowerCase().includes(state.q.trim().toLowerCase())), by);
  const name = state.sort === "defense" ? "defense" : by ? columnText(by) : "";
  const count = `${rows.length === all.length ? "" : `${rows.length} of `}${plural(all.length, "row")}`;
  byId("board-count").textContent = `${count}, sorted by ${name}, ${state.up ? "lowest" : "highest"} first`;
  announce(byId("board-count").textContent);
  replace(byId("board-table"), boardTable(rows, columns, by, { best: bestScores(all, columns), rank: ranks(all, by) }));
}

const nameOf = (row) => report.defenses[row.entry[ofDefense]];

// standing: {best: the scores in bold, rank: by row}.
function boardTable(rows, columns, by, standing) {
  return element(
    "table",
    { class: "board" },
    element("caption", { class: "unseen" }, "Accuracy in percent of every defense under every measure"),
    element("thead", {}, element("tr", {}, firstHead(), groupHeads(columns)), element("tr", {}, columns.map((column) => columnHead(column, by)))),
    element("tbody", {}, rows.length ? rows.map((row) => boardRow(row, columns, standing)) : noRows(columns)),
  );
}

const noRows = (columns) => element("tr", {}, element("td", { colspan: columns.length + 1, class: "blank" }, "No defense of that name."));

function firstHead() {
  const chosen = state.sort === "defense";
  return element(
    "th",
    { scope: "col", rowspan: 2, class: "name", "aria-sort": chosen ? direction() : null },
    sortButton("defense", chosen, ["Defense"]),
  );
}

const direction = () => (state.up ? "ascending" : "descending");

function sortButton(key, chosen, content) {
  const mark = element("span", { class: "mark", "aria-hidden": "true" }, chosen ? (state.up ? "▲" : "▼") : "");
  const turn = () => change({ sort: key, up: chosen ? (state.up ? "" : "1") : key === "defense" ? "1" : "" });
  return element("button", { type: "button", class: "sort", onclick: turn }, content, mark);
}

function groupHeads(columns) {
  const groups = [...new Set(columns.map((column) => column.group))];
  return groups.map((group) => {
    const members = columns.filter((column) => column.group === group);
    return element("th", { scope: "colgroup", colspan: members.length, class: "group first" }, groupHead(group, members));
  });
}

function groupHead(group, members) {
  const inside = report.columns.filter((c) => c.group === group && !c.summary && (!c.threat || c.threat === state.threat));
  const title = members[0].threat ? `${group}, ${members[0].threat}` : group;
  if (!inside.length || !members.some((column) => column.summary)) return title;
  const open = openGroups();
  const isOpen = open.has(group);
  const turn = () => {
    if (isOpen) open.delete(group);
    else open.add(group);
    change({ open: [...open].join("~") });
  };
  return element(
    "button",
    { type: "button", class: "fold", "aria-expanded": String(isOpen), onclick: turn, title: `${inside.length} more columns` },
    title,
    element("span", { class: "mark", "aria-hidden": "true" }, isOpen ? "−" : "+"),
  );
}

function columnHead(column, by) {
  const chosen = state.sort !== "defense" && by?.place === column.place;
  const content = [element("span", {}, breakable(column.label)), column.detail ? element("small", {}, column.detail) : null];
  return element(
    "th",
    { scope: "col", class: column.first ? "number first" : "number", "aria-sort": chosen ? direction() : null },
    sortButton(columnKey(column), chosen, content),
  );
}

function boardRow(row, columns, { best, rank }) {
  const cells = columns.map((column) => {
    const score = row.scores[column.place];
    const cell = scoreCell(score, best.has(score));
    cell.classList.toggle("first", column.first);
    return cell;
  });
  return element("tr", {}, rowHead(row, rank.get(row)), cells);
}

function rowHead(row, rank) {
  const [dataset, backbone, , preprocess] = row.entry;
  const words = [
    several(report.preprocessings) ? preprocessText(preprocess) : "",
    state.dataset === ALL ? report.datasets[dataset] : "",
    state.backbone === ALL ? report.backbones[backbone] : "",
    row.seed === null ? "" : `seed ${row.seed}`,
  ].filter(Boolean);
  const changes = { defense: nameOf(row), dataset: report.datasets[dataset], backbone: report.backbones[backbone] };
  return element(
    "th",
    { scope: "row", class: "name" },
    element("span", { class: "rank", "aria-hidden": "true" }, rank ?? ""),
    element("a", { href: addressOf("defense", changes) }, breakable(nameOf(row))),
    words.length ? element("small", {}, breakable(words.join(" · "))) : null,
  );
}
