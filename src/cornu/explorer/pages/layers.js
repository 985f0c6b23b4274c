// The layers' outputs as small images, and how one of their values was computed.

import { getArrays, getJson, latest } from "./api.js";
import { coded, colour, element, frame, largest, paint, roving, show } from "./picture.js";

// Maps of an input, numbers in a table that is open at once, and units that are buttons of their own.
const FEW = 8, SMALL = 49, MOST_BUTTONS = 64;

export class Layers {
  constructor(model, input, failed) {
    this.model = model;
    this.input = input;
    this.failed = failed;
    this.rows = model.layers.map((layer, n) => this.row(layer, n));
    this.chosen = null;
    document.getElementById("list").append(...this.rows.map((row) => row.article));
    this.inspector = new Inspector(this);
  }

  row(layer, n) {
    const before = n ? n - 1 : "input";
    const facts = [layer.shape.join(" × ") || "one number"];
    for (const size of layer.sizes) facts.push(`size ${size}`);
    if (layer.parameters) facts.push(`parameters ${layer.parameters}`);
    if (layer.sources.length !== 1 || layer.sources[0] !== before) {
      const names = layer.sources.map((s) => (s === "input" ? "the input" : s === null ? "a computation" : this.model.layers[s].name));
      if (names.length) facts.push(`from ${names.join(", ")}`);
    }
    const tiles = element("div", { class: "tiles", role: "group", "aria-label": `Output of ${layer.name}` });
    const legend = element("span", { class: "legend" });
    const article = element("article", { class: "layer" },
      element("h3", {}, layer.name, " ", element("span", { class: "kind" }, layer.kind)),
      element("p", { class: "facts" }, facts.join(" · "), legend), tiles);
    roving(tiles);
    return { layer, article, tiles, legend, buttons: [], pictures: [] };
  }

  // Takes what a run of the network has given.
  update(answer) {
    answer.header.layers.forEach((described, n) => {
      const row = this.rows[n], [channels, rows, columns] = described.shape;
      const codes = answer.take(Int8Array, channels * rows * columns);
      row.pictures = Array.from({ length: channels }, (_, c) => codes.subarray(c * rows * columns, (c + 1) * rows * columns));
      Object.assign(row, { rows, columns, step: described.step });
      row.legend.textContent = ` · strongest ${show(described.scale)}`;
      this.drawRow(row, n);
    });
    this.inspector.refresh();
  }

  drawRow(row, n) {
    const isVector = row.layer.shape.length <= 1, count = isVector ? row.columns : row.pictures.length;
    if (isVector && count > MOST_BUTTONS) {
      row.strip ??= new Strip(row, count, (unit) => this.choose(n, unit));
      row.strip.draw(row.pictures[0]);
    } else if (row.buttons.length !== count) {
      row.tiles.classList.toggle("vector", isVector);
      row.buttons = Array.from({ length: count }, (_, c) => {
        const canvas = isVector ? "" : element("canvas", { class: "pixels" });
        if (canvas && row.rows === 1) canvas.className = "pixels strip";
        return element("button", { type: "button", class: "tile", tabindex: c ? "-1" : "0", "aria-expanded": "false",
          "aria-label": `${isVector ? "unit" : "channel"} ${c}`, title: `${isVector ? "unit" : "channel"} ${c}`,
          onclick: () => this.choose(n, c) }, canvas);
      });
      row.tiles.replaceChildren(...row.buttons);
    }
    const all = row.layer.shape[row.layer.shape.length - 1] ?? 1;
    if (count < all && !row.more) {
      row.more = element("p", { class: "help" }, `${count} of ${all.toLocaleString("en")} are shown; the others can be asked for by number.`);
      row.tiles.after(row.more);
    }
    if (row.strip) return;
    if (isVector) {
      row.buttons.forEach((button, c) => { button.style.backgroundColor = colour(row.pictures[0][c]); });
    } else {
      row.buttons.forEach((button, c) => paint(button.firstChild, row.pictures[c], row.rows, row.columns));
    }
  }

  choose(n, channel) {
    if (this.chosen?.n === n && this.chosen.channel === channel) { this.close(); return; }
    this.mark("false");
    this.chosen = { n, channel };
    this.mark("true");
    this.rows[n].article.append(this.inspector.section);
    this.inspector.open(this.model.layers[n], n, channel);
  }

