// Play: change weights and the input, and watch. The model itself stays; what is changed goes with each question.

import { areShares, coded, colourBar, element, largest, paint, show } from "./picture.js";
import { PRESETS, Sandbox } from "./sandbox.js";
import { weightsOf } from "./weights.js";

// Weights that a question may change, and cells that can be edited at once.
const MOST_EDITS = 64, MOST_CELLS = 48;

export function mount(page, root) {
  return new Play(page, root);
}

class Play {
  constructor(page, root) {
    this.page = page;
    this.ask = page.latest(() => this.compare());
    this.fill = page.latest(() => this.weights());
    this.title = element("h2");
    this.cells = element("div", { class: "edit-cells" });
    this.presets = element("div", { class: "row" });
    this.undo = element("button", { type: "button", onclick: () => this.put([]) }, "Reset all weights");
    this.says = element("p", { role: "status" });
    this.maps = element("div", { class: "before-after" });
    this.sandbox = new Sandbox(page);
    const sandbox = element("details", {}, element("summary", {}, "Sandbox: padding, stride and dilation of one convolution"), this.sandbox.root);
    sandbox.addEventListener("toggle", () => { if (sandbox.open) this.sandbox.draw(); });
    this.box = sandbox;
    const parts = [element("section", {}, this.title, this.presets, this.cells, element("div", { class: "row" }, this.undo), this.says, this.maps)];
    if (page.input.isImage) {
      this.input = new Changes(page);
      parts.push(element("section", {}, element("h2", {}, "The input"), this.input.root), sandbox);
    }
    root.append(element("div", { class: "play" }, ...parts));
    page.on("run", () => { if (this.isShown) this.again(); });
    page.on("scheme", () => { if (this.isShown) { this.fill(); this.again(); } });
    page.on("state", (state, changed) => { if (this.isShown && ["layer", "map", "edits"].some((key) => changed.has(key))) { this.fill(); this.ask(); } });
  }

  get edits() { const { edits } = this.page.state; return Array.isArray(edits) ? edits : []; }

  shown() {
    this.isShown = true;
    const { edits } = this.page.state;
    if (edits && !Array.isArray(edits)) this.page.set({ edits: null }, { quiet: true });
    this.fill();
    this.again();
  }

  hidden() {
    this.isShown = false;
    // Elsewhere the model is as it was trained.
    if (this.page.state.edits) this.page.set({ edits: null }, { quiet: true });
  }

  again() {
    this.ask();
    if (this.box.open && this.box.isConnected) this.sandbox.draw();
  }

  // ---- what is changed

  put(edits) {
    if (edits.length > MOST_EDITS) {
      this.page.fail(new Error(`At most ${MOST_EDITS} weights can be changed at once; these would be ${edits.length}. Reset some.`));
      return;
    }
    this.page.fail(null);
    this.page.set({ edits: edits.length ? edits : null });
  }

  // Takes the place of what was said of the same weights.
  change(news) {
    const key = ({ layer, weight, index }) => `${layer} ${weight} ${index.join()}`, taken = new Set(news.map(key));
    this.put([...this.edits.filter((edit) => !taken.has(key(edit))), ...news]);
  }

