// Curves over epochs: values where one points, a logarithmic axis, smoothing with the raw values behind.

import { element, show, svg } from "./picture.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [420, 220, 56, 12, 10, 24];

// An exponential mean without the pull of its first value.
export function smoothed(values, share) {
  let mean = 0, weight = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    mean = share * mean + (1 - share) * value;
    weight = share * weight + (1 - share);
    return mean / weight;
  });
}

// Places of marks on an axis, round numbers.
function ticks(low, high, isLog) {
  if (isLog) {
    const found = [];
    for (let power = Math.ceil(Math.log10(low)); power <= Math.floor(Math.log10(high)); power++) found.push(10 ** power);
    return found.length > 1 ? found : [low, high];
  }
  const rough = (high - low) / 4, unit = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 2.5, 5, 10].find((k) => k * unit >= rough) * unit, found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

export class Chart {
  constructor(name, settings) {
    this.name = name;
    this.settings = settings;
    this.says = element("p", { class: "reading", role: "status" });
    this.legend = element("p", { class: "quiet" });
    this.picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    this.holder = element("div", { class: "chart", tabindex: "0", role: "application", "aria-roledescription": "chart" }, this.picture);
    this.table = element("details", {}, element("summary", {}, "As a table"));
    this.table.addEventListener("toggle", () => this.fillTable());
    this.root = element("section", { class: "curve" }, element("h2", {}, name), this.holder, this.says, this.legend, this.table);
    this.holder.addEventListener("pointermove", (event) => {
      const box = this.picture.getBoundingClientRect();
      this.point(this.nearest(((event.clientX - box.left) / box.width) * WIDTH));
    });
    this.holder.addEventListener("pointerleave", () => this.point(null));
    this.holder.addEventListener("blur", () => this.point(null));
    this.holder.addEventListener("keydown", (event) => {
      const last = (this.epochs?.length ?? 0) - 1, at = this.at ?? last;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.point(Math.max(0, Math.min(last, to)));
    });
  }

  // `lines`: { what, label, values, run }, one value an epoch; `run` is a number where there are several; `live`: [at, value] within the epoch that goes on.
  // `isMoreBetter`: true, false, or null if that is not known; then no epoch is the best.
  update(epochs, lines, live, isMoreBetter) {
    Object.assign(this, { epochs, lines, live, isMoreBetter });
    this.draw();
    if (this.table.open) this.fillTable();
  }