  mark(value) {
    if (!this.chosen) return;
    const row = this.rows[this.chosen.n];
    row.buttons[this.chosen.channel]?.setAttribute("aria-expanded", value);
    row.strip?.mark(value === "true" ? this.chosen.channel : null);
  }

  close() {
    const { n, channel } = this.chosen ?? {};
    this.mark("false");
    this.chosen = null;
    this.inspector.close();
    (this.rows[n]?.strip?.holder ?? this.rows[n]?.buttons[channel])?.focus();
  }
}

// Many units as cells of one image: a thousand buttons would be slow to colour.
class Strip {
  constructor(row, count, choose) {
    this.count = count;
    this.columns = innerWidth < 600 ? 32 : 64;
    this.rows = Math.ceil(count / this.columns);
    this.at = 0;
    this.canvas = element("canvas", { class: "pixels" });
    this.holder = element("div", { class: "holder units", tabindex: "0", role: "application",
      "aria-roledescription": "row of units", "aria-label": `${count} units of ${row.layer.name}: arrow keys move, Enter explains` }, this.canvas);
    this.holder.style.width = `${this.columns * 11}px`;
    this.holder.style.aspectRatio = `${this.columns} / ${this.rows}`;
    row.tiles.replaceChildren(this.holder);
    const unit = (event) => {
      const box = this.holder.getBoundingClientRect();
      const r = Math.floor(((event.clientY - box.top) / box.height) * this.rows), c = Math.floor(((event.clientX - box.left) / box.width) * this.columns);
      return Math.max(0, Math.min(count - 1, r * this.columns + c));
    };
    this.holder.addEventListener("pointermove", (event) => { this.holder.title = `unit ${unit(event)}`; });
    this.holder.addEventListener("click", (event) => { this.at = unit(event); choose(this.at); });
    this.holder.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns }[event.key];
      if (move !== undefined) this.at = Math.max(0, Math.min(count - 1, this.at + move));
      else if (event.key === "Enter" || event.key === " ") choose(this.at);
      else return;
      event.preventDefault();
      this.place("cursor", this.at);
    });
    this.holder.addEventListener("blur", () => this.place("cursor", null));
  }

  place(name, unit) {
    frame(this.holder, name, unit === null ? null : [Math.floor(unit / this.columns), unit % this.columns, 1, 1], this.rows, this.columns);
  }

  mark(unit) { this.place("field", unit); }

  draw(codes) {
    const whole = new Int8Array(this.rows * this.columns);
    whole.set(codes);
    paint(this.canvas, whole, this.rows, this.columns);
  }
}

class Inspector {
  constructor(layers) {
    this.layers = layers;
    this.failed = layers.failed;
    this.title = element("h4", { id: "inspector-title" });
    this.number = element("input", { type: "number", min: "0", id: "inspected-channel" });
    this.number.addEventListener("change", () => this.layers.choose(this.n, this.clamped(Number(this.number.value))));
    this.play = element("button", { type: "button", onclick: () => this.toggle() }, "Slide");
    this.depth = element("input", { type: "number", min: "0", id: "inspected-depth" });
    this.depth.addEventListener("change", () => { this.drawMap(); this.move(this.at); });
    this.depthLabel = element("label", { for: "inspected-depth" }, "Depth ", this.depth);
    this.bar = element("div", { class: "row" }, this.title,
      element("label", { for: "inspected-channel" }, "Number ", this.number), this.depthLabel, this.play,
      element("button", { type: "button", onclick: () => this.layers.close() }, "Close"));
    this.seen = element("div", { class: "seen" });
    this.canvas = element("canvas", { class: "pixels" });
    this.holder = element("div", { class: "holder", tabindex: "0", role: "application",
      "aria-roledescription": "map of values", "aria-describedby": "result-help" }, this.canvas);
    this.caption = element("p", { class: "help", id: "result-help" });
    this.result = element("div", { class: "result" }, element("h5", {}, "Result"), this.holder, this.caption);
    this.steps = element("dl", { class: "steps" });
    this.numbers = element("div", { class: "numbers" });
    this.section = element("section", { class: "inspector", "aria-labelledby": "inspector-title" },
      this.bar, element("div", { class: "flow" }, this.seen, this.result), this.steps, this.numbers);
    this.askMap = latest(() => this.loadMap(), this.failed);
    this.askWindow = latest((at) => this.loadWindow(at), this.failed);
    this.listen();
  }

