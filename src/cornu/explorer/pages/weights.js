// The weights of the chosen map as cells that can be picked: for their gradients, and to change them.

import { brief, coded, colour, element, largest, onColour, roving, show } from "./picture.js";

// Cells of a kernel that are all shown; of more the strongest are listed.
const MOST_CELLS = 81, LISTED = 12;

// Whether the last axis of a layer's kernel is the map that it makes.
const isSliced = (layer) => /^(Conv\dD|Convolution\dD|Dense)$/.test(layer.kind);

// Asks for the weights of a map: each with its name, shape, values, and for each value the index in the weight.
export async function weightsOf(page, data = {}) {
  const { layer, map } = page.state, described = page.model.layers[layer];
  const fields = { layer, ...(isSliced(described) ? { channel: map } : {}) };
  const { weights } = await page.ask("/api/weights", fields, data);
  // Those that are too large to be listed have no values.
  const listed = weights.filter(({ values }) => values).map((weight) => indexed(weight, described, map));
  listed.missing = weights.filter(({ values }) => !values).map(({ name, shape }) => `${name} (${shape.join(" × ")}) has too many weights to be listed.`).join(" ");
  return listed;
}

function indexed(weight, layer, map) {
  const { shape } = weight, sliced = shape.length > 1 && isSliced(layer);
  const axes = sliced ? shape.slice(0, -1) : shape;
  const index = (n) => {
    const found = [];
    for (let axis = axes.length - 1; axis >= 0; axis--) { found.unshift(n % axes[axis]); n = Math.floor(n / axes[axis]); }
    return sliced ? [...found, map] : found;
  };
  // Of a number for each map, only that of this one.
  const alone = shape.length === 1 && shape[0] === layer.shape[layer.shape.length - 1];
  return { ...weight, axes, index, numbers: alone ? [map] : weight.values.map((_, n) => n) };
}

// Cells with numbers. `of` names the list that is shown: "values" or "gradients"; `pick(weight, index, n)`.
export function cells(weight, of, pick, { chosen = null, nameOf = (source) => `map ${source}` } = {}) {
  const values = weight[of], { numbers, axes } = weight, scale = largest(numbers.map((n) => values[n]));
  const one = (n) => {
    const code = coded([values[n]], scale)[0], index = weight.index(n);
    const made = element("button", { type: "button", class: `cell${values[n] < 0 ? " negative" : ""}`, tabindex: "-1", "data-n": String(n),
      "aria-pressed": String(chosen === n), "aria-label": `${weight.name} ${index.join(", ")}: ${show(values[n])}`, onclick: () => pick(weight, index, n) }, brief(values[n]));
    made.style.backgroundColor = colour(code);
    made.style.color = onColour(code);
    return made;
  };
  const group = element("div", { class: "weight-cells", role: "group", "aria-label": `${of} of ${weight.name}` });
  if (numbers.length <= MOST_CELLS && axes.length === 3) {
    for (let source = 0; source < axes[2]; source++) {
      const grid = element("div", { class: "cell-grid" });
      grid.style.gridTemplateColumns = `repeat(${axes[1]}, 38px)`;
      for (let n = source; n < numbers.length; n += axes[2]) grid.append(one(n));
      group.append(element("figure", { class: "kernel-figure" }, element("figcaption", {}, nameOf(source)), grid));
    }
  } else if (numbers.length <= 16) {
    group.append(...numbers.map(one));
  } else {
    const order = [...numbers].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, LISTED);
    group.append(element("p", { class: "quiet" }, `The ${LISTED} strongest of ${numbers.length.toLocaleString("en")}:`),
      ...order.map((n) => element("span", { class: "listed-cell" }, element("span", { class: "quiet" }, weight.index(n).join(", ")), one(n))));
  }
  const first = group.querySelector("[aria-pressed=true]") ?? group.querySelector("button");
  if (first) first.tabIndex = 0;
  roving(group);
  return group;
}
