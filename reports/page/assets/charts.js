// Line charts with intervals, each beside a table of the same numbers.

// Okabe and Ito's colours, which any colour vision tells apart, and a marker for each.
const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];
const MARKERS = ["circle", "square", "up", "diamond", "down", "plus", "cross"];
const WIDTH = 320, HEIGHT = 200;
const PLOT = { left: 34, right: WIDTH - 12, top: 10, bottom: HEIGHT - 34 };

const across = (share) => PLOT.left + 8 + share * (PLOT.right - PLOT.left - 16);
const down = (value) => PLOT.bottom - (value / 100) * (PLOT.bottom - PLOT.top);

// ticks: [x, text] · series: {name, points: [{x, value, low, high}], style} · log: x by its logarithm.
function chart({ title, axis, ticks, series, log = false }) {
  const scale = scaleOf(ticks.map(([x]) => x), log);
  const filled = series.filter(({ points }) => points.length);
  const label = `${title}. Accuracy in percent by ${axis}; the same numbers are in the table below.`;
  return element(
    "figure",
    { class: "chart" },
    element("figcaption", {}, breakable(title)),
    drawn(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": label },
      frame(ticks, axis, scale),
      filled.map((line) => drawLine(line, scale)),
    ),
    filled.length > 1 ? legend(filled) : null,
    numbers(title, axis, ticks, filled),
  );
}

function scaleOf(values, log) {
  const at = log ? Math.log : Number;
  const [first, last] = [at(Math.min(...values)), at(Math.max(...values))];
  return (x) => across(last > first ? (at(x) - first) / (last - first) : 0.5);
}

function frame(ticks, axis, scale) {
  const levels = [0, 25, 50, 75, 100];
  return [
    levels.map((level) => drawn("line", { class: "grid", x1: PLOT.left, x2: PLOT.right, y1: down(level), y2: down(level) })),
    levels.map((level) => drawn("text", { class: "tick end", x: PLOT.left - 5, y: down(level) + 3.5 }, level)),
    ticks.map(([x, text]) => drawn("text", { class: "tick middle", x: scale(x), y: PLOT.bottom + 14 }, text)),
    drawn("text", { class: "axis middle", x: (PLOT.left + PLOT.right) / 2, y: HEIGHT - 5 }, axis),
  ];
}

function drawLine({ points, style }, scale) {
  const path = points.map((point, place) => `${place ? "L" : "M"}${scale(point.x).toFixed(1)} ${down(point.value).toFixed(1)}`);
  const group = drawn(
    "g",
    { class: "line", "--colour": `var(${COLOURS[style % COLOURS.length]})` },
    points.map((point) => drawn("line", { class: "span", x1: scale(point.x), x2: scale(point.x), y1: down(point.low), y2: down(point.high) })),
    drawn("path", { class: "path", d: path.join("") }),
    points.map((point) => marker(style, scale(point.x), down(point.value), `${percent(point.value)} [${percent(point.low)}, ${percent(point.high)}]`)),
  );
  return group;
}

const SHAPES = {
  circle: "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0Z",
  square: "M-2.9-2.9H2.9V2.9H-2.9Z",
  up: "M0-3.8L3.6 2.8H-3.6Z",
  diamond: "M0-4L4 0L0 4L-4 0Z",
  down: "M0 3.8L3.6-2.8H-3.6Z",
  plus: "M-1.3-3.8H1.3V-1.3H3.8V1.3H1.3V3.8H-1.3V1.3H-3.8V-1.3H-1.3Z",
  cross: "M-3.6-2.1L-2.1-3.6L0-1.5L2.1-3.6L3.6-2.1L1.5 0L3.6 2.1L2.1 3.6L0 1.5L-2.1 3.6L-3.6 2.1L-1.5 0Z",
};

function marker(style, x, y, text) {
  const shape = SHAPES[MARKERS[style % MARKERS.length]];
  return drawn("path", { class: "marker", d: shape, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, drawn("title", {}, text));
}

function legend(series) {
  return element(
    "ul",
    { class: "legend" },
    series.map(({ name, style }) =>
      element(
        "li",
        { "--colour": `var(${COLOURS[style % COLOURS.length]})` },
        drawn("svg", { width: 22, height: 10, viewBox: "-11 -5 22 10", "aria-hidden": "true", class: "line" }, drawn("path", { class: "path", d: "M-11 0H11" }), marker(style, 0, 0, "")),
        element("span", {}, breakable(name)),
      ),
    ),
  );
}

function numbers(title, axis, ticks, series) {
  const cell = (point) => element("td", { class: "number" }, point ? `${percent(point.value)} [${percent(point.low)}, ${percent(point.high)}]` : BLANK);
  const table = element(
    "table",
    { class: "plain" },
    element("caption", { class: "unseen" }, `${title}: accuracy in percent with its 95 % interval`),
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, axis), series.map(({ name }) => element("th", { scope: "col" }, breakable(name))))),
    element("tbody", {}, ticks.map(([x, text]) => element("tr", {}, element("th", { scope: "row" }, text), series.map(({ points }) => cell(points.find((point) => point.x === x)))))),
  );
  return element("details", {}, element("summary", {}, "Numbers", unseen(` of ${title}`)), scrolling(`Numbers of ${title}`, table));
}

const scrolling = (label, ...content) => element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": label }, content);