  clamped(channel) {
    const last = (this.layer.shape[this.layer.shape.length - 1] ?? 1) - 1;
    return Math.max(0, Math.min(last, Math.round(channel) || 0));
  }

  open(layer, n, channel) {
    this.stop();
    Object.assign(this, { layer, n, channel, map: null, at: null, pinned: null, isNew: true });
    const rank = layer.shape.length - 1;
    this.title.textContent = `${layer.name}, ${rank > 0 ? "channel" : "unit"} ${channel}`;
    this.number.value = channel;
    this.number.max = (layer.shape[layer.shape.length - 1] ?? 1) - 1;
    this.result.hidden = rank < 1;
    this.play.hidden = rank < 1;
    this.depthLabel.hidden = rank < 3;
    this.seen.replaceChildren();
    this.steps.replaceChildren();
    this.numbers.replaceChildren();
    this.refresh();
  }

  close() {
    this.stop();
    this.layer = null;
    this.section.remove();
    this.layers.input.field(null);
  }

  refresh() {
    if (this.layer) this.askMap();
  }

  get body() { return this.layers.input.values; }

  async loadMap() {
    if (!this.layer) return;
    const asked = { layer: this.n, channel: this.channel };
    if (this.layer.shape.length < 2) { await this.loadWindow([]); return; }
    const answer = await getArrays("/api/map", asked, "POST", this.body);
    if (!this.layer || asked.layer !== this.n || asked.channel !== this.channel) return;
    const shape = answer.header.shape;
    this.map = answer.take(Float32Array, shape.reduce((a, b) => a * b, 1));
    this.deep = shape.length > 2 ? shape[0] : 1;
    [this.high, this.wide] = shape.length > 1 ? shape.slice(-2) : [1, shape[0]];
    this.spatial = shape.length;
    if (this.depthLabel.hidden) this.depth.value = 0;
    else if (!this.at) { this.depth.max = this.deep - 1; this.depth.value = Math.floor(this.deep / 2); }
    this.drawMap();
    if (!this.at) {
      // Where there is most to see.
      const plane = this.plane();
      let best = 0;
      plane.forEach((value, n) => { if (Math.abs(value) > Math.abs(plane[best])) best = n; });
      this.at = this.pinned = [Math.floor(best / this.wide), best % this.wide];
    }
    await this.loadWindow(this.at);
  }

  plane() {
    const size = this.high * this.wide, start = (Number(this.depth.value) || 0) * size;
    return this.map.subarray(start, start + size);
  }

  drawMap() {
    paint(this.canvas, coded(this.plane(), largest(this.map)), this.high, this.wide);
    const cell = Math.max(2, Math.min(28, Math.floor(300 / Math.max(this.high, this.wide))));
    this.holder.style.width = `${Math.max(this.wide * cell, 40)}px`;
    this.holder.style.aspectRatio = `${this.wide} / ${Math.max(this.high, this.wide / 12)}`;
    this.holder.setAttribute("aria-label", `Result of ${this.layer.name}, channel ${this.channel}: ${this.high} by ${this.wide}`);
  }

  // ---- which number

