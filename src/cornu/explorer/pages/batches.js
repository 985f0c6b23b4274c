// Training step by step: a batch forward, its loss, the gradients back, the update; on a copy, as `train_on_batch` does it.

import { getArrays } from "./api.js";
import { element, precise, show, thumbnail } from "./picture.js";

const PHASES = ["Forward", "Loss", "Backward", "Update"], MOST = 100, REST = 1800;
const LEGENDS = ["maps, as in training", "maps, as in training", "how the loss changes: orange up, purple down", ""];

export function mount(page, root) { return new Batches(page, root); }

class Batches {
  constructor(page, root) {
    this.page = page;
    this.example = 0;
    this.load = page.latest(() => this.ask());
    this.next = element("button", { type: "button", onclick: () => this.begin() }, "Next batch");
    this.undo = element("button", { type: "button", onclick: () => this.go(this.now.batch > 1 ? { batch: this.now.batch - 1, phase: 3 } : null) }, "Undo batch");
    this.size = element("select", { onchange: () => this.go(null) }, ...[1, 4, 8, 16, 32, 64].map((n) => element("option", { value: String(n), ...(n === 32 ? { selected: "" } : {}) }, String(n))));
    this.phases = PHASES.map((name, n) => element("button", { type: "button", "aria-pressed": "false", onclick: () => { this.hold(); this.go({ ...this.now, phase: n }); } }, `${n + 1} ${name}`));
    this.says = element("p", { role: "status" });
    this.body = element("div", { class: "batch" });
    root.append(element("div", { class: "backward" }, element("div", { class: "row" }, this.next, this.undo, element("label", {}, "Examples a batch ", this.size)),
      element("div", { class: "row", role: "group", "aria-label": "Phases of a step" }, ...this.phases), this.says, this.body));
    page.on("state", (state, changed) => { if (this.isShown && changed.has("edits")) this.turn(); if (this.isShown && (changed.has("layer") || changed.has("map")) && this.now?.phase === 3) this.tell(); });
    page.on("input", () => { if (this.isShown && !this.isOwn) { this.isOther = true; page.graph.show(null); } });
    page.on("scheme", () => { if (this.isShown) this.tell(); });
  }

  get now() { const { edits } = this.page.state; return edits?.batch ? edits : null; }

  shown() {
    this.isShown = true;
    const { edits } = this.page.state;
    if (edits && !this.now) this.page.set({ edits: null }, { quiet: true });
    if (this.now) this.size.value = String(this.now.size);
    this.turn();
  }

  hidden() {
    this.hold();
    this.isShown = false;
    this.page.graph.show(null);
    // Elsewhere the model is as it was trained.
    if (this.page.state.edits) this.page.set({ edits: null }, { quiet: true });
  }

  hold() { clearTimeout(this.playing); }

  go(edits, options) {
    this.page.set({ edits: edits && { batch: edits.batch, size: Number(this.size.value), phase: edits.phase } }, options);
  }

  // One press runs all phases; who wants no motion goes on by the buttons.
  begin() {
    this.hold();
    this.plays = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.example = 0;
    this.go({ batch: Math.min(MOST, (this.now?.batch ?? 0) + 1), phase: 0 });
  }

  turn() {
    const { now } = this;
    this.phases.forEach((button, n) => { button.disabled = !now; button.setAttribute("aria-pressed", String(now?.phase === n)); });
    this.undo.disabled = !now;
    this.next.disabled = now?.batch >= MOST && now.phase === 3;
    if (!now) {
      this.told = null;
      this.page.graph.show(null);
      this.says.textContent = "A press of “Next batch” lets a copy of the model learn from a batch of the examples, as train_on_batch does: with its own loss and optimizer, and with dropout. Your model stays as it is.";
      this.body.replaceChildren();
    } else if (this.told?.number === now.batch && this.told.size === now.size && this.told.example === this.example) this.tell();
    else { this.told = null; this.says.textContent = "Computing…"; this.load(); }
  }

  async ask() {
    const { now, page, example } = this;
    if (!now || !this.isShown) return;
    let answer;
    try { answer = await page.ask("/api/batch", { example }, { edits: now }); } catch (error) { this.says.textContent = error.message; this.hold(); return; }
    if (!this.isShown || this.now?.batch !== now.batch || this.now.size !== now.size || example !== this.example) { this.load(); return; }
    const told = answer.header, [count, rows, columns, channels] = told.thumbnails, take = (each) => ({ ...each, codes: answer.take(Int8Array, each.shape.reduce((a, b) => a * b, 1)) });
    const pictures = Array.from({ length: count }, () => null), all = answer.take(Float32Array, count * rows * columns * channels), one = rows * columns * channels;
    pictures.forEach((_, n) => { pictures[n] = thumbnail(all.subarray(n * one, (n + 1) * one), [rows, columns, channels], page.model.range ?? [0, 1]); });
    const layers = told.layers.map(take), slopes = told.slopes.map(take).map((each) => (each.shape[0] ? each : undefined));
    this.told = { ...told, size: now.size, example, pictures, layers, slopes, losses: told.losses.map(Number), tests: told.tests.map(Number), loss: Number(told.loss) };
    const chosen = await getArrays("/api/example", { number: told.rows[example] });
    this.isOwn = true;
    page.input.set(Float32Array.from(chosen.take(Float32Array, page.input.values.length)), chosen.header.label, told.rows[example]);
    this.isOwn = this.isOther = false;
    this.tell();
  }

