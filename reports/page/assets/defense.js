// One defense: its accuracies, curves, masking checks, how it was trained and where it was scored.

const CHARTS_AT_ONCE = 12;
const ROWS_AT_ONCE = 30;

// The choice of a single data set, backbone and seed, and what of the state it leaves open.
function single() {
  const [dataset, backbone] = [["dataset", report.datasets], ["backbone", report.backbones]].map(([name, names]) =>
    Math.max(0, names.indexOf(state[name])),
  );
  const seed = report.seeds.includes(Number(state.seed)) && state.seed !== "" ? Number(state.seed) : report.seeds[0];
  return { dataset, backbone, seed };
}

function singleControls({ dataset, backbone, seed }, seeds) {
  const plain = (names) => names.map((name) => [name, name]);
  return [
    several(report.datasets)
      ? choice("Data set", plain(report.datasets), report.datasets[dataset], (value) => change({ dataset: value }))
      : null,
    several(report.backbones)
      ? choice("Backbone", plain(report.backbones), report.backbones[backbone], (value) => change({ backbone: value }))
      : null,
    several(report.seeds) ? choice("Seed", seeds, seed, (value) => change({ seed: value })) : null,
  ];
}

function showDefense() {
  const at = single();
  const defense = report.defenses.indexOf(state.defense);
  const names = report.defenses.map((name) => [name, name]);
  const seeds = report.seeds.map((seed) => [seed, `seed ${seed}`]);
  replace(
    byId("defense-controls"),
    choice("Defense", names, state.defense, (value) => change({ defense: value })),
    singleControls(at, seeds),
  );
  byId("defense-title").textContent = state.defense;
  const entries = report.entries.flatMap((entry, place) =>
    entry[ofDataset] === at.dataset && entry[ofBackbone] === at.backbone && entry[ofDefense] === defense ? [place] : [],
  );
  const parts = entries.length
    ? [split(accuracies(entries), severityCharts(entries, at.seed), epsilonCharts(entries, at.seed))]
    : [element("p", {}, "Not run on this data set with this backbone.")];
  byId("defense-body").replaceChildren(...parts, ...[checks(), network(defense, at), figuresOf(state.defense)].filter(Boolean));
  announce(`Defense ${state.defense}`);
}

// The first part at the left of the others, where there is room.
const split = (first, ...others) => element("div", { class: "split" }, first, element("div", { class: "aside" }, others));

const titled = (title, ...content) => element("section", { class: "part" }, element("h3", {}, title), content);

// Every measure of the entries, over seeds.
function accuracies(entries) {
  const scores = report.scores[0].values;
  const columns = report.columns.map((column, place) => ({ ...column, place })).filter(({ place }) => entries.some((entry) => scores[entry]?.[place]));
  const groups = [...new Set(columns.map(({ group }) => group))];
  const head = (entry) => element("th", { scope: "col", class: "number" }, breakable(preprocessText(report.entries[entry][ofPreprocess])));
  const table = element(
    "table",
    { class: "measures" },
    element("caption", { class: "unseen" }, `Accuracy of ${state.defense} in percent`),
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Measure"), entries.map(head))),
    groups.map((group) => accuracyGroup(group, columns.filter((column) => column.group === group), entries, scores)),
  );
  const seeds = several(report.seeds) ? ", over all seeds" : "";
  return titled(`Accuracy in percent${seeds}`, scrolling(`Accuracy of ${state.defense}`, table));
}

function accuracyGroup(group, columns, entries, scores) {
  const open = openGroups();
  const folded = columns.length > ROWS_AT_ONCE && !open.has(group);
  const rows = columns.filter((column) => column.summary || !folded).map((column) => {
    const words = [column.label, column.threat, column.detail].filter(Boolean).join(", ");
    const cells = entries.map((entry) => measuredCell(scores[entry]?.[column.place]));
    return element("tr", { class: column.summary ? "summary" : null }, element("th", { scope: "row" }, breakable(words)), cells);
  });
  const show = () => change({ open: [...open, group].join("~") });
  const more = element("button", { type: "button", class: "fold", onclick: show }, `show all ${columns.length}`);
  const head = element("th", { scope: "rowgroup", colspan: entries.length + 1, class: "group" }, group, folded ? more : null);
  return element("tbody", {}, element("tr", {}, head), rows);
}

function measuredCell(score) {
  const cell = scoreCell(score, false);
  if (score) cell.querySelector(".value").after(element("span", { class: "interval", "aria-hidden": "true" }, intervalText(score)));
  return cell;
}

// The single conditions of the entries at one seed: {condition, entry, value, low, high}.
function measured(entries, seed) {
  return report.blocks
    .filter((block) => block.seed === seed && !report.conditions[block.condition].shared)
    .flatMap((block) =>
      block.entries.flatMap((entry, place) => {
        if (!entries.includes(entry)) return [];
        const [low, high] = block.spans[place];
        const condition = report.conditions[block.condition];
        return [{ condition, entry, value: (100 * block.right[place]) / block.images, low, high }];
      }),
    );
}

function grouped(items, key) {
  const found = new Map();
  for (const item of items) found.set(key(item), [...(found.get(key(item)) ?? []), item]);
  return found;
}

function severityCharts(entries, seed) {
  const points = measured(entries, seed).filter(({ condition }) => condition.severity !== undefined);
  const charts = [...grouped(points, ({ condition }) => [condition.group, condition.label].join(": "))]
    .map(([, members]) => members)
    .filter((members) => new Set(members.map(({ condition }) => condition.severity)).size > 1)
    .map((members) => () => severityChart(members, entries));
  return charts.length ? titled(`Accuracy against severity${seedText(seed)}`, chartGrid(charts)) : "";
}

