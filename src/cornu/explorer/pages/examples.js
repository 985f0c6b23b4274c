// Examples to choose from, in pages.

import { getArrays } from "./api.js";
import { element, roving, thumbnail } from "./picture.js";

const SHOWN = 24;

export class Examples {
  constructor(page, root) {
    this.page = page;
    this.model = page.model;
    this.start = 0;
    const at = (id) => root.querySelector(`#${id}`);
    [this.tiles, this.which, this.before, this.next] = ["examples", "examples-which", "examples-before", "examples-next"].map(at);
    root.hidden = false;
    roving(this.tiles);
    this.ask = page.latest(() => this.load());
    this.before.addEventListener("click", () => { this.start = Math.max(0, this.start - SHOWN); this.ask(); });
    this.next.addEventListener("click", () => { this.start += SHOWN; this.ask(); });
    page.on("input", (_, example) => this.mark(example));
    this.ask();
  }

  async load() {
    const answer = await getArrays("/api/examples", { start: this.start }), { input } = this.page;
    const { shape: [count, rows, columns, channels], labels } = answer.header;
    this.tiles.replaceChildren(...Array.from({ length: count }, (_, k) => {
      const n = this.start + k, canvas = thumbnail(answer.take(Float32Array, rows * columns * channels), [rows, columns, channels], input.range, input.isImage);
      const name = labels ? `, ${this.model.classes[labels[k]] ?? labels[k]}` : "";
      return element("button", { type: "button", class: "example", tabindex: k ? "-1" : "0", "aria-pressed": "false", title: `${n}${name}`, "aria-label": `example ${n}${name}`,
        onclick: () => this.choose(n) }, canvas);
    }));
    this.which.textContent = `${this.start} to ${this.start + count - 1} of ${this.model.examples}`;
    this.before.disabled = this.start === 0;
    this.next.disabled = this.start + count >= this.model.examples;
    this.mark(this.example);
  }

  mark(example) {
    this.example = example;
    [...this.tiles.children].forEach((tile, k) => tile.setAttribute("aria-pressed", String(this.start + k === example)));
  }

  async choose(number) {
    try {
      const answer = await getArrays("/api/example", { number });
      this.page.input.set(Float32Array.from(answer.take(Float32Array, this.page.input.values.length)), answer.header.label, number);
    } catch (error) { this.page.fail(error); }
  }
}
