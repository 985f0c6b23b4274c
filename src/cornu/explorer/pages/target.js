// What the loss is measured against: one choice for the way back, the tour and training's steps.

import { element } from "./picture.js";

export function targetOf(page) {
  if (page.target !== undefined) return page.target;
  // What it should have been, if that is known; else what it said.
  if (page.input.label !== null) return page.input.label;
  const outputs = page.model.classes.length ? page.run?.outputs ?? [] : [];
  return outputs.length ? outputs.indexOf(Math.max(...outputs)) : 0;
}

export function setTarget(page, target) {
  page.target = target;
  page.fire("target", target);
}

// The choice of a class, or of a number.
export function targetField(page) {
  const names = page.model.classes, one = (page.model.layers[page.model.layers.length - 1]?.shape ?? []).reduce((a, b) => a * b, 1) === 1, act = () => setTarget(page, Number(field.value) || 0);
  const field = names.length
    ? element("select", { class: "target", onchange: act }, ...names.map((name, n) => element("option", { value: String(n) }, name)))
    : element("input", { class: "target", type: "number", step: "any", onchange: act });
  const show = () => { field.value = String(targetOf(page)); };
  page.on("target", show);
  page.on("run", show);
  show();
  return element("label", {}, names.length ? "The truth is " : one ? "It should be " : "All should be ", field);
}
