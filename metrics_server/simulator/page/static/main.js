// Receives the moments of the demo, and shows them.

import { Chart } from "./chart.js";
import * as controls from "./controls.js";
import { byId, clock, setText } from "./dom.js";
import { Log, Loop, Nodes } from "./view.js";

const MOST_POINTS = 240;
const AGAIN_MILLISECONDS = 3000;

let setup = null;
let points = [];
let charts = [];
let log = null;
let nodes = null;
const loop = new Loop();

function connect() {
  const events = new EventSource("events");
  const on = (name, show) => events.addEventListener(name, ({ data }) => show(JSON.parse(data)));
  on("setup", begin);
  on("past", showPast);
  on("moment", showMoment);
  on("end", end);
  events.onerror = () => {
    if (document.body.dataset.state !== "ended") lose();
    // The browser itself connects again, except after an answer that is an error.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_MILLISECONDS);
  };
}

function begin(received) {
  setup = received;
  nodes = new Nodes(setup);
  charts = setup.charts.map((spec) => new Chart(spec, setup));
  byId("charts").replaceChildren(...charts.map(({ element }) => element));
  setText(byId("title"), setup.title);
  document.title = `${setup.title} - gpu-metrics-server demo`;
}

function showPast(past) {
  points = past.points;
  log = new Log(past.verdicts);
  state("live", "live", "");
  controls.enable(true);
  if (past.moment) {
    controls.setUp(setup, past.moment.nodes.length);
    showNow(past.moment);
  }
}

function showMoment(moment) {
  if (points.length === 0) controls.setUp(setup, moment.nodes.length);
  points.push(moment.point);
  points = points.slice(-MOST_POINTS);
  log.show(moment.verdict);
  showNow(moment);
}

function showNow(moment) {
  const { seconds, values } = moment.point;
  const whole = setup.duration ? ` of ${clock(setup.duration)}` : "";
  state("live", `live, ${clock(seconds)}${whole}`, "");
  loop.show(moment.steps);
  for (const chart of charts) chart.show(points);
  nodes.show(moment.nodes, values.target);
  controls.show(moment.controls, values.load);
  const questions = moment.questions.map((path) => `GET ${path.replace("%2A", "*")}`);
  setText(byId("questions"), questions.join("\n"));
}

function end({ summary }) {
  controls.enable(false);
  const again = "Start it again, and this page continues.";
  state("ended", "ended", `The demo has ended. ${summary.replaceAll("\n", " ")} ${again}`);
}

function lose() {
  controls.enable(false);
  state("lost", "no connection", "No connection to the demo; trying again.");
}

function state(name, text, notice) {
  document.body.dataset.state = name;
  setText(byId("status-text"), text);
  setText(byId("notice"), notice);
}

controls.enable(false);
connect();
