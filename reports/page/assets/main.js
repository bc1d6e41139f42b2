// Shows the view that the address names, and goes on showing what is chosen.

const showers = { board: showBoard, defense: showDefense, compare: showCompare };

function show() {
  for (const id of VIEWS) byId(id).hidden = id !== state.view;
  for (const link of document.querySelectorAll(".views a")) {
    const view = link.hash.slice(1).split("?")[0];
    link.setAttribute("href", addressOf(view));
    if (view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  showers[state.view]?.();
}

function followAddress() {
  const before = state.view;
  const target = readAddress();
  show();
  if (target) target.scrollIntoView();
  else if (before !== state.view) window.scrollTo(0, 0);
}

// Light or dark: as the system has it until the button is pressed.
function startTheme() {
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
  const label = () => (button.textContent = current() === "dark" ? "Light" : "Dark");
  button.setAttribute("aria-describedby", "theme-note");
  button.after(element("span", { id: "theme-note", class: "unseen" }, "colours"));
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = current() === "dark" ? "light" : "dark";
    label();
  });
  system.addEventListener("change", label);
  button.hidden = false;
  label();
}

for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the view's
  byId("main").focus();
});
shown = show;
startTheme();
addEventListener("hashchange", followAddress);
followAddress();
document.body.classList.add("ready");
performance.mark("interactive");
