// The charts of the last 15 minutes. uPlot draws; its points come from the server,
// which keeps them, and those of a server that has restarted from this page.

import { duration, rate } from "./format.js";

const length = 900; // seconds
const columns = ["published", "applied", "p50", "p99", "age"];
const points = new Map(); // by unix second

const charts = [
  { id: "rates", series: ["published", "applied"], format: rate, unit: " rows/s", names: ["published", "applied"] },
  { id: "latency", series: ["p50", "p99"], format: duration, unit: "", names: ["p50", "p99"], log: true },
  { id: "ages", series: ["age"], format: duration, unit: "", names: [""] },
];

export function merge(past) {
  past.time.forEach((t, i) => points.set(t, Object.fromEntries(columns.map((c) => [c, past[c][i]]))));
}

export function add(point) {
  points.set(point.time, point);
  for (const t of points.keys()) if (t <= point.time - length) points.delete(t);
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function make(chart, at) {
  const stroke = [css("--a"), css("--b")];
  const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const options = {
    width: at.clientWidth, height: 150, legend: { show: false }, cursor: { drag: { x: false, y: false } },
    scales: {
      x: { time: true },
      y: chart.log ? { distr: 3, range: (u, low, high) => bounds(low, high) } : { range: (u, low, high) => [0, Math.max(high * 1.1, chart.id === "rates" ? 10 : 0.5)] },
    },
    axes: [
      { ...axis, size: 26, space: 60, incrs: [60, 120, 180, 300], values: "{HH}:{mm}" },
      { ...axis, size: 62, space: 30, ...(chart.log ? { splits: (u, i, low, high) => powers(low, high) } : {}), values: (u, ticks) => ticks.map((v) => (v === null ? "" : label(chart, v))) },
    ],
    series: [{}, ...chart.series.map((name, i) => ({ label: name, stroke: stroke[i], width: 1.5, dash: i ? [6, 3] : undefined, points: { show: false } }))],
  };
  // A lone second between two quiet ones is a point, not a line.
  for (const s of options.series.slice(1)) s.points = { size: 4, filter: lone, show: true };
  return new uPlot(options, [[], ...chart.series.map(() => [])], at);
}

const label = (chart, v) => (chart.id === "rates" ? rate(v) : v === 0 ? "0" : duration(v).replace(".0 ", " "));

function powers(low, high) {
  const all = [];
  for (let v = low; v < high * 1.01; v *= 10) all.push(v);
  return all;
}

// bounds are the powers of ten around what is shown.
function bounds(low, high) {
  if (!(low > 0)) return [1e-3, 1];
  return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.01))];
}

function lone(u, series) {
  const data = u.data[series];
  return data.flatMap((v, i) => (v != null && data[i - 1] == null && data[i + 1] == null ? [i] : []));
}

export function draw(now) {
  // What is known, two minutes at least.
  const first = Math.max(now - length + 1, Math.min(now - 119, ...points.keys()));
  const times = [];
  for (let t = first; t <= now; t++) times.push(t);
  for (const chart of charts) {
    const at = document.getElementById(chart.id);
    chart.plot ??= make(chart, at);
    if (chart.plot.width !== at.clientWidth) chart.plot.setSize({ width: at.clientWidth, height: 150 });
    const data = chart.series.map((name) => times.map((t) => points.get(t)?.[name] ?? null));
    chart.plot.setData([times, ...data]);
    describe(chart, data);
  }
}

// describe says in words what the chart shows.
function describe(chart, data) {
  const parts = chart.names.map((name, i) => {
    const known = data[i].filter((v) => v !== null);
    if (known.length === 0) return null;
    const now = data[i].at(-1);
    const say = (v) => chart.format(v) + chart.unit;
    return (name ? name + " " : "") + (now === null ? "last " + say(known.at(-1)) : "now " + say(now)) + ", highest " + say(Math.max(...known));
  });
  document.getElementById(chart.id + "-text").textContent = parts.filter(Boolean).join("; ") || "nothing in the last 15 minutes";
}

// The colours of a chart are those of the theme it was made in.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts) {
    chart.plot?.destroy();
    delete chart.plot;
  }
});
