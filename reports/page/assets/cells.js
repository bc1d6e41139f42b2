// Numbers as they are shown: the value, its interval as a bar, and in words for those who do not see the bar.

const VALUE = 0, LOW = 1, HIGH = 2, STD = 3, SEEDS = 4, IMAGES = 5, CONDITIONS = 6, EXPECTED = 7, UNCHANGED = 8, SMOOTHED = 9;
const BLANK = "–";

// As the tables round: a half goes to the even digit.
const percent = (value) => (value % 1 === 0.25 ? value - 0.05 : value).toFixed(1);
const whole = (number) => number.toLocaleString("en-GB");
const plural = (count, what) => `${whole(count)} ${what}${count === 1 ? "" : "s"}`;

function intervalText(score) {
  return `[${percent(score[LOW])}, ${percent(score[HIGH])}]`;
}

function scoreText(score) {
  const parts = [`95 % interval ${percent(score[LOW])} to ${percent(score[HIGH])}`, `n = ${whole(score[IMAGES])}`];
  if (score[SEEDS] > 1) parts.push(`${score[SEEDS]} seeds`);
  if (score[EXPECTED] > 1) parts.push(`${score[CONDITIONS]} of ${score[EXPECTED]} conditions`);
  if (score[UNCHANGED]) {
    parts.push(`smoothing returned ${whole(score[UNCHANGED])} of ${whole(score[SMOOTHED])} images unchanged (level unreachable)`);
  }
  return parts.join(", ");
}

function bar(low, value, high) {
  return element("span", { class: "bar", "aria-hidden": "true", "--low": low, "--value": value, "--high": high });
}

function scoreCell(score, best) {
  if (!score) return element("td", { class: "number blank" }, BLANK, unseen(" not run"));
  const complete = score[CONDITIONS] === score[EXPECTED];
  const missing = complete ? "" : ` (${score[CONDITIONS]}/${score[EXPECTED]})`;
  const spread = score[STD] !== null ? ` ±${percent(score[STD])}` : "";
  const mark = score[UNCHANGED] ? element("span", { class: "unchanged", "aria-hidden": "true" }, "†") : null;
  return element(
    "td",
    { class: best ? "number best" : "number", title: scoreText(score) },
    element("span", { class: "value" }, percent(score[VALUE])),
    mark,
    spread || missing ? element("small", {}, spread + missing) : null,
    bar(score[LOW], score[VALUE], score[HIGH]),
    unseen(`${best ? "best, " : ""}${scoreText(score)}`),
  );
}

// What a preprocessing is called beside a defense.
const preprocessText = (place) => (report.preprocessings[place] ? `with ${report.preprocessings[place]}` : "without preprocessing");

const [ofDataset, ofBackbone, ofDefense, ofPreprocess] = [0, 1, 2, 3];
