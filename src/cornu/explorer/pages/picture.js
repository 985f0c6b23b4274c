// Numbers as colours, and small helpers to make elements.

const isDark = matchMedia("(prefers-color-scheme: dark)");
const COLOURS = new Uint32Array(256), TEXTS = new Array(256);
const bytes = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
let arms = null;

// Purple is negative, orange positive, equally strong; people with any colour vision tell them apart, and
// hatching tells them apart without colour. From zero outwards, as in style.css.
function mix() {
  const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(`--${name}`).trim(), arm = (name) => [1, 2, 3, 4, 5].map((n) => of(`${name}-${n}`));
  arms = { zero: of("zero"), negative: arm("neg"), positive: arm("pos"), nothing: of("text"), ground: of("ground") };
  const rgb = new Uint8ClampedArray(COLOURS.buffer);
  const stops = { "-1": [arms.zero, ...arms.negative].map(bytes), 1: [arms.zero, ...arms.positive].map(bytes) };
  for (let code = -128; code < 128; code++) {
    const side = stops[code < 0 ? -1 : 1], at = (Math.min(127, Math.abs(code)) / 127) * 5;
    const low = Math.min(4, Math.floor(at)), share = at - low;
    // -128 is NaN.
    const colour = code === -128 ? bytes(arms.nothing) : side[low].map((from, n) => Math.round(from + share * (side[low + 1][n] - from)));
    rgb.set([...colour, 255], (code + 128) * 4);
    TEXTS[code + 128] = `rgb(${colour.join(", ")})`;
  }
}
mix();

// Calls whenever colours have changed.
export function whenScheme(act) {
  isDark.addEventListener("change", () => { mix(); act(); });
}

export const colour = (code) => TEXTS[code + 128];

// What is read on a colour.
export const onColour = (code) => ((Math.abs(code) > 63) !== isDark.matches ? "#ffffff" : "#111315");

let scratch = null;
function small(codes, rows, columns) {
  scratch ??= document.createElement("canvas");
  scratch.width = columns;
  scratch.height = rows;
  const image = new ImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
  for (let n = 0; n < pixels.length; n++) pixels[n] = COLOURS[codes[n] + 128];
  scratch.getContext("2d").putImageData(image, 0, 0);
  return scratch;
}

// A map; with cells of 8 pixels and more, negative ones are hatched and what is no number crossed.
export function paint(canvas, codes, rows, columns, cell = 1) {
  if (cell < 8) {
    canvas.width = columns;
    canvas.height = rows;
    canvas.getContext("2d").drawImage(small(codes, rows, columns), 0, 0);
    return;
  }
  canvas.width = columns * cell;
  canvas.height = rows * cell;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small(codes, rows, columns), 0, 0, columns * cell, rows * cell);
  context.lineWidth = 1;
  for (let n = 0; n < rows * columns; n++) {
    const x = (n % columns) * cell, y = Math.floor(n / columns) * cell;
    if (codes[n] < 0 && codes[n] > -128) hatch(context, x, y, cell, codes[n]);
    else if (codes[n] === -128) cross(context, x, y, cell, cell);
  }
}

function hatch(context, x, y, cell, code) {
  context.strokeStyle = arms.negative[code < -70 ? 0 : 4];
  context.globalAlpha = 0.2 + 0.5 * Math.min(1, Math.abs(code) / 64);
  context.save();
  context.beginPath();
  context.rect(x, y, cell, cell);
  context.clip();
  context.beginPath();
  for (let at = 0; at < 2 * cell; at += 5) {
    context.moveTo(x + at, y);
    context.lineTo(x + at - cell, y + cell);
  }
  context.stroke();
  context.restore();
  context.globalAlpha = 1;
}

function cross(context, x, y, width, height) {
  context.strokeStyle = arms.ground;
  context.beginPath();
  context.moveTo(x + 1, y + 1); context.lineTo(x + width - 1, y + height - 1);
  context.moveTo(x + width - 1, y + 1); context.lineTo(x + 1, y + height - 1);
  context.stroke();
}

// Maps into one canvas, each at `[x, y, width, height]`. One that holds negative numbers lacks a corner, one
// that holds what is no number is crossed: what small cells cannot show.
export function paintMaps(canvas, width, height, codes, rows, columns, boxes) {
  const ratio = Math.min(2, devicePixelRatio || 1), size = rows * columns;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, w, h);
  context.scale(ratio, ratio);
  context.imageSmoothingEnabled = false;
  const all = small(codes, rows * boxes.length, columns);
  boxes.forEach(([x, y, wide, high], n) => {
    context.drawImage(all, 0, n * rows, columns, rows, x, y, wide, high);
    let low = 0;
    for (let at = n * size; at < (n + 1) * size; at++) if (codes[at] < low) low = codes[at];
    if (low === -128 && codes.subarray(n * size, (n + 1) * size).includes(-128)) {
      context.lineWidth = 2;
      cross(context, x, y, wide, high);
    } else if (low < 0) {
      const cut = Math.min(9, wide / 3, high / 3);
      context.fillStyle = arms.ground;
      context.beginPath();
      context.moveTo(x, y); context.lineTo(x + cut, y); context.lineTo(x, y + cut);
      context.fill();
      context.strokeStyle = arms.negative[3];
      context.lineWidth = 1.5;
      context.beginPath();
      context.moveTo(x + cut, y); context.lineTo(x, y + cut);
      context.stroke();
    }
  });
}

