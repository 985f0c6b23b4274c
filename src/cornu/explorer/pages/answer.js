// What the network predicts, and where in the input that comes from.

import { areShares, element, show } from "./picture.js";

const FEW = 12;
const MAPS = { saliency: "Saliency", grad_cam: "Grad-CAM", grad_cam_plus_plus: "Grad-CAM++" };

export class Answer {
  constructor(page, root, tools) {
    this.page = page;
    this.model = page.model;
    this.list = root.querySelector("#answers");
    this.verdict = root.querySelector("#verdict");
    this.bars = [];
    this.map = page.latest(() => this.askMap());
    this.mapTools(tools);
    page.on("run", ({ outputs }) => { this.show(outputs); if (this.method?.value) this.map(); });
    page.on("input", () => { if (this.method?.value) this.mapSays.textContent = "computing…"; });
  }

  show(outputs) {
    const names = this.model.classes, { input } = this.page;
    if (!outputs) {
      this.verdict.textContent = "The last layer’s maps are the answer.";
      return;
    }
    const isProbability = areShares(outputs);
    const most = isProbability ? 1 : Math.max(...outputs.map(Math.abs)) || 1;
    const written = (v) => (isProbability ? `${(100 * v).toFixed(1)} %` : show(v));
    let order = outputs.map((_, n) => n);
    const best = order.reduce((a, b) => (outputs[b] > outputs[a] ? b : a), 0);
    if (order.length > FEW) order = order.sort((a, b) => outputs[b] - outputs[a]).slice(0, FEW);
    if (this.bars.length !== order.length) {
      this.bars = order.map(() => {
        const bar = element("span", { class: "bar" }), holder = element("span", { class: "track", "aria-hidden": "true" }, bar);
        const name = element("span", { class: "name" }), value = element("span", { class: "value" });
        return { item: element("li", {}, name, holder, value), name, bar, value };
      });
      this.list.replaceChildren(...this.bars.map((bar) => bar.item));
    }
    order.forEach((n, row) => {
      const { item, name, bar, value } = this.bars[row];
      name.textContent = names[n] ?? "output";
      bar.style.width = `${(100 * Math.abs(outputs[n])) / most}%`;
      value.textContent = written(outputs[n]);
      item.classList.toggle("best", n === best);
    });
    const { label } = input, now = names.length ? `${names[best]}, ${written(outputs[best])}` : `${show(outputs[best])}`;
    this.verdict.textContent = label === null ? now : names.length ? `${label === best ? "✓ right" : "✗ wrong"}: it is ${names[label]}` : `${now}; it should be ${show(label)}`;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.page.say(`${names[best] ?? "output"}, ${written(outputs[best])}`), 700);
  }

  // ---- maps of a class over the input

  mapTools(tools) {
    const { methods, classes } = this.model;
    if (!methods.length) { tools.hidden = true; return; }
    this.method = element("select", { id: "method", onchange: () => this.map() }, element("option", { value: "" }, "nothing"),
      ...methods.map((name) => element("option", { value: name }, MAPS[name])));
    this.target = element("select", { id: "target", onchange: () => this.map() }, element("option", { value: "" }, "the answer"),
      ...classes.map((name, n) => element("option", { value: String(n) }, name)));
    this.mapSays = element("output", { id: "map-says", for: "method target" });
    tools.append(element("label", { for: "method" }, "Show ", this.method), element("label", { for: "target" }, "for ", this.target), this.mapSays);
  }

  async askMap() {
    const { input } = this.page;
    if (!this.method.value) { input.cover(null); this.mapSays.textContent = ""; return; }
    const { values } = input, asked = { method: this.method.value };
    if (this.target.value) asked.target = this.target.value;
    const answer = await this.page.ask("/api/class", asked);
    if (!this.method.value) return;
    const map = answer.take(Float32Array, answer.header.shape.reduce((a, b) => a * b, 1));
    input.cover(map);
    if (values !== input.values) return;
    this.mapSays.textContent = map.some((value) => value > 0) ? "" : `nothing speaks for ${this.model.classes[answer.header.target]}`;
  }
}
