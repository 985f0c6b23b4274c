// The panel that stays in view: one number of a map, and how it was made.

import { getJson } from "./api.js";
import { drawGrids } from "./grids.js";
import { drawPixels } from "./pixels.js";
import { cellAt, coded, colourBar, element, frame, largest, paint, show, stepped } from "./picture.js";
import { drawLogits, drawProducts, drawSum, fillKernel, fillSources } from "./sums.js";
import { sentence } from "./words.js";

const MAP = 148;

export class Inspector {
  constructor(page, root) {
    this.page = page;
    this.root = root;
    this.model = page.model;
    this.tabs = [];
    this.channelOf = null;
    this.build();
    this.askMap = page.latest(() => this.loadMap());
    this.askPlace = page.latest((at) => this.loadPlace(at));
    page.on("state", (state, changed) => {
      if (changed.has("layer") || changed.has("map")) { this.stop(); this.channelOf = null; this.open(); } else if (changed.has("place") || changed.has("edits")) this.refresh();
    });
    // While somebody draws, the maps come first.
    page.on("input", () => { clearTimeout(this.resting); this.root.classList.add("stale"); });
    page.on("run", () => {
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.refresh(), page.since === undefined && !this.found ? 0 : 100);
    });
    page.on("scheme", () => { this.drawMap(); this.fill(); });
    this.tab("number", "Number", (panel) => this.fillNumber(panel));
    this.tab("kernel", "Kernel", (panel) => fillKernel(this, panel));
    this.tab("sources", "Sources", (panel) => fillSources(this, panel));
    this.open();
  }

  get layer() { return Number.isInteger(this.page.state.layer) ? this.model.layers[this.page.state.layer] ?? null : null; }

  // Where the panel is what the view is about; in others it would cover it.
  get isFirst() { return this.page.state.view === "overview"; }

  get isVector() { return (this.layer?.shape.length ?? 0) < 2; }

  // ---- building

  build() {
    this.title = element("h2", { id: "inspector-title", tabindex: "-1" });
    this.about = element("p", { class: "quiet about" });
    this.number = element("input", { type: "number", min: "0", id: "inspected-map" });
    this.number.addEventListener("change", () => {
      const map = Math.max(0, Math.min(Number(this.number.max), Math.round(Number(this.number.value)) || 0));
      this.number.value = map;
      this.page.set({ map, place: this.page.state.place });
    });
    this.of = element("span");
    this.depth = element("input", { type: "number", min: "0", id: "inspected-depth", value: "0" });
    this.depth.addEventListener("change", () => { this.drawMap(); if (this.at) this.move(this.at, true); });
    this.depthLabel = element("label", { for: "inspected-depth" }, "Depth ", this.depth);
    this.play = element("button", { type: "button", onclick: () => this.toggle() }, "Slide");
    this.close = element("button", { type: "button", class: "push", onclick: () => { this.page.graph.focusChosen(); this.page.set({ layer: null, map: null, place: null }); } }, "Close");
    this.canvas = element("canvas", { class: "pixels", "aria-hidden": "true" });
    this.holder = element("div", { class: "holder", tabindex: "0", role: "application", "aria-roledescription": "map of values", "aria-describedby": "place" }, this.canvas);
    this.bar = element("div", { class: "bar-of-map" });
    this.mapPart = element("div", { class: "map-part" }, this.holder, this.bar);
    this.result = element("p", { class: "result", id: "result" });
    this.place = element("p", { class: "quiet", id: "place" });
    this.check = element("p", { class: "check" });
    this.top = element("div", { class: "top" }, this.mapPart, element("div", { class: "result-part" }, this.result, this.place, this.check, element("div", { class: "row" }, this.play)));
    this.tabList = element("div", { class: "tabs", role: "tablist", "aria-label": "What is shown of the number" });
    this.panel = element("div", { class: "panel", role: "tabpanel", id: "inspector-panel", tabindex: "0" });
    this.empty = element("p", { class: "quiet" }, "Choose a map to see how each of its numbers is made.");
    this.body = element("div", { class: "inspector-body" },
      element("div", { class: "row" }, element("label", { for: "inspected-map" }, element("span", { class: "what" }, "Map "), this.number), this.of, this.depthLabel, this.close),
      this.about, this.top, this.tabList, this.panel);
    this.handle();
    this.brief = element("span", { class: "brief", "aria-hidden": "true" });
    this.root.append(this.grip, element("div", { class: "inspector-head" }, this.title, this.brief), this.empty, this.pixels = element("div", { hidden: true }), this.body);
    this.tabList.addEventListener("keydown", (event) => {
      const all = this.tabs.filter((tab) => !tab.button.hidden), at = all.findIndex((tab) => tab.button === document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      const next = all[(to + all.length) % all.length];
      this.turn(next.name);
      next.button.focus();
    });
    this.listen();
  }

  // On small screens it is a sheet at the bottom, of three heights.
  handle() {
    const sizes = ["peek", "half", "full"];
    const size = (to) => {
      document.body.dataset.sheet = to;
      this.larger.disabled = to === "full";
      this.smaller.disabled = to === "peek";
      // So low it does not scroll; its head is what is seen.
      if (to === "peek") this.root.scrollTop = 0;
    };
    const by = (step) => size(sizes[Math.max(0, Math.min(2, sizes.indexOf(document.body.dataset.sheet) + step))]);
    this.larger = element("button", { type: "button", "aria-label": "Make the panel higher", onclick: () => by(1) }, "▲");
    this.smaller = element("button", { type: "button", "aria-label": "Make the panel lower", onclick: () => by(-1) }, "▼");
    const bar = element("span", { class: "grip-bar", "aria-hidden": "true" });
    this.grip = element("div", { class: "grip" }, bar, this.larger, this.smaller);
    let from = null;
    bar.addEventListener("pointerdown", (event) => { from = event.clientY; bar.setPointerCapture(event.pointerId); });
    bar.addEventListener("pointerup", (event) => {
      if (from !== null && Math.abs(event.clientY - from) > 20) by(event.clientY < from ? 1 : -1);
      else if (from !== null) size(document.body.dataset.sheet === "half" ? "peek" : "half");
      from = null;
    });
    // A link to a map opens it.
    size(this.page.state.layer !== null && this.isFirst ? "half" : "peek");
    this.size = size;
  }

  // ---- tabs

  tab(name, title, render) {
    const button = element("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "inspector-panel", "aria-selected": "false", tabindex: "-1", onclick: () => this.turn(name) }, title);
    this.tabs.push({ name, button, render });
    this.tabList.append(button);
    if (!this.turned) this.turn(name);
  }

  turn(name) {
    this.turned = name;
    for (const tab of this.tabs) {
      tab.button.setAttribute("aria-selected", String(tab.name === name));
      tab.button.tabIndex = tab.name === name ? 0 : -1;
    }
    this.panel.setAttribute("aria-labelledby", `tab-${name}`);
    this.panel.replaceChildren();
    this.fill();
  }

  fill() {
    if (!this.layer || !this.found) return;
    this.tabs.find((tab) => tab.name === this.turned)?.render(this.panel, this.page);
  }

  // ---- which number

  open() {
    const { layer } = this, { state } = this.page;
    Object.assign(this, { map: null, at: null, found: null, links: null, pinned: null });
    this.panel.replaceChildren();
    this.body.hidden = !layer;
    this.empty.hidden = !!layer;
    this.pixels.hidden = state.layer !== "input";
    if (!layer) {
      this.brief.textContent = "";
      this.root.classList.remove("stale");
      this.showPixels();
      this.title.textContent = state.layer === "input" ? "input" : "Inspector";
      this.page.input.mark("field", null);
      this.page.fire("links", null);
      this.empty.textContent = state.layer === "input" ? "Each square of the input is a number; the network sees only these." : "Choose a map to see how each of its numbers is made.";
      return;
    }
    // Not at first, when nobody has chosen anything.
    if (document.body.dataset.sheet === "peek" && this.page.run && this.isFirst) this.size("half");
    const all = layer.shape[layer.shape.length - 1] ?? 1;
    this.title.replaceChildren(layer.name, " ", element("span", { class: "kind" }, layer.kind));
    this.about.textContent = [sentence(layer.kind), ...layer.sizes.map((size) => `Size ${typeset(size)}.`), layer.parameters ? `Weights ${typeset(layer.parameters)}.` : ""].filter(Boolean).join(" ");
    this.body.querySelector(".what").textContent = this.isVector ? "Unit " : "Map ";
    this.number.max = all - 1;
    this.number.value = state.map ?? 0;
    this.of.textContent = `of ${all.toLocaleString("en")}`;
    this.mapPart.hidden = this.isVector;
    this.play.hidden = this.isVector;
    this.depthLabel.hidden = layer.shape.length < 4;
    this.result.textContent = "…";
    this.brief.textContent = "";
    this.place.textContent = this.check.textContent = "";
    this.refresh();
  }

  refresh() {
    if (this.layer && this.page.run) this.askMap();
    else if (!this.layer) { this.root.classList.remove("stale"); this.showPixels(); }
  }

  showPixels() {
    if (this.page.state.layer === "input") drawPixels(this, this.pixels);
  }

  async loadMap() {
    const { layer, page } = this, { map } = page.state;
    if (!layer) return;
    if (this.isVector) { await this.loadPlace([]); return; }
    const answer = await page.ask("/api/map", { layer: page.state.layer, channel: map });
    if (layer !== this.layer || map !== page.state.map) return;
    const shape = answer.header.shape;
    const values = answer.take(Float32Array, shape.reduce((a, b) => a * b, 1));
    this.deep = shape.length > 2 ? shape[0] : 1;
    [this.high, this.wide] = shape.length > 1 ? shape.slice(-2) : [1, shape[0]];
    this.spatial = shape.length;
    const isFirst = !this.map;
    this.map = values;
    const asked = page.state.place;
    if (isFirst) {
      this.depth.max = this.deep - 1;
      this.depth.value = this.depthLabel.hidden ? 0 : asked?.length === 3 ? asked[0] : Math.floor(this.deep / 2);
    }
    this.drawMap();
    if (asked?.length === this.spatial) this.at = this.spatial === 1 ? [0, asked[0]] : asked.slice(-2);
    if (!this.at || this.at[0] >= this.high || this.at[1] >= this.wide) {
      // Where there is most to see.
      const plane = this.plane();
      let best = 0;
      plane.forEach((value, n) => { if (Math.abs(value) > Math.abs(plane[best])) best = n; });
      this.at = [Math.floor(best / this.wide), best % this.wide];
    }
    this.pinned ??= this.at;
    await this.loadPlace(this.at);
  }

  plane() {
    const size = this.high * this.wide, start = Math.min(this.deep - 1, Number(this.depth.value) || 0) * size;
    return this.map.subarray(start, start + size);
  }

  drawMap() {
    if (!this.map || !this.layer) return;
    const cell = Math.max(1, Math.floor(MAP / Math.max(this.high, this.wide)));
    paint(this.canvas, coded(this.plane(), largest(this.map)), this.high, this.wide, cell);
    this.holder.style.width = `${Math.min(this.wide * Math.max(cell, MAP / Math.max(this.high, this.wide)), 340)}px`;
    this.holder.style.aspectRatio = `${this.wide} / ${Math.max(this.high, this.wide / 12)}`;
    this.holder.setAttribute("aria-label", `Map ${this.page.state.map} of ${this.layer.name}: ${this.high} by ${this.wide}. Arrow keys move`);
    this.bar.replaceChildren(colourBar(largest(this.map)));
  }

  listen() {
    const pixel = (event) => cellAt(this.holder, event, this.high, this.wide);
    this.holder.addEventListener("pointermove", (event) => { if (this.map && !this.timer && event.pointerType === "mouse") this.move(pixel(event)); });
    this.holder.addEventListener("pointerdown", (event) => {
      if (!this.map) return;
      this.stop();
      this.move(pixel(event), true);
    });
    this.holder.addEventListener("pointerleave", () => { if (this.map && !this.timer && this.pinned) this.move(this.pinned); });
    this.holder.addEventListener("keydown", (event) => {
      const next = this.map && stepped(event, this.at, this.high, this.wide);
      if (!next) return;
      this.stop();
      this.move(next, true);
    });
  }

  positionAt(at) {
    if (this.isVector) return [];
    return this.spatial === 1 ? [at[1]] : this.spatial === 2 ? at : [Number(this.depth.value) || 0, ...at];
  }

  move(at, isPinned = false) {
    if (!isPinned && this.at?.[0] === at[0] && this.at[1] === at[1]) return;
    this.at = at;
    if (isPinned) {
      this.pinned = at;
      this.page.set({ place: this.positionAt(at) });
    }
    this.askPlace(at);
  }

  toggle() {
    if (this.timer) { this.stop(); return; }
    this.play.textContent = "Hold";
    const on = async () => {
      const next = this.at[0] * this.wide + this.at[1] + 1;
      this.at = this.pinned = [Math.floor(next / this.wide) % this.high, next % this.wide];
      try { await this.loadPlace(this.at); } catch (error) { this.page.fail(error); this.stop(); return; }
      if (this.timer) this.timer = setTimeout(on, 250);
    };
    this.timer = setTimeout(on, 0);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.play.textContent = "Slide";
  }

  // ---- how it was made

  async loadPlace(at) {
    const { layer, page } = this, { map } = page.state, position = this.positionAt(at), number = page.state.layer;
    if (!layer) return;
    // Links begin at the first layer of a column: those after it only change the number.
    const head = page.graph?.byLayer.get(number), first = head && !head.isFolded && head.layers.includes(number) ? head.layers[0] : number;
    const asked = { channel: map, position: position.join(",") };
    const [found, before] = await Promise.all([
      page.ask("/api/window", { layer: number, ...asked }), first === number ? null : page.ask("/api/links", { layer: first, ...asked }),
    ]);
    const links = found.links ?? { layer: number, map, position, sources: [], refused: found.refused }, drawn = before ?? links;
    if (layer !== this.layer || map !== page.state.map || (at.length && this.at !== at)) return;
    this.root.classList.remove("stale");
    this.found = found;
    this.links = links;
    this.position = position;
    if (at.length) frame(this.holder, "cursor", [at[0], at[1], 1, 1], this.high, this.wide);
    page.input.mark("field", found.field);
    this.told();
    this.fill();
    page.fire("links", { ...drawn, layer: number });
    document.body.dataset.asked = `${number} ${map} ${position.join(",")}`;
  }

  told() {
    const { found, position } = this, { map } = this.page.state;
    this.result.textContent = !found.refused ? show(found.expected) : this.isVector ? "" : show(this.plane()[this.at[0] * this.wide + this.at[1]]);
    const axes = { 1: ["step"], 2: ["row", "column"], 3: ["depth", "row", "column"] }[position.length] ?? [];
    const name = this.isVector && this.isAnswer() && this.model.classes[map] !== String(map) ? `unit ${map}: ${this.model.classes[map]}` : this.isVector ? `unit ${map}` : `map ${map}`;
    this.place.textContent = [name, ...axes.map((axis, n) => `${axis} ${position[n]}`)].join(", ");
    this.check.textContent = found.refused ? "" : "✓ the arithmetic below gives the model’s own number";
    this.check.title = found.refused ? "" : `arithmetic ${found.result}, model ${found.expected}`;
    this.brief.textContent = `${this.place.textContent}: ${this.result.textContent}`;
  }

  isAnswer() { return this.page.state.layer === this.model.layers.length - 1 && this.model.classes.length === (this.layer.shape[0] ?? 1); }

  nameOf(source, map, at = null) {
    const isUnits = (source === "input" ? this.model.shape : this.model.layers[source]?.shape ?? []).length < 2;
    const name = source === "input" ? "input" : source === null || source === undefined ? "computed" : this.model.layers[source].name;
    return `${name} ${isUnits ? "unit" : "map"} ${map}${at ? ` (${at.join(", ")})` : ""}`;
  }

  // A unit of what was flattened, as a place on the maps.
  placeOf(unit) {
    const { layer, shape } = this.links.on_maps, channels = shape[shape.length - 1], at = [];
    let rest = Math.floor(unit / channels);
    for (let axis = shape.length - 2; axis >= 0; axis--) { at.unshift(rest % shape[axis]); rest = Math.floor(rest / shape[axis]); }
    return { layer, map: unit % channels, at };
  }

  goTo(source, map, at) {
    if (source === null || source === undefined) return;
    // What was clicked goes away.
    this.title.focus({ preventScroll: true });
    if (source === "input") { this.page.set({ layer: "input", map, place: null }); return; }
    const isSame = at?.length === this.model.layers[source].shape.length - 1;
    this.page.set({ layer: source, map, place: isSame ? at : null });
  }

  // The parts of the sum, the largest first: from where, how much.
  parts() {
    return this.links.sources.flatMap((source) => source.maps.map(({ map, part, at }) => {
      const unit = this.links.on_maps && source.kind === "sum" && this.isVector ? this.placeOf(map) : null;
      const from = unit ? { source: unit.layer, map: unit.map, at: unit.at } : { source: source.layer, map, at };
      return { ...from, part, kind: source.kind, index: map, name: this.nameOf(from.source, from.map, unit ? unit.at : source.kind === "sum" && this.isVector ? at : null) };
    })).sort((a, b) => Math.abs(b.part) - Math.abs(a.part));
  }

  fillNumber(panel) {
    const { found } = this;
    if (found.refused) { panel.replaceChildren(element("p", {}, found.refused)); return; }
    const held = document.activeElement?.closest(".sum-line")?.dataset.key;
    const isOpen = panel.querySelector("details.formula")?.open ?? false;
    const isSum = this.links.sources.some(({ kind, maps }) => kind === "sum" && maps.length);
    const children = [];
    if (isSum) children.push(drawSum(this));
    if (this.links.on_maps) children.push(drawProducts(this));
    const grids = drawGrids(this, found, this.channelOf ?? this.parts().find(({ kind }) => kind === "sum" || kind === "chosen")?.map ?? null);
    if (grids) children.push(grids);
    if (this.links.logits) children.push(drawLogits(this));
    const lines = found.steps.map(({ name, formula, value }) => [name, signs(formula === show(value) || formula === String(value) ? formula : `${formula} = ${show(value)}`)]);
    lines.push(["the model says", show(found.expected)]);
    const steps = element("dl", { class: "steps" }, ...lines.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
    children.push(element("details", { class: "formula", open: isOpen || !isSum || children.length === 0 }, element("summary", {}, "Step by step"), steps));
    panel.replaceChildren(...children);
    if (held) panel.querySelector(`.sum-line[data-key="${held}"]`)?.focus({ preventScroll: true });
  }

  // The part of the input behind a place of the layer that is read.
  async fieldOf(source, position) {
    if (source === "input") return position.map((at) => [at, at + 1]);
    if (!Number.isInteger(source)) return null;
    return (await getJson("/api/field", { layer: source, position: position.join(",") })).field;
  }
}

const signs = (text) => text.replaceAll("-", "−").replaceAll("+ −", "− ");
const typeset = (formula) => signs(formula.replaceAll("*", "×"));
