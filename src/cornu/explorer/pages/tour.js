// The guided tour: a card beside the real page. A step sets the page's state, asks for a guess, and shows.

import { getArrays, net, token } from "./api.js";
import { backwardOf } from "./backward.js";
import { keep, kept } from "./kept.js";
import { coded, colour, element, largest, onColour, paint, precise, show } from "./picture.js";
import { Sandbox } from "./sandbox.js";
import { STEPS } from "./steps.js";
import { setTarget, targetField, targetOf } from "./target.js";

const BEFORE = "cornu-before-tour";

export function mount(page, root) {
  if (page.model.is_tour) return new Tour(page, root);
  // It is about a network of its own, with which the page opens again.
  keep(BEFORE, `#${page.fragment()}`.replace("view=tour", "view=overview"));
  reopen(`#${token}&net=tour&view=tour`);
  return {};
}

// Without an event of the history, which would be answered here once more.
function reopen(link) {
  history.replaceState(null, "", link);
  location.reload();
}

class Tour {
  constructor(page, root) {
    this.page = page;
    this.right = new Set();
    this.title = element("h2", { tabindex: "-1" });
    this.count = element("span", { class: "quiet" });
    this.dots = STEPS.map((step, n) => element("button", { type: "button", class: "dot", "aria-label": `Step ${n + 1}: ${step.title}`, title: step.title, onclick: () => this.go(n) }));
    this.text = element("p", { class: "lesson" });
    this.part = element("div", { class: "part" });
    this.guess = element("div", { class: "guess", role: "group", "aria-label": "Your guess" });
    this.back = element("button", { type: "button", onclick: () => this.go(this.at - 1) }, "Back");
    this.next = element("button", { type: "button", class: "next", onclick: () => (this.at === STEPS.length - 1 ? this.leave() : this.go(this.at + 1)) }, "Next");
    root.append(element("div", { class: "card" }, element("div", { class: "row" }, this.count, element("span", { class: "dots" }, ...this.dots),
      element("button", { type: "button", class: "push", onclick: () => this.leave() }, "Leave the tour")),
    this.title, this.text, this.part, this.guess, element("div", { class: "row" }, this.back, this.next)));
    page.on("state", (state, changed) => { if (this.isShown && changed.has("step") && (state.step ?? 1) - 1 !== this.at) this.enter((state.step ?? 1) - 1, false); });
    page.on("run", () => this.refresh?.());
    page.on("target", () => this.refresh?.());
    page.on("scheme", () => this.refresh?.());
  }

  // ---- coming and going

  shown() {
    const { state, input } = this.page;
    this.isShown = true;
    this.before ??= { state: { layer: state.layer, map: state.map, place: state.place, edits: null, step: null }, values: input.values, label: input.label, input: state.input };
    this.enter((state.step ?? 1) - 1, false);
  }

  // What was there before is there again.
  hidden() {
    this.isShown = false;
    this.clear();
    const { page, before } = this;
    this.before = null;
    if (!before) return;
    page.set(before.state, { quiet: true });
    page.input.set(before.values, before.label, before.input?.[0] === "e" ? Number(before.input.slice(1)) : null);
  }

  leave() {
    if (net === "tour") {
      // Who came by a link has no other page to go back to than the served model's.
      const link = kept(BEFORE) || `#${token}`;
      keep(BEFORE, "");
      reopen(link);
    } else this.page.set({ view: "overview" });
  }

  go(n) { if (n >= 0 && n < STEPS.length) this.page.set({ step: n + 1 }); }

  clear() {
    delete document.body.dataset.guess;
    if (this.page.inspector.timer) this.page.inspector.stop();
    if (this.borrows) { this.borrows.hidden(); this.borrows = null; }
    this.refresh = null;
  }

  async enter(n, isFirst) {
    const at = Math.max(0, Math.min(STEPS.length - 1, n)), step = STEPS[at], { page } = this, isMove = this.at !== undefined && this.at !== at;
    this.clear();
    this.at = at;
    page.target = undefined;
    this.count.textContent = `${at + 1} of ${STEPS.length}`;
    this.dots.forEach((dot, k) => {
      if (k === at) dot.setAttribute("aria-current", "step"); else dot.removeAttribute("aria-current");
      dot.classList.toggle("done", this.right.has(k));
    });
    this.title.textContent = step.title;
    this.text.textContent = step.text;
    this.back.disabled = at === 0;
    this.next.textContent = at === STEPS.length - 1 ? "Done" : "Next";
    this.part.replaceChildren();
    this.guess.replaceChildren();
    if (isMove) this.title.focus();
    // Where the card is below the input.
    if (innerWidth < 900) this.title.scrollIntoView({ block: "start" });
    if (step.hides && !this.right.has(at)) document.body.dataset.guess = "";
    const layer = step.layer === "input" ? "input" : page.model.layers.findIndex(({ name }) => name === step.layer);
    page.set({ layer, map: step.map ?? null, place: step.place ?? null, edits: null }, { quiet: true });
    try {
      const answer = await getArrays("/api/example", { number: step.example });
      if (this.at !== at || !this.isShown) return;
      page.input.set(Float32Array.from(answer.take(Float32Array, page.input.values.length)), answer.header.label, step.example);
      await this[step.part]?.(step);
      if (this.at === at) this.ask(step);
    } catch (error) { page.fail(error); }
  }

