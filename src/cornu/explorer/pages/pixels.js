// The input as numbers: a map to point at, and the numbers around that place.

import { cellAt, element, frame, show, stepped } from "./picture.js";

const MAP = 220, REACH = 4;

export function drawPixels(inspector, root) {
  const { input, state } = inspector.page, { rows, columns, channels } = input, channel = Math.min(state.map ?? 0, channels - 1);
  const [low, high] = input.range, plane = input.plane(channel), at = (r, c) => plane[r * columns + c];
  const canvas = element("canvas", { class: "pixels", "aria-hidden": "true" });
  input.paintChannel(canvas, channel);
  const holder = element("div", { class: "holder numbers-of", tabindex: "0", role: "application", "aria-roledescription": "map of values", "aria-label": `Input, channel ${channel}: ${rows} by ${columns}. Arrow keys move` }, canvas);
  const scale = MAP / Math.max(rows, columns);
  Object.assign(holder.style, { width: `${columns * scale}px`, height: `${Math.max(16, rows * scale)}px` });
  const says = element("p", { class: "reading", "aria-live": "polite" }), numbers = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "numbers around the place" });
  const move = (place) => {
    inspector.pixel = place;
    const [row, column] = place;
    // As many as fit, moved so far that they lie within the input.
    const wide = Math.min(columns, 2 * REACH + 1), deep = Math.min(rows, 2 * REACH + 1);
    const top = Math.max(0, Math.min(rows - deep, row - REACH)), left = Math.max(0, Math.min(columns - wide, column - REACH));
    frame(holder, "field", [top, left, deep, wide], rows, columns);
    frame(holder, "cursor", [row, column, 1, 1], rows, columns);
    says.textContent = `row ${row}, column ${column}${channels > 1 ? `, channel ${channel}` : ""}: ${show(at(row, column))}`;
    numbers.replaceChildren(element("table", { class: "cells" }, element("tbody", {}, ...Array.from({ length: deep }, (_, r) => element("tr", {}, ...Array.from({ length: wide }, (_, c) => {
      const value = at(top + r, left + c), gray = Math.round((255 * (value - low)) / (high - low || 1));
      const cell = element("td", { class: top + r === row && left + c === column ? "lit" : "" }, show(Number(value.toFixed(high > 2 ? 0 : 2))));
      cell.style.backgroundColor = `rgb(${gray}, ${gray}, ${gray})`;
      // White or black, whichever is read better.
      cell.style.color = gray > 117 ? "#000000" : "#ffffff";
      return cell;
    }))))));
  };
  const place = (event) => cellAt(holder, event, rows, columns);
  holder.addEventListener("pointermove", (event) => move(place(event)));
  holder.addEventListener("pointerdown", (event) => move(place(event)));
  holder.addEventListener("keydown", (event) => {
    const next = stepped(event, inspector.pixel, rows, columns);
    if (next) move(next);
  });
  const isFocused = root.contains(document.activeElement);
  root.replaceChildren(holder, says, numbers);
  const [r, c] = inspector.pixel ?? [Math.floor(rows / 3), Math.floor(columns / 2)];
  move([Math.min(r, rows - 1), Math.min(c, columns - 1)]);
  if (isFocused) holder.focus();
}
