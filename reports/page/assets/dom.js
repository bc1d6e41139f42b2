// Makes elements. Text is only ever set as text, so whatever a name holds is shown as it is written.

const byId = (id) => document.getElementById(id);

function fillIn(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== ""));
  return node;
}

function element(name, properties = {}, ...children) {
  return fillIn(document.createElement(name), properties, children);
}

function drawn(name, properties = {}, ...children) {
  return fillIn(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);
}

// A name that may be broken into lines behind the characters that join its words.
function breakable(text) {
  return text.split(/(?<=[_:,=/])/).flatMap((part, place) => (place ? [element("wbr"), part] : [part]));
}

const unseen = (text) => element("span", { class: "unseen" }, text);

// A labelled choice. options: [value, text], in order.
function choice(label, options, chosen, change) {
  const select = element(
    "select",
    { onchange: (event) => change(event.target.value) },
    options.map(([value, text]) => element("option", { value, selected: String(value) === String(chosen) }, text)),
  );
  return element("label", { class: "field" }, element("span", {}, label), select);
}

// A row of buttons of which one is pressed.
function segments(label, options, chosen, change) {
  const buttons = options.map(([value, text]) =>
    element(
      "button",
      { type: "button", "aria-pressed": String(value === chosen), "data-value": value, onclick: () => change(value) },
      text,
    ),
  );
  return element(
    "fieldset",
    { class: "field" },
    element("legend", {}, label),
    element("div", { class: "segments" }, buttons),
  );
}

// Replaces what is in a node, and gives the focus back to the control that had it.
function replace(node, ...children) {
  const places = focusable(node);
  const focused = places.indexOf(document.activeElement);
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
  if (focused >= 0) focusable(node)[focused]?.focus({ preventScroll: true });
}

const focusable = (node) => [...node.querySelectorAll("a[href], button, input, select, summary")];

let spoken = 0;

// Says what changed to those who do not see it, once things have come to rest.
function announce(text) {
  clearTimeout(spoken);
  spoken = setTimeout(() => (byId("status").textContent = text), 250);
}
