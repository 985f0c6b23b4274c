// What training does to the weights: histograms over epochs, changes, dead units; who is taken for whom, and flips.

import { getArrays, getJson, latest } from "./api.js";
import { coded, colour, element, onColour, show, svg, thumbnail } from "./picture.js";

const [WIDTH, ROW, TALL] = [340, 9, 44];

export class Learned {
  constructor(model, failed) {
    this.model = model;
    this.rows = [];
    this.matrices = [];
    this.ask = latest(() => this.load(), failed);
    this.which = element("select", { onchange: () => this.histograms() });
    this.ridges = element("div", { class: "ridges" });
    this.dead = element("p");
    this.epoch = element("input", { type: "range", min: "0", max: "0", value: "0", oninput: () => { this.isPinned = this.epoch.value !== this.epoch.max; this.matrix(); } });
    this.at = element("output");
    this.counts = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Confusion matrix" });
    this.flips = element("ul", { class: "flips" });
    this.flipped = element("p", { class: "quiet" });
    this.weights = element("section", { hidden: true }, element("h2", {}, "Weights and gradients"),
      element("p", { class: "quiet" }, "Their histograms, the newest epoch in front. Gradients are means over the first test images, with dropout off. Where epochs take less time than this, some are left out."),
      element("div", { class: "row" }, element("label", {}, "Layer ", this.which)), this.ridges, this.dead);
    this.confusion = element("section", { hidden: true }, element("h2", {}, "Who is taken for whom"), element("div", { class: "row" }, element("label", {}, "Epoch ", this.epoch), this.at), this.counts);
    this.changed = element("section", { hidden: true }, element("h2", {}, "Answers that flipped"), this.flipped, this.flips);
    this.parts = [this.weights, this.confusion, this.changed];
  }

  async load() {
    const since = Math.max(this.rows[this.rows.length - 1]?.epoch ?? 0, this.matrices[this.matrices.length - 1]?.epoch ?? 0);
    const told = await getJson("/api/histograms", { since });
    this.rows = [...this.rows, ...told.rows.filter(({ epoch }) => epoch > (this.rows[this.rows.length - 1]?.epoch ?? 0))].slice(-50);
    this.matrices = [...this.matrices, ...told.matrices.filter(({ epoch }) => epoch > (this.matrices[this.matrices.length - 1]?.epoch ?? 0))].slice(-50);
    const names = this.rows[this.rows.length - 1]?.weights.map(({ name }) => name) ?? [];
    this.weights.hidden = !names.length;
    if (names.length !== this.which.options.length) this.which.replaceChildren(...names.map((name, n) => element("option", { value: String(n) }, name)));
    this.histograms();
    this.confusion.hidden = !this.matrices.length;
    this.epoch.max = String(Math.max(0, this.matrices.length - 1));
    if (!this.isPinned) this.epoch.value = this.epoch.max;
    this.matrix();
    await this.showFlips(told);
  }

  histograms() {
    const n = Number(this.which.value) || 0, rows = this.rows.filter(({ weights }) => weights[n]), last = rows[rows.length - 1];
    if (!last) return;
    const changes = rows.map(({ weights }) => weights[n].change).filter((value) => value !== null);
    this.ridges.replaceChildren(ridge("weights", rows, (row) => row.weights[n].values), ...(last.weights[n].gradients ? [ridge("gradients", rows, (row) => row.weights[n].gradients)] : []),
      ...(changes.length ? [element("p", {}, `Since epoch ${last.since} it changed by ${show(100 * Number(changes[changes.length - 1]))} % of its length.`)] : []));
    const dead = Object.entries(last.dead);
    this.dead.textContent = dead.length ? `ReLU units that are 0 for all of the first test images: ${dead.map(([name, share]) => `${name} ${Math.round(100 * share)} %`).join(", ")}.` : "";
  }

