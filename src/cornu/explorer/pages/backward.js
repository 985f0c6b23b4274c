// The way back: how the loss changes with every number, and what a step against it does.

import { SHOWN } from "./page.js";
import { element, precise, show } from "./picture.js";
import { setTarget, targetField, targetOf } from "./target.js";
import { cells, weightsOf } from "./weights.js";

// Between a change of the input and the question; and between two columns that fill.
const REST = 150, FLOW = 90;

export function mount(page, root) {
  const view = backwardOf(page);
  return { shown() { root.append(view.root); view.shown(); }, hidden() { view.hidden(); } };
}

// There is one, which the tour borrows.
export const backwardOf = (page) => (page.backward ??= new Backward(page));

class Backward {
  constructor(page) {
    this.page = page;
    this.root = element("div", { class: "backward" });
    this.ask = page.latest(() => this.load());
    this.rate = element("input", { type: "number", min: "0.00001", max: "100", step: "any", value: "0.002", class: "rate" });
    this.rate.addEventListener("change", () => { this.rate.value = String(this.rateNow()); this.chosen?.show(); });
    this.says = element("p", { class: "loss", role: "status" });
    this.what = element("p", { class: "quiet" });
    this.after = element("div", { class: "after-step" });
    this.step = element("button", { type: "button", onclick: () => this.more(1) }, "One step");
    this.ten = element("button", { type: "button", onclick: () => this.more(10) }, "Ten steps");
    this.undo = element("button", { type: "button", disabled: true, onclick: () => page.set({ edits: null }) }, "Undo");
    this.shows = element("button", { type: "button", "aria-pressed": "true", onclick: () => this.turn() }, "Gradients in the columns");
    this.root.append(element("div", { class: "row backward-bar" }, targetField(page), element("label", {}, "Rate ", this.rate), this.step, this.ten, this.undo, this.shows),
      this.says, this.after, this.what);
    page.on("input", () => this.moved());
    page.on("run", () => this.ran());
    page.on("target", () => { if (this.isShown) { if (this.isStepped) page.set({ edits: null }); else this.ask(); } });
    page.on("scheme", () => { if (this.isShown) this.paint(false); });
    page.on("state", (state, changed) => { if (changed.has("edits")) this.edited(); });
    page.inspector.tab("gradient", "Gradient", (panel) => this.panel(panel));
    this.edited();
  }

  get isStepped() { const { edits } = this.page.state; return !!edits && !Array.isArray(edits); }

  rateNow() { return Math.max(0.00001, Math.min(100, Number(this.rate.value) || 0.002)); }

  shown() {
    this.isShown = true;
    this.flows = true;
    if (this.page.run) this.ask();
  }

  hidden() {
    this.isShown = false;
    clearInterval(this.flowing);
    this.page.graph.show(null);
    // Elsewhere the model is as it was trained.
    if (this.isStepped) this.page.set({ edits: null }, { quiet: true });
  }

  // ---- what is asked

  moved() {
    // A step was made for a certain input; the loss of another one is another.
    if (this.isStepped && this.steppedOn && !same(this.steppedOn, this.page.input.values)) this.page.set({ edits: null }, { quiet: true });
    if (!this.isStepped) this.page.target = undefined;
    this.says.classList.add("stale");
  }