// The scale of colours, from the most negative to the most positive.
export function colourBar(scale) {
  const canvas = element("canvas", { class: "pixels", "aria-hidden": "true" });
  paint(canvas, Int8Array.from({ length: 13 }, (_, n) => Math.round((n / 12) * 254 - 127)), 1, 13, 8);
  return element("span", { class: "colour-bar" }, element("span", {}, scale ? `−${show(scale)}` : "0"), canvas,
    element("span", {}, show(scale)));
}

export function largest(values) {
  let found = 0;
  for (const value of values) if (Number.isFinite(value)) found = Math.max(found, Math.abs(value));
  return found;
}

export function coded(values, scale = largest(values)) {
  return Int8Array.from(values, (value) =>
    Number.isFinite(value) ? Math.round(scale ? Math.max(-1, Math.min(1, value / scale)) * 127 : 0) : -128);
}

// An image with channels last: gray, colours, or colours with transparency.
export function paintPixels(canvas, values, rows, columns, channels, low, high) {
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows), width = high - low || 1;
  for (let n = 0; n < rows * columns; n++) {
    for (let c = 0; c < 3; c++) {
      image.data[n * 4 + c] = (255 * (values[n * channels + (channels < 3 ? 0 : c)] - low)) / width;
    }
    image.data[n * 4 + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// A canvas with an example: an image as it is, anything else as a map of its first channel.
export function thumbnail(values, [rows, columns, channels], [low, high], isImage = rows > 1) {
  const canvas = element("canvas", { class: rows === 1 ? "pixels strip" : "pixels", "aria-hidden": "true" });
  if (isImage) paintPixels(canvas, values, rows, columns, channels, low, high);
  else paint(canvas, coded(Float32Array.from({ length: rows * columns }, (_, n) => values[n * channels])), rows, columns);
  return canvas;
}

// ---- numbers as text

export function show(number) {
  const value = Number(number);
  if (!Number.isFinite(value)) return String(number);
  if (value === 0) return "0";
  const size = Math.abs(value);
  return signed(size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4))));
}

// With the digits that a float of 32 bits has, for what is computed on.
export const precise = (value) => signed(String(Number(value.toPrecision(7))));

const signed = (text) => text.replaceAll("-", "−");

// Whether outputs are probabilities of classes.
export const areShares = (outputs) => outputs.length > 1 && outputs.every((value) => value >= 0) && Math.abs(outputs.reduce((a, b) => a + b, 0) - 1) < 1e-3;

// How many decimals make an equation true as it is written: rounded terms add up to the rounded result.
// At least three digits of the result are shown; null if eight decimals do not suffice.
export function digits(terms, result) {
  const size = Math.max(Math.abs(result), largest(terms));
  if (!size) return 2;
  const first = Math.max(1, Math.min(8, 2 - Math.floor(Math.log10(size))));
  for (let decimals = first; decimals <= Math.min(12, first + 6); decimals++) {
    const unit = 10 ** decimals, whole = (value) => Math.round(value * unit);
    if (terms.reduce((sum, value) => sum + whole(value), 0) === whole(result)) return decimals;
  }
  return null;
}

// So few digits that a number fits into a cell.
export function brief(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1000 || size < 0.005) return signed(value.toExponential(0).replace("e+", "e"));
  return fixed(value, size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export const fixed = (value, decimals) => (Number.isFinite(value) ? signed((Math.round(value * 10 ** decimals) / 10 ** decimals || 0).toFixed(decimals)) : String(value));

// ---- elements

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A frame around pixels of an image, in fractions of its size; it may reach beyond the edge, as padding does.
export function frame(holder, name, box, rows, columns) {
  let made = holder.querySelector(`.frame.${name}`);
  if (!box) { made?.remove(); return; }
  if (!made) holder.append((made = element("div", { class: `frame ${name}` })));
  const [top, left, height, width] = box;
  Object.assign(made.style, {
    top: `${(100 * top) / rows}%`, left: `${(100 * left) / columns}%`,
    height: `${(100 * height) / rows}%`, width: `${(100 * width) / columns}%`,
  });
}

// The cell that an event points at, of a grid over an element.
export function cellAt(holder, event, rows, columns) {
  const box = holder.getBoundingClientRect(), clip = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
  return [clip((event.clientY - box.top) / box.height, rows), clip((event.clientX - box.left) / box.width, columns)];
}

// Where an arrow key leads from a cell of a grid; null for other keys.
export function stepped(event, [row, column], rows, columns) {
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!move) return null;
  event.preventDefault();
  return [Math.max(0, Math.min(rows - 1, row + move[0])), Math.max(0, Math.min(columns - 1, column + move[1]))];
}

// One of several elements is reached with Tab, the others with arrow keys.
export function roving(group) {
  group.addEventListener("keydown", (event) => {
    const all = [...group.querySelectorAll("button")], at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const top = all[at].offsetTop;
    const line = all.findIndex((other) => other.offsetTop > all[0].offsetTop);
    const wide = line < 0 ? all.length : line;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + wide, ArrowUp: at - wide,
                 Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all[to] || (wide === all.length && all[to].offsetTop !== top)) return;
    event.preventDefault();
    all.forEach((each) => (each.tabIndex = -1));
    all[to].tabIndex = 0;
    all[to].focus();
  });
}