const seedText = (seed) => (several(report.seeds) ? `, seed ${seed}` : "");

function severityChart(members, entries) {
  const severities = [...new Set(members.map(({ condition }) => condition.severity))].sort((one, other) => one - other);
  const series = entries.map((entry, style) => ({
    name: preprocessText(report.entries[entry][ofPreprocess]),
    style,
    points: members.filter((each) => each.entry === entry).map((each) => ({ ...each, x: each.condition.severity })),
  }));
  return chart({ title: members[0].condition.label, axis: "severity", ticks: severities.map((severity) => [severity, severity]), series });
}

// One chart for every threat model and preprocessing, a line for every attack; masking checks among them.
function epsilonCharts(entries, seed) {
  const points = measured(entries, seed).filter(({ condition }) => condition.epsilon && condition.label !== "landscape");
  const space = (condition) => condition.radius.replace(/^ε \S+/, "").trim();
  const key = ({ condition, entry }) => [condition.threat, space(condition), entry].join("~");
  const charts = [...grouped(points, key)].map(([, members]) => () => epsilonChart(members, space(members[0].condition)));
  return charts.length ? titled(`Accuracy against ε${seedText(seed)}`, chartGrid(charts)) : "";
}

function epsilonChart(members, space) {
  const radii = new Map(members.map(({ condition }) => [condition.epsilon, condition.radius.split(" ")[1]]));
  const ticks = [...radii].sort(([one], [other]) => one - other);
  const byAttack = grouped(members, ({ condition }) => (condition.diagnostic ? `${condition.label} (masking checks)` : condition.label));
  const series = [...byAttack].map(([name, points], style) => ({
    name,
    style,
    points: points.map((each) => ({ ...each, x: each.condition.epsilon })).sort((one, other) => one.x - other.x),
  }));
  const { condition, entry } = members[0];
  const title = `${condition.threat}, ${preprocessText(report.entries[entry][ofPreprocess])}`;
  return chart({ title, axis: `ε, ${space}`, ticks: shortTicks(ticks), series, log: true });
}

// 8/255 is written as it is while there is room, else as 8, and the axis as a whole then counts in 255ths.
function shortTicks(ticks) {
  return ticks.length > 4 ? ticks.map(([x, text]) => [x, text.replace("/255", "")]) : ticks;
}

// The first charts at once, the others when asked for: there may be hundreds.
function chartGrid(makers) {
  const grid = element("div", { class: "charts" }, makers.slice(0, CHARTS_AT_ONCE).map((make) => make()));
  if (makers.length <= CHARTS_AT_ONCE) return grid;
  const more = () => {
    grid.append(...makers.slice(CHARTS_AT_ONCE).map((make) => make()));
    button.remove();
  };
  const button = element("button", { type: "button", onclick: more }, `Show all ${makers.length}`);
  return [grid, button];
}

function checks() {
  const found = report.masking.filter(({ defense }) => defense === state.defense);
  if (!found.length) return null;
  const row = (check) => {
    const [verdict, evidence] = check.slice(-2);
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, check.slice(0, -2).join(" · ")),
      element("td", { class: verdict === "pass" ? "pass" : "fail" }, verdict),
      element("td", {}, evidence),
    );
  };
  const tables = found.map(({ dataset, checks: rows }) => plainTable(`Masking checks on ${dataset}`, ["backbone · seed · check", "verdict", "evidence"], rows.map(row)));
  return titled("Masking checks", tables);
}

function plainTable(title, header, rows) {
  const heads = header.map((name) => element("th", { scope: "col" }, name));
  const table = element("table", { class: "plain" }, element("caption", {}, title), element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows));
  return scrolling(title, table);
}

// How the network was trained, what its cells were computed with, and what was flagged on the way.
function network(defense, { dataset, backbone, seed }) {
  const found = report.networks.find((each) => each.dataset === dataset && each.backbone === backbone && each.defense === defense && each.seed === seed);
  if (!found) return null;
  const flags = found.flags.map(([flag, conditions]) =>
    element("li", {}, element("strong", {}, flag), ` – ${plural(conditions.length, "condition")}: `, breakable(conditions.slice(0, 8).join("; ")), conditions.length > 8 ? " …" : ""),
  );
  const environments = found.environments.map(([place, count]) => [
    element("h4", {}, `Environment of ${plural(count, "cell")}`),
    definitions(report.environments[place]),
  ]);
  return element(
    "div",
    { class: "columns" },
    flags.length ? titled("Flags", element("ul", {}, flags)) : null,
    titled(`Recipe${seedText(seed)}`, definitions(found.recipe)),
    environments.length ? titled("Environment", environments) : null,
  );
}

function definitions(values) {
  const pairs = Object.entries(values).map(([name, value]) => [element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, breakable(value))]);
  return pairs.length ? element("dl", { class: "facts" }, pairs) : element("p", {}, "Not recorded.");
}

// Links to the report's figures but those of another defense's network alone.
function figuresOf(defense) {
  const found = [...document.querySelectorAll("#figures figure")].filter(({ dataset }) => (dataset.network ?? defense) === defense);
  if (!found.length) return null;
  const words = (figure) => figure.querySelector("h3").textContent + (figure.dataset.page ? `, page ${figure.dataset.page}` : "");
  const links = found.map((figure) => element("li", {}, element("a", { href: `#${figure.id}` }, words(figure))));
  return titled("Figures", element("ul", {}, links));
}
