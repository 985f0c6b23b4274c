// What all parts of the page share: the choice, which the link keeps, questions to the server, and events.

import { getArrays, latest, net, post, token } from "./api.js";

const KEYS = ["view", "step", "layer", "map", "place", "edits"];
// Inputs of so many values are kept in the link; of larger ones only the number of the example.
const MOST_IN_LINK = 4096;
// Maps of a layer that are asked for while an input is drawn.
export const SHOWN = 12;

export class Page {
  constructor(model) {
    this.model = model;
    this.run = null;
    this.listeners = {};
    this.wanted = null;
    this.state = read();
    this.rerun = latest(() => this.askRun(), (error) => { this.isLost = true; this.fail(error); });
    addEventListener("popstate", () => this.took(read()));
  }

  on(event, act) {
    (this.listeners[event] ??= new Set()).add(act);
    return () => this.listeners[event].delete(act);
  }

  fire(event, ...values) {
    for (const act of [...(this.listeners[event] ?? [])]) act(...values);
  }

  // ---- the choice

  set(changes, { quiet = false } = {}) {
    const changed = KEYS.filter((key) => key in changes && !same(changes[key], this.state[key]));
    if (!changed.length) return;
    this.state = { ...this.state, ...changes };
    const isStep = !quiet && changed.some((key) => key !== "place");
    history[isStep ? "pushState" : "replaceState"](null, "", `#${this.fragment()}`);
    this.fire("state", this.state, new Set(changed), quiet);
  }

  took(state) {
    const changed = KEYS.filter((key) => !same(state[key], this.state[key]));
    this.state = state;
    if (changed.length) this.fire("state", state, new Set(changed));
  }

  fragment(own = token) {
    const { view, layer, map, place, edits, input } = this.state, parts = net ? [own, `net=${net}`] : [own];
    if (view !== "overview") parts.push(`view=${view}`);
    if (view === "tour" && this.state.step !== null) parts.push(`step=${this.state.step}`);
    if (layer !== null) parts.push(`layer=${layer}`);
    if (map !== null) parts.push(`map=${map}`);
    if (place?.length) parts.push(`place=${place.join(",")}`);
    if (edits) parts.push(`edits=${encodeURIComponent(JSON.stringify(edits))}`);
    if (input) parts.push(`input=${input}`);
    return parts.join("&");
  }

  // Keeps an example's number in the link, or a drawing as its numbers in 256 steps.
  async keepInput(example = null) {
    const { values, range } = this.input;
    let kept = example === null ? null : `e${example}`;
    if (kept === null && values.length <= MOST_IN_LINK && values.some((v) => v !== values[0])) {
      const [low, high] = range;
      kept = `d${await packed(Uint8Array.from(values, (v) => Math.round((255 * (v - low)) / (high - low || 1))))}`;
    }
    this.state = { ...this.state, input: kept };
    history.replaceState(null, "", `#${this.fragment()}`);
  }

  async restoreInput() {
    const { input } = this.state;
    if (!input) return false;
    const example = input[0] === "e" ? Number(input.slice(1)) : null;
    if (example !== null) {
      if (!(example >= 0 && example < this.model.examples)) return false;
      const answer = await getArrays("/api/example", { number: example });
      this.input.set(Float32Array.from(answer.take(Float32Array, this.input.values.length)), answer.header.label, example);
      return true;
    }
    const codes = await unpacked(input.slice(1)).catch(() => null), [low, high] = this.input.range;
    if (codes?.length !== this.input.values.length) return false;
    this.input.set(Float32Array.from(codes, (v) => low + (v / 255) * (high - low)), null);
    return true;
  }

  // ---- questions

  ask(path, fields = {}, data = {}) {
    const told = { ...(this.state.edits ? { edits: this.state.edits } : {}), ...data };
    for (const key of Object.keys(told)) if (told[key] === null || told[key] === undefined) delete told[key];
    const values = this.input.values;
    if (!Object.keys(told).length) return post(path, fields, values);
    const text = new TextEncoder().encode(JSON.stringify(told)), length = Math.ceil(text.length / 4) * 4;
    const body = new Uint8Array(4 + length + values.byteLength).fill(32);
    new DataView(body.buffer).setUint32(0, length, true);
    body.set(text, 4);
    body.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), 4 + length);
    return post(path, fields, body);
  }

  latest(work) { return latest(work, (error) => this.fail(error)); }

  async askRun() {
    const since = this.since;
    this.since = undefined;
    const asked = this.wanted?.();
    const answer = await this.ask("/api/run", { channels: SHOWN, ...(asked ? { layers: asked.join(",") } : {}) });
    // Other messages stay until something else is done.
    if (this.isLost) this.fail(null);
    this.isLost = false;
    const layers = answer.header.layers.map((told) => told && { ...told, codes: answer.take(Int8Array, told.shape.reduce((a, b) => a * b, 1)) });
    this.run = { outputs: answer.header.outputs?.map(Number) ?? null, layers };
    this.fire("run", this.run);
    document.body.dataset.runs = Number(document.body.dataset.runs || 0) + 1;
    // From the first change that is not shown yet until all is shown, for the browser's own tools.
    if (document.body.dataset.runs % 1000 === 0) performance.clearMeasures();
    if (since !== undefined) performance.measure("shown", { start: since });
  }

  // ---- messages

  fail(error) {
    const problem = document.getElementById("problem");
    problem.textContent = error ? error.message : "";
    if (error && !error.message) console.error(error);
  }

  say(text) { document.getElementById("spoken").textContent = text; }
}

const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);

// The choice that a link holds.
function read() {
  const fields = new URLSearchParams(location.hash.slice(1).split("&").slice(1).join("&"));
  const number = (name) => (/^\d+$/.test(fields.get(name) ?? "") ? Number(fields.get(name)) : null);
  let edits = null;
  try { edits = JSON.parse(fields.get("edits") ?? "null"); } catch { /* a link that was cut */ }
  const place = fields.get("place");
  return {
    view: fields.get("view") ?? "overview", step: number("step"), layer: fields.get("layer") === "input" ? "input" : number("layer"), map: number("map"),
    place: /^\d+(,\d+)*$/.test(place ?? "") ? place.split(",").map(Number) : null, edits, input: fields.get("input"),
  };
}

async function through(stream, bytes) {
  const answer = new Response(new Blob([bytes]).stream().pipeThrough(stream));
  return new Uint8Array(await answer.arrayBuffer());
}

async function packed(bytes) {
  const small = await through(new CompressionStream("deflate-raw"), bytes);
  return btoa(String.fromCharCode(...small)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function unpacked(text) {
  const small = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return through(new DecompressionStream("deflate-raw"), small);
}
