// Curves between the columns: thin bands for the graph's edges, and links from a map to what it is made of.

import { show, svg } from "./picture.js";

// From thin to thick, by share of the sum.
const THIN = 1, THICK = 6;

function curve([x1, y1], [x2, y2], isDown, below = null) {
  const half = isDown ? (y1 + y2) / 2 : (x1 + x2) / 2;
  if (below !== null) return `M${x1},${y1}C${x1 + 28},${y1} ${x1},${below} ${x1 + 40},${below}L${x2 - 40},${below}C${x2},${below} ${x2 - 28},${y2} ${x2},${y2}`;
  return isDown ? `M${x1},${y1}C${x1},${half} ${x2},${half} ${x2},${y2}` : `M${x1},${y1}C${half},${y1} ${half},${y2} ${x2},${y2}`;
}

const ends = ([x1, y1, w1, h1], [x2, y2, w2, h2], isDown) => (isDown
  ? [[x1 + Math.min(w1, 600) / 2, y1 + h1], [x2 + Math.min(w2, 600) / 2, y2]] : [[x1 + w1, y1 + h1 / 2], [x2, y2 + h2 / 2]]);

// How low a curve must pass so that it crosses no column between its two; null if none is in its way.
function detour(graph, from, to) {
  if (graph.isNarrow) return null;
  const between = graph.columns.filter((column) => column.rank > from.rank && column.rank < to.rank && column.at);
  const [low, high] = [from.at[1] + from.at[3] / 2, to.at[1] + to.at[3] / 2].sort((a, b) => a - b);
  const hit = between.filter(({ at: [, top, , height] }) => top - 12 < high && top + height + 12 > low);
  return hit.length ? Math.max(...hit.map(({ at, moreAt }) => Math.max(at[1] + at[3], moreAt ? moreAt[1] + moreAt[3] : 0))) + 14 : null;
}

// One band for each edge between columns.
export function drawBands(graph) {
  const found = [], seen = new Set();
  for (const column of graph.columns) {
    for (const n of column.inside ?? column.layers) {
      if (n === "input") continue;
      for (const source of graph.model.layers[n].sources) {
        const from = graph.byLayer.get(source);
        if (!from || from === column || !from.at || seen.has(`${from.key}>${column.key}`)) continue;
        seen.add(`${from.key}>${column.key}`);
        const [start, end] = ends(from.at, column.at, graph.isNarrow);
        found.push(svg("path", { class: "band", d: curve(start, end, graph.isNarrow, detour(graph, from, column)) }));
      }
    }
  }
  return found;
}

// Links of one map; the first layer of its column says what it is made of.
export function drawLinks(graph, links, kind) {
  const to = graph.boxOf(links.layer, links.map), found = [];
  if (!to) return found;
  const parts = links.sources.flatMap((source) => [...source.maps, ...(source.others.count ? [{ map: null, part: source.others.part }] : [])]);
  const most = Math.max(...parts.map(({ part }) => Math.abs(part)), 1e-30);
  for (const source of links.sources) {
    const column = graph.byLayer.get(source.layer), own = graph.byLayer.get(links.layer);
    if (!column || column === own) continue;
    const below = detour(graph, column, own);
    const draw = (box, part, name) => {
      if (!box || !Number.isFinite(part)) return;
      const [start, end] = ends(box, to, graph.isNarrow), width = THIN + (THICK - THIN) * (Math.abs(part) / most);
      const path = svg("path", { d: curve(start, end, graph.isNarrow, below), "stroke-width": width.toFixed(1),
        class: `link ${kind} ${name === null ? "others" : part < 0 ? "negative" : part > 0 ? "positive" : "zero"}` });
      path.dataset.from = `${source.layer} ${name ?? "others"}`;
      path.append(svg("title"));
      path.firstChild.textContent = name === null ? `${source.others.count} others: ${show(part)}` : `${graph.nameOf(source.layer)} ${name}: ${show(part)}`;
      found.push(path);
    };
    // The strongest on top.
    if (source.others.count) draw(column.moreAt ?? column.at, source.others.part, null);
    for (const { map, part } of [...source.maps].reverse()) draw(graph.boxOf(source.layer, map), part, map);
  }
  return found;
}
