// The page other than its charts: the loop, the pods, the decisions.

import { MEASURED, byId, clock, html, setText, short } from "./dom.js";

const STATES = { loading: "loading", terminating: "terminating" };
const FAULTS = {
  down: "exporter down",
  slow: "exporter slow",
  hang: "exporter hangs",
  error: "HTTP 500",
  garbage: "nonsense",
  unlabelled: "no pod labels",
};
const MOST_VERDICTS = 50;

/** The loop, from the load to the replicas. */
export class Loop {
  #list = byId("steps");

  show(steps) {
    if (this.#list.children.length !== steps.length) {
      this.#list.replaceChildren(...steps.map(emptyStep));
    }
    steps.forEach(({ name, value, unit, note, source }, i) => {
      const item = this.#list.children[i];
      const [label, number, badge, words] = item.children;
      item.className = source ? `source-${source}` : "";
      setText(label, name);
      setText(number.firstChild, value || "—");
      setText(number.lastChild, unit);
      setText(badge, source.replace("-", " "));
      setText(words, note);
      words.title = note;
    });
  }
}

function emptyStep() {
  return html(
    "li",
    {},
    html("span", { class: "name" }),
    html("span", { class: "value" }, html("b"), " ", html("span", { class: "unit" })),
    html("span", { class: "badge" }),
    html("span", { class: "note" }),
  );
}

/** The nodes with their pods; a GPU without a pod keeps its place. */
export class Nodes {
  #element = byId("nodes");
  #setup;

  constructor(setup) {
    this.#setup = setup;
    this.#element.replaceChildren();
    const target = "the mark is the target";
    setText(byId("pods-note"), `Each pod's ${setup.tileLabel}, as the server measures it; ${target}.`);
  }

  show(nodes, target) {
    const maximum = this.#setup.tileMaximum ?? target * 4;
    while (this.#element.children.length < nodes.length) this.#element.append(this.#emptyNode());
    nodes.forEach((node, i) => {
      const card = this.#element.children[i];
      const [head, ...slots] = card.children;
      card.classList.toggle("faulty", node.fault !== null);
      setText(head.firstChild, node.name);
      setText(head.lastChild, node.fault ? FAULTS[node.fault] : `${node.scrapes} scrapes`);
      slots.forEach((slot, j) => this.#fill(slot, node.pods[j], target / maximum, maximum));
    });
  }

  #emptyNode() {
    const slots = Array.from({ length: this.#setup.gpusPerNode }, () =>
      html(
        "div",
        { class: "slot" },
        html("span", { class: "pod" }),
        html("span", { class: "bar" }, html("span", { class: "fill" }), html("span", { class: "mark" })),
        html("span", { class: "number" }),
      ),
    );
    return html("div", { class: "node" }, html("p", {}, html("b"), html("span")), ...slots);
  }

  #fill(slot, pod, mark, maximum) {
    const [name, bar, number] = slot.children;
    const known = pod && pod.value !== null;
    slot.className = `slot ${pod ? pod.state : "free"}${pod && !known ? " unknown" : ""}`;
    setText(name, pod ? pod.name.replace(/^.*-/, "…") : "free GPU");
    slot.title = pod ? pod.name : "";
    bar.firstChild.style.transform = `scaleX(${known ? Math.min(1, pod.value / maximum) : 0})`;
    bar.lastChild.style.left = `${Math.min(1, mark) * 100}%`;
    setText(number, this.#number(pod, known));
  }

  #number(pod, known) {
    if (!pod) return "";
    const state = STATES[pod.state];
    if (state) return state;
    return known ? `${short(pod.value)} ${this.#setup.tileUnit}`.trim() : "no value";
  }
}

/** The decisions that are news, the latest first; a screen reader reads each once. */
export class Log {
  #list = byId("log");
  #announcer = byId("announcer");

  constructor(verdicts) {
    this.#list.replaceChildren();
    verdicts.forEach((verdict) => this.#add(verdict));
  }

  show(verdict) {
    if (!verdict.news) return;
    this.#add(verdict);
    setText(this.#announcer, `${result(verdict)} replicas. ${verdict.reason}`);
  }

  #add(verdict) {
    const { seconds, before, after, source, reason } = verdict;
    const way = after > before ? "up" : after < before ? "down" : "same";
    const origin = html("span", { class: `badge source-${source}` }, source.replace("-", " "));
    const head = html(
      "p",
      { class: "head" },
      html("time", {}, clock(seconds)),
      html("b", { class: way }, result(verdict)),
      ...(MEASURED.has(source) ? [] : [origin]),
    );
    this.#list.prepend(html("li", {}, head, html("p", { class: "reason" }, reason)));
    while (this.#list.children.length > MOST_VERDICTS) this.#list.lastChild.remove();
  }
}

function result({ before, after }) {
  return before === after ? `stays at ${after}` : `${before} → ${after}`;
}