  ran() {
    if (this.isStepped) this.steppedOn ??= Float32Array.from(this.page.input.values);
    if (!this.isShown) return;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.ask(), REST);
  }

  edited() {
    const { edits } = this.page.state;
    this.undo.disabled = !edits;
    if (!this.isStepped) this.steppedOn = null;
    else if (this.page.target === undefined) setTarget(this.page, edits.target);
    if (this.isStepped) this.rate.value = String(edits.rate);
    this.step.disabled = this.ten.disabled = this.isStepped && edits.steps >= 20;
  }

  more(steps) {
    const { page } = this, before = this.isStepped ? page.state.edits : null, rate = before?.rate ?? this.rateNow();
    page.target = targetOf(page);
    page.set({ edits: { target: page.target, rate, steps: Math.min(20, (before?.steps ?? 0) + steps) } });
  }

  async load() {
    const { page } = this, target = targetOf(page), values = page.input.values, { edits } = page.state;
    const answer = await page.ask("/api/backward", { channels: SHOWN }, { target });
    const take = (told) => ({ ...told, codes: answer.take(Int8Array, told.shape.reduce((a, b) => a * b, 1)) });
    const input = take(answer.header.input), layers = answer.header.layers.map(take);
    const before = edits && this.isStepped ? (await page.ask("/api/backward", { channels: 1 }, { target, edits: null })).header : null;
    if (!this.isShown || values !== page.input.values || edits !== page.state.edits) return;
    this.found = { input, layers, target, loss: Number(answer.header.loss), name: answer.header.loss_name, outputs: answer.header.outputs.map(Number), before };
    this.says.classList.remove("stale");
    this.tell();
    this.paint(this.flows && !matchMedia("(prefers-reduced-motion: reduce)").matches);
    this.flows = false;
  }

  // ---- what is shown

  turn() {
    const on = this.shows.getAttribute("aria-pressed") !== "true";
    this.shows.setAttribute("aria-pressed", String(on));
    this.paint(on);
  }

  // From the right to the left, as the gradient is computed.
  paint(flows) {
    clearInterval(this.flowing);
    const { page, found } = this;
    if (!found || this.shows.getAttribute("aria-pressed") !== "true") { page.graph.show(null); return; }
    const legend = "how the loss changes: orange up, purple down";
    const parts = found.layers.map((told) => (told.shape[0] ? told : undefined));
    if (!flows) { page.graph.show(parts, legend); return; }
    let from = parts.length;
    this.flowing = setInterval(() => {
      from -= 1;
      page.graph.show(parts.map((told, n) => (n >= from ? told : page.run?.layers[n])), legend);
      if (from <= 0) clearInterval(this.flowing);
    }, FLOW);
  }

  tell() {
    const { found, page } = this, { classes } = page.model, share = found.outputs[found.target];
    const isEntropy = classes.length && /entropy/.test(found.name) && Math.abs(-Math.log(share) - found.loss) < 1e-3 * (1 + found.loss);
    const name = classes[found.target];
    this.says.replaceChildren(isEntropy ? `Loss: −ln(${precise(share)}), of the share of ${name}, = ` : `Loss (${found.name.replaceAll("_", " ")}): `,
      element("strong", {}, show(found.loss)));
    this.what.textContent = "Orange: if this number grows, the loss goes up; purple: it goes down. A step moves each weight the other way: minus the rate "
      + "times its gradient. It is plain gradient descent on a copy, with dropout off; your model and other viewers keep their weights.";
    this.after.replaceChildren(...this.comparison());
  }

  comparison() {
    const { before, loss, outputs } = this.found;
    if (!before) return [];
    const { classes } = this.page.model, { edits } = this.page.state, old = before.outputs.map(Number), was = Number(before.loss);
    const chosen = classes.map((_, n) => n).sort((a, b) => Math.max(outputs[b], old[b]) - Math.max(outputs[a], old[a])).slice(0, 3);
    if (classes.length && !chosen.includes(this.found.target)) chosen.push(this.found.target);
    const row = (name, from, to) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, show(from)), element("td", {}, show(to)),
      element("td", {}, to > from ? "▲ goes up" : to < from ? "▼ goes down" : "stays"));
    const top = (all) => classes[all.indexOf(Math.max(...all))];
    const says = !classes.length ? "" : top(old) === top(outputs) ? `The answer stays ${top(outputs)}.` : `The answer was ${top(old)}; now it is ${top(outputs)}.`;
    const verdict = `After ${edits.steps === 1 ? "one step" : `${edits.steps} steps`} of rate ${show(edits.rate)} the loss ${loss < was ? "went down" : loss > was ? "went up: the rate is too large" : "is what it was"}. ${says}`;
    this.page.say(verdict);
    const rows = [row("loss", was, loss), ...chosen.map((n) => row(classes[n], old[n], outputs[n]))];
    if (!classes.length) rows.push(...outputs.slice(0, 4).map((value, n) => row(`output ${n}`, old[n], value)));
    return [element("p", {}, verdict), element("div", { class: "scroll" }, element("table", {},
      element("thead", {}, element("tr", {}, ...["number", "before", "after", "change"].map((text) => element("th", { scope: "col" }, text)))), element("tbody", {}, ...rows)))];
  }

  // ---- one weight, in the inspector

  async panel(panel) {
    const { page } = this, { layer, map } = page.state, key = `${layer} ${map}`;
    const target = targetOf(page);
    if (this.key !== key) { this.key = key; this.picked = null; }
    let weights;
    try { weights = await weightsOf(page, { target }); } catch (error) { panel.replaceChildren(element("p", { class: "quiet" }, error.message)); return; }
    if (`${page.state.layer} ${page.state.map}` !== key || page.inspector.turned !== "gradient") return;
    const trained = weights.filter((weight) => weight.is_trained && weight.gradients), made = page.model.layers[layer];
    if (!trained.length) {
      panel.replaceChildren(element("p", {}, weights.missing || `${made.name} has no weights to learn: it hands the gradient on. Choose a map of a convolution or a unit of a dense layer.`));
      return;
    }
    const one = element("div", { class: "one-weight", "aria-live": "polite" });
    const pick = (weight, index, n) => {
      this.picked = { name: weight.name, n };
      for (const each of panel.querySelectorAll(".cell")) each.setAttribute("aria-pressed", String(each.closest("[data-weight]").dataset.weight === weight.name && Number(each.dataset.n) === n));
      this.chosen = { show: () => this.weight(one, weight, index, target) };
      this.chosen.show();
    };
    const source = made.sources[0], nameOf = (n) => (Number.isInteger(source) ? `${page.model.layers[source].name} map ${n}` : `input ${n}`);
    panel.replaceChildren(element("p", { class: "quiet" }, `How the loss of “${page.model.classes[target] ?? target}” changes with each weight of this ${made.shape.length > 1 ? "map" : "unit"}. Pick one to see why. ${weights.missing}`),
      ...trained.map((weight) => {
        const chosen = this.picked?.name === weight.name ? this.picked.n : null;
        return element("section", { "data-weight": weight.name }, element("h3", {}, `Gradient of ${weight.name}`), cells(weight, "gradients", pick, { chosen, nameOf }));
      }), one);
    const again = this.picked && trained.find(({ name }) => name === this.picked.name);
    const first = again ?? trained[0];
    const n = again ? this.picked.n : first.numbers.reduce((best, at) => (Math.abs(first.gradients[at]) > Math.abs(first.gradients[best]) ? at : best), first.numbers[0]);
    pick(first, first.index(n), n);
  }

  async weight(root, weight, index, target) {
    const { page } = this, { layer } = page.state;
    let told;
    try { told = await page.ask("/api/back_window", { layer, weight: weight.name, index: index.join(",") }, { target, rate: this.rateNow() }); } catch (error) { page.fail(error); return; }
    if (layer !== page.state.layer || !root.isConnected) return;
    if (told.refused) { root.replaceChildren(element("p", {}, told.refused)); return; }
    const [value, sum, gradient, rate, after] = [told.value, told.result, told.gradient, told.rate, told.after].map(Number);
    const up = after > value, line = (name, text) => [element("dt", {}, name), element("dd", {}, text)];
    root.replaceChildren(element("h3", {}, `${told.weight}[${told.index.join(", ")}] of ${told.layer}`),
      element("p", { class: "result" }, `${after === value ? "=" : up ? "▲" : "▼"} ${show(gradient)}`),
      element("p", {}, gradient === 0 ? "The loss does not change with this weight: a step leaves it." : `If this weight grows, the loss goes ${gradient > 0 ? "up" : "down"}. So a step lets the weight go ${up ? "up" : "down"}.`),
      element("dl", { class: "steps" }, ...line("value", precise(value)), ...line("gradient", show(sum)), ...line("the model says", show(gradient)), ...line("move", `−${show(rate)} × ${signed(gradient)} = ${show(-rate * gradient)}`),
        ...line("new value", `${precise(value)} ${up ? "+" : "−"} ${show(Math.abs(rate * gradient))} = ${precise(after)}`)),
      ...told.parts.flatMap((part) => this.sum(part)));
  }

  // The gradient is a sum: the same weight is used at many places.
  sum(part) {
    const hasSlope = part.terms.some(({ slope }) => slope !== null);
    const heads = ["at", "it met", ...(hasSlope ? ["slope"] : []), "gradient there", "product"];
    const rows = part.terms.map(({ place, factor, slope, gradient, product }) => element("tr", {}, element("th", { scope: "row" }, place.length > 1 ? `(${place.slice(0, -1).join(", ")})` : `unit ${place[0]}`),
      ...[factor, ...(hasSlope ? [slope] : []), gradient, product].map((value) => element("td", {}, show(value)))));
    const rest = part.count - part.terms.length, span = String(heads.length - 2);
    if (rest > 0) rows.push(element("tr", {}, element("th", { scope: "row" }, `${rest.toLocaleString("en")} more`), element("td", { colspan: span }), element("td", {}, show(part.rest))));
    rows.push(element("tr", { class: "own" }, element("th", { scope: "row" }, "sum"), element("td", { colspan: span }), element("td", {}, show(part.sum))));
    const places = part.count === 1 ? "one place" : `${part.count.toLocaleString("en")} places`;
    return [element("h3", {}, `A sum over ${places}`), element("p", { class: "quiet" }, `${part.layer} (${part.kind}): ${part.says}.`),
      element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "The largest terms" }, element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)))), element("tbody", {}, ...rows)))];
  }
}

const same = (a, b) => a === b || (a.length === b.length && a.every((value, n) => value === b[n]));
const signed = (value) => (value < 0 ? `(${show(value)})` : show(value));