  matrix() {
    const chosen = this.matrices[Number(this.epoch.value)], names = this.model.classes;
    if (!chosen) return;
    this.at.textContent = String(chosen.epoch);
    const sums = chosen.counts.map((row) => row.reduce((a, b) => a + b, 0)), right = chosen.counts.reduce((sum, row, n) => sum + row[n], 0), all = sums.reduce((a, b) => a + b, 0);
    const cell = (count, r, c) => {
      const made = element("td", { class: r === c ? "diagonal" : "" }, count ? String(count) : ""), [code] = coded([count], sums[r] || 1);
      made.style.backgroundColor = colour(code);
      made.style.color = onColour(code);
      return made;
    };
    this.counts.replaceChildren(element("table", { class: "confusion" }, element("caption", {}, `${right} of ${all} right. Rows: what it is; columns: what it is taken for; the diagonal is right.`),
      element("thead", {}, element("tr", {}, element("td"), ...names.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...chosen.counts.map((row, r) => element("tr", {}, element("th", { scope: "row" }, names[r]), ...row.map((count, c) => cell(count, r, c)))))));
  }

  async showFlips({ flips, flipped, judged, labels }) {
    this.changed.hidden = !judged || this.model.classes.length === 0;
    this.flipped.textContent = flipped ? `${flipped} of ${judged} answers changed since the epoch before${flips.length < flipped ? `; the first ${flips.length}` : ""}:` : "None in the last epoch.";
    if (!flips.length) { this.flips.replaceChildren(); return; }
    const answer = await getArrays("/api/followed", { numbers: flips.map(({ number }) => number).join(",") });
    const [, rows, columns, channels] = answer.header.shape, range = this.model.range ?? [0, 1], names = this.model.classes;
    this.flips.replaceChildren(...flips.map(({ before, now }, n) => {
      const canvas = thumbnail(answer.take(Float32Array, rows * columns * channels), [rows, columns, channels], range);
      const label = labels?.[n], mark = label === undefined ? "" : now === label ? " ✓" : before === label ? " ✗" : " ✗ still";
      return element("li", {}, canvas, element("span", {}, `${names[before]} → ${names[now]}${mark}`), ...(label === undefined ? [] : [element("span", { class: "quiet" }, `is ${names[label]}`)]));
    }));
  }
}

// Histograms behind each other, the newest in front; all on one axis.
function ridge(name, rows, of) {
  const all = rows.map(of).filter(Boolean), low = Math.min(...all.map((one) => one.low)), high = Math.max(...all.map((one) => one.high)), wide = high - low || 1;
  const most = Math.max(...all.map(({ counts, low, high }) => Math.max(...counts) / (high - low || 1)));
  const height = TALL + ROW * (rows.length - 1) + 22, picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img" });
  const x = (value) => 6 + ((value - low) / wide) * (WIDTH - 12);
  rows.forEach((row, k) => {
    const one = of(row), base = TALL + ROW * k;
    if (!one) return;
    const step = (one.high - one.low || 1) / one.counts.length, points = one.counts.map((count, b) => `${x(one.low + (b + 0.5) * step)},${base - (count / (one.high - one.low || 1) / most) * TALL}`);
    const path = svg("polygon", { points: `${x(one.low)},${base} ${points.join(" ")} ${x(one.high)},${base}`, class: k === rows.length - 1 ? "ridge newest" : "ridge" });
    const title = svg("title");
    title.textContent = `epoch ${row.epoch}: ${show(one.low)} to ${show(one.high)}${one.not_finite ? `, ${one.not_finite} are no numbers` : ""}`;
    path.append(title);
    picture.append(path);
  });
  const mark = (value, anchor) => { const made = svg("text", { x: x(value), y: height - 6, "text-anchor": anchor }); made.textContent = show(value); return made; };
  if (low < 0 && high > 0) picture.append(svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height - 20, class: "zero" }));
  picture.append(mark(low, "start"), mark(high, "end"));
  const last = all[all.length - 1];
  picture.setAttribute("aria-label", `${name} over ${rows.length} epochs; in the last from ${show(last.low)} to ${show(last.high)}`);
  return element("figure", {}, element("figcaption", {}, name), picture);
}
