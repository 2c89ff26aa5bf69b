// Watch: the server's own counters (/metrics), read every two seconds while this tab is open.
import {bars, element, lines, number} from "./chart.js";
import {address, data} from "./page.js";

const $ = id => document.getElementById(id), EVERY = 2000, KEPT = 60;
let timer = 0, before = null;
const history = [];

export function parse(text) {   // Prometheus' text format
  return text.split("\n").filter(l => l && l[0] !== "#").map(l => {
    const m = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(l), labels = {};
    if (!m) return null;
    for (const [, k, v] of (m[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[k] = v.replace(/\\(.)/g, (_, c) => c === "n" ? "\n" : c);
    return {name: m[1], labels, value: Number(m[3])};
  }).filter(s => s && (s.labels.model === undefined || s.labels.model === data.form.name));
}

const sum = (samples, name, test = () => true) => samples.filter(s => s.name === name && test(s.labels)).reduce((t, s) => t + s.value, 0);

function buckets(samples) {   // upper end (ms) -> how many answers were there by then
  const found = new Map();
  for (const s of samples) if (s.name === "mlship_request_duration_seconds_bucket") { const le = Number(s.labels.le.replace("+Inf", "Infinity")) * 1000; found.set(le, (found.get(le) ?? 0) + s.value); }
  return [...found].sort((a, b) => a[0] - b[0]);
}

function quantile(b, q) {
  const all = b.at(-1)?.[1] ?? 0;
  if (!all) return null;
  let low = 0, below = 0;
  for (const [end, count] of b) {
    if (count >= q * all) return end === Infinity ? low : low + (end - low) * (q * all - below) / ((count - below) || 1);
    [low, below] = [end, count];
  }
  return low;
}

const ms = v => v === null ? "–" : v === 0 ? "0" : v < 1 ? `${Number(v.toFixed(2))} ms` : v < 1000 ? `${number(Number(v.toPrecision(3)))} ms` : `${(v / 1000).toFixed(1)} s`;
const fact = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));

async function look() {
  let samples;
  try {
    const r = await fetch(address("metrics"));
    if (r.status === 401 || r.status === 403) return stop("This key may not read the server's numbers. One made with --scope metrics or admin may.");
    if (!r.ok) throw new Error(r.status);
    samples = parse(await r.text());
    $("watch-state").textContent = "";
  } catch { $("watch-state").textContent = "The server does not answer. Trying again…"; return; }
  const requests = sum(samples, "mlship_requests_total"), failed = sum(samples, "mlship_requests_total", l => l.code >= "500"), refused = sum(samples, "mlship_requests_total", l => l.code >= "400" && l.code < "500");
  const b = buckets(samples), now = performance.now(), rows = sum(samples, "mlship_batch_rows_sum");
  $("totals").replaceChildren(fact("requests", number(requests)), fact("rows", number(rows)), fact("refused", number(refused)), fact("failed", number(failed)), fact("half are answered within", ms(quantile(b, 0.5))), fact("95 of 100 within", ms(quantile(b, 0.95))));
  if (before) {
    const recent = b.map(([end, count], i) => [end, count - (before.b[i]?.[1] ?? 0)]);
    history.push({rate: Math.max(0, requests - before.requests) / ((now - before.now) / 1000), half: quantile(recent, 0.5), most: quantile(recent, 0.95)});
    if (history.length > KEPT) history.shift();
    if (history.length > 1) {
      const xs = history.map((_, i) => (i - history.length + 1) * EVERY / 1000), rate = history.map(h => h.rate);
      $("rate").replaceChildren(lines(xs, [{name: "requests a second", values: rate}], {unit: " s", low: 0, high: Math.max(1, ...rate), label: `Requests a second, now ${number(rate.at(-1))}`}));
      const times = history.flatMap(h => [h.half, h.most]).filter(v => v !== null);
      if (times.length) $("latency").replaceChildren(lines(xs, [{name: "half", values: history.map(h => h.half)}, {name: "95 of 100", values: history.map(h => h.most)}], {unit: " s", low: 0, high: Math.max(...times), format: ms, label: `Half of the recent requests within ${ms(history.at(-1).half)}, 95 of 100 within ${ms(history.at(-1).most)}`}),
        element("div", {class: "legend"}, element("span", {}, element("i", {class: "k1"}), "half of them within"), element("span", {}, element("i", {class: "k2"}), "95 of 100 within")));
      else $("latency").replaceChildren(element("p", {class: "dim"}, "No request in the last two minutes."));
    }
  } else for (const id of ["rate", "latency"]) $(id).replaceChildren(element("p", {class: "dim"}, "Counting…"));
  before = {b, now, requests};
  const outside = samples.filter(s => s.name === "mlship_values_outside_training_total" && s.value > 0).reduce((m, s) => m.set(s.labels.field, (m.get(s.labels.field) ?? 0) + s.value), new Map());
  const width = data.form.fields.length > 1 && outside.has("input-0") ? data.form.fields.length : 1;
  $("outside").replaceChildren(outside.size ? bars([...outside].sort((a, b) => b[1] - a[1]).slice(0, 30).map(([name, n]) => ({name, share: n / (rows * width || 1), text: `${number(n)} of ${number(rows * width)}`, first: n / (rows * width) > 0.1}))) : element("p", {}, rows ? "All values so far lie within what training had." : "Nothing has been asked yet."));
}

function stop(said) { clearInterval(timer); timer = -1; $("watch-state").textContent = said; }

document.addEventListener("tab", e => {
  clearInterval(timer);
  if (e.detail !== "watch" || timer === -1) return;
  look();
  timer = setInterval(() => { if (!document.hidden) look(); }, EVERY);
});
