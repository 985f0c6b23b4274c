// The page: requests the model's description, and connects the parts. README.md describes them.

import { Answer } from "./answer.js";
import { getJson } from "./api.js";
import { Examples } from "./examples.js";
import { Graph } from "./graph.js";
import { Input } from "./input.js";
import { Inspector } from "./inspector.js";
import { keep, kept } from "./kept.js";
import { Page } from "./page.js";
import { element, whenScheme } from "./picture.js";
import { save } from "./snapshot.js";
import { VIEWS } from "./views.js";

const at = (id) => document.getElementById(id);

class Views {
  constructor(page) {
    this.page = page;
    this.all = VIEWS.filter(({ has }) => has(page.model)).map((view) => ({ ...view,
      root: element("section", { class: "view", "data-view": view.name, hidden: true }),
      button: element("button", { type: "button", "aria-pressed": "false", onclick: () => page.set({ view: view.name }) }, view.title) }));
    at("views").append(...this.all.map((view) => view.button));
    at("views").hidden = this.all.length < 2;
    at("sections").append(...this.all.map((view) => view.root));
    page.on("state", (state, changed) => { if (changed.has("view")) this.turn(); });
  }

  async turn() {
    const { page } = this, view = this.all.find(({ name }) => name === page.state.view) ?? this.all[0];
    if (view === this.shown) return;
    this.shown?.mounted?.hidden?.();
    this.shown = view;
    for (const other of this.all) {
      other.root.hidden = other !== view;
      other.button.setAttribute("aria-pressed", String(other === view));
    }
    for (const [need, id] of [["input", "left"], ["graph", "graph"], ["inspector", "inspector"]]) at(id).hidden = !view.needs.includes(need);
    at("main").dataset.needs = view.needs.join(" ");
    document.body.dataset.view = view.name;
    try {
      if (view.module && !view.mounted) {
        const module = await import(view.module);
        view.mounted = module.mount(page, view.root) ?? {};
      }
      if (this.shown === view) view.mounted?.shown?.();
      // In one column, the input and the answer are above it.
      if (view.module && innerWidth < 701) view.root.scrollIntoView();
    } catch (error) { page.fail(error); }
    if (page.run && view.needs.includes("graph")) page.rerun();
  }
}

function tools(page) {
  const says = element("span", { class: "quiet", role: "status" });
  const copy = async () => {
    const link = `${location.origin}/#${page.fragment(page.model.viewer)}`;
    try { await navigator.clipboard.writeText(link); says.textContent = "Copied."; } catch { says.replaceChildren(element("a", { href: link }, "The link")); }
    setTimeout(() => { if (says.textContent === "Copied.") says.textContent = ""; }, 3000);
  };
  const take = (kind) => async () => { try { await save(page, kind); } catch (error) { page.fail(error); } };
  const large = element("button", { type: "button", "aria-pressed": "false", onclick: () => enlarge(large.getAttribute("aria-pressed") !== "true") }, "Larger text");
  const enlarge = (isLarge) => {
    large.setAttribute("aria-pressed", String(isLarge));
    document.documentElement.classList.toggle("large", isLarge);
    keep("cornu-large", isLarge ? "1" : "");
    page.fire("scheme");
  };
  at("page-tools").append(says, element("button", { type: "button", onclick: copy, title: "A link for viewers, to this map, place and input" }, "Copy link"),
    element("button", { type: "button", onclick: take("png"), title: "Save this view as a picture" }, "PNG"),
    element("button", { type: "button", onclick: take("svg"), title: "Save this view as a drawing" }, "SVG"), large);
  if (kept("cornu-large")) enlarge(true);
}

async function open() {
  const model = await getJson("/api/model"), page = new Page(model);
  document.title = `${model.name} – Cornu`;
  at("title").textContent = model.name;
  at("subtitle").textContent = `${model.parameters.toLocaleString("en")} parameters, ${model.layers.length} layers, input ${model.shape.join(" × ")}`;
  at("main").hidden = false;
  let resting = null;
  page.input = new Input(model, (example = null) => {
    page.fail(null);
    page.since ??= performance.now();
    page.fire("input", page.input.values, example);
    page.rerun();
    clearTimeout(resting);
    resting = setTimeout(() => page.keepInput(example), 500);
  }, (error) => page.fail(error));
  new Answer(page, at("answer"), at("map-tools"));
  page.graph = new Graph(page, at("graph"));
  page.inspector = new Inspector(page, at("inspector"));
  const examples = model.examples ? new Examples(page, at("examples-part")) : null;
  if (model.is_training && !location.hash.includes("&")) page.state.view = "training";
  tools(page);
  whenScheme(() => { page.input.draw(); page.fire("scheme"); });
  page.on("training", () => { if (at("main").dataset.needs.includes("graph")) page.rerun(); });
  page.on("state", (state, changed) => { if (changed.has("edits")) page.rerun(); });
  at("skip").addEventListener("click", (event) => { event.preventDefault(); at("graph").focus(); });
  new Views(page).turn();
  if (page.state.layer === null) page.set(first(page), { quiet: true });
  if (!(await page.restoreInput().catch(() => false))) {
    if (examples) await examples.choose(0);
    else page.rerun();
  }
}

// What is chosen at first: a convolution that reads several maps, so that there is something to see.
function first({ model: { layers }, graph }) {
  const seen = graph.columns.flatMap((column) => (column.isFolded ? [column.shown] : column.layers));
  const windowed = seen.filter((n) => n !== "input" && /Conv/.test(layers[n].kind) && layers[n].shape.length > 1);
  const layer = windowed.find((n) => layers[n].sources[0] !== "input") ?? windowed[0];
  return layer === undefined ? {} : { layer, map: 0 };
}

try {
  await open();
} catch (error) {
  at("problem").textContent = error.message;
  console.error(error);
}
