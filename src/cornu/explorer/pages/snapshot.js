// The view as a picture: what is on the screen, written as SVG; PNG is that SVG, drawn.

const SPACE = "http://www.w3.org/2000/svg";
const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "opacity", "font-size", "font-family", "font-weight", "text-anchor"];

export async function save(page, kind) {
  const main = document.getElementById("main"), text = drawing(main, `${page.model.name}, ${page.state.view}`), name = `${page.model.name}-${page.state.view}.${kind}`;
  const svg = new Blob([text], { type: "image/svg+xml" });
  hand(kind === "svg" ? svg : await drawn(svg), name);
}

function hand(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^\w.-]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function drawn(svg) {
  const image = new Image(), url = URL.createObjectURL(svg);
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  // No browser draws pictures of any size.
  const scale = Math.min(2, 8000 / image.width, 8000 / image.height);
  Object.assign(canvas, { width: image.width * scale, height: image.height * scale });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.drawImage(image, 0, 0);
  URL.revokeObjectURL(url);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture is too large."))), "image/png"));
}

export function drawing(root, title) {
  const box = root.getBoundingClientRect(), parts = [];
  const [left, top] = [box.left, box.top], background = getComputedStyle(document.body).backgroundColor;
  const [width, height] = [Math.ceil(box.width), Math.ceil(Math.max(box.height, root.scrollHeight))];
  walk(root, box, { parts, left, top, count: 0 });
  return `<svg xmlns="${SPACE}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><title>${escaped(title)}</title>` +
    `<rect width="${width}" height="${height}" fill="${background}"/>${parts.join("")}</svg>`;
}

// What of an element is seen, with what it contains; `clip` is what its scrolling ancestors let through.
function walk(node, clip, to) {
  const style = getComputedStyle(node);
  if (style.display === "none" || style.visibility === "hidden" || Number(style.opacity) === 0 || node.classList.contains("unseen")) return;
  const box = node.getBoundingClientRect();
  if (box.width && box.height && (box.right < clip.left || box.left > clip.right || box.bottom < clip.top || box.top > clip.bottom)) return;
  const rect = (fill, stroke) => to.parts.push(`<rect x="${n(box.left - to.left)}" y="${n(box.top - to.top)}" width="${n(box.width)}" height="${n(box.height)}" rx="${parseFloat(style.borderTopLeftRadius) || 0}"${fill}${stroke}/>`);
  const isFilled = !/, 0\)$|transparent/.test(style.backgroundColor), outline = parseFloat(style.outlineWidth) && style.outlineStyle !== "none";
  const edges = ["Top", "Right", "Bottom", "Left"].map((side) => (style[`border${side}Style`] === "none" || /, 0\)$|transparent/.test(style[`border${side}Color`]) ? 0 : parseFloat(style[`border${side}Width`])));
  const isWhole = edges.every((edge) => edge === edges[0]);
  const [edge, wide] = outline ? [style.outlineColor, parseFloat(style.outlineWidth)] : [style.borderTopColor, isWhole ? edges[0] : 0];
  if (isFilled || wide) rect(` fill="${isFilled ? style.backgroundColor : "none"}"`, wide ? ` stroke="${edge}" stroke-width="${wide}"` : "");
  if (!isWhole) {
    const [l, t, r, b] = [box.left - to.left, box.top - to.top, box.right - to.left, box.bottom - to.top];
    [[l, t, r, t], [r, t, r, b], [l, b, r, b], [l, t, l, b]].forEach(([x1, y1, x2, y2], side) => {
      if (edges[side]) to.parts.push(`<line x1="${n(x1)}" y1="${n(y1)}" x2="${n(x2)}" y2="${n(y2)}" stroke="${style[`border${["Top", "Right", "Bottom", "Left"][side]}Color`]}" stroke-width="${edges[side]}"/>`);
    });
  }
  // What rings a map is a shadow.
  if (node.classList.contains("tile")) rect(' fill="none"', ` stroke="${node.classList.contains("source") ? style.color : getComputedStyle(document.documentElement).getPropertyValue("--line")}" stroke-width="${node.classList.contains("source") ? 2 : 0.5}"`);
  const scrolls = node !== document.getElementById("main") && /auto|scroll|hidden/.test(style.overflow + style.overflowX + style.overflowY) && box.width && box.height;
  let inner = clip;
  if (scrolls) {
    inner = { left: Math.max(clip.left, box.left), top: Math.max(clip.top, box.top), right: Math.min(clip.right, box.right), bottom: Math.min(clip.bottom, box.bottom) };
    const id = `clip${to.count++}`;
    to.parts.push(`<clipPath id="${id}"><rect x="${n(inner.left - to.left)}" y="${n(inner.top - to.top)}" width="${n(Math.max(0, inner.right - inner.left))}" height="${n(Math.max(0, inner.bottom - inner.top))}"/></clipPath><g clip-path="url(#${id})">`);
  }
  if (node.tagName === "CANVAS" && node.width && node.height) {
    to.parts.push(`<image x="${n(box.left - to.left)}" y="${n(box.top - to.top)}" width="${n(box.width)}" height="${n(box.height)}" preserveAspectRatio="none" style="image-rendering:pixelated" href="${node.toDataURL()}"/>`);
  } else if (node.namespaceURI === SPACE) to.parts.push(copied(node, box, to));
  else if (/^(INPUT|SELECT)$/.test(node.tagName)) {
    const value = node.tagName === "SELECT" ? node.selectedOptions[0]?.text : /checkbox|range|color|file/.test(node.type) ? "" : node.value;
    if (value) to.parts.push(lineOf(value, box.left + 6 - to.left, box, style, to));
  } else for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) text(child, style, to);
    else if (child.nodeType === Node.ELEMENT_NODE && !(node.tagName === "DETAILS" && !node.open && child.tagName !== "SUMMARY")) walk(child, inner, to);
  }
  if (scrolls) to.parts.push("</g>");
}

function lineOf(value, x, box, style, to) {
  const size = parseFloat(style.fontSize);
  return `<text x="${n(x)}" y="${n(box.top - to.top + box.height / 2 + size * 0.35)}" font-size="${size}" font-family="${escaped(style.fontFamily)}" fill="${style.color}">${escaped(value)}</text>`;
}

// Text as it is broken into lines.
function text(node, style, to) {
  if (!node.data.trim()) return;
  const range = document.createRange(), words = [...node.data.matchAll(/\S+\s*/g)];
  let line = null;
  const flush = () => { if (line) to.parts.push(lineOf(line.text.trimEnd(), line.box.left - to.left, line.box, style, to).replace("<text ", `<text font-weight="${style.fontWeight}" font-style="${style.fontStyle}" `)); };
  for (const word of words) {
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].trimEnd().length);
    const box = range.getClientRects()[0];
    if (!box?.width) continue;
    if (line && Math.abs(line.box.top - box.top) < 2) line.text += word[0];
    else { flush(); line = { text: word[0], box }; }
  }
  flush();
}

function copied(node, box, to) {
  const copy = node.cloneNode(true), from = [node, ...node.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((each, k) => {
    const style = getComputedStyle(from[k]);
    for (const name of DRAWN) each.setAttribute(name, style.getPropertyValue(name));
    each.removeAttribute("class");
  });
  copy.setAttribute("x", n(box.left - to.left));
  copy.setAttribute("y", n(box.top - to.top));
  copy.setAttribute("width", n(box.width));
  copy.setAttribute("height", n(box.height));
  return new XMLSerializer().serializeToString(copy);
}

const n = (value) => Number(value.toFixed(1));
const escaped = (value) => value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