  draw() {
    const { epochs, lines, live, settings, name } = this;
    const all = [...lines.flatMap(({ values }) => values), ...live.map(([, value]) => value)].filter(Number.isFinite);
    // Zero and negative numbers have no place on a logarithmic axis.
    const isLog = settings.log && all.length > 0 && all.every((value) => value > 0);
    let [low, high] = [Math.min(...all), Math.max(...all)];
    if (low === high) [low, high] = isLog ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const scale = isLog ? Math.log10 : (v) => v, times = [...epochs, ...live.map(([at]) => at)], first = times[0] ?? 0, last = Math.max(times[times.length - 1] ?? 1, first + 0.1);
    this.x = (at) => LEFT + ((at - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
    this.y = (v) => TOP + ((scale(high) - scale(v)) / (scale(high) - scale(low))) * (HEIGHT - BOTTOM - TOP);
    const { x, y } = this, text = (at, what, anchor) => { const made = svg("text", { x: at[0], y: at[1], "text-anchor": anchor }); made.textContent = what; return made; };
    const parts = ticks(low, high, isLog).flatMap((value) => [svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "grid" }), text([LEFT - 6, y(value) + 4], String(Number(value.toPrecision(3))), "end")]);
    for (const n of new Set([0, epochs.length - 1].filter((k) => epochs[k] !== undefined))) parts.push(text([x(epochs[n]), HEIGHT - 6], n ? `epoch ${epochs[n]}` : `${epochs[n]}`, n ? "end" : "start"));
    const path = (values) => values.map((value, n) => (Number.isFinite(value) ? `${x(epochs[n])},${y(value)}` : null)).filter(Boolean).join(" ");
    const isSeveral = lines.some(({ run }) => run !== undefined), numbered = new Set();
    for (const { what, values, run } of lines) {
      const kind = `line ${what}${isSeveral ? ` run-${run % 6}` : ""}`, drawn = settings.smooth ? smoothed(values, settings.smooth) : values, end = drawn.findLastIndex(Number.isFinite);
      if (settings.smooth) parts.push(svg("polyline", { points: path(values), class: `${kind} raw` }));
      parts.push(svg("polyline", { points: path(drawn), class: kind }));
      // A line of one epoch is a point.
      if (values.filter(Number.isFinite).length === 1) parts.push(svg("circle", { cx: x(epochs[end]), cy: y(drawn[end]), r: 2.5, class: `${kind} point` }));
      if (isSeveral && !numbered.has(run)) parts.push(text([x(epochs[end]) + 2, y(drawn[end]) + 4], String(run + 1), "start"));
      numbered.add(run);
    }
    for (const [at, value] of live) parts.push(svg("circle", { cx: x(at), cy: y(value), r: 2, class: "dot-live" }));
    // Which epoch is the best, by the validation where there is one.
    const isMore = this.isMoreBetter, judged = lines.some(({ what }) => what === "validation") ? lines.filter(({ what }) => what === "validation") : lines.slice(0, isSeveral ? undefined : 1);
    const found = isMore === null ? [] : judged.flatMap(({ values, label, run }) => values.map((value, n) => ({ value, n, label, run })).filter(({ value }) => Number.isFinite(value)));
    const best = found.reduce((a, b) => (a && (isMore ? a.value >= b.value : a.value <= b.value) ? a : b), null);
    if (best) parts.push(svg("circle", { cx: x(epochs[best.n]), cy: y(best.value), r: 6, class: "best" }));
    this.cursor = svg("g", { class: "cursor" });
    this.picture.replaceChildren(...parts, this.cursor);
    const newest = ({ label, values }) => `${label} ${show(values.findLast(Number.isFinite))}`, says = best ? `best: ${isSeveral ? `${best.label}, ` : ""}epoch ${epochs[best.n]}` : "";
    this.legend.replaceChildren(...(isSeveral ? [] : lines.flatMap((line) => [element("span", { class: `key ${line.what}` }), `${newest(line)} `])), best ? `○ ${says} (${show(best.value)})` : "",
      live.length ? ` • this epoch ${show(live[live.length - 1][1])}` : "", settings.log && !isLog && all.length ? " Some are not above 0: no logarithmic axis." : "");
    this.holder.setAttribute("aria-label", `${name} after ${epochs.length} epochs: ${lines.map(newest).join(", ")}${best ? `; ${says}` : ""}. Arrow keys read values`);
    this.point(this.at !== null && this.at < epochs.length ? this.at : null);
  }

  nearest(px) {
    let best = null;
    this.epochs?.forEach((epoch, n) => { if (best === null || Math.abs(this.x(epoch) - px) < Math.abs(this.x(this.epochs[best]) - px)) best = n; });
    return best;
  }

  point(n) {
    this.at = n;
    this.cursor?.replaceChildren();
    if (n === null || !this.epochs?.length) { this.says.textContent = ""; return; }
    const at = this.x(this.epochs[n]);
    this.cursor.append(svg("line", { x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }),
      ...this.lines.filter(({ values }) => Number.isFinite(values[n])).map(({ values }) => svg("circle", { cx: at, cy: this.y(values[n]), r: 3.5 })));
    this.says.textContent = `epoch ${this.epochs[n]}: ${this.lines.filter(({ values }) => Number.isFinite(values[n])).map(({ label, what, values, run }, k, all) => `${k && run === all[k - 1].run ? what : label} ${show(values[n])}`).join(", ")}`;
  }

  fillTable() {
    this.table.querySelector(".scroll")?.remove();
    if (!this.table.open) return;
    const head = element("tr", {}, ...["epoch", ...this.lines.map(({ label }) => label)].map((text) => element("th", { scope: "col" }, text)));
    this.table.append(element("div", { class: "scroll tall", tabindex: "0", role: "group", "aria-label": `${this.name} as a table` }, element("table", {}, element("thead", {}, head), element("tbody", {},
      ...this.epochs.map((epoch, n) => element("tr", {}, element("th", { scope: "row" }, String(epoch)), ...this.lines.map(({ values }) => element("td", {}, Number.isFinite(values[n]) ? show(values[n]) : ""))))))));
  }
}
