// The page: requests the model's description and connects the parts.

import { getArrays, getJson, latest } from "./api.js";
import { Input } from "./input.js";
import { Layers } from "./layers.js";
import { element, coded, paint, paintPixels, roving, show } from "./picture.js";
import { Training } from "./training.js";

const at = (id) => document.getElementById(id);
const MAPS = { saliency: "Saliency", grad_cam: "Grad-CAM", grad_cam_plus_plus: "Grad-CAM++" };
const FEW = 12;

function failed(error) {
  at("problem").textContent = error ? error.message : "";
  if (error && !(error instanceof Error && error.message)) console.error(error);
}

class Page {
  constructor(model) {
    this.model = model;
    document.title = `${model.name} – Cornu`;
    at("title").textContent = model.name;
    at("subtitle").textContent = `${model.parameters.toLocaleString("en")} parameters, ${model.layers.length} layers, input ${model.shape.join(" × ")}`;
    at("explore").hidden = false;
    this.run = latest(() => this.runOnce(), (error) => { this.isLost = true; failed(error); });
    this.map = latest(() => this.mapOnce(), failed);
    this.input = new Input(model, () => { failed(null); this.since ??= performance.now(); this.run(); }, failed);
    this.layers = new Layers(model, this.input, failed);
    this.mapTools();
    if (model.examples) this.examples();
    if (model.is_training) this.training();
    at("skip").addEventListener("click", (event) => { event.preventDefault(); at("layers").focus(); at("layers").scrollIntoView(); });
    this.run();
  }

  async runOnce() {
    const since = this.since;
    this.since = undefined;
    const answer = await getArrays("/api/run", {}, "POST", this.input.values);
    // Other messages stay until something else is done.
    if (this.isLost) failed(null);
    this.isLost = false;
    this.answer(answer.header.outputs);
    this.layers.update(answer);
    if (this.method?.value) this.map();
    document.body.dataset.runs = Number(document.body.dataset.runs || 0) + 1;
    // From the first change that is not shown yet until all is shown, for the browser's own tools.
    if (document.body.dataset.runs % 1000 === 0) performance.clearMeasures();
    if (since !== undefined) performance.measure("shown", { start: since });
  }

  // ---- what the network predicts