  listen() {
    const pixel = (event) => {
      const box = this.holder.getBoundingClientRect();
      const clip = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
      return [clip((event.clientY - box.top) / box.height, this.high), clip((event.clientX - box.left) / box.width, this.wide)];
    };
    this.holder.addEventListener("pointermove", (event) => { if (this.map && !this.timer) this.move(pixel(event)); });
    this.holder.addEventListener("pointerdown", (event) => {
      if (!this.map) return;
      this.stop();
      this.pinned = pixel(event);
      this.move(this.pinned);
    });
    this.holder.addEventListener("pointerleave", () => { if (this.map && !this.timer) this.move(this.pinned); });
    this.holder.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move || !this.map) return;
      event.preventDefault();
      this.stop();
      this.pinned = [Math.max(0, Math.min(this.high - 1, this.at[0] + move[0])), Math.max(0, Math.min(this.wide - 1, this.at[1] + move[1]))];
      this.move(this.pinned);
    });
  }

  move(at) {
    this.at = at;
    this.askWindow(at);
  }

  toggle() {
    if (this.timer) { this.stop(); return; }
    this.play.textContent = "Hold";
    const on = async () => {
      const next = this.at[0] * this.wide + this.at[1] + 1;
      this.at = this.pinned = [Math.floor(next / this.wide) % this.high, next % this.wide];
      try { await this.loadWindow(this.at); } catch (error) { this.failed(error); this.stop(); return; }
      if (this.timer) this.timer = setTimeout(on, 250);
    };
    this.timer = setTimeout(on, 0);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.play.textContent = "Slide";
  }

  async loadWindow(at) {
    if (!this.layer) return;
    const { n, channel, layer } = this, depth = Number(this.depth.value) || 0;
    const position = layer.shape.length < 2 ? [] : this.spatial === 1 ? [at[1]] : this.spatial === 2 ? at : [depth, ...at];
    const found = await getJson("/api/window", { layer: n, channel, position: position.join(",") }, "POST", this.body);
    if (this.layer !== layer || this.channel !== channel || (at.length && this.at !== at)) return;
    if (at.length) {
      frame(this.holder, "cursor", [at[0], at[1], 1, 1], this.high, this.wide);
      const value = this.plane()[at[0] * this.wide + at[1]];
      this.caption.textContent = `At (${position.join(", ")}): ${show(value)}. Point, click, or use the arrow keys.`;
    }
    this.layers.input.field(found.field);
    this.explain(found);
    if (this.isNew) this.section.scrollIntoView({ block: "nearest" });
    this.isNew = false;
  }

  // ---- how it was made

  explain(found) {
    if (found.refused) {
      this.steps.replaceChildren(element("dt", {}, "Not explained"), element("dd", {}, found.refused));
      this.seen.replaceChildren();
      this.numbers.replaceChildren();
      return;
    }
    const lines = found.steps.map(({ name, formula, value }) => [name, formula === show(value) ? formula : `${formula} = ${show(value)}`]);
    lines.push(["the model says", show(found.expected)]);
    this.steps.replaceChildren(...lines.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
    this.showSeen(found);
    this.showNumbers(found);
  }

  source(index) {
    return index === "input" ? { ...this.layers.input.pictures(), name: "the input", shape: this.layers.model.shape }
      : { ...this.layers.rows[index], name: this.layers.model.layers[index].name, shape: this.layers.model.layers[index].shape };
  }

  // The maps that the layer was given, with the window on them and the kernel below.
  showSeen(found) {
    const figures = [];
    for (const index of this.layer.sources.filter((s) => s !== null).slice(0, 4)) {
      const from = this.source(index);
      if (!from.pictures.length || from.shape.length < 2) {
        if (from.shape.length < 2) figures.push(element("p", { class: "help" }, `All of ${from.name}: ${found.count.toLocaleString("en")} values.`));
        continue;
      }
      const windowed = found.origin.length > 0, same = this.layer.shape.length === from.shape.length;
      const [first, count] = windowed ? [found.first_channel, found.channels] : [this.channel, same ? 1 : 0];
      const kernels = windowed ? kernelsOf(found) : [], strongest = largest(kernels.flat(2));
      const shown = from.pictures.slice(first, first + Math.min(count, FEW));
      shown.forEach((picture, k) => {
        const canvas = element("canvas", { class: from.rows === 1 ? "pixels strip" : "pixels" });
        paint(canvas, picture, from.rows, from.columns);
        const holder = element("div", { class: "holder" }, canvas);
        frame(holder, "field", this.box(found, from, windowed), from.rows, from.columns);
        const parts = [element("figcaption", {}, `${from.name} ${first + k}`), holder];
        if (kernels[k]) {
          const small = element("canvas", { class: "pixels kernel" }), [rows, columns] = [kernels[k].length, kernels[k][0].length];
          paint(small, coded(kernels[k].flat(), strongest), rows, columns);
          small.style.aspectRatio = `${columns} / ${Math.max(rows, columns / 4)}`;
          parts.push(element("span", { class: "help" }, "× kernel"), small);
        }
        figures.push(element("figure", {}, ...parts));
      });
      if (shown.length && count > shown.length) figures.push(element("p", { class: "help" }, `… and ${count - shown.length} more`));
    }
    this.seen.replaceChildren(...(figures.length ? [element("h5", {}, "What it sees")] : []), element("div", { class: "figures" }, ...figures));
  }

  box(found, from, windowed) {
    const step = from.step;
    if (!windowed) {
      return this.at ? [this.at[0] / step, this.at[1] / step, 1 / step, 1 / step] : null;
    }
    const spans = found.origin.map((start, axis) => [start, (found.size[axis] - 1) * found.reach[axis] + 1]);
    const [down, across] = spans.length === 1 ? [[0, step], spans[0]] : spans.slice(-2);
    return [down[0] / step, across[0] / step, down[1] / step, across[1] / step];
  }

  showNumbers(found) {
    const parts = [];
    if (!found.origin.length && found.largest.length > 1) {
      const table = element("table", {}, element("caption", {}, `The largest of ${found.count.toLocaleString("en")} products`),
        element("tr", {}, ...["number", "input", "weight", "product"].map((name) => element("th", { scope: "col" }, name))));
      for (const [index, ...values] of found.largest) {
        table.append(element("tr", {}, element("th", { scope: "row" }, String(index)), ...values.map((v) => element("td", {}, show(v)))));
      }
      parts.push(element("div", { class: "scroll", tabindex: "0" }, table));
    } else {
      const opened = [...this.numbers.querySelectorAll("details.grid")].map((each) => each.open);
      const restOpened = this.numbers.querySelector("details.rest")?.open ?? false;
      found.grids.forEach((grid, k) => {
        const size = `${grid.patch.length} × ${grid.patch[0].length}`;
        const name = grid.name || "the window";
        const summary = found.grids.length === 1 && !grid.kernel ? `${name}, ${size}` : `${name}, ${size}: ${grid.kernel ? "sum of products" : "sum"} ${show(grid.sum)}`;
        const details = element("details", { class: "grid", open: opened[k] ?? (k === 0 && grid.patch.flat().length <= SMALL) }, element("summary", {}, summary));
        const fill = () => { if (details.open && details.children.length === 1) details.append(tables(grid)); };
        details.addEventListener("toggle", fill);
        fill();
        parts.push(details);
      });
      if (parts.length > 3) {
        const rest = parts.splice(1);
        parts.push(element("details", { class: "rest", open: restOpened }, element("summary", {}, `the other ${rest.length}`), ...rest));
      }
      if (found.left_out) parts.push(element("p", { class: "help" }, `${found.left_out} more are not listed; the sum has all.`));
    }
    // While a key moves the window, what has the focus stays.
    this.numbers.replaceChildren(...parts);
  }
}