  async weights() {
    const { page } = this, { layer, map } = page.state, made = Number.isInteger(layer) ? page.model.layers[layer] : null;
    this.undo.disabled = !this.edits.length;
    if (!made) { this.none("Choose a map of a convolution, or a unit of a dense layer, to change its weights."); return; }
    const weights = await weightsOf(page), [kernel, bias] = [weights.find(({ shape }) => shape.length > 1), weights.find(({ name }) => name === "bias")];
    if (layer !== page.state.layer || map !== page.state.map) return;
    if (!weights.length || (!kernel && !weights[0].numbers.length)) { this.none(weights.missing || `${made.name} (${made.kind}) has no weights of its own. Choose a convolution or a dense layer.`); return; }
    this.title.textContent = `Weights of ${made.name}, ${made.shape.length > 1 ? "map" : "unit"} ${map}`;
    const focused = this.cells.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.cells.replaceChildren(...weights.map((weight) => this.weight(weight, made, layer)), ...(weights.missing ? [element("p", { class: "quiet" }, weights.missing)] : []));
    if (focused) this.cells.querySelector(`[data-key="${focused}"]`)?.focus();
    const isSquare = kernel && kernel.axes.length === 3 && kernel.axes[0] === 3 && kernel.axes[1] === 3, editable = isSquare && kernel.numbers.length <= MOST_CELLS;
    const zero = () => {
      const all = weights.filter(({ name }) => ["kernel", "bias"].includes(name));
      const edits = all.map((weight) => ({ layer, weight: weight.name, index: weight.shape.length > 1 ? [...weight.axes.map(() => null), map] : [map], value: 0 }));
      // What was set one by one is covered.
      this.put([...this.edits.filter((edit) => !(edit.layer === layer && edit.index[edit.index.length - 1] === map)), ...edits]);
    };
    const preset = (name) => this.change(kernel.numbers.map((n) => ({ layer, weight: kernel.name, index: kernel.index(n), value: PRESETS[name][Math.floor(n / kernel.axes[2])] / kernel.axes[2] })));
    this.presets.replaceChildren(...(editable ? [element("span", { class: "quiet" }, "Kernel:"), ...Object.keys(PRESETS).map((name) => element("button", { type: "button", onclick: () => preset(name) }, name))] : []),
      ...(kernel && bias && kernel.axes.length < kernel.shape.length ? [element("button", { type: "button", onclick: zero }, `Zero this ${made.shape.length > 1 ? "map" : "unit"}`)] : []),
      element("button", { type: "button", onclick: () => this.put(this.edits.filter((edit) => !(edit.layer === layer && this.isOf(edit, map)))) }, "As it was"));
  }

  isOf(edit, map) { return edit.index[edit.index.length - 1] === map; }

  none(text) {
    this.title.textContent = "Weights";
    this.cells.replaceChildren(element("p", { class: "quiet" }, text));
    this.presets.replaceChildren();
  }

  weight(weight, made, layer) {
    const { page } = this, { numbers, axes, values } = weight, source = made.sources[0];
    const nameOf = (n) => (Number.isInteger(source) ? `${page.model.layers[source].name} map ${n}` : `input ${n}`);
    const field = (n) => {
      const index = weight.index(n), made = element("input", { type: "number", step: "0.1", value: String(Number(values[n].toPrecision(4))), "data-key": `${weight.name} ${n}`, "aria-label": `${weight.name} ${index.join(", ")}` });
      made.addEventListener("change", () => {
        const value = Number(made.value);
        if (made.value === "" || !Number.isFinite(value) || Math.abs(value) > 1e6) made.value = String(values[n]);
        else this.change([{ layer, weight: weight.name, index, value }]);
      });
      return made;
    };
    const head = element("h3", {}, weight.name);
    if (numbers.length <= MOST_CELLS && axes.length === 3) {
      return element("section", {}, head, element("div", { class: "weight-cells" }, ...Array.from({ length: axes[2] }, (_, k) => {
        const grid = element("div", { class: "cell-grid" }, ...numbers.filter((n) => n % axes[2] === k).map(field));
        grid.style.gridTemplateColumns = `repeat(${axes[1]}, 76px)`;
        return element("figure", { class: "kernel-figure" }, element("figcaption", {}, nameOf(k)), grid);
      })));
    }
    const order = numbers.length <= 16 ? numbers : [...numbers].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, 12);
    return element("section", {}, head, ...(order.length < numbers.length ? [element("p", { class: "quiet" }, `The 12 strongest of ${numbers.length.toLocaleString("en")}:`)] : []),
      element("div", { class: "weight-cells" }, ...order.map((n) => element("label", { class: "listed-cell" }, ...(numbers.length > 1 ? [element("span", { class: "quiet" }, weight.index(n).join(", "))] : []), field(n)))));
  }

  // ---- before, after, difference

  // What became of the answer.
  verdict(before, outputs) {
    const { classes } = this.page.model, top = (all) => all.indexOf(Math.max(...all)), [was, now] = [top(before), top(outputs)];
    const written = (value) => (areShares(before) ? `${(100 * value).toFixed(1)} %` : show(value));
    if (!classes.length) return `Output ${show(before[0])} → ${show(outputs[0])}.`;
    return was === now ? `The answer stays ${classes[now]}: ${written(before[now])} → ${written(outputs[now])}.`
      : `The answer was ${classes[was]} (${written(before[was])}); now it is ${classes[now]} (${written(outputs[now])}).`;
  }

  async compare() {
    const { page } = this, { layer, map, edits } = page.state, made = Number.isInteger(layer) ? page.model.layers[layer] : null;
    if (!this.edits.length) {
      this.maps.replaceChildren();
      this.says.textContent = "Nothing is changed. Type numbers, or take a kernel; the arrow keys change by 0.1.";
    }
    if (!this.edits.length || !page.run) return;
    const before = (await page.ask("/api/run", { channels: 1, layers: "" }, { edits: null })).header.outputs?.map(Number);
    this.says.textContent = `${this.edits.length} ${this.edits.length === 1 ? "change" : "changes"}, in a copy. ${before && page.run.outputs ? this.verdict(before, page.run.outputs) : ""}`;
    if (!made || made.shape.length < 2 || made.shape.length > 3) { this.maps.replaceChildren(); return; }
    const answers = await Promise.all([{ edits: null }, {}].map((data) => page.ask("/api/map", { layer, channel: map }, data)));
    if (layer !== page.state.layer || map !== page.state.map || edits !== page.state.edits) return;
    const shape = answers[0].header.shape, [rows, columns] = shape.length > 1 ? shape : [1, shape[0]];
    const [old, fresh] = answers.map((answer) => answer.take(Float32Array, rows * columns)), difference = fresh.map((value, n) => value - old[n]);
    const scale = Math.max(largest(old), largest(fresh), largest(difference)), cell = columns <= 32 ? 8 : 1;
    this.maps.replaceChildren(...[["before", old], ["after", fresh], ["difference", difference]].map(([name, values]) => {
      const canvas = element("canvas", { class: "pixels", role: "img", "aria-label": `${made.name} map ${map}, ${name}: strongest ${show(largest(values))}` });
      paint(canvas, coded(values, scale), rows, columns, cell);
      return element("figure", {}, element("figcaption", {}, name), canvas);
    }), colourBar(scale));
  }
}