  answer(outputs) {
    const names = this.model.classes;
    if (!outputs) {
      at("verdict").textContent = "The last layer's maps are the answer.";
      return;
    }
    const numbers = outputs.map(Number), total = numbers.reduce((a, b) => a + b, 0);
    const isProbability = numbers.length > 1 && numbers.every((v) => v >= 0) && Math.abs(total - 1) < 1e-3;
    const most = isProbability ? 1 : Math.max(...numbers.map(Math.abs)) || 1;
    const written = (v) => (isProbability ? `${(100 * v).toFixed(1)} %` : show(v));
    let order = numbers.map((_, n) => n);
    const best = order.reduce((a, b) => (numbers[b] > numbers[a] ? b : a), 0);
    if (order.length > FEW) order = order.sort((a, b) => numbers[b] - numbers[a]).slice(0, FEW);
    if (this.bars?.length !== order.length) {
      this.bars = order.map(() => {
        const bar = element("span", { class: "bar" }), holder = element("span", { class: "track", "aria-hidden": "true" }, bar);
        const name = element("span", { class: "name" }), value = element("span", { class: "value" });
        return { item: element("li", {}, name, holder, value), name, bar, value };
      });
      at("answers").replaceChildren(...this.bars.map((bar) => bar.item));
    }
    order.forEach((n, row) => {
      const { item, name, bar, value } = this.bars[row];
      name.textContent = names[n] ?? "output";
      bar.style.width = `${(100 * Math.abs(numbers[n])) / most}%`;
      value.textContent = written(numbers[n]);
      item.classList.toggle("best", n === best);
    });
    this.best = best;
    const label = names.length ? this.input.label : null;
    at("verdict").textContent = label === null ? "" : `The example is ${names[label]}: ${label === best ? "✓ right" : "✗ wrong"}.`;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => { at("spoken").textContent = `${names[best] ?? "output"}, ${written(numbers[best])}`; }, 700);
  }

  mapTools() {
    const { methods, classes } = this.model;
    if (!methods.length) { at("map-tools").hidden = true; return; }
    this.method = element("select", { id: "method", onchange: () => this.map() }, element("option", { value: "" }, "nothing"),
      ...methods.map((name) => element("option", { value: name }, MAPS[name])));
    this.target = element("select", { id: "target", onchange: () => this.map() }, element("option", { value: "" }, "the answer"),
      ...classes.map((name, n) => element("option", { value: String(n) }, name)));
    this.mapSays = element("output", { id: "map-says", for: "method target" });
    at("map-tools").append(element("label", { for: "method" }, "Show ", this.method),
      element("label", { for: "target" }, " for ", this.target), " ", this.mapSays);
  }

  async mapOnce() {
    if (!this.method.value) { this.input.cover(null); this.mapSays.textContent = ""; return; }
    const asked = { method: this.method.value };
    if (this.target.value) asked.target = this.target.value;
    const answer = await getArrays("/api/class", asked, "POST", this.input.values);
    if (!this.method.value) return;
    const map = answer.take(Float32Array, answer.header.shape.reduce((a, b) => a * b, 1));
    this.input.cover(map);
    this.mapSays.textContent = map.some((value) => value > 0)
      ? "" : `nothing speaks for ${this.model.classes[answer.header.target]}`;
  }

  // ---- examples

  examples() {
    at("examples-part").hidden = false;
    this.start = 0;
    roving(at("examples"));
    this.page = latest(() => this.loadExamples(), failed);
    at("examples-before").addEventListener("click", () => { this.start -= this.shown; this.page(); });
    at("examples-next").addEventListener("click", () => { this.start += this.shown; this.page(); });
    this.page();
    this.choose(0);
  }

  async loadExamples() {
    const answer = await getArrays("/api/examples", { start: Math.max(0, this.start) });
    const { shape: [count, rows, columns, channels], labels } = answer.header, [low, high] = this.input.range;
    this.start = Math.max(0, this.start);
    this.shown = 24;
    at("examples").replaceChildren(...Array.from({ length: count }, (_, k) => {
      const n = this.start + k, canvas = element("canvas", { class: rows === 1 ? "pixels strip" : "pixels" });
      const values = answer.take(Float32Array, rows * columns * channels);
      if (this.input.isImage) paintPixels(canvas, values, rows, columns, channels, low, high);
      else {
        const plane = Float32Array.from({ length: rows * columns }, (_, i) => values[i * channels]);
        paint(canvas, coded(plane), rows, columns);
      }
      const name = labels ? `, ${this.model.classes[labels[k]] ?? labels[k]}` : "";
      return element("button", { type: "button", class: "tile", tabindex: k ? "-1" : "0", title: `${n}${name}`, "aria-label": `example ${n}${name}`,
        onclick: () => this.choose(n) }, canvas);
    }));
    at("examples-which").textContent = `${this.start} to ${this.start + count - 1} of ${this.model.examples}`;
    at("examples-before").disabled = this.start === 0;
    at("examples-next").disabled = this.start + count >= this.model.examples;
  }

  async choose(number) {
    try {
      const answer = await getArrays("/api/example", { number });
      this.input.set(Float32Array.from(answer.take(Float32Array, this.input.values.length)), answer.header.label);
    } catch (error) { failed(error); }
  }

  // ---- training

  training() {
    at("views").hidden = false;
    const turn = (to) => {
      at("explore").hidden = to !== "explore";
      at("training").hidden = to !== "training";
      for (const name of ["explore", "training"]) at(`to-${name}`).setAttribute("aria-pressed", String(name === to));
    };
    at("to-explore").addEventListener("click", () => turn("explore"));
    at("to-training").addEventListener("click", () => turn("training"));
    turn("training");
    new Training(this.model, () => { if (!at("explore").hidden) this.run(); }, failed);
    at("to-explore").addEventListener("click", () => this.run());
  }
}

try {
  new Page(await getJson("/api/model"));
} catch (error) {
  failed(error);
  console.error(error);
}
