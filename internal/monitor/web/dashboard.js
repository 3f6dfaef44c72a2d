// The dashboard: shows what /events says. It only reads.

import { count, dayAndTime, duration, percent, rate, size, time, words } from "./format.js";
import * as charts from "./charts.js";

const $ = (id) => document.getElementById(id);
const feedKept = 60, eventsKept = 50, rateOver = 10; // rows, rows, seconds
const quietAfter = 5000; // ms without a word until the connection counts as lost
const roles = ["consumer", "invalidator", "warmer"];

// element makes <name class="…">children</name>. Text is only ever text.
function element(name, className, ...children) {
  const e = document.createElement(name);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

const put = (e, text) => { if (e.textContent !== text) e.textContent = text; };

// ---- what the page is about: the parts that work

function working(reports, role) {
  const parts = reports.filter((r) => r.role === role && r.status && works(r));
  return parts.find((r) => r.ready) ?? parts[0];
}

const works = (r) => (r.role === "consumer" ? r.status.state !== "waiting_for_slot" : r.role === "invalidator" ? r.status.active : true);

// ---- figures: elements with data-figure="role.field", and how they are written

const nanoseconds = (n) => duration(n / 1e9);
const writers = {
  "consumer.retained_wal": size, "consumer.lag_bytes": size, "consumer.rate": rate,
  "invalidator.changes_per_second": rate, "invalidator.latency.p50": nanoseconds, "invalidator.latency.p99": nanoseconds,
  "consumer.state": words, "invalidator.state": words,
};
const alarming = new Set(["consumer.gaps", "invalidator.dead_letters", "invalidator.verify.mismatches"]);

function figures(parts) {
  for (const e of document.querySelectorAll("[data-figure*='.']")) {
    const path = e.dataset.figure;
    const value = path.split(".").reduce((at, name) => at?.[name], parts);
    const none = value === undefined || value === null || (path.includes("latency") && !parts.invalidator?.latency.count);
    if (none) delete e.dataset.value;
    else e.dataset.value = value;
    put(e, none ? "–" : (writers[path] ?? count)(value));
    e.toggleAttribute("data-bad", alarming.has(path) && value > (path === "consumer.gaps" && parts.consumer?.gap_reasons?.slot_created === value ? value : 0));
  }
}

function fill(name, used, most) {
  const known = used !== undefined && most > 0;
  $(name).value = known ? used / most : 0;
  $(name).high = 0.8;
  $(name).optimum = 0;
  put($(name + "-text"), known ? percent(used / most) + " of " + size(most) : "");
}

// ---- verdict and pipeline

const marks = { fresh: "✓", behind: "…", stuck: "!" };
const wordsOf = { fresh: "Fresh", behind: "Behind", stuck: "Not fresh" };
const stages = ["postgres", "consumer", "nats", "invalidator", "redis"];
let announced = "";

function verdict(v) {
  $("verdict").dataset.level = v.level;
  put($("verdict").querySelector(".mark"), marks[v.level]);
  put($("word"), wordsOf[v.level]);
  put($("sentence"), v.sentence);
  const age = $("age");
  if (v.age === null) delete age.dataset.value;
  else age.dataset.value = v.age;
  put(age, v.age === null ? "unknown" : duration(v.age));
  const reasons = v.reasons ?? [];
  $("reasons").hidden = reasons.length === 0;
  if ($("reasons").dataset.shown !== JSON.stringify(reasons)) {
    $("reasons").dataset.shown = JSON.stringify(reasons);
    $("reasons").replaceChildren(...reasons.map((r) => element("li", "", r)));
  }
  const state = v.level + (v.stage ?? "");
  if (announced !== state) put($("announce"), v.sentence); // once for each change, not each second
  announced = state;
  for (const li of $("pipeline").children) {
    const here = li.dataset.stage === v.stage;
    li.toggleAttribute("data-here", here);
    li.toggleAttribute("data-after", v.stage !== undefined && stages.indexOf(li.dataset.stage) > stages.indexOf(v.stage));
    li.querySelector(".stuck").hidden = !here;
  }
}

// ---- tables: counters are totals, rates are what they grew by

const seen = []; // {time, totals} of the last seconds

function perSecond(name, total, now) {
  const first = seen.find((s) => s.totals.has(name));
  if (!first || now <= first.time) return 0;
  return Math.max(0, total - first.totals.get(name)) / (now - first.time);
}

function rows(id, lines, none) {
  const body = $(id).tBodies[0];
  body.replaceChildren(...lines.map(([name, ...cells]) => {
    const tr = element("tr", "");
    const th = element("th", "mono", name);
    th.scope = "row";
    tr.append(th, ...cells.map((c) => element("td", "", c)));
    return tr;
  }));
  if (lines.length === 0) {
    const td = element("td", "empty", none);
    td.colSpan = 9;
    body.append(element("tr", "", td));
  }
}

function tablesAndRules(parts, warmers, now) {
  const totals = new Map(), tables = new Map(), rules = [];
  for (const t of parts.consumer?.tables ?? []) {
    const name = t.schema === "public" ? t.table : t.schema + "." + t.table;
    const at = tables.get(name) ?? { insert: 0, update: 0, delete: 0, other: 0, all: 0 };
    at[t.op in at ? t.op : "other"] += t.changes;
    at.all += t.changes;
    tables.set(name, at);
  }
  for (const [name, at] of tables) totals.set("table " + name, at.all);
  for (const r of parts.invalidator?.rules ?? []) {
    const warmed = warmers.flatMap((w) => w.rules ?? []).filter((w) => w.rule === r.rule).reduce((n, w) => n + w.results.filled, 0);
    rules.push({ ...r, warmed, all: r.keys + r.patterns + r.tags });
    totals.set("rule " + r.rule, r.keys + r.patterns + r.tags);
  }
  const bySpeed = (a, b) => b.speed - a.speed || b.all - a.all;
  rows("tables", [...tables].map(([name, at]) => ({ name, ...at, speed: perSecond("table " + name, at.all, now) })).sort(bySpeed)
    .map((t) => [t.name, rate(t.speed), count(t.insert), count(t.update), count(t.delete), count(t.other)]), "no row has changed yet");
  rows("rules", rules.map((r) => ({ ...r, speed: perSecond("rule " + r.rule, r.all, now) })).sort(bySpeed)
    .map((r) => [r.rule, rate(r.speed), count(r.keys), count(r.patterns), count(r.tags), count(r.warmed)]), "no invalidator is active");
  seen.push({ time: now, totals });
  while (seen[0].time < now - rateOver) seen.shift();
  // A counter that has begun anew is one of another process.
  if (seen.some((s) => [...s.totals].some(([name, n]) => n > (totals.get(name) ?? 0)))) seen.splice(0, seen.length - 1);

  const names = $("table-names");
  if (names.children.length !== tables.size) {
    names.replaceChildren(...[...tables.keys()].map((name) => Object.assign(element("option", ""), { value: name })));
  }
}

function processes(reports, now) {
  const sorted = [...reports].sort((a, b) => roles.indexOf(a.role) - roles.indexOf(b.role) || a.id.localeCompare(b.id));
  rows("parts", sorted.map((r) => [r.role, words(r.status?.state ?? "unknown"), r.id, r.version, duration(Math.max(0, now - Date.parse(r.started) / 1000))]), "none is heard");
  sorted.forEach((r, i) => $("parts").tBodies[0].rows[i].toggleAttribute("data-bad", !r.ready));
}

// ---- feed and events

let held = false;
$("hold").addEventListener("click", () => {
  held = !held;
  $("hold").setAttribute("aria-pressed", held);
  put($("hold"), held ? "Go on" : "Pause");
});

function feed(item) {
  if (held) return;
  const changes = new Map(); // by table and operation
  for (const c of item.changes ?? []) {
    const name = c.op + " " + c.table.replace(/^public\./, "");
    changes.set(name, (changes.get(name) ?? 0) + 1);
  }
  const shown = (item.changes ?? []).length;
  let what = [...changes].map(([name, n]) => (n > 1 ? name + " ×" + n : name)).join(", ");
  if (item.rows > shown) what += " and " + count(item.rows - shown) + " more";
  if (!what) what = "pattern pass";
  const targets = [...(item.keys ?? []), ...(item.patterns ?? []), ...(item.tags ?? []).map((t) => "tag " + t)];
  let keys = targets.join(" ");
  if (item.targets > targets.length) keys += " and " + count(item.targets - targets.length) + " more";
  const latency = Math.max(0, ...(item.changes ?? []).map((c) => c.latency));
  const at = new Date(item.time);
  const li = element("li", "",
    element("time", "", time(item.time) + "." + String(at.getMilliseconds()).padStart(3, "0")),
    element("span", "what", what),
    element("span", "latency", latency ? duration(latency) : ""),
    element("span", "keys mono", keys ? "→ " + keys : "→ nothing depends on it"),
    element("span", "removed", item.removed ? count(item.removed) + " removed" : "none cached"));
  li.title = what + " → " + keys;
  $("feed").prepend(li);
  while ($("feed").children.length > feedKept) $("feed").lastChild.remove();
  if (item.skipped > 0) put($("feed-note"), "A sample: at most 20 batches a second are shown, and more than that happened.");
}

const eventLine = (e) => element("li", "", element("time", "", dayAndTime(e.time)), element("span", "kind", words(e.kind)), e.message);

function events(all) {
  $("events").replaceChildren(...all.map(eventLine).reverse());
  if (all.length === 0) $("events").append(element("li", "empty", "nothing has happened"));
}

function happened(e) {
  $("events").querySelector(".empty")?.remove();
  $("events").prepend(eventLine(e));
  while ($("events").children.length > eventsKept) $("events").lastChild.remove();
}

// ---- explain

$("explain").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const form = new FormData(submitted.target);
  const request = { table: form.get("table").trim() };
  const wrong = (text) => $("explained").replaceChildren(element("p", "wrong", text));
  for (const name of ["row", "old"]) {
    const text = form.get(name).trim();
    if (!text) continue;
    try {
      JSON.parse(text); // sent as it is written: numbers may be larger than ours
    } catch (e) {
      return wrong((name === "row" ? "Row" : "Old row") + " is not JSON: " + e.message);
    }
    request[name] = text;
  }
  if (form.get("op")) request.op = form.get("op");
  const body = "{" + Object.entries(request).map(([k, v]) => JSON.stringify(k) + ":" + (k === "row" || k === "old" ? v : JSON.stringify(v))).join(",") + "}";
  try {
    const answer = await (await fetch("/explain", { method: "POST", headers: { "Content-Type": "application/json" }, body })).json();
    if (!answer.ok) return wrong(answer.error);
    explained(answer.result ?? []);
  } catch {
    wrong("The service does not answer.");
  }
});

