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
      <button type="button" id="one" title="The next batch, or the few that are done in one go">Next batch</button>
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
  if (!page.model.is_training) for (const part of root.querySelectorAll("section")) part.hidden = true;
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
    // Runs to compare with; those that are not shown; when they were asked for.
    this.others = [];
    this.hidden = new Set();
    this.asked = -Infinity;
    this.learned = new Learned(model, failed);
    document.getElementById("curves").after(...this.learned.parts);
    this.apart = element("input", { type: "checkbox", onchange: () => this.curves() });
    this.apartLabel = element("label", { hidden: true }, this.apart, " Each fit from epoch 1");
    this.which = element("select", { onchange: () => this.curves() }, ...["both", "train", "validation"].map((text) => element("option", {}, text)));
    this.whichLabel = element("label", { hidden: true }, "Curves ", this.which);
    this.runs = element("div", { class: "row runs", role: "group", "aria-label": "Runs" });
    const log = element("input", { type: "checkbox", onchange: () => { this.settings.log = log.checked; this.redraw(); } });
    const smooth = element("input", { type: "range", min: "0", max: "0.95", step: "0.05", value: "0", oninput: () => { this.settings.smooth = Number(smooth.value); this.redraw(); } });
    document.querySelector(".curve-tools").append(element("label", {}, log, " Logarithmic axis"), element("label", {}, "Smoothing ", smooth), element("span", { class: "quiet" }, "The raw curve stays behind a smoothed one."), this.whichLabel, this.apartLabel);
    document.querySelector(".curve-tools").after(this.runs);
    this.pause = document.getElementById("pause");
    this.stop = document.getElementById("stop");
    document.getElementById("control").hidden = !model.may_control;
    this.pause.addEventListener("click", () => this.act(this.state?.wants_pause ? "resume" : "pause"));
    this.one = document.getElementById("one");
    this.one.addEventListener("click", () => this.act("step"));
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
        if (this.model.runs && performance.now() - this.asked > 4500) {
          const told = await getJson("/api/runs");
          this.others = told.runs;
          this.better = told.more_is_better;
          this.asked = performance.now();
          this.curves();
        }
        if (this.model.is_training) this.show(await getJson("/api/training", { since: this.rows.length }));
        if (this.isLost) this.failed(null);
        this.isLost = false;
        if (!this.state || ["finished", "stopped"].includes(this.state.status)) wait = 5000;
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
    this.one.disabled = status !== "paused";
    this.pause.disabled = this.stop.disabled = ["finished", "stopped"].includes(status);
    if (this.seen === before) return;
    this.live = this.live.filter(({ at }) => at > rows.length);
    const at = now.epoch - 1 + part;
    if (now.logs && part && at > (this.live[this.live.length - 1]?.at ?? rows.length)) this.live.push({ at, logs: now.logs });
    this.curves();
    if (rows.length !== this.learnedOf) { this.learnedOf = rows.length; this.learned.ask(); }
    this.follow(state);
    this.filters();
    this.changed(state);
  }

  // What is drawn: this training, perhaps each fit by itself, and what it is compared with.
  allRuns() {
    const { rows, state } = this, fits = state?.fits ?? [], isApart = this.apart.checked && fits.length > 1;
    this.apartLabel.hidden = fits.length < 2;
    const own = (isApart ? fits : this.model.is_training ? [0] : []).map((from, n) => {
      const part = isApart ? rows.slice(from, fits[n + 1]) : rows;
      return { name: isApart ? `fit ${n + 1}` : "this training", isOwn: n === fits.length - 1 || !isApart, epochs: part.map(({ epoch }) => epoch - (isApart ? from : 0)),
        values: Object.fromEntries(Object.keys(part[0] ?? {}).map((key) => [key, part.map((row) => row[key])])), from: isApart ? from : 0 };
    });
    return [...own, ...this.others];
  }

  curves() {
    const all = this.allRuns(), isSeveral = all.length > 1, which = isSeveral ? this.which.value : "both";
    this.whichLabel.hidden = !isSeveral;
    this.legend(isSeveral ? all : []);
    const shown = all.map((run, n) => ({ ...run, run: isSeveral ? n : undefined })).filter(({ name }) => !isSeveral || !this.hidden.has(name));
    const known = [...new Set([...all.flatMap(({ values }) => Object.keys(values)), ...Object.keys(this.live[0]?.logs ?? {})])];
    const names = known.filter((name) => !["epoch", "seconds", "learning_rate"].includes(name) && !name.startsWith("val_"));
    const epochs = [...new Set(shown.flatMap((run) => run.epochs))].sort((a, b) => a - b), place = new Map(epochs.map((epoch, n) => [epoch, n]));
    for (const name of names) {
      const lines = shown.flatMap((run) => [["train", name], ["validation", `val_${name}`]].filter(([what, key]) => run.values[key] && [what, "both"].includes(which)).map(([what, key]) => {
        const values = epochs.map(() => NaN);
        run.values[key].forEach((value, n) => { values[place.get(run.epochs[n])] = Number(value); });
        return { what, values, run: run.run, label: isSeveral ? `${run.name} ${what}` : what };
      })).filter(({ values }) => values.some(Number.isFinite));
      const own = shown.find(({ isOwn }) => isOwn), live = (own && which !== "validation" ? this.live : []).map(({ at, logs }) => [at - own.from, Number(logs[name])]).filter(([, value]) => Number.isFinite(value));
      if (!this.charts.has(name)) {
        if (!lines.length && !live.length) continue;
        this.charts.set(name, new Chart(name, this.settings));
        document.getElementById("curves").append(this.charts.get(name).root);
      }
      this.charts.get(name).update(epochs, lines, live, this.state?.more_is_better[name] ?? this.better?.[name] ?? null);
    }
  }

  // Which colour and number is which run; a tick shows it.
  legend(all) {
    const text = all.map(({ name }) => name).join("\n");
    if (text === this.named) return;
    this.named = text;
    this.runs.replaceChildren(...all.map(({ name }, n) => {
      const tick = element("input", { type: "checkbox", onchange: () => { this.hidden[tick.checked ? "delete" : "add"](name); this.curves(); } });
      tick.checked = !this.hidden.has(name);
      return element("label", {}, tick, element("span", { class: `key run-${n % 6}` }), `${n + 1} ${name}`);
    }), ...(all.length ? [element("span", { class: "quiet" }, "Validation is dashed; the number at a curve’s end is its run’s.")] : []));
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