// What can be done to a drawing: moved, made noisy, inverted, centred.
class Changes {
  constructor(page) {
    this.page = page;
    this.input = page.input;
    this.base = this.input.values;
    const slider = (name, low, high, step) => {
      const field = element("input", { type: "range", min: String(low), max: String(high), step: String(step), value: "0", oninput: () => this.apply() });
      return [field, element("label", {}, `${name} `, field)];
    };
    const reach = Math.floor(Math.max(this.input.rows, this.input.columns) / 3);
    const [right, rightLabel] = slider("To the right", -reach, reach, 1), [down, downLabel] = slider("Down", -reach, reach, 1), [noise, noiseLabel] = slider("Noise", 0, 1, 0.05);
    Object.assign(this, { right, down, noise });
    this.centre = element("input", { type: "checkbox", onchange: () => { if (this.centre.checked) this.settle(); } });
    this.inverted = element("p", { class: "invert", role: "status", hidden: true });
    this.inverted.append("The examples have another background: the model learned ", element("span", {}), ". ",
      element("button", { type: "button", onclick: () => this.input.set(this.input.values.map((v, n) => (this.isAlpha(n) ? v : page.model.white - v)), this.input.label) }, "Invert the input"));
    const isDigit = this.input.channels === 1 && this.input.rows === this.input.columns;
    this.root = element("div", {}, this.inverted, element("div", { class: "row" }, rightLabel, downLabel, noiseLabel,
      element("button", { type: "button", onclick: () => { this.zero(); this.apply(); } }, "Back")),
    ...(isDigit ? [element("label", { class: "tick" }, this.centre, "Centre and scale drawings as MNIST’s digits are: 20 of 28 pixels high or wide, the middle of the ink in the middle")] : []));
    page.on("input", () => this.came());
    this.came();
  }

  isAlpha(n) { return this.input.channels === 4 && n % 4 === 3; }

