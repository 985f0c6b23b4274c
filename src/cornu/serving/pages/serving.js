// Sends pictures, or numbers, to a model and shows the answers. The token may come in the link's fragment.

const at = (id) => document.getElementById(id);
const fragment = location.hash.slice(1);
if (fragment) {
  sessionStorage.setItem("cornu-token", fragment);
  history.replaceState(null, "", location.pathname);
}
let models = [], number = 0;

function element(tag, properties, ...inner) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inner);
  return made;
}

function failed(error) { at("problem").textContent = error ? error.message : ""; }

async function ask(path, method = "GET", body = undefined) {
  const token = sessionStorage.getItem("cornu-token");
  let response;
  try {
    response = await fetch(path, { method, body, headers: token ? { authorization: `Bearer ${token}` } : {} });
  } catch {
    throw new Error("The server does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) at("token-form").hidden = false;
  if (!response.ok) throw new Error(answer.error || `The server refused: ${response.status}.`);
  return answer;
}

const chosen = () => models[at("model").selectedIndex];
const path = (name) => encodeURIComponent(name);

function zeros(shape) {
  const [first, ...rest] = shape.map((n) => n ?? 1);
  return first === undefined ? 0 : Array.from({ length: first }, () => zeros(rest));
}

function show() {
  const model = chosen();
  if (!model) return;
  failed(model.ready ? null : new Error(`${model.name} is not ready yet.`));
  const sizes = (model.inputs ?? []).map((one) => `${one.name}: ${one.shape.slice(1).map((n) => n ?? "any").join(" × ") || "a number"}, ${one.dtype}`);
  at("facts").textContent = `${sizes.join("; ")}; version ${Math.max(...model.versions)}`;
  at("pictures").hidden = !model.takes_pictures;
  at("tensors").hidden = model.takes_pictures || !model.ready;
  at("results").replaceChildren();
  at("answer").hidden = true;
  if (!at("tensors").hidden) {
    const example = Object.fromEntries(model.inputs.map((one) => [one.name, one.dtype === "string" ? "" : zeros(one.shape.slice(1))]));
    const one = model.inputs.length === 1 ? example[model.inputs[0].name] : example;
    at("json").value = JSON.stringify({ instances: [one] });
  }
}

const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(2)} %` : value);

function answered(answer) {
  if (answer.error) return element("p", { className: "wrong", textContent: answer.error });
  if (!answer.classes.length) return element("p", { className: "quiet", textContent: "no class is that probable" });
  return element("ol", {}, ...answer.classes.map((one, place) => element("li", { className: place ? "" : "first" },
    element("span", { textContent: one.class }), element("span", { className: "value", textContent: percent(one.probability) }),
    element("meter", { value: Number(one.probability) || 0, max: 1, ariaLabel: `${one.class}: ${percent(one.probability)}` }))));
}

async function classify(files) {
  failed(null);
  const model = chosen(), query = at("invert").checked ? "?invert=1" : "";
  for (const file of files) {
    const picture = element("img", { alt: "", src: URL.createObjectURL(file) });
    // What the browser cannot show, the server will speak about.
    picture.addEventListener("error", () => picture.remove());
    picture.addEventListener("load", () => URL.revokeObjectURL(picture.src));
    const item = element("li", {}, element("strong", { textContent: file.name || `picture ${++number}` }), picture);
    at("results").prepend(item);
    let shown;
    try {
      shown = answered((await ask(`/images/${path(model.name)}${query}`, "POST", file)).images[0]);
    } catch (error) {
      shown = answered({ error: error.message });
    }
    item.append(shown);
  }
  document.body.dataset.answers = Number(document.body.dataset.answers || 0) + files.length;
}

async function predict() {
  failed(null);
  at("answer").hidden = true;
  try {
    const answer = await ask(`/v1/models/${path(chosen().name)}:predict`, "POST", at("json").value);
    at("answer").textContent = JSON.stringify(answer, null, 1);
    at("answer").hidden = false;
  } catch (error) { failed(error); }
}

async function begin() {
  try {
    ({ models } = await ask("/v1/models"));
    at("token-form").hidden = true;
    at("model").replaceChildren(...models.map((model) => element("option", { textContent: model.name })));
    show();
    document.body.dataset.ready = "yes";
  } catch (error) { failed(error); }
}

at("model").addEventListener("change", show);
at("file").addEventListener("change", () => { classify([...at("file").files]); at("file").value = ""; });
at("send").addEventListener("click", predict);
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("cornu-token", at("token").value);
  begin();
});
addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
addEventListener("dragleave", () => at("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (chosen()?.takes_pictures) classify([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length && chosen()?.takes_pictures) classify(files);
});
begin();
