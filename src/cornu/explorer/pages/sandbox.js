// One convolution in the browser: what padding, stride and dilation make of the input.

import { cellAt, coded, colourBar, element, frame, largest, paint, paintPixels, show, stepped } from "./picture.js";

export const PRESETS = {
  "vertical edges": [-1, 0, 1, -2, 0, 2, -1, 0, 1],
  "horizontal edges": [-1, -2, -1, 0, 0, 0, 1, 2, 1],
  blur: [1, 1, 1, 1, 1, 1, 1, 1, 1].map((v) => v / 9),
  sharpen: [0, -1, 0, -1, 5, -1, 0, -1, 0],
  outline: [-1, -1, -1, -1, 8, -1, -1, -1, -1],
  "as it is": [0, 0, 0, 0, 1, 0, 0, 0, 0],
};

const outSize = (size, kernel, stride, padding, dilation) => Math.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;

// A plane `(rows, columns)` with a square kernel; null where no place fits.
function convolved(plane, rows, columns, kernel, { stride = 1, padding = 0, dilation = 1 } = {}) {
  const side = Math.sqrt(kernel.length), [high, wide] = [outSize(rows, side, stride, padding, dilation), outSize(columns, side, stride, padding, dilation)];
  if (high < 1 || wide < 1) return null;
  const values = new Float32Array(high * wide);
  for (let r = 0; r < high; r++) {
    for (let c = 0; c < wide; c++) {
      let sum = 0;
      for (let i = 0; i < side; i++) {
        const y = r * stride - padding + i * dilation;
        if (y < 0 || y >= rows) continue;
        for (let j = 0; j < side; j++) {
          const x = c * stride - padding + j * dilation;
          if (x >= 0 && x < columns) sum += plane[y * columns + x] * kernel[i * side + j];
        }
      }
      values[r * wide + c] = sum;
    }
  }
  return { values, rows: high, columns: wide };
}

export class Sandbox {
  constructor(page, { stride = 1, padding = 0, dilation = 1 } = {}) {
    this.page = page;
    this.input = page.input;
    this.kernel = [...PRESETS["vertical edges"]];
    this.at = [0, 0];
    const choice = (name, values, value) => {
      const field = element("select", { onchange: () => this.draw() }, ...values.map((v) => element("option", { value: String(v) }, String(v))));
      field.value = String(value);
      return [field, element("label", {}, `${name} `, field)];
    };
    const [strideField, strideLabel] = choice("stride", [1, 2, 3], stride), [paddingField, paddingLabel] = choice("padding", [0, 1, 2], padding);
    const [dilationField, dilationLabel] = choice("dilation", [1, 2, 3], dilation), [presetField, presetLabel] = choice("kernel", Object.keys(PRESETS), "vertical edges");
    presetField.addEventListener("change", () => { this.kernel = [...PRESETS[presetField.value]]; this.fill(); this.draw(); });
    Object.assign(this, { strideField, paddingField, dilationField });
    this.cells = this.kernel.map((_, n) => element("input", { type: "number", step: "0.1", "aria-label": `kernel row ${Math.floor(n / 3)}, column ${n % 3}`, oninput: (event) => {
      const value = Number(event.target.value);
      if (event.target.value !== "" && Number.isFinite(value)) { this.kernel[n] = value; this.draw(); }
    } }));
    this.before = element("canvas", { class: "pixels", "aria-hidden": "true" });
    this.after = element("canvas", { class: "pixels", "aria-hidden": "true" });
    this.seen = element("div", { class: "holder sandbox-map" }, this.before);
    this.made = element("div", { class: "holder sandbox-map", tabindex: "0", role: "application", "aria-roledescription": "map", "aria-label": "Result: arrow keys move the window" }, this.after);
    this.size = element("p", { class: "reading" });
    this.says = element("p", { class: "reading", "aria-live": "polite" });
    this.bar = element("div");
    this.root = element("div", { class: "sandbox" }, element("div", { class: "row" }, presetLabel, paddingLabel, strideLabel, dilationLabel),
      element("div", { class: "sandbox-row" },
        element("figure", {}, element("figcaption", {}, "input, with its border"), this.seen), element("div", { class: "kernel-inputs", role: "group", "aria-label": "Kernel" }, ...this.cells),
        element("figure", {}, element("figcaption", {}, "result"), this.made, this.bar)), this.size, this.says);
    for (const kind of ["pointermove", "pointerdown"]) this.made.addEventListener(kind, (event) => { if (this.out) this.move(...cellAt(this.made, event, this.out.rows, this.out.columns)); });
    this.made.addEventListener("keydown", (event) => {
      const next = this.out && stepped(event, this.at, this.out.rows, this.out.columns);
      if (next) this.move(...next);
    });
    this.fill();
  }

  fill() { this.cells.forEach((cell, n) => { cell.value = String(Number(this.kernel[n].toFixed(3))); }); }

  draw() {
    const { rows, columns } = this.input, plane = this.input.plane(0);
    const [stride, padding, dilation] = [this.strideField, this.paddingField, this.dilationField].map((field) => Number(field.value));
    Object.assign(this, { stride, padding, dilation });
    this.out = convolved(plane, rows, columns, this.kernel, { stride, padding, dilation });
    const [high, wide] = [rows + 2 * padding, columns + 2 * padding], border = new Float32Array(high * wide), [low, top] = this.input.range;
    plane.forEach((value, n) => { border[(Math.floor(n / columns) + padding) * wide + (n % columns) + padding] = value; });
    paintPixels(this.before, border, high, wide, 1, Math.min(0, low), top);
    this.seen.style.aspectRatio = `${wide} / ${high}`;
    frame(this.seen, "border", padding ? [padding, padding, rows, columns] : null, high, wide);
    if (!this.out) { this.size.textContent = "No place fits: the window is larger than the input."; return; }
    paint(this.after, coded(this.out.values), this.out.rows, this.out.columns, this.out.columns < 40 ? 8 : 1);
    this.made.style.aspectRatio = `${this.out.columns} / ${this.out.rows}`;
    this.bar.replaceChildren(colourBar(largest(this.out.values)));
    this.size.textContent = `floor((${rows} + 2·${padding} − ${dilation}·(3 − 1) − 1) / ${stride}) + 1 = ${this.out.rows} rows`;
    this.move(...this.at);
  }

  move(row, column) {
    if (!this.out) return;
    const { stride, padding, dilation } = this, { rows, columns } = this.input;
    const [r, c] = [Math.max(0, Math.min(this.out.rows - 1, row)), Math.max(0, Math.min(this.out.columns - 1, column))];
    this.at = [r, c];
    frame(this.made, "cursor", [r, c, 1, 1], this.out.rows, this.out.columns);
    const reach = 2 * dilation + 1;
    frame(this.seen, "field", [r * stride, c * stride, reach, reach], rows + 2 * padding, columns + 2 * padding);
    this.says.textContent = `at (${r}, ${c}): ${show(this.out.values[r * this.out.columns + c])}`;
  }
}
