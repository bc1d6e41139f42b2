// What is shown, kept in the address after the #, so that a view can be linked to: #board?threat=bare&sort=…

const report = JSON.parse(byId("data").textContent);

const ALL = "all";
const MEAN = "mean";
const VIEWS = [...document.querySelectorAll("[data-view]")].map((section) => section.id);
const threats = ["bare", "transfer", "adaptive"].filter((threat) =>
  report.columns.some((column) => column.threat === threat),
);

const usual = {
  dataset: report.datasets[0],
  backbone: report.backbones[0],
  threat: threats.at(-1) ?? "",
  pre: "both",
  seed: MEAN,
  open: "", // groups of columns, joined by ~
  q: "",
  sort: "",
  up: "",
  defense: report.defenses[0],
  a: "",
  b: "",
  of: "", // the group of conditions that is compared
};

const state = { view: VIEWS[0], ...usual };

// Takes the state from the address; an address that names any other element shows the view it is in.
function readAddress() {
  const [id, query] = location.hash.slice(1).split("?");
  const given = new URLSearchParams(query ?? "");
  const target = id ? byId(id) : null;
  if (!target || VIEWS.includes(id)) Object.assign(state, usual);
  for (const name of Object.keys(usual)) if (given.has(name)) state[name] = given.get(name);
  for (const [name, known] of [["dataset", report.datasets], ["backbone", report.backbones]]) {
    if (state[name] !== ALL && !known.includes(state[name])) state[name] = usual[name];
  }
  if (!threats.includes(state.threat)) state.threat = usual.threat;
  if (!report.defenses.includes(state.defense)) state.defense = usual.defense;
  state.view = target?.closest("[data-view]")?.id ?? state.view;
  return target && !VIEWS.includes(id) ? target : null;
}

function addressOf(view, changes = {}) {
  const wanted = { ...state, ...changes };
  const query = new URLSearchParams();
  for (const name of Object.keys(usual)) if (wanted[name] !== usual[name]) query.set(name, wanted[name]);
  return `#${view}${query.size ? `?${query}` : ""}`;
}

let shown = () => {};

// Changes the state, the address with it, and shows it.
function change(changes) {
  Object.assign(state, changes);
  history.replaceState(null, "", addressOf(state.view));
  shown();
}

const openGroups = () => new Set(state.open ? state.open.split("~") : []);
const several = (names) => names.length > 1;
