// A training: its curves, its filters, and what becomes of a few test images.

import { getArrays, getJson } from "./api.js";
import { Chart } from "./charts.js";
import { Learned } from "./learned.js";
import { coded, element, largest, paint, show, thumbnail } from "./picture.js";

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
  <div class="row curve-tools"></div>
  <div id="curves"></div>
  <section aria-labelledby="followed-title">
    <h2 id="followed-title">Test images</h2>
    <p class="help">What the network took each for in the last epochs; the newest is below.</p>
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
    this.rows = [];
    this.charts = new Map();
    this.settings = { log: false, smooth: 0 };
    this.learned = new Learned(model, failed);
    document.getElementById("curves").after(...this.learned.parts);
    const log = element("input", { type: "checkbox", onchange: () => { this.settings.log = log.checked; this.redraw(); } });
    const smooth = element("input", { type: "range", min: "0", max: "0.95", step: "0.05", value: "0", oninput: () => { this.settings.smooth = Number(smooth.value); this.redraw(); } });
    document.querySelector(".curve-tools").append(element("label", {}, log, " Logarithmic axis"), element("label", {}, "Smoothing ", smooth), element("span", { class: "quiet" }, "The raw curve stays behind a smoothed one."));
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
        this.show(await getJson("/api/training", { since: this.rows.length }));
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
    // Only the epochs that are new are told.
    this.rows = [...this.rows.slice(0, state.since), ...state.rows];
    this.seen = JSON.stringify([this.rows.length, state.now, state.status]);
    const { status, now, epochs } = state, { rows } = this;
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
    if (rows.length !== this.learnedOf) { this.learnedOf = rows.length; this.learned.ask(); }
    this.follow(state);
    this.filters();
    this.changed(state);
  }

  curves(rows) {
    const known = Object.keys(rows[0] ?? this.live[0]?.logs ?? {});
    const names = known.filter((name) => !["epoch", "seconds", "learning_rate"].includes(name) && !name.startsWith("val_"));
    for (const name of names) {
      const lines = [["train", name], ["validation", `val_${name}`]]
        .map(([what, key]) => ({ what, values: rows.map((row) => Number(row[key])) }))
        .filter(({ values }) => values.some(Number.isFinite));
      const live = this.live.map(({ at, logs }) => [at, Number(logs[name])]).filter(([, value]) => Number.isFinite(value));
      if (!lines.length && !live.length) continue;
      if (!this.charts.has(name)) {
        this.charts.set(name, new Chart(name, this.settings));
        document.getElementById("curves").append(this.charts.get(name).root);
      }
      this.charts.get(name).update(rows.map((row) => row.epoch), lines, live, this.state.more_is_better[name] ?? null);
    }
  }

  redraw() { for (const chart of this.charts.values()) if (chart.epochs) chart.draw(); }

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
        : `${last === label ? "✓" : "✗"} ${names[last]}${state.probability ? ` ${(100 * state.probability[n]).toFixed(0)} %` : ""}`;
      return element("li", { class: last === undefined ? "" : last === label ? "right" : "wrong" },
        this.images[n] ?? "", element("span", {}, `is ${names[label]}`),
        element("span", { class: "help" }, before), element("strong", {}, verdict));
    }));
  }

  async loadImages(count) {
    const answer = await getArrays("/api/followed", {});
    const [n, rows, columns, channels] = answer.header.shape;
    for (let k = 0; k < Math.min(n, count); k++) this.images.push(thumbnail(answer.take(Float32Array, rows * columns * channels), [rows, columns, channels], this.model.range ?? [0, 1]));
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
