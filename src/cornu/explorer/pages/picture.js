// Numbers as colours, and small helpers to make elements.

// Purple is negative, orange positive (ColorBrewer's PuOr); people with any colour vision tell them apart.
const STOPS = [
  [45, 0, 75], [84, 39, 136], [128, 115, 172], [178, 171, 210], [216, 218, 235], [247, 247, 247],
  [254, 224, 182], [253, 184, 99], [224, 130, 20], [179, 88, 6], [127, 59, 8],
];
const COLOURS = new Uint8ClampedArray(256 * 4);
for (let code = -128; code < 128; code++) {
  const at = ((code + 127) / 254) * (STOPS.length - 1);
  const low = Math.max(0, Math.min(STOPS.length - 2, Math.floor(at)));
  const share = Math.max(0, at - low);
  const [a, b] = [STOPS[low], STOPS[low + 1]];
  // -128 is NaN.
  const colour = code === -128 ? [0, 158, 115] : a.map((from, n) => from + share * (b[n] - from));
  COLOURS.set([...colour, 255], (code + 128) * 4);
}

export function colour(code) {
  return `rgb(${COLOURS.subarray((code + 128) * 4, (code + 128) * 4 + 3).join(", ")})`;
}

export function paint(canvas, codes, rows, columns) {
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  for (let n = 0; n < rows * columns; n++) {
    const from = (codes[n] + 128) * 4;
    image.data.set(COLOURS.subarray(from, from + 4), n * 4);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
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

export function show(number) {
  const value = Number(number);
  if (!Number.isFinite(value)) return String(number);
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

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
