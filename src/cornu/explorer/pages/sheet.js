// All maps of a layer that has many: a contact sheet, in pages of 64.

import { element, paint, roving, show } from "./picture.js";

const SIZE = 64;

export class Sheet {
  constructor(page) {
    this.page = page;
    this.start = 0;
    this.title = element("h2", { id: "sheet-title" });
    this.which = element("span", { "aria-live": "polite" });
    this.byStrength = element("input", { type: "checkbox", id: "by-strength", onchange: () => { this.start = 0; this.ask(); } });
    this.before = element("button", { type: "button", onclick: () => { this.start -= SIZE; this.ask(); } }, "Before");
    this.next = element("button", { type: "button", onclick: () => { this.start += SIZE; this.ask(); } }, "Next");
    this.maps = element("div", { class: "sheet-maps", role: "group", "aria-labelledby": "sheet-title" });
    roving(this.maps);
    this.dialog = element("dialog", { class: "sheet", "aria-labelledby": "sheet-title" },
      element("div", { class: "row" }, this.title, element("label", { for: "by-strength" }, this.byStrength, " strongest first"), this.before, this.which, this.next,
        element("button", { type: "button", class: "push", onclick: () => this.dialog.close() }, "Close")), this.maps);
    document.body.append(this.dialog);
    this.ask = page.latest(() => this.load());
    page.on("run", () => { if (this.dialog.open) this.ask(); });
    page.on("scheme", () => { if (this.dialog.open) this.ask(); });
  }

  open(layer) {
    this.layer = layer;
    this.start = 0;
    this.title.textContent = `All maps of ${this.page.model.layers[layer].name}`;
    this.dialog.showModal();
    this.ask();
  }

  async load() {
    const { layer } = this;
    const answer = await this.page.ask("/api/sheet", { layer, start: this.start, by: this.byStrength.checked ? "strength" : "number" });
    if (layer !== this.layer) return;
    const { maps, count, shape: [shown, rows, columns], strength } = answer.header, codes = answer.take(Int8Array, shown * rows * columns);
    const focused = [...this.maps.children].indexOf(document.activeElement);
    this.maps.replaceChildren(...maps.map((map, n) => {
      const canvas = element("canvas", { class: "pixels", "aria-hidden": "true" });
      paint(canvas, codes.subarray(n * rows * columns, (n + 1) * rows * columns), rows, columns);
      return element("button", { type: "button", class: "sheet-map", tabindex: n ? "-1" : "0", "aria-label": `map ${map}, strongest ${show(strength[n])}`,
        onclick: () => { this.dialog.close(); this.page.set({ layer, map, place: null }); } }, canvas, element("span", {}, String(map)));
    }));
    if (focused >= 0) this.maps.children[Math.min(focused, shown - 1)]?.focus();
    this.which.textContent = `${this.start + 1} to ${this.start + shown} of ${count}`;
    this.before.disabled = this.start === 0;
    this.next.disabled = this.start + shown >= count;
  }
}