  came() {
    this.judge();
    if (this.isOwn) return;
    this.base = this.input.values;
    this.zero();
    clearTimeout(this.resting);
    if (this.centre.checked) this.resting = setTimeout(() => { if (this.centre.checked) this.settle(); }, 600);
  }

  zero() { for (const field of [this.right, this.down, this.noise]) field.value = "0"; }

  set(values) {
    this.isOwn = true;
    this.input.set(values, this.input.label);
    this.isOwn = false;
  }

  // The mean of the border, which tells the background; a share of white.
  ground(values) {
    const { rows, columns, channels } = this.input;
    let sum = 0, count = 0;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        if (r && c && r < rows - 1 && c < columns - 1) continue;
        for (let k = 0; k < Math.min(3, channels); k++) { sum += values[(r * columns + c) * channels + k]; count += 1; }
      }
    }
    return sum / count / this.page.model.white;
  }

  judge() {
    const { border } = this.page.model, isOther = border !== null && border !== undefined && Math.abs(this.ground(this.input.values) - border) > 0.5;
    this.inverted.hidden = !isOther;
    this.inverted.querySelector("span").textContent = border < 0.5 ? "light on dark" : "dark on light";
  }

  apply() {
    const { rows, columns, channels } = this.input, { white } = this.page.model, [right, down, noise] = [this.right, this.down, this.noise].map((field) => Number(field.value));
    const border = (this.page.model.border ?? 0) * white, moved = new Float32Array(this.base.length);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const [y, x] = [r - down, c - right], inside = y >= 0 && x >= 0 && y < rows && x < columns;
        for (let k = 0; k < channels; k++) {
          const n = (r * columns + c) * channels + k;
          moved[n] = inside ? this.base[(y * columns + x) * channels + k] : this.isAlpha(n) ? white : border > white / 2 ? white : 0;
        }
      }
    }
    if (noise) {
      // The same grains while the slider moves.
      let seed = 1;
      const random = () => { seed = (seed * 16807) % 2147483647; return seed / 2147483647; };
      for (let n = 0; n < moved.length; n++) {
        const grain = (random() + random() + random() - 1.5) * 2 * noise * white;
        if (!this.isAlpha(n)) moved[n] = Math.max(0, Math.min(white, moved[n] + grain));
      }
    }
    this.set(moved);
  }

  settle() {
    const settled = centred(this.base, this.input.rows, this.ground(this.base) > 0.5 ? this.page.model.white : 0);
    if (!settled) return;
    this.zero();
    this.base = settled;
    this.set(settled);
  }
}

// As MNIST's digits were made: the longer side of the ink fills 20 of 28 pixels, its centre of mass is in the middle.
function centred(values, side, ground = 0) {
  const ink = Float32Array.from(values, (value) => Math.abs(value - ground)), most = largest(ink);
  if (!most) return null;
  let [top, left, bottom, right] = [side, side, -1, -1];
  ink.forEach((value, n) => {
    if (value < 0.1 * most) return;
    const [r, c] = [Math.floor(n / side), n % side];
    top = Math.min(top, r); bottom = Math.max(bottom, r); left = Math.min(left, c); right = Math.max(right, c);
  });
  const scale = Math.max(bottom - top + 1, right - left + 1) / ((20 / 28) * side);
  const at = (r, c) => (r < 0 || c < 0 || r >= side || c >= side ? 0 : ink[r * side + c]);
  const sample = (y, x) => {
    const [r, c] = [Math.floor(y), Math.floor(x)], [v, u] = [y - r, x - c];
    return (1 - v) * ((1 - u) * at(r, c) + u * at(r, c + 1)) + v * ((1 - u) * at(r + 1, c) + u * at(r + 1, c + 1));
  };
  let [mass, y, x] = [0, 0, 0];
  ink.forEach((value, n) => { mass += value; y += value * Math.floor(n / side); x += value * (n % side); });
  const [cy, cx] = [y / mass, x / mass], middle = (side - 1) / 2, sign = ground > 0 ? -1 : 1;
  return Float32Array.from(values, (_, n) => ground + sign * Math.min(most, sample(cy + (Math.floor(n / side) - middle) * scale, cx + ((n % side) - middle) * scale)));
}
