// A training: its curves, its filters, and what becomes of a few test images.

import { getArrays, getJson } from "./api.js";
import { coded, element, largest, paint, paintPixels, show } from "./picture.js";

const COLOURS = { train: "#0072B2", validation: "#D55E00" };

const PARTS = `
  <section aria-labelledby="progress-title">
    <h2 id="progress-title">Training</h2>
    <p id="status"></p>
    <progress id="done" max="1" value="0" aria-labelledby="progress-title"></progress>
    <div class="row" id="control">
      <button type="button" id="pause">Pause</button>
      <button type="button" id="stop">Stop</button>
    </div>
  </section>
  <div id="curves"></div>
  <section aria-labelledby="followed-title">
    <h2 id="followed-title">Test images</h2>
    <p class="help">What the network takes them for after each epoch; the last line of each is the newest.</p>
    <ul id="followed"></ul>
  </section>
  <section aria-labelledby="filters-title">
    <h2 id="filters-title">Filters</h2>
    <p id="filters-of" class="help"></p>
    <div id="filters"></div>
  </section>`;

export function mount(page, root) {
  root.innerHTML = PARTS;
  new Training(page.model, (state) => page.fire("training", state), (error) => page.fail(error));
}

class Training {
  constructor(model, changed, failed) {
    this.model = model;
    this.changed = changed;
    this.failed = failed;
    this.seen = "";
    this.images = [];
    // The means of an epoch that goes on.
    this.live = [];
    this.pause = document.getElementById("pause");
    this.stop = document.getElementById("stop");
    document.getElementById("control").hidden = !model.may_control;
    this.pause.addEventListener("click", () => this.act(this.state?.wants_pause ? "resume" : "pause"));
    this.stop.addEventListener("click", () => this.act("stop"));
    this.poll();
  }

  async act(action) {
    try {
      this.show(await getJson("/api/training", { action }, "POST"));
    } catch (error) { this.failed(error); }
  }

  async poll() {
    let wait = 1000;
    if (document.visibilityState === "visible") {
      try {
        this.show(await getJson("/api/training"));
        if (this.isLost) this.failed(null);
        this.isLost = false;
        if (["finished", "stopped"].includes(this.state.status)) wait = 5000;
      } catch (error) {
        this.isLost = true;
        this.failed(error);
        wait = 5000;
      }
    }
    setTimeout(() => this.poll(), wait);
  }

  show(state) {
    const before = this.seen;
    this.state = state;
    this.seen = JSON.stringify([state.rows.length, state.now, state.status]);
    const { status, now, epochs, rows } = state;
    const words = { waiting: "Not begun.", running: "Running", paused: "Paused", finished: "Finished.", stopped: "Stopped." };
    let text = state.wants_pause && status === "running" ? "Pausing" : words[status];
    if (["running", "paused"].includes(status) && now.epoch) {
      text += `: epoch ${now.epoch} of ${epochs}`;
      if (state.steps && now.step) text += `, step ${now.step} of ${state.steps}`;
      if (now.logs) text += ` (${Object.entries(now.logs).map(([name, value]) => `${name} ${show(value)}`).join(", ")})`;
    }
    const line = document.getElementById("status");
    if (line.textContent !== text) line.textContent = text;
    const part = state.steps && now.step ? now.step / state.steps : 0;
    document.getElementById("done").value = status === "finished" ? 1 : epochs ? Math.min(1, (rows.length + part) / epochs) : 0;
    this.pause.textContent = state.wants_pause ? "Resume" : "Pause";
    this.pause.disabled = this.stop.disabled = ["finished", "stopped"].includes(status);
    if (this.seen === before) return;
    this.live = this.live.filter(({ at }) => at > rows.length);
    const at = now.epoch - 1 + part;
    if (now.logs && part && at > (this.live[this.live.length - 1]?.at ?? rows.length)) this.live.push({ at, logs: now.logs });
    this.curves(rows);
    this.follow(state);
    this.filters();
    this.changed(state);
  }

  curves(rows) {
    const known = Object.keys(rows[0] ?? this.live[0]?.logs ?? {});
    const names = known.filter((name) => !["epoch", "seconds", "learning_rate"].includes(name) && !name.startsWith("val_"));
    document.getElementById("curves").replaceChildren(...names.map((name) => {
      const lines = [["train", name], ["validation", `val_${name}`]]
        .map(([what, key]) => ({ what, values: rows.map((row) => Number(row[key])) }))
        .filter(({ values }) => values.some(Number.isFinite));
      const live = this.live.map(({ at, logs }) => [at, Number(logs[name])]).filter(([, value]) => Number.isFinite(value));
      if (!lines.length && !live.length) return "";
      return element("section", { class: "curve" }, element("h2", {}, name), chart(name, rows.map((row) => row.epoch), lines, live));
    }));
  }