  tell() {
    const { now, told, page } = this;
    if (!now || !told || !this.isShown) return;
    const { phase } = now;
    page.graph.show(this.isOther || phase === 3 ? null : phase === 2 ? told.slopes : told.layers, this.isOther ? "" : LEGENDS[phase]);
    [this.forward, this.loss, this.backward, this.update][phase].call(this);
    this.hold();
    if (this.plays && phase < 3) this.playing = setTimeout(() => this.go({ ...now, phase: phase + 1 }, { quiet: true }), REST);
    else this.plays = false;
  }

  put(text, ...parts) {
    this.says.textContent = `Batch ${this.told.number}, examples ${this.told.rows[0]} to ${this.told.rows[this.told.rows.length - 1]}. ${text}`;
    this.body.replaceChildren(...parts);
  }

  // The examples, each with what `say(n)` has to tell.
  list(say) {
    const { told } = this;
    return element("ul", { class: "flips" }, ...told.rows.map((row, n) => element("li", {}, element("button", { type: "button", class: "example", "aria-pressed": String(n === told.example), "aria-label": `Example ${row}: ${say(n)}`,
      onclick: () => { this.plays = false; this.example = n; this.turn(); } }, told.pictures[n]), element("span", {}, say(n)))));
  }

  name(n) { return this.page.model.classes[n] ?? show(Number(n)); }

  forward() {
    const { told } = this, right = told.answers.filter((answer, n) => answer === told.labels[n]).length, hasClasses = this.page.model.classes.length > 0;
    this.put(`${hasClasses ? `${right} of ${told.rows.length} are right. ` : ""}The columns show the marked example on its way, as in training.`,
      this.list((n) => (hasClasses ? `${told.answers[n] === told.labels[n] ? "✓" : "✗"} is ${this.name(told.labels[n])}, taken for ${this.name(told.answers[n])}` : `${show(Number(told.answers[n]))}, should be ${show(told.labels[n])}`)));
  }

  loss() {
    const { told } = this, mean = told.losses.reduce((a, b) => a + b, 0) / told.losses.length, isMean = Math.abs(mean - told.loss) < 1e-4 * (1 + Math.abs(told.loss));
    this.put(`The loss of the batch is ${precise(told.loss)}${isMean ? `, the mean of its examples’ losses: (${told.losses.slice(0, 3).map(show).join(" + ")}${told.losses.length > 3 ? " + …" : ""}) / ${told.losses.length}` : ""}. train_on_batch says ${precise(Number(told.logs.loss))}.`,
      this.list((n) => show(told.losses[n])));
  }

  table(heads, rows) {
    return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": heads[0] }, element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...rows.map(([head, ...cells]) => element("tr", {}, element("th", { scope: "row" }, head), ...cells.map((text) => element("td", {}, text)))))));
  }

  of(weight) { return `${this.page.model.layers[weight.layer].name} ${weight.weight}`; }

  backward() {
    const { told } = this;
    this.put("From the loss back: each weight’s gradient is the sum over all examples and places. The columns show the marked example’s part.",
      this.table(["weights", "how many", "length of the gradient"], [...told.weights].reverse().map((each) => [this.of(each), each.shape.reduce((a, b) => a * b, 1).toLocaleString("en"), show(Number(each.gradient))])));
  }

  update() {
    const { told, page } = this, [was, is] = told.tests, one = element("div", { class: "one-weight", "aria-live": "polite" });
    this.put(`${told.optimizer} has moved the weights${Number.isFinite(Number(told.rate)) ? ` with the rate ${show(Number(told.rate))}` : ""}. The same batch again, as in evaluate: loss ${precise(was)} → ${precise(is)}, it ${is < was ? "went down" : is > was ? "went up" : "stays"}.`,
      one, this.table(["weights", "length before", "gradient", "move", "move / length"], told.weights.map((each) => [this.of(each), ...[each.length, each.gradient, each.move].map((v) => show(Number(v))), Number(each.length) ? `${show((100 * each.move) / each.length)} %` : ""])));
    const weight = told.weights.find(({ layer }) => layer === page.state.layer) ?? told.weights[0];
    if (weight) this.explain(one, weight);
  }

  // One weight of the chosen layer: that with the largest gradient.
  async explain(root, weight) {
    const { now, page } = this, found = await page.ask("/api/update", { layer: weight.layer, weight: weight.weight, index: weight.most.join(",") }, { edits: now }).catch((error) => ({ refused: error.message }));
    if (!root.isConnected) return;
    if (found.refused) { root.replaceChildren(element("p", {}, found.refused)); return; }
    root.replaceChildren(element("h3", {}, `${found.weight}[${found.index.join(", ")}] of ${found.layer}, which has the largest gradient there: ${precise(found.before)} → ${precise(found.result)}`),
      element("dl", { class: "steps" }, ...found.steps.flatMap(({ name, formula, value }) => [element("dt", {}, name), element("dd", {}, `${formula} = ${precise(Number(value))}`)]), element("dt", {}, "the model says"), element("dd", {}, precise(found.expected))));
  }
}
