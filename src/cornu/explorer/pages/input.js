// The input: drawn, dropped, chosen. It reports every change with its values and, if known, its class.

import { getArrays } from "./api.js";
import { element, paint, coded, paintPixels, frame, largest } from "./picture.js";

const AREA = 240;

export class Input {
  constructor(model, changed, failed) {
    this.model = model;
    this.changed = changed;
    this.failed = failed;
    this.shape = model.shape;
    this.values = new Float32Array(this.shape.reduce((a, b) => a * b, 1));
    this.label = null;
    const [rank, channels] = [this.shape.length, this.shape[this.shape.length - 1]];
    this.isImage = rank === 3 && [1, 3, 4].includes(channels) && model.white !== null;
    this.isSignal = rank === 2;
    this.range = model.range || (this.isImage ? [0, model.white] : [-1, 1]);
    if (this.isImage) this.range = [0, model.white];
    this.rows = rank === 1 ? 1 : rank === 2 ? 1 : this.shape[rank - 3];
    this.columns = rank === 1 ? this.shape[0] : this.shape[rank - 2];
    this.channels = rank === 1 ? 1 : channels;
    if (channels === 4 && this.isImage) this.values.forEach((_, n) => { if (n % 4 === 3) this.values[n] = model.white; });
    this.cursor = [Math.floor(this.rows / 2), Math.floor(this.columns / 2)];
    this.build();
    this.draw();
  }

  build() {
    const surface = document.getElementById("surface");
    this.canvas = element("canvas", { class: this.isSignal ? "" : "pixels" });
    this.over = element("canvas", { class: "pixels over", "aria-hidden": "true" });
    const side = Math.max(this.rows, this.columns);
    this.holder = element("div", { class: "holder", tabindex: "0" }, this.canvas, this.over);
    const wide = this.isSignal || this.shape.length === 1;
    this.holder.style.width = `${wide ? AREA : (AREA * this.columns) / side}px`;
    this.holder.style.aspectRatio = wide ? "2 / 1" : `${this.columns} / ${this.rows}`;
    surface.append(this.holder);
    const help = document.getElementById("surface-help");
    if (this.isImage || this.isSignal) {
      this.holder.setAttribute("role", "application");
      this.holder.setAttribute("aria-roledescription", "drawing area");
      this.holder.setAttribute("aria-describedby", "surface-help");
      help.textContent = this.isImage
        ? "Draw here, or drop an image. By keys: arrows move, Space draws, Delete rubs out."
        : "Drag to draw the curve, or drop a file of numbers. By keys: left and right move, up and down change the value.";
      this.listen();
    } else {
      this.holder.setAttribute("role", "img");
      help.textContent = "Choose an example, or draw random values.";
    }
    this.holder.setAttribute("aria-label", `Input of ${this.shape.join(" by ")}`);
    this.tools();
    this.dropping();
  }

  tools() {
    const tools = document.getElementById("tools");
    const button = (text, act) => tools.append(element("button", { type: "button", onclick: act }, text));
    button("Clear", () => { this.values.fill(0); this.opaque(); this.say(); });
    if (this.isImage) {
      this.rubber = element("input", { type: "checkbox", id: "rubber" });
      tools.append(element("label", { for: "rubber" }, this.rubber, " Rub out"));
      this.thickness = element("input", { type: "range", id: "thickness", min: "0.5", max: "4", step: "0.25",
                                          value: String(Math.max(0.5, Math.min(4, this.columns / 22))) });
      tools.append(element("label", { for: "thickness" }, "Brush ", this.thickness));
      if (this.channels >= 3) {
        this.ink = element("input", { type: "color", id: "ink", value: "#ffffff" });
        tools.append(element("label", { for: "ink" }, "Colour ", this.ink));
      }
      button("Invert", () => this.set(this.values.map((v, n) =>
        this.channels === 4 && n % 4 === 3 ? v : this.model.white - v), this.label));
    }
    if (this.isSignal && this.channels > 1) {
      this.channel = element("input", { type: "number", id: "drawn-channel", min: "0", max: String(this.channels - 1), value: "0" });
      tools.append(element("label", { for: "drawn-channel" }, "Channel ", this.channel));
      this.channel.addEventListener("input", () => this.draw());
    }
    if (!this.isImage) {
      button("Random", () => {
        const [low, high] = this.range;
        const whole = !this.model.is_float;
        this.set(this.values.map(() => {
          const value = low + (high - low) * Math.random();
          return whole ? Math.round(value) : value;
        }), null);
      });
    }
  }

