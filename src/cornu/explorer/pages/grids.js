// Patch × kernel = products, cell by cell: what is pointed at in one is lit in all, and in the maps it comes from.

import { brief, coded, colour, element, frame, largest, onColour, paint, show, stepped } from "./picture.js";

const MAP = 96;

// The grids of one map that a window reads; null if the number has no window.
export function drawGrids(inspector, found, map) {
  if (!found.origin.length || !found.grids.length) return null;
  const rank = found.origin.length, index = map === null ? 0 : map - found.first_channel;
  const deep = rank < 3 ? 1 : Math.max(1, found.grids.filter(({ name }) => !name.includes("channel") || name.startsWith("channel 0 ")).length);
  const grids = rank === 1 ? found.grids : found.grids.slice(index * deep, (index + 1) * deep);
  const channel = rank === 1 ? null : found.first_channel + index;
  if (!grids.length) return element("p", { class: "quiet" }, `The products with map ${map} are not listed; the sum has them.`);
  const source = inspector.layer.sources[0], name = channel === null ? "" : ` with ${inspector.nameOf(source, channel)}`;
  // What is read has the colours that it has in its own layer.
  const scale = (source === "input" ? largest(inspector.page.input.values) : inspector.page.run?.layers[source]?.scale) || largest(grids.flatMap(({ patch }) => patch.flat()));
  const says = element("p", { class: "reading", "aria-live": "polite" }), tables = [], lit = [];
  const kinds = grids[0].kernel ? ["patch", "kernel", "products"] : ["window"];
  const section = element("section", { class: "grids", "aria-label": "The window" }, element("h3", {}, grids[0].kernel ? `Patch × kernel = products${name}` : `The window on ${channel === null ? "its input" : inspector.nameOf(source, channel)}`));
  const seen = seenMap(inspector, found, source, channel ?? 0);
  if (seen) section.append(seen.part);
  grids.forEach((grid, depth) => {
    const products = grid.kernel && grid.patch.map((line, r) => line.map((value, c) => value * grid.kernel[r][c]));
    const all = { patch: grid.patch, window: grid.patch, kernel: grid.kernel, products };
    const columns = grid.patch[0].length, isWide = columns > (kinds.length > 1 ? 3 : 8);
    const row = element("div", { class: `cells-row${isWide ? " small" : ""}`, tabindex: "0", role: "group", "aria-label": `${kinds.join(", ")}${deep > 1 ? `, depth ${depth}` : ""}: arrow keys move`, title: grid.name });
    if (isWide) row.style.setProperty("--cell", `${Math.max(8, Math.min(18, Math.floor((inspector.panel.clientWidth - 44) / kinds.length / columns) - 1))}px`);
    kinds.forEach((kind, n) => {
      if (n) row.append(element("span", { class: "sign", "aria-hidden": "true" }, n === 1 ? "×" : "="));
      const table = cells(kind, all[kind], grid.padding, /patch|window/.test(kind) ? scale : largest(all[kind].flat()));
      tables.push(table);
      row.append(table);
    });
    section.append(row);
    if (grid.kernel) section.append(element("p", { class: "quiet sum-of" }, `They add up to ${show(grid.sum)}${deep > 1 ? ` at depth ${depth}` : ""}.`));
    const light = (r, c) => {
      for (const each of lit.splice(0)) each.classList.remove("lit");
      if (r === null) { says.textContent = ""; seen?.light(null); return; }
      row.querySelectorAll(`[data-cell="${r} ${c}"]`).forEach((cell) => { cell.classList.add("lit"); lit.push(cell); });
      const value = grid.patch[r][c], place = placeOf(found, r, c, depth);
      const at = grid.padding[r][c] ? "padding" : `at (${place.join(", ")})${rank === 1 && found.channels > 1 ? `, map ${found.first_channel + c}` : ""}`;
      says.textContent = grid.kernel ? `${show(value)} × ${show(grid.kernel[r][c])} = ${show(products[r][c])}, ${at}` : `${show(value)}, ${at}`;
      seen?.light(grid.padding[r][c] ? null : place);
    };
    let at = null;
    row.addEventListener("pointerover", (event) => { const cell = event.target.closest("[data-cell]"); if (cell) light(...(at = cell.dataset.cell.split(" ").map(Number))); });
    row.addEventListener("pointerleave", () => { at = null; light(null); });
    row.addEventListener("blur", () => light(null));
    row.addEventListener("keydown", (event) => {
      // The first key lights up the first cell.
      const next = stepped(event, at ?? [-1, -1], grid.patch.length, columns);
      if (next) light(...(at = next));
    });
    if (isWide) section.append(numbers(kinds, all, grid.padding));
  });
  section.append(says);
  return section;
}

