// A chart over time, as SVG. A gap in the values is a gap in the line.

import { MEASURED, clock, html, setText, short, svg } from "./dom.js";

const HEIGHT = 176;
const MARGIN = { top: 10, right: 44, bottom: 20, left: 34 };
const LONGEST_SECONDS = 120;
const SHORTEST_SECONDS = 30;
const TOLERANCE = 0.1;

export class Chart {
  #spec;
  #interval;
  #points = [];
  #width = 0;
  #svg = svg("svg", { role: "img", height: HEIGHT });
  #reading = html("span", { class: "reading" });
  #pointer = null;

  constructor(spec, { interval, sources }) {
    this.#spec = spec;
    this.#interval = interval;
    const title = html("span", { class: "title" }, spec.unit ? `${spec.title}, ${spec.unit}` : spec.title);
    const legend = html("span", { class: "legend" }, ...this.#legend(sources));
    this.element = html(
      "figure",
      { class: "chart" },
      html("figcaption", {}, title, legend, this.#reading),
      this.#svg,
    );
    new ResizeObserver(([entry]) => this.#resize(entry.contentRect.width)).observe(this.element);
    this.#svg.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.#svg.addEventListener("pointerleave", () => this.#point(null));
  }

  #legend(sources) {
    const keys = this.#spec.series.map(({ mark, label }) => key(`mark-${mark}`, label));
    if (this.#spec.series.some(({ mark }) => mark === "sourced")) {
      for (const [source, label] of Object.entries(sources)) keys.push(key(`source-${source}`, label));
    }
    return keys;
  }

  show(points) {
    this.#points = points;
    this.#draw();
  }

  #resize(width) {
    if (Math.abs(width - this.#width) < 1) return;
    this.#width = width;
    this.#svg.setAttribute("width", width);
    this.#draw();
  }

  #point(x) {
    this.#pointer = x;
    this.#draw();
  }

  #draw() {
    const now = this.#points.at(-1)?.seconds ?? 0;
    if (!this.#width || !this.#points.length) return;
    const longest = this.#width < 480 ? LONGEST_SECONDS / 2 : LONGEST_SECONDS;
    const first = Math.max(0, now - longest);
    const last = Math.max(now, first + SHORTEST_SECONDS);
    const points = this.#points.filter(({ seconds }) => seconds >= first);
    const axis = new Axis(this.#spec, points);
    const right = this.#width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    const x = (t) => MARGIN.left + ((t - first) / (last - first)) * (right - MARGIN.left);
    const y = (v) => bottom - (Math.min(v, axis.end) / axis.end) * (bottom - MARGIN.top);
    const plot = { points, x, y, right, bottom, gap: Math.max(5, this.#interval * 5) };

    this.#svg.replaceChildren(
      ...this.#grid(plot, axis, first, last),
      ...this.#bands(plot),
      ...this.#spec.series.flatMap((series) => MARKS[series.mark](plot, series.key)),
      ...this.#ends(plot),
      ...this.#crosshair(plot),
    );
    this.#svg.setAttribute("aria-label", `${this.#spec.title} at ${this.#values(this.#points.at(-1))}`);
  }

  #grid({ x, y, right, bottom }, axis, first, last) {
    const lines = axis.ticks.flatMap((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
      text("tick end", MARGIN.left - 6, y(value) + 4, short(value)),
    ]);
    const step = last - first > 60 ? 30 : 15;
    for (let t = Math.ceil(first / step) * step; t <= last; t += step) {
      lines.push(text("tick middle", x(t), bottom + 15, clock(t)));
    }
    return lines;
  }

  // Times without a measured value have a different background.
  #bands({ points, x, bottom }) {
    if (!this.#spec.series.some(({ mark }) => mark === "sourced")) return [];
    const bands = {};
    points.slice(0, -1).forEach(({ seconds, source }, i) => {
      if (MEASURED.has(source)) return;
      bands[source] ??= "";
      bands[source] += box(x(seconds), x(points[i + 1].seconds), MARGIN.top, bottom);
    });
    return Object.entries(bands).flatMap(([source, d]) => path(`band source-${source}`, d));
  }

  // The last value of each line, at its end; labels that would overlap are left out.
  #ends({ points, x, y }) {
    const last = points.at(-1);
    const taken = [];
    const labels = [];
    for (const { key: name, mark } of [...this.#spec.series].reverse()) {
      const value = last.values[name];
      if (value == null) continue;
      const at = y(value);
      if (taken.some((other) => Math.abs(other - at) < 12)) continue;
      taken.push(at);
      const source = mark === "sourced" ? ` source-${last.source}` : "";
      labels.push(text(`last mark-${mark}${source}`, x(last.seconds) + 6, at + 4, short(value)));
    }
    return labels;
  }

  #crosshair({ points, x, bottom }) {
    setText(this.#reading, "");
    if (this.#pointer === null) return [];
    const nearest = points.reduce((a, b) =>
      Math.abs(x(a.seconds) - this.#pointer) < Math.abs(x(b.seconds) - this.#pointer) ? a : b,
    );
    setText(this.#reading, this.#values(nearest));
    const at = x(nearest.seconds);
    return [svg("line", { class: "crosshair", x1: at, x2: at, y1: MARGIN.top, y2: bottom })];
  }

  #values({ seconds, source, values }) {
    const parts = this.#spec.series.map(({ key: name, label, mark }) => {
      const value = values[name] == null ? "no value" : `${short(values[name])} ${this.#spec.unit}`;
      const from = mark === "sourced" && values[name] != null ? ` from ${source}` : "";
      return `${label} ${value.trim()}${from}`;
    });
    return `${clock(seconds)}: ${parts.join(", ")}`;
  }
}

class Axis {
  constructor({ maximum, series }, points) {
    const values = points.flatMap((point) => series.map(({ key: name }) => point.values[name] ?? 0));
    const most = maximum ?? Math.max(1, ...values) * 1.15;
    const rough = most / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    this.end = maximum ?? Math.ceil(most / step) * step;
    this.ticks = [];
    for (let value = 0; value <= this.end; value += step) this.ticks.push(value);
  }
}

function key(marks, label) {
  return html("span", { class: "key" }, html("span", { class: `swatch ${marks}` }), label);
}

function text(classes, x, y, content) {
  return svg("text", { class: classes, x, y }, content);
}

function path(classes, d) {
  return d ? [svg("path", { class: classes, d })] : [];
}

/** Return pairs of neighbouring points with a value, without the gaps between them. */
function segments({ points, gap }, name) {
  const pairs = [];
  for (let i = 1; i < points.length; i += 1) {
    const [before, after] = [points[i - 1], points[i]];
    const near = after.seconds - before.seconds <= gap;
    if (near && before.values[name] != null && after.values[name] != null) pairs.push([before, after]);
  }
  return pairs;
}

function box(left, right, top, bottom) {
  return `M${at(left)} ${at(bottom)}V${at(top)}H${at(right)}V${at(bottom)}Z`;
}

function line(plot, name, chosen = () => true) {
  const { x, y } = plot;
  let end = null;
  let d = "";
  for (const [before, after] of segments(plot, name)) {
    if (!chosen(before, after)) continue;
    if (end !== before) d += `M${at(x(before.seconds))} ${at(y(before.values[name]))}`;
    d += `L${at(x(after.seconds))} ${at(y(after.values[name]))}`;
    end = after;
  }
  return d;
}

function steps(plot, name) {
  const { x, y } = plot;
  let end = null;
  let d = "";
  for (const [before, after] of segments(plot, name)) {
    if (end !== before) d += `M${at(x(before.seconds))} ${at(y(before.values[name]))}`;
    d += `H${at(x(after.seconds))}V${at(y(after.values[name]))}`;
    end = after;
  }
  return d;
}

const at = (value) => value.toFixed(1);

const MARKS = {
  line: (plot, name) => path("mark-line", line(plot, name)),
  step: (plot, name) => path("mark-step", steps(plot, name)),
  area(plot, name) {
    const { x, y, bottom } = plot;
    const boxes = segments(plot, name).map(([before, after]) =>
      box(x(before.seconds), x(after.seconds), y(before.values[name]), bottom),
    );
    return path("mark-area", boxes.join(""));
  },
  target(plot, name) {
    const { x, y } = plot;
    // Within the tolerance the HPA changes nothing.
    const boxes = segments(plot, name).map(([before, after]) => {
      const target = before.values[name];
      const [top, bottom] = [y(target * (1 + TOLERANCE)), y(target * (1 - TOLERANCE))];
      return box(x(before.seconds), x(after.seconds), top, bottom);
    });
    return [...path("tolerance", boxes.join("")), ...path("mark-target", steps(plot, name))];
  },
  sourced(plot, name) {
    const { points, x, y } = plot;
    const sources = new Set(points.map(({ source }) => source));
    // A line between values of different sources would show values that nobody reported.
    const lines = [...sources].flatMap((source) => {
      const same = (...ends) => ends.every((point) => point.source === source);
      return path(`mark-sourced source-${source}`, line(plot, name, same));
    });
    // Values that are not measured are drawn as single points.
    const dots = points
      .filter(({ source, values }) => !MEASURED.has(source) && values[name] != null)
      .map(({ seconds, source, values }) =>
        svg("circle", {
          class: `dot-mark source-${source}`,
          cx: x(seconds),
          cy: y(values[name]),
          r: 2.6,
        }),
      );
    return [...lines, ...dots];
  },
};