function explained(lines) {
  const table = element("table", "explained");
  const head = element("tr", "", ...["Kind", "Target", "Rule", "Why"].map((h) => Object.assign(element("th", "", h), { scope: "col" })));
  table.append(element("thead", "", head), element("tbody", "", ...lines.map((l) => element("tr", "",
    element("td", "", l.kind), element("td", "mono", l.target ?? "–"), element("td", "mono", l.rule ?? ""), element("td", "why", l.why)))));
  const box = element("div", "scroll", table);
  box.tabIndex = 0;
  $("explained").replaceChildren(box);
}

// ---- following

let last = 0, source, lastTime = "";

function show(frame) {
  last = performance.now();
  lastTime = frame.time;
  const now = Date.parse(frame.time) / 1000;
  const parts = Object.fromEntries(roles.map((role) => [role, working(frame.reports, role)?.status]));
  const warmers = frame.reports.filter((r) => r.role === "warmer" && r.status).map((r) => r.status);
  verdict(frame.verdict);
  figures(parts);
  for (const role of ["consumer", "invalidator"]) {
    document.querySelector(`[data-figure="${role}.state"]`).toggleAttribute("data-bad", !working(frame.reports, role)?.ready);
  }
  fill("slot", parts.consumer?.retained_wal, parts.consumer?.max_wal);
  fill("stream", parts.invalidator?.stream?.bytes, parts.invalidator?.stream?.max_bytes);
  tablesAndRules(parts, warmers, now);
  processes(frame.reports, now);
  const name = frame.reports[0]?.instance ?? "";
  put($("instance"), name);
  document.title = wordsOf[frame.verdict.level] + " · " + (name || "Freshet");
  if (frame.point.time) charts.add(frame.point);
  charts.draw(frame.point.time || Math.floor(now));
  link("live", "live");
}

function link(state, text) {
  $("link").dataset.state = state;
  put($("link"), text);
}

function follow() {
  source?.close();
  source = new EventSource("/events");
  const on = (name, f) => source.addEventListener(name, (m) => f(JSON.parse(m.data)));
  on("history", charts.merge);
  on("events", events);
  on("event", happened);
  on("status", show);
  on("feed", feed);
  last = performance.now();
}

// A browser gives up where it is refused, and waits for ever where nothing comes.
setInterval(() => {
  if (performance.now() - last < quietAfter) return;
  link("lost", lastTime ? "connection lost: this is how it was at " + time(lastTime) : "no connection");
  document.title = "No connection · Freshet";
  follow();
}, 1000);

follow();