  async follow(state) {
    if (!state.labels || !this.model.classes.length) return;
    try {
      if (!this.images.length) await this.loadImages(state.labels.length);
    } catch (error) { this.failed(error); return; }
    const list = document.getElementById("followed"), names = this.model.classes;
    list.replaceChildren(...state.labels.map((label, n) => {
      const guesses = state.predicted.map((epoch) => epoch[n]);
      const last = guesses[guesses.length - 1];
      const before = guesses.slice(-4, -1).map((g) => names[g]).join(" → ");
      const verdict = last === undefined ? "not asked yet"
        : `${last === label ? "✓" : "✗"} ${names[last]} ${(100 * state.probability[n]).toFixed(0)} %`;
      return element("li", { class: last === undefined ? "" : last === label ? "right" : "wrong" },
        this.images[n] ?? "", element("span", {}, `is ${names[label]}`),
        element("span", { class: "help" }, before), element("strong", {}, verdict));
    }));
  }

  async loadImages(count) {
    const answer = await getArrays("/api/followed", {});
    const [n, rows, columns, channels] = answer.header.shape;
    const [low, high] = this.model.range ?? [0, 1];
    for (let k = 0; k < Math.min(n, count); k++) {
      const values = answer.take(Float32Array, rows * columns * channels);
      const canvas = element("canvas", { class: "pixels", "aria-hidden": "true" });
      if (rows > 1) paintPixels(canvas, values, rows, columns, channels, low, high);
      else paint(canvas, coded(values), rows, columns);
      this.images.push(canvas);
    }
  }

  async filters() {
    let answer;
    try { answer = await getArrays("/api/filters"); } catch (error) { this.failed(error); return; }
    const { layer, channels, count, shape } = answer.header, [shown, rows, columns] = shape;
    if (!shown) return;
    const all = answer.take(Float32Array, shown * rows * columns), scale = largest(all), size = rows * columns;
    document.getElementById("filters-of").textContent =
      `The ${count} kernels of ${layer}${channels > 1 ? `, each of ${channels} channels` : ""}; strongest weight ${show(scale)}.`;
    document.getElementById("filters").replaceChildren(...Array.from({ length: shown }, (_, n) => {
      const canvas = element("canvas", { class: rows === 1 ? "pixels strip" : "pixels", role: "img",
        "aria-label": `kernel ${Math.floor(n / channels)}${channels > 1 ? `, channel ${n % channels}` : ""}` });
      paint(canvas, coded(all.subarray(n * size, (n + 1) * size), scale), rows, columns);
      return canvas;
    }));
  }
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Lines over epochs: training solid, validation dashed, the best epoch marked; dots are of the epoch that goes on.
function chart(name, epochs, lines, live) {
  const [width, height, left, bottom] = [420, 200, 52, 24];
  const every = [...lines.flatMap(({ values }) => values).filter(Number.isFinite), ...live.map(([, value]) => value)];
  let [low, high] = [Math.min(...every), Math.max(...every)];
  if (low === high) { low -= 0.5; high += 0.5; }
  const times = [...epochs, ...live.map(([at]) => at)], first = times[0], last = Math.max(times[times.length - 1], first + 0.1);
  const x = (at) => left + ((at - first) / (last - first)) * (width - left - 12), y = (v) => 10 + ((high - v) / (high - low)) * (height - bottom - 16);
  const judged = (lines.find((line) => line.what === "validation") ?? lines[0])?.values ?? [];
  const better = name.includes("loss") || name.includes("error") ? Math.min : Math.max;
  const best = judged.indexOf(better(...judged.filter(Number.isFinite)));
  const newest = ({ what, values }) => `${what} ${show(values[values.length - 1])}`;
  const told = lines.length ? `${lines.map(newest).join(", ")}; best epoch ${epochs[best]}` : `now ${show(live[live.length - 1][1])}`;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} after ${epochs.length} epochs: ${told}` });
  for (const value of [low, (low + high) / 2, high]) {
    const label = svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" });
    label.textContent = String(Number(value.toPrecision(3)));
    picture.append(svg("line", { x1: left, x2: width - 12, y1: y(value), y2: y(value), class: "grid" }), label);
  }
  for (const n of new Set([0, epochs.length - 1].filter((n) => epochs[n] !== undefined))) {
    const label = svg("text", { x: x(epochs[n]), y: height - 6, "text-anchor": n ? "end" : "start" });
    label.textContent = n ? `epoch ${epochs[n]}` : `${epochs[n]}`;
    picture.append(label);
  }
  for (const { what, values } of lines) {
    const points = values.map((value, n) => (Number.isFinite(value) ? `${x(epochs[n])},${y(value)}` : null)).filter(Boolean);
    picture.append(svg("polyline", { points: points.join(" "), fill: "none", stroke: COLOURS[what], "stroke-width": 2.5,
      "stroke-dasharray": what === "validation" ? "6 4" : "none" }));
    const [cx, cy] = points[points.length - 1].split(",");
    picture.append(svg("circle", { cx, cy, r: 3.5, fill: COLOURS[what] }));
  }
  for (const [at, value] of live) picture.append(svg("circle", { cx: x(at), cy: y(value), r: 2, fill: COLOURS.train }));
  const legend = element("p", { class: "help" }, ...lines.flatMap((line) => [element("span", { class: `key ${line.what}` }), `${newest(line)} `]));
  if (best >= 0) {
    picture.append(svg("circle", { cx: x(epochs[best]), cy: y(judged[best]), r: 7, fill: "none", class: "best" }));
    legend.append(`○ best: epoch ${epochs[best]} `);
  }
  if (live.length) legend.append(`• this epoch ${show(live[live.length - 1][1])}`);
  return element("div", {}, picture, legend);
}