  // ---- guesses

  ask(step) {
    const { guess } = step, options = guess.options ?? this.options, right = guess.right ?? this.rightOption;
    const says = element("p", { role: "status" });
    const reveal = () => {
      this.right.add(this.at);
      this.dots[this.at].classList.add("done");
      delete document.body.dataset.guess;
    };
    const why = guess.why ?? this.why;
    const buttons = options.map((option, n) => element("button", { type: "button", onclick: () => {
      const isRight = n === right;
      buttons[n].classList.add(isRight ? "right" : "wrong");
      if (!isRight) buttons[n].disabled = true;
      says.textContent = isRight ? `✓ Right. ${why}` : "✗ Not that. Try again, or let it be shown.";
      if (isRight) { buttons.forEach((button) => { button.disabled = button !== buttons[n]; }); reveal(); }
    } }, option));
    const shows = element("button", { type: "button", class: "plain", onclick: () => { says.textContent = `The answer: ${options[right]}. ${why}`; buttons[right].classList.add("right"); reveal(); } }, "Show me");
    this.guess.replaceChildren(element("p", { class: "asks" }, guess.asks), element("div", { class: "row" }, ...buttons, shows), says);
  }

  // ---- what a card shows besides

  async kernel(step) {
    const { page } = this, told = await page.ask("/api/window", { layer: page.state.layer, channel: step.map, position: step.place.join(",") });
    const [grid] = told.grids, result = Number(told.result), first = Number(told.expected) - Number(grid.sum);
    const scale = { patch: largest(grid.patch.flat()), kernel: largest(grid.kernel.flat()) };
    const table = (name) => element("table", { class: "cells" }, element("caption", {}, name), element("tbody", {}, ...grid[name].map((line) => element("tr", {}, ...line.map((value) => {
      const cell = element("td", {}, value.toFixed(2).replace("-", "−")), [code] = coded([value], scale[name]);
      cell.style.backgroundColor = colour(code);
      cell.style.color = onColour(code);
      return cell;
    })))));
    this.part.replaceChildren(element("div", { class: "scroll" }, element("div", { class: "cells-row" }, table("patch"), element("span", { class: "sign" }, "×"), table("kernel"), element("span", { class: "sign" }, `+ bias ${show(first)} = ?`))));
    // The right one, that with the other sign, and without the largest product.
    const products = grid.patch.flat().map((value, n) => value * grid.kernel.flat()[n]);
    const strongest = products.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const all = [result, -result, result - 2 * strongest].map((value) => ({ value, text: show(Number(value.toFixed(2))) })).sort((a, b) => a.value - b.value);
    this.options = all.map(({ text }) => text);
    this.rightOption = all.findIndex(({ value }) => value === result);
    this.why = `Products ${show(grid.sum)}, bias ${show(first)}: ${show(result)}. The panel shows each product.`;
  }

  slide() {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches, { inspector } = this.page;
    this.part.append(element("p", { class: "quiet" }, "“Slide” in the panel starts and holds the window; on the map you can point, or use the arrow keys."));
    if (!still) setTimeout(() => { if (this.isShown && STEPS[this.at].part === "slide" && inspector.map && !inspector.timer) inspector.toggle(); }, 600);
  }

  sandbox() {
    const sandbox = new Sandbox(this.page, { padding: 0, stride: 1 });
    this.part.append(sandbox.root);
    this.refresh = () => sandbox.draw();
    sandbox.draw();
  }

  relu() {
    const { page } = this, canvases = ["before", "after"].map((name) => [name, element("canvas", { class: "pixels" })]), says = element("p", { class: "quiet" });
    this.part.append(element("div", { class: "before-after" }, ...canvases.map(([name, canvas]) => element("figure", {}, element("figcaption", {}, name), canvas))), says);
    const maps = page.latest(async () => {
      const { layer, map } = page.state, answers = await Promise.all([layer - 1, layer].map((n) => page.ask("/api/map", { layer: n, channel: map })));
      const [rows, columns] = answers[0].header.shape, values = answers.map((answer) => answer.take(Float32Array, rows * columns)), scale = largest(values[0]);
      canvases.forEach(([name, canvas], n) => { paint(canvas, coded(values[n], scale), rows, columns, 8); canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", `map ${map} ${name}`); });
      const negative = values[0].filter((value) => value < 0).length;
      says.textContent = `${negative} of ${rows * columns} numbers of map ${map} are negative, hatched; they become 0.`;
    });
    this.refresh = maps;
    return maps();
  }

  loss() {
    const { page } = this, field = targetField(page), says = element("p", { class: "loss", role: "status" });
    this.part.append(field, says);
    this.refresh = () => {
      const share = page.run?.outputs?.[targetOf(page)];
      if (share !== undefined) says.replaceChildren(`−ln(${precise(share)}) = `, element("strong", {}, show(-Math.log(share))));
    };
    this.refresh();
  }

  backward() {
    const view = backwardOf(this.page);
    this.borrows = view;
    this.part.append(view.root);
    setTarget(this.page, 1);
    view.shown();
  }
}
