// The network as a picture: layers as columns, their maps as tiles, and links to what a map is made of.

import { SHOWN } from "./page.js";
import { element, largest, paintMaps, show, svg } from "./picture.js";
import { Sheet } from "./sheet.js";
import { drawBands, drawLinks } from "./links.js";

const GAP = 6, ZOOMS = [0.75, 1, 1.5, 2.25];
const MOST_ROWS = 56, MOST_UNITS = 1024, FEW_UNITS = 16;
// Of what a column's header and a stage's need above the maps.
const HEADER = 104;

export class Graph {
  constructor(page, root) {
    this.page = page;
    this.root = root;
    this.model = page.model;
    this.zoom = 1;
    this.other = null;
    this.folded = new Set(this.model.stages.flatMap((stage, n) => (stage.folded ? [n] : [])));
    this.build();
    this.sheet = new Sheet(page);
    page.wanted = () => this.wanted();
    page.on("run", () => { this.paintAll(); this.told(); });
    page.on("scheme", () => { this.lay(); this.paintAll(); this.redraw(); });
    page.on("input", () => this.svg.classList.add("stale"));
    page.on("links", (links) => { this.links = links; this.svg.classList.remove("stale"); this.redraw(); this.told(); });
    page.on("look", (look) => this.look(look));
    page.on("state", (state, changed, quiet) => { if (changed.has("layer") || changed.has("map")) this.mark(!quiet); else if (changed.has("view")) this.later(); });
    new ResizeObserver(() => this.later()).observe(this.board);
    this.mark(false);
  }

  // Layers whose maps are needed: those of the columns, the chosen one, and what that one reads.
  wanted() {
    const asked = new Set(this.columns.map((column) => column.shown).filter((n) => n !== "input")), { layer } = this.page.state;
    if (Number.isInteger(layer) && this.model.layers[layer]) {
      asked.add(layer);
      for (const source of this.model.layers[layer].sources) if (Number.isInteger(source)) asked.add(source);
    }
    return [...asked].sort((a, b) => a - b);
  }

  // Other values in the place of the maps, in the same form; null: the maps again.
  show(layers, legend = "") {
    this.other = layers;
    this.legend.textContent = legend;
    this.paintAll();
  }

  // ---- building

  build() {
    this.svg = svg("svg", { class: "links", "aria-hidden": "true" });
    this.ranks = element("div", { class: "ranks" });
    this.board = element("div", { class: "board" }, element("div", { class: "canvas" }, this.svg, this.ranks));
    this.legend = element("span", { class: "quiet" });
    const zoom = (by, name, text) => element("button", { type: "button", "aria-label": name, title: name, onclick: () => this.zoomBy(by) }, text);
    this.bar = element("div", { class: "row graph-bar" }, element("h2", { id: "graph-title" }, "Network"), this.legend,
      element("span", { class: "row push" }, zoom(-1, "Smaller maps", "−"), zoom(1, "Larger maps", "+")));
    this.foot = element("div", { class: "quiet graph-help" },
      element("p", {}, "Orange is positive, purple negative, on each layer’s own scale; a map with a cut corner holds negative numbers. Click a map to see what it is made of."),
      element("details", {}, element("summary", {}, "Keys"), element("p", {}, "Up and down in a column, left to what a map is made of, right to what it goes into; Enter chooses, Escape lets go.")));
    this.root.append(this.bar, this.board, this.foot);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.columns = [];
    this.fill();
  }

