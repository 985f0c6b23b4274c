// What the inspector writes of a number: its sum, its products on maps, scores, kernels and sources.

import { coded, colourBar, digits, element, fixed, largest, paint, show } from "./picture.js";

const LINES = 8;

// The whole sum, written so that its terms add up to the result.
export function drawSum(inspector) {
  const { found, links } = inspector, parts = inspector.parts().filter(({ kind }) => kind === "sum"), shown = parts.slice(0, LINES);
  const rest = parts.slice(LINES), others = links.sources.reduce((sum, source) => sum + source.others.count, 0);
  const restSum = rest.reduce((sum, { part }) => sum + part, 0) + links.sources.reduce((sum, source) => sum + source.others.part, 0);
  const first = found.steps[0].value, rows = shown.map((part) => ({ ...part, key: `${part.source} ${part.index}` }));
  if (rest.length + others) rows.push({ name: `${(rest.length + others).toLocaleString("en")} others`, part: restSum, key: "others" });
  const biased = found.steps.find(({ name }) => name === "bias" || name === "constant");
  if (biased) rows.push({ name: biased.name, part: biased.value - first, key: "bias" });
  const total = biased ? biased.value : first, decimals = digits(rows.map(({ part }) => part), total), places = decimals ?? 6;
  const most = Math.max(...rows.map(({ part }) => Math.abs(part)), 1e-30);
  // Where all come from one layer, its name is said once.
  const one = new Set(shown.map(({ source }) => source)).size === 1 ? inspector.nameOf(shown[0].source, "").replace(/ (map|unit) $/, "") : null;
  const chosen = inspector.channelOf ?? shown[0]?.map;
  const lines = rows.map((row) => {
    const bar = element("span", { class: `sum-bar ${row.part < 0 ? "negative" : "positive"}` });
    bar.style.width = `${(50 * Math.abs(row.part)) / most}%`;
    const children = [element("span", { class: "sum-name" }, one && row.map !== undefined ? row.name.slice(one.length + 1) : row.name), element("span", { class: "sum-track", "aria-hidden": "true" }, bar), element("span", { class: "sum-number" }, fixed(row.part, places))];
    if (row.map === undefined) return element("li", {}, element("span", { class: "sum-line" }, ...children));
    const line = element("button", { type: "button", class: "sum-line", title: `See the products with ${row.name}`, "aria-pressed": String(inspector.found.origin.length > 0 && row.map === chosen),
      onclick: () => { if (inspector.found.origin.length) { inspector.channelOf = row.map; inspector.fill(); } else inspector.goTo(row.source, row.map, row.at); } }, ...children);
    line.dataset.key = row.key;
    line.addEventListener("pointerenter", () => light(inspector, `${row.source} ${row.index}`));
    line.addEventListener("focus", () => light(inspector, `${row.source} ${row.index}`));
    line.addEventListener("pointerleave", () => light(inspector, null));
    line.addEventListener("blur", () => light(inspector, null));
    return element("li", {}, line);
  });
  const end = (name, value, kind = "") => element("li", {}, element("span", { class: `sum-line ${kind}` }, element("span", { class: "sum-name" }, name), element("span"), element("span", { class: "sum-number" }, value)));
  lines.push(end(decimals === null ? "sum, rounded terms" : "sum", `${decimals === null ? "≈ " : "= "}${fixed(total, places)}`, "total"));
  const after = found.steps.slice(found.steps.indexOf(biased ?? found.steps[0]) + 1);
  for (const { name, value } of after) lines.push(end(name, `→ ${Math.abs(value) * 10 ** places >= 100 || !value ? fixed(value, places) : show(value)}`, "after"));
  const count = found.count;
  const caption = found.origin.length ? `${count.toLocaleString("en")} products: a sum for each map of ${one ?? "what it reads"}`
    : found.steps[0].name === "sum of products" ? `${count === 1 ? "1 product" : `${count.toLocaleString("en")} products`}${one ? ` of ${one}` : ""}, the largest first` : "What its sources add, the largest first";
  return element("section", { class: "whole-sum", "aria-label": "The whole sum" }, element("h3", {}, "The whole sum"), element("p", { class: "quiet" }, caption), element("ul", { class: "sum" }, ...lines));
}

// The link to a map, and the map, light up with its line.
function light(inspector, from) {
  for (const path of inspector.page.graph.svg.querySelectorAll(".link.pinned")) path.classList.toggle("lit", from !== null && path.dataset.from === from);
  inspector.page.graph.svg.classList.toggle("dimmed", from !== null);
}

