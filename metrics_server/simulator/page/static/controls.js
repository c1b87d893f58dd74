// The controls: they send changes, and show the current settings.

import { byId, html, setText, short } from "./dom.js";

const FAULTS = {
  down: "down",
  slow: "slow",
  error: "HTTP 500",
  garbage: "nonsense",
  unlabelled: "no pod labels",
};
const UP_POLICIES = [1, 2, 3, 4, 8];
const LOAD_PAUSE = 120;
const HPA_PAUSE = 250;

const load = byId("load");
const varies = byId("load-varies");
const faultKinds = byId("fault-kinds");
const faultExporters = byId("fault-exporters");
const hpaForm = byId("hpa-form");
const target = byId("target");
const numbers = ["minReplicas", "maxReplicas", "window"].map(byId);
const scaleUp = byId("scaleUpPods");

let bounds = null;
let unit = "";

/** Sends the latest change of a form, one request at a time. */
class Sender {
  #path;
  #pause;
  #error;
  #body = null;
  #timer = 0;
  #busy = false;

  constructor(path, error, pause) {
    [this.#path, this.#error, this.#pause] = [path, byId(error), pause];
  }

  /** Whether a change is not yet in force, or was rejected. */
  get pending() {
    return this.#busy || this.#timer !== 0 || this.#error.textContent !== "";
  }

  send(body) {
    this.#body = body;
    if (this.#timer === 0) this.#timer = setTimeout(() => this.#post(), this.#pause);
  }

  async #post() {
    this.#timer = 0;
    if (this.#busy) {
      this.send(this.#body);
      return;
    }
    this.#busy = true;
    const { message, field } = await post(this.#path, this.#body);
    this.#busy = false;
    this.reject(message, field);
  }

  /** Say why a change is not made, and at which field; or with an empty message that it is. */
  reject(message, field) {
    setText(this.#error, message && `Not changed: ${message}.`);
    for (const input of this.#error.closest("form").elements) {
      if (input.id && input.id === field) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  }
}

async function post(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.ok) return { message: "", field: "" };
    const { message, field } = await response.json();
    return { message, field };
  } catch {
    return { message: "the demo did not answer", field: "" };
  }
}

const senders = {
  load: new Sender("load", "load-error", LOAD_PAUSE),
  fault: new Sender("fault", "fault-error", 0),
  hpa: new Sender("hpa", "hpa-error", HPA_PAUSE),
};

/** Offer the values that this demo accepts. */
export function setUp(setup, exporters) {
  ({ bounds, tileUnit: unit } = setup);
  load.max = bounds.loadMaximum;
  load.step = bounds.loadStep;
  setText(byId("target-label"), `Target of ${setup.metric}`);
  target.max = bounds.targetMaximum;
  const [least, most, seconds] = numbers;
  [least.min, least.max] = [bounds.leastReplicas, bounds.mostReplicas];
  [most.min, most.max] = [Math.max(1, bounds.leastReplicas), bounds.mostReplicas];
  [seconds.min, seconds.max] = [0, bounds.mostWindow];
  byId("fault-form").hidden = bounds.faults.length === 0;
  faultKinds.replaceChildren(
    choice("", "none"),
    ...bounds.faults.map((kind) => choice(kind, FAULTS[kind])),
  );
  faultExporters.replaceChildren(
    ...Array.from({ length: exporters }, (_, i) => option(i + 1, `${i + 1} of ${exporters}`)),
  );
  faultExporters.value = exporters;
  const policies = UP_POLICIES.filter((count) => count <= bounds.mostReplicas);
  scaleUp.replaceChildren(
    option("", "100 % or 4 pods"),
    ...policies.map((count) => option(count, count === 1 ? "1 pod" : `${count} pods`)),
  );
}

function choice(value, label) {
  const input = html("input", { type: "radio", name: "fault", value });
  return html("label", {}, input, html("span", {}, label));
}

function option(value, label) {
  return html("option", { value }, label);
}

/** Show the current settings, except where the user is about to change them. */
export function show(controls, currentLoad) {
  if (!senders.load.pending && !dragging) {
    varies.checked = controls.load === null;
    load.value = controls.load ?? currentLoad;
    showLoad();
  }
  if (!senders.fault.pending) {
    check(faultKinds, "fault", controls.fault ?? "");
    if (controls.fault) faultExporters.value = controls.exporters;
  }
  if (!senders.hpa.pending && !hpaForm.contains(editing())) {
    check(hpaForm, "metricType", controls.metricType);
    target.value = controls.target;
    for (const input of numbers) input.value = controls[input.id];
    scaleUp.value = controls.scaleUpPods ?? "";
  }
  setText(byId("type-hint"), bounds.metricTypes[controls.metricType]);
  showTarget();
}

/** The field that a user is typing in. */
function editing() {
  const active = document.activeElement;
  return active?.type === "number" ? active : null;
}

/** Disable all changes while there is no demo. */
export function enable(enabled) {
  for (const fieldset of document.querySelectorAll("fieldset")) fieldset.disabled = !enabled;
}

function check(form, name, value) {
  const input = form.querySelector(`input[name="${name}"][value="${value}"]`);
  if (input && !input.checked) input.checked = true;
}

function showLoad() {
  setText(byId("load-value"), `${short(Number(load.value))} ${bounds.loadUnit}`);
}

function showTarget() {
  setText(byId("target-value"), `${short(Number(target.value))} ${unit}`.trim());
}

let dragging = false;
load.addEventListener("pointerdown", () => { dragging = true; });
addEventListener("pointerup", () => { dragging = false; });
addEventListener("pointercancel", () => { dragging = false; });

load.addEventListener("input", () => {
  varies.checked = false;
  showLoad();
  senders.load.send({ amount: Number(load.value) });
});
varies.addEventListener("change", () => {
  senders.load.send({ amount: varies.checked ? null : Number(load.value) });
});

byId("fault-form").addEventListener("change", () => {
  const { value } = faultKinds.querySelector("input:checked") ?? { value: "" };
  senders.fault.send({ kind: value || null, exporters: Number(faultExporters.value) });
});

hpaForm.addEventListener("input", () => {
  showTarget();
  const unusable = numbers.find((input) => !/^\d+$/.test(input.value));
  if (unusable) {
    const [label] = unusable.labels;
    senders.hpa.reject(`${label.textContent} must be a whole number`, unusable.id);
    return;
  }
  senders.hpa.send({
    metricType: hpaForm.elements.metricType.value,
    target: Number(target.value),
    ...Object.fromEntries(numbers.map((input) => [input.id, Number(input.value)])),
    scaleUpPods: scaleUp.value ? Number(scaleUp.value) : null,
  });
});

for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