// The kernel for each channel, as rows of values; of a volume's kernel its middle slice.
function kernelsOf({ origin, channels, grids }) {
  if (!grids[0]?.kernel) return [];
  if (origin.length === 1 && channels > 1) return Array.from({ length: channels }, (_, c) => [grids[0].kernel.map((line) => line[c])]);
  const deep = origin.length < 3 ? 1 : grids.filter(({ name }) => !name.includes("channel") || name.startsWith("channel 0 ")).length;
  return Array.from({ length: channels }, (_, c) => grids[c * deep + Math.floor(deep / 2)]?.kernel).filter(Boolean);
}

function tables(grid) {
  const table = (caption, cells) => element("table", {}, element("caption", {}, caption), element("tbody", {},
    ...cells.map((line, r) => element("tr", {}, ...line.map((value, c) => {
      const isPadding = caption !== "kernel" && grid.padding[r][c];
      return element("td", { class: isPadding ? "padding" : "" }, isPadding ? `(${show(value)})` : show(value));
    })))));
  const parts = [table("patch", grid.patch)];
  if (grid.kernel) {
    parts.push(element("span", { class: "sign" }, "×"), table("kernel", grid.kernel), element("span", { class: "sign" }, "="),
      table("products", grid.patch.map((line, r) => line.map((value, c) => value * grid.kernel[r][c]))));
  }
  return element("div", { class: "scroll tables", tabindex: "0", role: "group", "aria-label": "values of the window" }, ...parts);
}