  dropping() {
    if (!this.isImage && !this.isSignal) return;
    const kind = this.isImage ? "image/png,image/jpeg,image/webp,image/gif,image/bmp" : ".csv,.txt,text/plain,text/csv";
    const file = element("input", { type: "file", id: "file", accept: kind, class: "unseen" });
    file.addEventListener("change", () => { if (file.files[0]) this.take(file.files[0]); file.value = ""; });
    document.getElementById("tools").append(file, element("label", { for: "file", class: "button" },
      this.isImage ? "Open image" : "Open CSV"));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      const [dropped] = event.dataTransfer.files;
      if (dropped) this.take(dropped);
    });
    addEventListener("paste", (event) => {
      const [pasted] = event.clipboardData.files;
      if (pasted) this.take(pasted);
    });
  }

  async take(file) {
    try {
      if (this.isImage) {
        const answer = await getArrays("/api/image", {}, "POST", file);
        this.set(Float32Array.from(answer.take(Float32Array, this.values.length)), null);
      } else {
        if (file.size > 5e6) throw new Error("The file is larger than 5 MB. Expected numbers as text.");
        this.set(this.signal(await file.text()), null);
      }
    } catch (error) {
      this.failed(error);
    }
  }

  // Lines of numbers, one column a channel; brought to the model's number of steps.
  signal(text) {
    const lines = text.trim().split(/\r?\n/).map((line) => line.trim().split(/[\s,;]+/).filter(Boolean).map(Number));
    let table = lines.filter((line) => line.length && line.every(Number.isFinite));
    if (table.length === 1 && this.channels === 1) table = table[0].map((value) => [value]);
    if (table.length < 2 || table.some((line) => line.length !== this.channels)) {
      throw new Error(`Expected a line of ${this.channels} numbers for each step.`);
    }
    const values = new Float32Array(this.values.length);
    for (let step = 0; step < this.columns; step++) {
      const at = (step * (table.length - 1)) / Math.max(this.columns - 1, 1), low = Math.floor(at);
      const high = Math.min(low + 1, table.length - 1);
      for (let c = 0; c < this.channels; c++) {
        values[step * this.channels + c] = table[low][c] + (at - low) * (table[high][c] - table[low][c]);
      }
    }
    return values;
  }

  // `example`: its number, if it is one of the server's.
  set(values, label, example = null) {
    this.values = values;
    this.say(label, example);
  }

  say(label = null, example = null) {
    this.label = label;
    this.draw();
    this.changed(example);
  }

  opaque() {
    if (this.isImage && this.channels === 4) {
      for (let n = 3; n < this.values.length; n += 4) this.values[n] = this.model.white;
    }
  }

  // ---- drawing

  listen() {
    let last = null;
    const pixel = (event) => {
      const box = this.holder.getBoundingClientRect();
      return [((event.clientY - box.top) / box.height) * this.rows, ((event.clientX - box.left) / box.width) * this.columns,
              (event.clientY - box.top) / box.height];
    };
    this.holder.addEventListener("pointerdown", (event) => {
      this.holder.setPointerCapture(event.pointerId);
      last = pixel(event);
      this.stroke(last, last, event.button === 2);
    });
    this.holder.addEventListener("pointermove", (event) => {
      if (!last) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) {
        const to = pixel(each);
        this.stroke(last, to, event.buttons & 2);
        last = to;
      }
    });
    for (const end of ["pointerup", "pointercancel"]) this.holder.addEventListener(end, () => { last = null; });
    this.holder.addEventListener("contextmenu", (event) => event.preventDefault());
    this.holder.addEventListener("keydown", (event) => this.key(event));
    this.holder.addEventListener("blur", () => frame(this.holder, "cursor", null));
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    let [row, column] = this.cursor;
    if (this.isSignal && move && move[0]) {
      const at = column * this.channels + this.drawnChannel(), [low, high] = this.range;
      this.values[at] = Math.max(low, Math.min(high, this.values[at] - (move[0] * (high - low)) / 20));
      this.say();
    } else if (move) {
      row = Math.max(0, Math.min(this.rows - 1, row + move[0]));
      column = Math.max(0, Math.min(this.columns - 1, column + move[1]));
      this.cursor = [row, column];
    } else if (this.isImage && [" ", "Delete", "Backspace"].includes(event.key)) {
      const here = [row + 0.5, column + 0.5];
      this.stroke(here, here, event.key !== " ");
    } else return;
    event.preventDefault();
    frame(this.holder, "cursor", this.isSignal ? [0, column, 1, 1] : [row, column, 1, 1], this.rows, this.columns);
  }

  drawnChannel() {
    return this.channel ? Math.max(0, Math.min(this.channels - 1, Number(this.channel.value) || 0)) : 0;
  }

  stroke(from, to, rubsOut) {
    if (this.isSignal) this.curve(from, to);
    else this.brush(from, to, rubsOut || this.rubber.checked);
    this.say();
  }

  curve(from, to) {
    const [low, high] = this.range, c = this.drawnChannel();
    const [a, b] = from[1] <= to[1] ? [from, to] : [to, from];
    for (let step = Math.max(0, Math.floor(a[1])); step <= Math.min(this.columns - 1, Math.floor(b[1])); step++) {
      const share = b[1] > a[1] ? Math.max(0, Math.min(1, (step + 0.5 - a[1]) / (b[1] - a[1]))) : 1;
      const height = Math.max(0, Math.min(1, a[2] + share * (b[2] - a[2])));
      this.values[step * this.channels + c] = high - height * (high - low);
    }
  }

  brush(from, to, rubsOut) {
    const radius = Number(this.thickness.value), white = this.model.white;
    let ink = new Array(this.channels).fill(white);
    if (this.ink) for (let c = 0; c < 3; c++) ink[c] = (parseInt(this.ink.value.slice(1 + 2 * c, 3 + 2 * c), 16) / 255) * white;
    const [dy, dx] = [to[0] - from[0], to[1] - from[1]], length = dy * dy + dx * dx;
    const reach = radius + 1;
    const ends = (a, b, most) => [Math.max(0, Math.floor(Math.min(a, b) - reach)), Math.min(most - 1, Math.ceil(Math.max(a, b) + reach))];
    const [top, bottom] = ends(from[0], to[0], this.rows), [left, right] = ends(from[1], to[1], this.columns);
    for (let r = top; r <= bottom; r++) {
      for (let c = left; c <= right; c++) {
        const [y, x] = [r + 0.5 - from[0], c + 0.5 - from[1]];
        const along = length ? Math.max(0, Math.min(1, (y * dy + x * dx) / length)) : 0;
        // Soft at the border, as scanned ink is.
        const cover = Math.max(0, Math.min(1, radius + 0.5 - Math.hypot(y - along * dy, x - along * dx)));
        if (!cover) continue;
        for (let k = 0; k < Math.min(this.channels, 3); k++) {
          const at = (r * this.columns + c) * this.channels + k, old = this.values[at];
          if (rubsOut) this.values[at] = old * (1 - cover);
          else if (this.channels === 1) this.values[at] = Math.max(old, cover * white);
          else this.values[at] = old + cover * (ink[k] - old);
        }
      }
    }
  }

  // ---- showing

  draw() {
    if (this.isImage) {
      paintPixels(this.canvas, this.values, this.rows, this.columns, this.channels, 0, this.model.white);
    } else if (this.isSignal) this.drawCurve();
    else paint(this.canvas, coded(this.plane(0)), this.rows, this.columns);
  }

  // The numbers of a channel; of a volume those of the middle slice.
  plane(channel) {
    const count = this.rows * this.columns, start = this.shape.length > 3 ? Math.floor(this.shape[0] / 2) * count : 0;
    return Float32Array.from({ length: count }, (_, n) => this.values[(start + n) * this.channels + channel]);
  }

  drawCurve() {
    const [width, height] = [560, 280], [low, high] = this.range, chosen = this.drawnChannel();
    Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(name);
    context.fillStyle = of("--ground");
    context.fillRect(0, 0, width, height);
    const y = (value) => height - ((value - low) / (high - low || 1)) * height;
    context.strokeStyle = of("--line");
    context.beginPath(); context.moveTo(0, y(0)); context.lineTo(width, y(0)); context.stroke();
    for (let c = 0; c < this.channels; c++) {
      context.strokeStyle = of(c === chosen ? "--text" : "--line");
      context.lineWidth = c === chosen ? 3 : 1;
      context.beginPath();
      for (let step = 0; step < this.columns; step++) {
        context.lineTo(((step + 0.5) / this.columns) * width, y(this.values[step * this.channels + c]));
      }
      context.stroke();
    }
  }

  // A part of the input: the "field" that a number depends on, or what is behind one "cell" of a window.
  mark(name, parts) {
    const two = parts && (parts.length === 1 ? [[0, 1], parts[0]] : parts.slice(-2));
    frame(this.holder, name, two && [two[0][0], two[1][0], two[0][1] - two[0][0], two[1][1] - two[1][0]], this.rows, this.columns);
  }

  // A map over the input's pixels: the stronger, the more opaque.
  cover(map) {
    this.over.hidden = !map;
    if (!map) return;
    this.over.width = this.columns;
    this.over.height = this.rows;
    const image = new ImageData(this.columns, this.rows), scale = largest(map) || 1;
    for (let n = 0; n < this.rows * this.columns; n++) {
      image.data.set([226, 120, 20, 230 * (Math.max(0, map[n]) / scale)], n * 4);
    }
    this.over.getContext("2d").putImageData(image, 0, 0);
  }

  // One channel as it is: gray for an image, else as a layer's map.
  paintChannel(canvas, channel) {
    if (!this.isImage) {
      const { pictures, rows, columns } = this.pictures();
      paint(canvas, pictures[channel], rows, columns);
      return;
    }
    paintPixels(canvas, this.plane(channel), this.rows, this.columns, 1, 0, this.model.white);
  }

  // The input's channels as int8 images, like a layer's.
  pictures() {
    const scale = largest(this.values), pictures = Array.from({ length: Math.min(this.channels, 64) }, (_, c) => coded(this.plane(c), scale));
    return { pictures, rows: this.rows, columns: this.columns, step: 1 };
  }
}