  zoomBy(by) {
    const at = ZOOMS.indexOf(this.zoom);
    this.zoom = ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, at + by))];
    this.lay();
    this.paintAll();
    this.redraw();
  }

  // Columns and folded stages, rank by rank.
  fill() {
    const { columns, stages } = this.model, items = [{ ...this.model.input, layers: ["input"], key: "input" }];
    const home = new Map();
    stages.forEach((stage, n) => stage.columns.forEach((k) => home.set(k, n)));
    const done = new Set();
    columns.forEach((column, k) => {
      const n = home.get(k);
      if (n !== undefined && this.folded.has(n)) {
        if (done.has(n)) return;
        done.add(n);
        const inner = stages[n].columns;
        // A stage shows what it gives: the last of its layers.
        const last = columns[inner[inner.length - 1]];
        items.push({ ...last, rank: column.rank, stage: n, isFolded: true, key: `stage ${n}`, inside: inner.flatMap((i) => columns[i].layers) });
      } else items.push({ ...column, key: `column ${k}`, stage: n, opens: n !== undefined && stages[n].columns[0] === k });
    });
    const before = new Map(this.columns.map((column) => [column.key, column.shown]));
    const ranks = new Map();
    this.columns = items.map((item) => this.column(item, before.get(item.key)));
    for (const column of this.columns) {
      if (!ranks.has(column.rank)) ranks.set(column.rank, []);
      ranks.get(column.rank).push(column);
    }
    this.byLayer = new Map();
    for (const column of this.columns) for (const n of column.inside ?? column.layers) this.byLayer.set(n, column);
    for (const column of this.columns) column.beside = ranks.get(column.rank).length;
    this.root.classList.toggle("long-names", this.columns.some((column) => column.title.textContent.length > 11));
    this.order = [...ranks].sort((a, b) => a[0] - b[0]).map(([, found]) => found.sort((a, b) => a.place - b.place));
    this.ranks.replaceChildren(...this.order.map((found) => element("div", { class: "rank" }, ...found.map((column) => column.article))));
    this.later();
  }

  column(item, shown) {
    const column = { ...item, buttons: [], boxes: [] };
    column.shown = item.layers.includes(shown) ? shown : item.layers[item.layers.length - 1];
    column.canvas = element("canvas", { class: "maps", "aria-hidden": "true" });
    column.holder = element("div", { class: "tiles", role: "group" }, column.canvas);
    column.title = element("h3", {});
    column.facts = element("p", { class: "facts" });
    column.chips = element("div", { class: "chips" });
    column.more = element("button", { type: "button", class: "more", hidden: true, onclick: () => this.sheet.open(column.shown) });
    column.article = element("article", { class: `column${item.isFolded ? " folded" : ""}` }, column.title, column.facts, column.chips, column.holder, column.more);
    column.article.addEventListener("scroll", () => { cancelAnimationFrame(this.sliding); this.sliding = requestAnimationFrame(() => this.redraw()); });
    if (item.layers.length > 1 && !item.isFolded) {
      column.chips.append(...item.layers.map((n) => element("button", { type: "button", class: "chip", "aria-pressed": String(n === column.shown), title: this.model.layers[n].kind,
        onclick: () => this.turn(column, n) }, short(this.model.layers[n]))));
    }
    if (item.stage !== undefined && (item.isFolded || item.opens)) {
      const stage = this.model.stages[item.stage], times = stage.repeats > 1 ? `, block ×${stage.repeats}` : "";
      column.fold = element("button", { type: "button", class: "fold", "aria-expanded": String(!item.isFolded), onclick: () => this.fold(item.stage) },
        item.isFolded ? `⊞ ${stage.name}: ${stage.columns.length} columns${times}` : `⊟ ${stage.name}`);
      column.article.prepend(column.fold);
    }
    this.name(column);
    return column;
  }

  name(column) {
    if (column.shown === "input") {
      column.title.textContent = "input";
      column.facts.textContent = this.model.shape.join("×");
      column.holder.setAttribute("aria-label", "Input");
      return;
    }
    const layer = this.model.layers[column.shown];
    // A column has the name of its first layer; long names may be broken where their words end.
    const { name } = this.model.layers[column.layers[0]];
    column.title.replaceChildren(...name.split(/(?<=_)/).flatMap((word) => [word, element("wbr")]));
    column.title.title = `${layer.name}: ${layer.kind}`;
    const count = Number(layer.parameters.split("=").pop().trim().replaceAll(",", ""));
    column.facts.textContent = [layer.shape.join("×") || "1", ...(count ? [`${count.toLocaleString("en")} weights`] : [])].join("\n");
    column.facts.title = [...layer.sizes, layer.parameters].filter(Boolean).join("\n");
    column.holder.setAttribute("aria-label", `${layer.name}, ${layer.kind}, ${layer.shape.join(" by ") || "one number"}`);
  }

  turn(column, n) {
    column.shown = n;
    for (const [k, chip] of [...column.chips.children].entries()) chip.setAttribute("aria-pressed", String(column.layers[k] === n));
    this.name(column);
    const { layer, map } = this.page.state;
    if (column.layers.includes(layer) && layer !== n) this.page.set({ layer: n, map });
    this.page.rerun();
  }

  fold(n) {
    if (!this.folded.delete(n)) this.folded.add(n);
    this.fill();
    this.columns.find((column) => column.stage === n && column.fold)?.fold.focus();
    this.mark(false);
    this.page.rerun();
  }

  // ---- where things are

  later() {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => { this.lay(); this.paintAll(); this.redraw(); });
  }

  shapeOf(column) {
    if (column.shown === "input") return this.model.shape;
    return this.model.layers[column.shown].shape;
  }

  lay() {
    if (!this.board.clientWidth) return;
    this.isNarrow = matchMedia("(max-width: 700px)").matches;
    this.root.classList.toggle("across", this.isNarrow);
    const fill = Math.min(...this.columns.map((column) => (this.board.clientHeight / column.beside - HEADER) / this.tilesOf(column) - GAP));
    const wide = (this.board.clientWidth - 24) / this.order.length - 36;
    const tile = Math.round((this.isNarrow ? 48 : Math.max(44, Math.min(112, fill, Math.max(wide, 62)))) * this.zoom);
    for (const column of this.columns) this.layColumn(column, tile);
    // Columns that nearly fit come closer.
    this.ranks.style.columnGap = "";
    const excess = this.isNarrow ? 0 : this.ranks.scrollWidth - this.board.clientWidth;
    if (excess > 0) this.ranks.style.columnGap = `${Math.max(12, Math.floor(28 - excess / (this.order.length - 1)))}px`;
    const box = this.ranks.getBoundingClientRect();
    for (const column of this.columns) {
      const at = column.holder.getBoundingClientRect();
      column.at = [at.left - box.left + column.article.scrollLeft, at.top - box.top, at.width, at.height];
      const more = column.more.hidden ? null : column.more.getBoundingClientRect();
      column.moreAt = more && [more.left - box.left, more.top - box.top, more.width, more.height];
    }
    this.svg.setAttribute("width", this.ranks.scrollWidth);
    this.svg.setAttribute("height", this.ranks.scrollHeight);
    this.bands = drawBands(this);
  }

  tilesOf(column) {
    const shape = this.shapeOf(column);
    // Where branches are below each other, each shows fewer.
    const most = Math.max(4, Math.floor(SHOWN / (this.isNarrow ? 1 : column.beside ?? 1)));
    return shape.length < 2 ? 1 : Math.min(most, shape[shape.length - 1]);
  }

  // Boxes of the column's maps or units; buttons over them are made once.
  layColumn(column, tile) {
    const shape = this.shapeOf(column), isVector = shape.length < 2, count = isVector ? Math.min(MOST_UNITS, shape[0] ?? 1) : this.tilesOf(column);
    const [rows, columns] = isVector ? [1, 1] : shape.length === 2 ? [1, shape[0]] : shape.slice(-3, -1);
    column.isVector = isVector;
    column.all = shape[shape.length - 1] ?? 1;
    const gap = this.isNarrow ? 4 : GAP, scale = tile / Math.max(rows, columns);
    let [w, h] = isVector ? [tile, tile] : [Math.max(16, columns * scale), Math.max(16, rows * scale)];
    if (shape.length === 2) [w, h] = [1.5 * tile, Math.max(16, tile / 3)];
    // Small maps are drawn smaller than large ones, as far as they can be told apart.
    const share = isVector || rows * columns < 2 ? 1 : Math.max(0.62, Math.min(1, 0.55 + 0.45 * Math.sqrt(Math.max(rows, columns) / this.side())));
    [w, h] = [Math.round(w * share), Math.round(h * share)];
    if (isVector) {
      const isFew = count <= FEW_UNITS;
      column.isFew = isFew;
      column.isAnswer = isFew && column.shown === this.model.layers.length - 1 && this.model.classes.length === count;
      const size = isFew ? Math.max(20, Math.min(30, tile / 2)) : Math.max(6, Math.round(9 * this.zoom));
      const deep = isFew ? count : Math.ceil(count / Math.max(4, Math.ceil(count / MOST_ROWS)));
      const across = Math.ceil(count / deep);
      column.boxes = Array.from({ length: count }, (_, n) => (this.isNarrow
        ? [Math.floor(n / across) * (size + (isFew ? 2 : 0)), (n % across) * size, size, size]
        : [(n % across) * size, Math.floor(n / across) * (size + (isFew ? 2 : 0)), size, size]));
    } else {
      column.boxes = Array.from({ length: count }, (_, n) => (this.isNarrow ? [n * (w + gap), 0, w, h] : [0, n * (h + gap), w, h]));
    }
    const wide = Math.max(...column.boxes.map(([x, , width]) => x + width)), high = Math.max(...column.boxes.map(([, y, , height]) => y + height));
    Object.assign(column.holder.style, { width: `${wide}px`, height: `${high}px` });
    Object.assign(column.canvas.style, { width: `${wide}px`, height: `${high}px` });
    column.size = [wide, high];
    this.buttonsOf(column, count);
    const rest = column.all - count;
    column.more.hidden = !(rest > 0) || isVector || column.shown === "input";
    column.more.textContent = `${rest.toLocaleString("en")} more`;
  }

  side() {
    return Math.max(1, ...this.columns.map((column) => { const shape = this.shapeOf(column); return shape.length < 2 ? 1 : Math.max(...shape.slice(0, -1)); }));
  }

  buttonsOf(column, count) {
    // Of many units, one button for all: a thousand would be slow.
    const single = column.isVector && !column.isFew, wanted = single ? 1 : count;
    if (column.buttons.length !== wanted || column.single !== single) {
      column.single = single;
      column.unit = 0;
      column.buttons = Array.from({ length: wanted }, (_, n) => element("button", { type: "button", class: "tile", tabindex: n ? "-1" : "0", "aria-pressed": "false" }));
      column.holder.replaceChildren(column.canvas, ...column.buttons);
      column.buttons.forEach((button, n) => {
        const which = (event) => (single ? this.unitAt(column, event) : n);
        button.addEventListener("click", (event) => this.choose(column, event.detail ? which(event) : single ? column.unit : n));
        button.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") this.point(column, which(event)); });
        button.addEventListener("pointerleave", () => this.point(null));
      });
    }
    column.buttons.forEach((button, n) => {
      const [x, y, w, h] = single ? [0, 0, ...column.size] : column.boxes[n];
      Object.assign(button.style, { left: `${x}px`, top: `${y}px`, width: `${column.isAnswer ? Math.max(w, 64) : w}px`, height: `${h}px` });
      if (column.isAnswer && !button.firstChild) button.append(element("span", { class: "class-name" }, this.model.classes[n]));
    });
    this.label(column);
  }

  unitAt(column, event) {
    const box = column.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const found = column.boxes.findIndex(([left, top, w, h]) => x >= left && x < left + w && y >= top && y < top + h);
    return found < 0 ? column.unit : found;
  }

  // What a screen reader says of each map; at rest, as it costs.
  told() {
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.columns.forEach((column) => this.label(column)), 300);
  }

  label(column) {
    const layer = column.shown === "input" ? null : this.model.layers[column.shown], run = this.runOf(column);
    const name = layer?.name ?? "input", what = column.isVector ? "unit" : "map", chosen = this.links;
    column.buttons.forEach((button, n) => {
      const unit = column.single ? column.unit : n;
      let text = `${name}, ${what} ${unit} of ${column.all}`;
      if (run) {
        const size = column.isVector ? 1 : run.shape[1] * run.shape[2], codes = run.codes.subarray(unit * size, (unit + 1) * size);
        text += `, ${column.isVector ? "" : "strongest "}${show((largest(codes) * run.scale) / 127)}`;
      }
      if (column.isAnswer) text += `, ${this.model.classes[n]}`;
      if (column.single) text += ". Arrow keys move, Enter chooses";
      if (chosen && chosen.layer === column.shown && chosen.map === unit) {
        const most = chosen.sources.flatMap((source) => source.maps.slice(0, 1).map((one) => ({ ...one, layer: source.layer }))).sort((a, b) => Math.abs(b.part) - Math.abs(a.part))[0];
        if (most) text += `, most from ${this.nameOf(most.layer)} ${this.isUnits(most.layer) ? "unit" : "map"} ${most.map}`;
      }
      button.setAttribute("aria-label", text);
      button.title = `${name}, ${what} ${unit}`;
    });
  }

  nameOf(layer) { return layer === "input" ? "input" : layer === null ? "a computation" : this.model.layers[layer].name; }

  isUnits(layer) { return (layer === "input" ? this.model.shape : this.model.layers[layer]?.shape ?? []).length < 2; }

  // ---- painting

  runOf(column) {
    if (column.shown === "input") return null;
    return (this.other ?? this.page.run?.layers)?.[column.shown] ?? null;
  }

  paintAll() {
    for (const column of this.columns) this.paintColumn(column);
  }

  paintColumn(column) {
    if (!column.size) return;
    const [wide, high] = column.size;
    if (column.shown === "input") {
      const { pictures, rows, columns } = this.page.input.pictures(), codes = new Int8Array(rows * columns * column.boxes.length);
      if (column.isVector) { paintMaps(column.canvas, wide, high, pictures[0].subarray(0, column.boxes.length), 1, 1, column.boxes); return; }
      column.boxes.forEach((_, n) => codes.set(pictures[n], n * rows * columns));
      paintMaps(column.canvas, wide, high, codes, rows, columns, column.boxes);
      if (!this.page.input.isImage) return;
      const context = column.canvas.getContext("2d"), plane = document.createElement("canvas");
      column.boxes.forEach((box, n) => { this.page.input.paintChannel(plane, n); context.drawImage(plane, ...box); });
      return;
    }
    const run = this.runOf(column);
    if (!run) return;
    const [, rows, columns] = run.shape;
    if (column.isVector) paintMaps(column.canvas, wide, high, run.codes.subarray(0, column.boxes.length), 1, 1, column.boxes);
    else paintMaps(column.canvas, wide, high, run.codes, rows, columns, column.boxes);
  }

  // ---- choosing

  choose(column, unit) {
    const { layer, map } = this.page.state;
    column.unit = unit;
    if (layer === column.shown && map === unit) return;
    this.page.set({ layer: column.shown, map: unit, place: null });
  }

  focusChosen() {
    const { layer, map } = this.page.state, column = this.byLayer.get(layer);
    (column?.buttons[column.single ? 0 : map] ?? column?.buttons[0] ?? this.root).focus();
  }

  point(column, unit) {
    const next = column && column.shown !== "input" ? { layer: column.shown, map: unit, place: null } : null;
    if (this.pointed?.layer === next?.layer && this.pointed?.map === next?.map) return;
    this.pointed = next;
    clearTimeout(this.pointing);
    this.pointing = setTimeout(() => this.page.fire("look", next), next ? 90 : 0);
  }

  mark(isChosen) {
    const { layer, map } = this.page.state;
    this.root.querySelectorAll(".tile[aria-pressed=true]").forEach((tile) => { tile.setAttribute("aria-pressed", "false"); tile.classList.remove("chosen"); });
    if (layer === null) { this.links = null; this.redraw(); return; }
    const column = this.byLayer.get(layer);
    if (!column) return;
    if (column.isFolded && column.shown !== layer) { this.fold(column.stage); return; }
    if (column.shown !== layer) this.turn(column, layer);
    requestAnimationFrame(() => {
      if (column.single) column.unit = map;
      const button = column.single ? column.buttons[0] : column.buttons[map];
      column.buttons.forEach((each) => { each.tabIndex = -1; });
      (button ?? column.buttons[0])?.setAttribute("tabindex", "0");
      if (!button) return;
      button.setAttribute("aria-pressed", "true");
      if (!column.single) button.classList.add("chosen");
      this.reveal(column, button, isChosen);
      this.redraw();
    });
  }

  // Scrolls the board, so far that the tile and its neighbours are seen; the page only if the reader has chosen it.
  reveal(column, button, isChosen = true) {
    const box = this.board.getBoundingClientRect(), at = button.getBoundingClientRect(), margin = this.isNarrow ? 40 : 140;
    const behavior = isChosen && !matchMedia("(prefers-reduced-motion: reduce)").matches ? "smooth" : "auto";
    const sheet = document.getElementById("inspector");
    if (getComputedStyle(sheet).position === "fixed") {
      // The page scrolls, and the panel covers its end. What the map is made of is above or beside it.
      const end = sheet.getBoundingClientRect().top;
      if (isChosen && (at.top < 8 || at.bottom > end - 8)) scrollBy({ top: at.bottom - end + 24, behavior });
      if (this.isNarrow) column.article.scrollTo({ left: button.offsetLeft - margin, behavior });
    }
    let left = 0, top = 0;
    if (at.left < box.left + margin) left = at.left - box.left - margin;
    else if (at.right > box.right - 40) left = at.right - box.right + 40;
    if (at.top < box.top + 20) top = at.top - box.top - 20;
    else if (at.bottom > box.bottom - 20) top = at.bottom - box.bottom + 20;
    if (left || top) this.board.scrollBy({ left, top, behavior });
  }

  // ---- links

  look(look) {
    this.preview = null;
    if (look && !(look.layer === this.page.state.layer && look.map === this.page.state.map)) {
      this.asking = look;
      this.page.ask("/api/links", { layer: look.layer, channel: look.map, ...(look.place ? { position: look.place.join(",") } : {}) }).then((links) => {
        if (this.asking !== look) return;
        this.preview = links;
        this.redraw();
      }, () => {});
    } else { this.asking = null; this.redraw(); }
  }

  redraw() {
    if (!this.columns[0]?.at) return;
    const { layer } = this.page.state;
    if (this.links && this.links.layer !== layer) this.links = null;
    this.svg.replaceChildren(...this.bands ?? [], ...(this.preview ? drawLinks(this, this.preview, "preview") : []), ...(this.links ? drawLinks(this, this.links, "pinned") : []));
    this.root.querySelectorAll(".tile.source").forEach((tile) => tile.classList.remove("source"));
    for (const source of this.links?.sources ?? []) {
      const column = this.byLayer.get(source.layer);
      if (!column || column.single || column.shown !== source.layer) continue;
      for (const { map } of source.maps) column.buttons[map]?.classList.add("source");
    }
  }

  // Where a map is on the board: a box; that of the rest of its column if it is not shown by itself.
  boxOf(layer, map) {
    const column = this.byLayer.get(layer);
    if (!column?.at) return null;
    // On small screens a column's tiles scroll by themselves.
    const [left, top] = [column.at[0] - column.article.scrollLeft, column.at[1]], box = column.shown === layer || column.isFolded ? column.boxes[map] : column.boxes[map] ?? null;
    if (box) return [left + box[0], top + box[1], column.isAnswer ? Math.max(box[2], 64) : box[2], box[3]];
    return column.moreAt ?? column.at;
  }

  // ---- keys

  key(event) {
    const tile = event.target.closest(".tile");
    if (event.key === "Escape" && this.page.state.layer !== null) { this.page.set({ layer: null, map: null, place: null }); event.preventDefault(); return; }
    if (!tile) return;
    const column = this.columns.find((each) => each.buttons.includes(tile));
    const [back, on, next, previous] = this.isNarrow ? ["ArrowUp", "ArrowDown", "ArrowRight", "ArrowLeft"] : ["ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp"];
    const at = column.single ? column.unit : column.buttons.indexOf(tile);
    if (event.key === next || event.key === previous) this.step(column, at + (event.key === next ? 1 : -1));
    else if (event.key === "Home") this.step(column, 0);
    else if (event.key === "End") this.step(column, column.boxes.length - 1);
    else if (event.key === back) this.back(column, at);
    else if (event.key === on) this.on(column, at);
    else return;
    event.preventDefault();
  }

  step(column, to) {
    if (to < 0 || to >= column.boxes.length) return;
    if (column.single) {
      column.unit = to;
      this.label(column);
      this.point(column, to);
      return;
    }
    column.buttons.forEach((button) => { button.tabIndex = -1; });
    column.buttons[to].tabIndex = 0;
    column.buttons[to].focus();
    this.point(column, to);
  }

  // To what contributes most, if this is known, else to the column before.
  back(column, at) {
    const known = [this.links, this.preview].find((links) => links?.layer === column.shown && links.map === at);
    const most = known?.sources.flatMap((source) => source.maps.slice(0, 1).map((one) => ({ map: one.map, part: one.part, layer: source.layer })))
      .sort((a, b) => Math.abs(b.part) - Math.abs(a.part))[0];
    const first = column.layers[0], sources = first === "input" ? [] : this.model.layers[first].sources;
    const layer = most?.layer ?? sources[0];
    const to = this.byLayer.get(layer);
    if (!to || to === column) return;
    this.came = { from: column, unit: at, to };
    this.enter(to, most ? most.map : at);
  }

  on(column, at) {
    if (this.came?.to === column) { const { from, unit } = this.came; this.came = null; this.enter(from, unit); return; }
    const inside = column.inside ?? column.layers;
    const to = this.columns.find((other) => other !== column && (other.inside ?? other.layers).some((n) => n !== "input" && this.model.layers[n].sources.some((source) => inside.includes(source))));
    if (to) this.enter(to, at);
  }

  enter(column, unit) {
    const to = Math.max(0, Math.min(column.boxes.length - 1, unit));
    if (column.single) { column.unit = to; this.label(column); column.buttons[0].focus(); this.point(column, to); } else this.step(column, to);
    this.reveal(column, column.single ? column.buttons[0] : column.buttons[to]);
  }
}

const SHORT = { BatchNormalization: "norm", LayerNormalization: "norm", GroupNormalization: "norm", Dropout: "dropout", Activation: "activation", Rescaling: "rescale" };
function short(layer) {
  const kind = SHORT[layer.kind] ?? layer.kind.replace(/[123]D$/, "").replace(/^(Depthwise|Separable)?Conv.*/, (text) => text.toLowerCase());
  return kind.length > 10 ? `${kind.slice(0, 9)}…` : kind === "ReLU" ? "ReLU" : kind.toLowerCase();
}