function placeOf(found, r, c, depth) {
  const { origin, reach } = found;
  if (origin.length === 1) return [origin[0] + (found.channels > 1 ? r : c) * reach[0]];
  const two = [origin[origin.length - 2] + r * reach[reach.length - 2], origin[origin.length - 1] + c * reach[reach.length - 1]];
  return origin.length === 2 ? two : [origin[0] + depth * reach[0], ...two];
}

// A table of coloured cells; the numbers are in it, and seen where there is room.
function cells(kind, values, padding, scale) {
  const chosen = kind === "window" ? Math.max(...values.flat().filter((_, n) => !padding.flat()[n])) : null;
  const codes = coded(values.flat(), scale), columns = values[0].length;
  const table = element("table", { class: `cells ${kind}` }, element("caption", {}, kind), element("tbody", {}, ...values.map((line, r) => element("tr", {}, ...line.map((value, c) => {
    const isPadding = kind !== "kernel" && padding[r][c], code = codes[r * columns + c];
    const cell = element("td", {}, element("span", {}, isPadding ? `(${brief(value)})` : brief(value)));
    cell.dataset.cell = `${r} ${c}`;
    cell.title = `${show(value)}${isPadding ? ", padding" : ""}`;
    cell.style.backgroundColor = colour(code);
    cell.style.color = onColour(code);
    if (code < 0 && code > -128) cell.classList.add("negative");
    if (isPadding) cell.classList.add("padding");
    if (chosen !== null && value === chosen && !isPadding) cell.classList.add("largest");
    return cell;
  })))));
  return table;
}

function numbers(kinds, all, padding) {
  const details = element("details", {}, element("summary", {}, "All numbers"));
  const fill = () => {
    if (!details.open || details.children.length > 1) return;
    details.append(element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "values of the window" }, ...kinds.map((kind) =>
      element("table", { class: "plain-numbers" }, element("caption", {}, kind), element("tbody", {}, ...all[kind].map((line, r) => element("tr", {}, ...line.map((value, c) =>
        element("td", {}, kind !== "kernel" && padding[r][c] ? `(${show(value)})` : show(value))))))))));
  };
  details.addEventListener("toggle", fill);
  return details;
}

// The map that is read, with the window on it and the cell that is pointed at.
function seenMap(inspector, found, source, channel) {
  const { page } = inspector;
  if (source === null || source === undefined) return null;
  const canvas = element("canvas", { class: "pixels", "aria-hidden": "true" }), holder = element("div", { class: "holder seen-map" }, canvas);
  const told = { rows: 1, columns: 1, step: 1 };
  const draw = ({ codes, rows, columns, step }) => {
    Object.assign(told, { rows, columns, step });
    if (source === "input") page.input.paintChannel(canvas, channel);
    else paint(canvas, codes, rows, columns);
    const scale = MAP / Math.max(rows, columns);
    Object.assign(holder.style, { width: `${columns * scale}px`, height: `${Math.max(10, rows * scale)}px` });
    const spans = found.origin.map((start, axis) => [start, (found.size[axis] - 1) * found.reach[axis] + 1]);
    const [down, across] = spans.length === 1 ? [[0, step], spans[0]] : spans.slice(-2);
    frame(holder, "field", [down[0] / step, across[0] / step, down[1] / step, across[1] / step], rows, columns);
  };
  if (source === "input") {
    const { pictures, rows, columns, step } = page.input.pictures();
    if (!pictures[channel]) return null;
    draw({ codes: pictures[channel], rows, columns, step });
  } else {
    const run = page.run?.layers[source];
    if (run && channel < run.shape[0]) {
      const [, rows, columns] = run.shape, size = rows * columns;
      draw({ codes: run.codes.subarray(channel * size, (channel + 1) * size), rows, columns, step: run.step });
    } else {
      page.ask("/api/sheet", { layer: source, channels: channel }).then((answer) => {
        const { shape: [, rows, columns], step } = answer.header;
        draw({ codes: answer.take(Int8Array, rows * columns), rows, columns, step });
      }, () => {});
    }
  }
  const part = element("div", { class: "seen-part" }, holder, element("p", { class: "quiet" }, `${inspector.nameOf(source, channel)}; the frame is what the window reads. Point at a cell to follow it.`));
  const light = async (place) => {
    if (!place) { frame(holder, "cell", null); page.input.mark("cell", null); return; }
    const { rows, columns, step } = told, [r, c] = place.length === 1 ? [0, place[0]] : place.slice(-2);
    frame(holder, "cell", [place.length === 1 ? 0 : Math.floor(r / step), Math.floor(c / step), 1, 1], rows, columns);
    part.dataset.lit = place.join(",");
    const field = await inspector.fieldOf(source, place).catch(() => null);
    if (part.dataset.lit === place.join(",")) page.input.mark("cell", field);
  };
  return { part, light: (place) => { if (!place) part.dataset.lit = ""; return light(place); } };
}
