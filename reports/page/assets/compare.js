// Two entries side by side, condition by condition, on the same images.

const SIGNIFICANT = 0.05;

const entryKey = (entry) => [report.defenses[entry[ofDefense]], report.preprocessings[entry[ofPreprocess]]].join("~");
const entryText = (place) => {
  const entry = report.entries[place];
  const name = report.defenses[entry[ofDefense]];
  return several(report.preprocessings) ? `${name} (${preprocessText(entry[ofPreprocess])})` : name;
};

function showCompare() {
  const at = single();
  const entries = report.entries.flatMap((entry, place) =>
    entry[ofDataset] === at.dataset && entry[ofBackbone] === at.backbone ? [place] : [],
  );
  const options = entries.map((place) => [entryKey(report.entries[place]), entryText(place)]);
  const [first, second] = chosenPair(entries);
  const seeds = report.seeds.map((seed) => [seed, `seed ${seed}`]);
  const pairs = pairsOf(first, second, at.seed);
  const groups = [...new Set(pairs.map(({ condition }) => condition.group))];
  replace(
    byId("compare-controls"),
    choice("First", options, entryKey(report.entries[first]), (a) => change({ a })),
    choice("Second", options, entryKey(report.entries[second]), (b) => change({ b })),
    singleControls(at, seeds),
    several(groups) ? choice("Conditions", [["", "all"], ...groups.map((group) => [group, group])], state.of, (of) => change({ of })) : null,
  );
  replace(byId("compare-body"), comparison(first, second, pairs));
}

// The two that were asked for; of others the first, and the first that is another defense.
function chosenPair(entries) {
  const find = (key) => entries.find((place) => entryKey(report.entries[place]) === key);
  const first = find(state.a) ?? entries[0];
  const other = entries.find((place) => report.entries[place][ofDefense] !== report.entries[first][ofDefense]);
  return [first, find(state.b) ?? other ?? entries.at(-1)];
}

// Per condition that both were scored under: {condition, images, right: [first, second], b, c}.
function pairsOf(first, second, seed) {
  return report.blocks.flatMap((block) => {
    const [one, other] = [block.entries.indexOf(first), block.entries.indexOf(second)];
    if (block.seed !== seed || one < 0 || other < 0 || one === other || block.only === undefined) return [];
    const right = [block.right[one], block.right[other]];
    const only = onlyFirst(block, Math.min(one, other), Math.max(one, other));
    const b = one < other ? only : only + right[0] - right[1];
    const spans = [block.spans[one], block.spans[other]];
    return [{ condition: report.conditions[block.condition], images: block.images, right, spans, b, c: b - right[0] + right[1] }];
  });
}

// `only` lists the pairs (0,1), (0,2), …, (1,2), …
function onlyFirst(block, one, other) {
  const count = block.entries.length;
  const place = (one * (2 * count - one - 1)) / 2 + other - one - 1;
  return Number(block.only.split(" ")[place]);
}

function comparison(first, second, all) {
  const pairs = all.filter(({ condition }) => !state.of || condition.group === state.of);
  const left = report.left_out ? [element("p", { class: "notice" }, `${plural(report.left_out, "condition")} have too many pairs to be part of this page.`)] : [];
  if (first === second) return element("p", {}, "Choose two that differ.");
  if (!pairs.length) return [...left, element("p", {}, "These two share no condition on the same images.")];
  const ps = pairs.map(({ b, c }) => mcnemar(b, c));
  const corrected = holm(ps);
  const rows = pairs.map((pair, place) => ({ ...pair, p: ps[place], holm: corrected[place] }));
  const said = verdict(first, second, rows);
  announce(said);
  return [...left, element("p", { class: "lead" }, said), pairTable(first, second, rows), note(rows)];
}

function verdict(first, second, rows) {
  const clear = rows.filter((row) => row.holm < SIGNIFICANT);
  const better = clear.filter(({ right }) => right[0] > right[1]).length;
  const [one, other, all] = [entryText(first), entryText(second), plural(rows.length, "condition")];
  if (!clear.length) return `${one} and ${other} differ significantly in none of ${all}.`;
  const undecided = rows.length - clear.length;
  return `${one} is significantly better than ${other} in ${better} of ${all}, worse in ${clear.length - better}, undecided in ${undecided}.`;
}

const note = (rows) =>
  element(
    "p",
    { class: "fine" },
    `McNemar’s exact test on the same images, corrected for the ${plural(rows.length, "comparison")} shown (Holm). `,
    `A star marks p < ${SIGNIFICANT}. Only first, only second: images that only one of the two got right.`,
  );

function pairTable(first, second, rows) {
  const names = ["Condition", entryText(first), entryText(second), "Difference, points", "Only first", "Only second", "p", "p, Holm"];
  const head = (name, place) => element("th", { scope: "col", class: place ? "number" : "name" }, breakable(name));
  const groups = grouped(rows, ({ condition }) => condition.group);
  const table = element(
    "table",
    { class: "pairs" },
    element("caption", { class: "unseen" }, `${entryText(first)} against ${entryText(second)}, accuracy in percent`),
    element("thead", {}, element("tr", {}, names.map(head))),
    [...groups].map(([group, members]) => pairGroup(group, members, names.length)),
  );
  const region = scrolling("Comparison", table);
  region.classList.add("tall");
  return region;
}

function pairGroup(group, members, width) {
  const head = element("th", { scope: "rowgroup", colspan: width, class: "group" }, element("span", {}, group));
  return element("tbody", {}, element("tr", {}, head), members.map(pairRow));
}

function pairRow({ condition, images, right, spans, b, c, p, holm: corrected }) {
  const values = right.map((count) => (100 * count) / images);
  const difference = values[0] - values[1];
  const clear = corrected < SIGNIFICANT;
  const words = [condition.label, condition.severity === undefined ? "" : `severity ${condition.severity}`, condition.threat, condition.radius];
  const number = (text, properties = {}) => element("td", { class: "number", ...properties }, text);
  return element(
    "tr",
    { class: clear ? "clear" : null },
    element("th", { scope: "row", class: "name" }, breakable(words.filter(Boolean).join(", "))),
    values.map((value, place) => scoreCell([value, ...spans[place], null, 1, images, 1, 1], false)),
    element("td", { class: "number" }, element("span", { class: "points" }, signed(difference)), shiftBar(difference)),
    number(whole(b)),
    number(whole(c)),
    number(pText(p), { "data-p": p }),
    number([pText(corrected), clear ? element("span", { class: "star" }, "*") : ""], { "data-p": corrected }),
  );
}

const signed = (points) => (points > 0 ? "+" : points < 0 ? "−" : "") + percent(Math.abs(points));
const pText = (p) => (p < 0.001 ? "< 0.001" : p.toFixed(3));

// How far and to which side two accuracies differ, on a scale of ±50 points.
function shiftBar(points) {
  const length = Math.min(Math.abs(points), 50);
  return element("span", { class: `shift ${points < 0 ? "less" : "more"}`, "aria-hidden": "true", "--length": length });
}