export function drawProducts(inspector) {
  const { layer, shape, products } = inspector.links.on_maps, channels = shape[shape.length - 1];
  const [rows, columns] = shape.length === 2 ? [1, shape[0]] : shape.slice(-3, -1), size = products.length / channels, scale = largest(products);
  const sums = Array.from({ length: channels }, (_, c) => products.slice(c * size, (c + 1) * size).reduce((a, b) => a + b, 0));
  const order = sums.map((_, c) => c).sort((a, b) => Math.abs(sums[b]) - Math.abs(sums[a])).slice(0, 16);
  const figures = order.map((c) => {
    const canvas = element("canvas", { class: "pixels", "aria-hidden": "true" });
    paint(canvas, coded(products.slice(c * size, c * size + rows * columns), scale), rows, columns, 8);
    return element("button", { type: "button", class: "product-map", title: `${inspector.nameOf(layer, c)}: ${show(sums[c])}`, "aria-label": `${inspector.nameOf(layer, c)}, its products add up to ${show(sums[c])}`,
      onclick: () => inspector.goTo(layer, c, null) }, canvas, element("span", {}, `${c}: ${show(Number(sums[c].toPrecision(3)))}`));
  });
  return element("section", { "aria-label": "Products on the maps" }, element("h3", {}, `Its products on the maps of ${inspector.model.layers[layer].name}`),
    element("p", { class: "quiet" }, "Value times weight at each place, and the sum of each map; orange speaks for this unit, purple against it."), element("div", { class: "product-maps" }, ...figures), colourBar(scale));
}

export function drawLogits(inspector) {
  const { logits } = inspector.links, most = Math.max(...logits), powers = logits.map((z) => Math.exp(z - most)), total = powers.reduce((a, b) => a + b, 0);
  const names = inspector.model.classes.length === logits.length ? inspector.model.classes : logits.map((_, n) => String(n)), own = inspector.page.state.map;
  const row = (n) => element("tr", { class: n === own ? "own" : "" }, element("th", { scope: "row" }, names[n]), element("td", {}, show(logits[n])), element("td", {}, show(powers[n])), element("td", {}, show(powers[n] / total)));
  const order = logits.map((_, n) => n);
  const shown = order.length > 20 ? [...order].sort((a, b) => logits[b] - logits[a]).slice(0, 20) : order;
  if (!shown.includes(own)) shown.push(own);
  return element("section", { "aria-label": "Softmax" }, element("h3", {}, "Softmax: scores become shares of 1"),
    element("p", { class: "quiet" }, `exp(score − ${show(most)}) for each class, divided by their sum, ${show(total)}.`),
    element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "scores" }, element("table", {}, element("thead", {}, element("tr", {}, ...["class", "score", "exp", "share"].map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...shown.map(row)))));
}

export function fillKernel(inspector, panel) {
  const { found } = inspector;
  if (found.refused || !found.grids.some(({ kernel }) => kernel) || !found.origin.length) {
    panel.replaceChildren(element("p", { class: "quiet" }, found.origin?.length ? "This layer has no kernel." : "The weights of this unit are shown with its products."));
    return;
  }
  const strongest = largest(found.grids.flatMap(({ kernel }) => kernel.flat()));
  const figures = found.grids.map((grid, n) => {
    const canvas = element("canvas", { class: "pixels" }), { kernel } = grid;
    paint(canvas, coded(kernel.flat(), strongest), kernel.length, kernel[0].length, Math.max(8, Math.floor(64 / Math.max(kernel.length, kernel[0].length))));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `kernel for ${grid.name || "the input"}: ${kernel.flat().slice(0, 25).map(show).join(", ")}`);
    return element("figure", {}, canvas, element("figcaption", {}, grid.name || `map ${n}`));
  });
  panel.replaceChildren(element("p", { class: "quiet" }, `One kernel for each map it reads; the same weights at every place. Strongest ${show(strongest)}.`),
    element("div", { class: "kernels" }, ...figures), colourBar(strongest), ...(found.left_out ? [element("p", { class: "quiet" }, `${found.left_out} more are not shown.`)] : []));
}

export function fillSources(inspector, panel) {
  const { links, layer } = inspector, parts = inspector.parts();
  const row = (part) => element("tr", {}, element("th", { scope: "row" }, part.source === "input" || Number.isInteger(part.source)
    ? element("button", { type: "button", class: "plain", onclick: () => inspector.goTo(part.source, part.map, part.at) }, part.name) : part.name), element("td", {}, show(part.part)));
  const others = links.sources.filter((source) => source.others.count).map((source) => element("tr", {}, element("th", { scope: "row" }, `${source.others.count} others`), element("td", {}, show(source.others.part))));
  const number = inspector.page.state.layer;
  const readers = inspector.model.layers.flatMap((other, n) => (other.sources.includes(number) ? [n] : []));
  panel.replaceChildren(
    element("h3", {}, "What it is made of"), links.refused ? element("p", {}, links.refused) : element("table", { class: "wide" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "from"), element("th", { scope: "col" }, "part"))), element("tbody", {}, ...parts.map(row), ...others)),
    element("h3", {}, "What it goes into"), readers.length ? element("ul", {}, ...readers.map((n) => element("li", {}, element("button", { type: "button", class: "plain",
      onclick: () => inspector.goTo(n, Math.min(inspector.page.state.map, (inspector.model.layers[n].shape[inspector.model.layers[n].shape.length - 1] ?? 1) - 1), null) }, inspector.model.layers[n].name)))) : element("p", { class: "quiet" }, `Nothing reads ${layer.name}: it is the answer.`));
}
