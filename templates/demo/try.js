// Try: what is entered becomes a row, a row becomes an answer, and one field is moved to see what it does.
import {address, data, reason, send} from "./page.js";
import {element, legend, lines, number, percent, strip} from "./chart.js";
import * as csv from "./csv.js";
import {fileName, fileSize, show} from "./answer.js";
import {paint, surface, toGrid} from "./draw.js";
import {recorder} from "./sound.js";

const $ = id => document.getElementById(id);
export const {form} = data;
const {fields, grid, output} = form, FAST = 400;   // ms: slower models are asked when asked for
const media = new Map();      // field number -> data URI
let pixels = null;            // of a drawing, in the model's own range
let took = 0, running = null, latest = null, whatif = 0, timer = 0;

class Wrong extends Error { constructor(i, said) { super(said); this.i = i; } }

// ------------------------------------------------------------------ reading and writing what is entered
function read(i) {
  const f = fields[i], box = document.querySelector(`[data-i="${i}"]`);
  if (media.has(i)) return media.get(i);
  if (isFile(f)) { if (f.nullable || f.optional) return null; throw new Wrong(i, "Choose a file."); }
  if (f.widget === "table") return table(i, box.value);
  if (f.widget === "number") {
    if (box.value === "") { if ((f.nullable || f.optional) && !box.validity.badInput) return null; throw new Wrong(i, "A number is needed here."); }
    return Number(box.value);
  }
  if (f.widget === "choice" && box.value === "") return typed(f, document.querySelector(`[data-other="${i}"]`).value);
  if (f.widget === "choice" || f.widget === "bool") return JSON.parse(box.value);
  if (f.nullable && box.value === "") return null;
  if (f.widget === "json" && f.optional && box.value === "") return null;
  if (f.widget !== "json") return box.value;
  try { return JSON.parse(box.value); } catch { throw new Wrong(i, "This is no JSON."); }
}

function table(i, text) {
  const f = fields[i], {names, rows} = csv.records(text), absent = f.columns.filter(c => !names.includes(c));
  if (!text.trim() && (f.nullable || f.optional)) return null;
  if (!rows.length) throw new Wrong(i, "The first line names the columns, and rows follow.");
  if (absent.length) throw new Wrong(i, `There is no column ${absent.slice(0, 5).join(", ")}.`);
  return rows;
}

export const isFile = f => ["image", "audio", "video", "file"].includes(f.widget);
const typed = (f, text) => f.options?.every(o => typeof o === "number") && text.trim() !== "" && !isNaN(text) ? Number(text) : text;

export function assemble(values) {
  if (form.row === "record") return Object.fromEntries(fields.map((f, i) => [f.name, values[i]]).filter(([, v], i) => !(fields[i].optional && v === null)));
  if (form.row === "nested") {
    let at = 0;
    const nest = sizes => sizes.length ? Array.from({length: sizes[0]}, () => nest(sizes.slice(1))) : values[at++];
    return nest(grid.shape);
  }
  return form.row === "list" ? values : values[0];
}

const current = () => grid ? pixels ?? Array(grid.width * grid.height).fill(grid.low) : fields.map((_, i) => read(i));
export const take = row => form.row === "record" ? fields.map(f => row[f.name] ?? null) : form.row === "list" ? row : form.row === "nested" ? row.flat(9) : [row];
export const body = rows => ({inputs: rows, ...(form.proba ? {proba: true} : {})});
export function currentRow() { try { return assemble(current()); } catch { return form.examples[0]?.row ?? assemble(fields.map(initial)); } }

function write(i, value) {
  const f = fields[i], box = document.querySelector(`[data-i="${i}"]`), slider = document.querySelector(`[data-slides="${i}"]`), other = document.querySelector(`[data-other="${i}"]`);
  media.delete(i);
  if (isFile(f)) return typeof value === "string" && present(i, value.startsWith("data:") ? value : `data:${{image: "image/png", audio: "audio/wav", video: "video/mp4"}[f.widget] ?? "application/octet-stream"};base64,${value}`);
  if (f.widget === "choice" || f.widget === "bool") {
    const wanted = JSON.stringify(value), there = [...box.options].find(o => o.value !== "" && JSON.stringify(JSON.parse(o.value)) === wanted);
    box.value = there ? there.value : "";
    if (other) { other.hidden = box.value !== ""; if (!there) other.value = value ?? ""; }
  } else if (f.widget === "table") { box.value = Array.isArray(value) ? csv.write(value) : f.columns.length ? csv.write([], f.columns) : ""; count(i); }
  else if (f.widget === "json") box.value = value === null ? "" : JSON.stringify(value);
  else box.value = value ?? "";
  if (slider && value !== null) slider.value = value;
}

function fill(row) {
  const values = take(row);
  if (!grid) return values.forEach((v, i) => write(i, v));
  pixels = values;
  paint(document.querySelector("[data-seen]"), values.map(v => (v - grid.low) / (grid.high - grid.low)), grid.width, grid.height);
}

// ------------------------------------------------------------------ files and drawings
function present(i, uri) {
  media.set(i, uri);
  const box = document.querySelector(`[data-media="${i}"] [data-preview]`), kind = fields[i].widget;
  box.replaceChildren(kind === "image" ? element("img", {src: uri, alt: "what will be sent"}) : kind === "file" ? element("p", {class: "dim small"}, [fileName(uri), fileSize(uri)].filter(Boolean).join(", ")) : element(kind, {src: uri, controls: ""}));
}

function count(i) {   // rows of a table, as they are entered
  const {names, rows} = csv.records(document.querySelector(`[data-i="${i}"]`).value);
  document.querySelector(`[data-rows="${i}"] [data-count]`).textContent = rows.length ? `${rows.length.toLocaleString("en")} ${rows.length === 1 ? "row" : "rows"} of ${names.length} ${names.length === 1 ? "column" : "columns"}.` : "";
}

function drops(root, take) {
  for (const on of ["dragover", "dragenter"]) root.addEventListener(on, e => { e.preventDefault(); root.classList.add("over"); });
  root.addEventListener("dragleave", () => root.classList.remove("over"));
  root.addEventListener("drop", e => { e.preventDefault(); root.classList.remove("over"); take(e.dataTransfer.files[0]); });
}

for (const root of document.querySelectorAll("[data-rows]")) {
  const i = Number(root.dataset.rows), box = root.querySelector("textarea");
  const take = async file => { if (file) { box.value = await file.text(); count(i); changed(i); } };
  root.querySelector("input[type=file]").addEventListener("change", e => { take(e.target.files[0]); e.target.value = ""; });
  box.addEventListener("input", () => count(i));
  drops(root, take);
}

const made = (root, i) => { chosen.delete(i); root.querySelector("input[type=file]").value = ""; };   // here, and no file
export const chosen = new Map();   // field number -> the name of its file, for code
const named = (uri, file) => uri.replace(/^data:([^;,]*)/, (_, kind) => `data:${kind};name=${encodeURIComponent(file.name)}`);
const asURI = file => new Promise((done, stop) => { const r = new FileReader(); r.onload = () => done(r.result); r.onerror = () => stop(r.error); r.readAsDataURL(file); });

for (const root of document.querySelectorAll("[data-media]")) {
  const i = Number(root.dataset.media), f = fields[i];
  const take = async file => { if (file) { chosen.set(i, file.name); const uri = await asURI(file); present(i, f.widget === "file" ? named(uri, file) : uri); changed(i); } };
  root.querySelector("input[type=file]").addEventListener("change", e => take(e.target.files[0]));
  drops(root, take);
  if (root.querySelector("[data-record]")) recorder(root, uri => { made(root, i); present(i, uri); changed(i); });
  if (root.querySelector("[data-draw]")) {
    const drawn = surface(root, f.width ?? 28, done => {
      if (!done || !drawn.inked) return;
      const canvas = f.width ? paint(document.createElement("canvas"), toGrid(drawn.canvas, f.width, f.height), f.width, f.height) : drawn.canvas;
      made(root, i);
      present(i, canvas.toDataURL("image/png"));
      if (!f.width) root.querySelector("[data-preview]").replaceChildren();   // it is there to be seen
      changed(i);
    });
  }
}

if (grid) {
  const root = $("grid"), fit = root.querySelector("[data-fit]"), seen = root.querySelector("[data-seen]");
  const look = () => {
    const shares = drawn.inked ? toGrid(drawn.canvas, grid.width, grid.height, fit.checked ? grid.box : null) : Array(grid.width * grid.height).fill(0);
      paint(seen, shares, grid.width, grid.height);
    pixels = shares.map(v => { const x = grid.low + v * (grid.high - grid.low); return grid.integer ? Math.round(x) : Number(x.toFixed(4)); });
    if (drawn.inked) return changed(-1);
    clearTimeout(timer);
    clearAnswer();
  };
  const drawn = surface(root, grid.width, look);
  fit.addEventListener("change", () => drawn.inked && look());
  root.querySelector("[data-picture]").addEventListener("change", async e => { if (e.target.files[0]) { try { await drawn.picture(e.target.files[0]); look(); } catch { problem(0, "This file is no picture."); } } });
  paint(seen, [0], 1, 1);
}

// ------------------------------------------------------------------ asking
export const path = data.path;
export const quick = () => took > 0 && took <= FAST;
const say = text => { $("state").textContent = text; };

function problem(i, said) {
  const p = $(`p${i}`), box = document.querySelector(`[data-i="${i}"]`);
  if (!p) return say(said);
  p.textContent = said;
  p.hidden = false;
  box?.setAttribute("aria-invalid", "true");
}

function forget() {
  for (const p of document.querySelectorAll(".problem")) p.hidden = true;
  for (const box of document.querySelectorAll("[aria-invalid]")) box.removeAttribute("aria-invalid");
}

function clearAnswer() {
  running?.abort();
  $("answer").replaceChildren();
  if ($("feedback")) $("feedback").hidden = true;
  latest = null;
  say("");
}

function blame(answer) {   // a problem goes beside its field, where it has one
  const found = answer.json?.error?.problems ?? [];
  let placed = 0;
  for (const p of found) {
    const rest = String(p.field).replace(/^inputs\[\d+\]/, ""), name = /^\["/.test(rest) ? JSON.parse(rest.slice(1, rest.indexOf('"]') + 1)) : /^\.[^.[]+/.test(rest) ? /^\.([^.[]+)/.exec(rest)[1] : null;
    const i = name !== null ? fields.findIndex(f => f.name === name) : /^\[\d+\]/.test(rest) ? Number(/^\[(\d+)\]/.exec(rest)[1]) : fields.length === 1 ? 0 : -1;
    if (i >= 0 && !grid && $(`p${i}`)) { problem(i, {image: "This is no picture that can be read.", audio: "This is no sound that can be read.", video: "This is no film that can be read.", table: `This ${p.message}.`}[fields[i].widget] ?? (p.expected ? `Expected: ${p.expected}.` : p.message)); placed++; }
  }
  say(placed === found.length && placed ? "" : reason(answer));
  return placed;
}

export async function predict({live = false} = {}) {
  let row;
  forget();
  try { row = assemble(current()); }
  catch (e) { if (!(e instanceof Wrong)) throw e; if (!live) { problem(e.i, e.message); document.querySelector(`[data-i="${e.i}"]`)?.focus(); } return; }
  running?.abort();
  const mine = running = new AbortController(), {signal} = mine;
  $("answer").classList.add("stale");
  const slow = setTimeout(() => { say("Working…"); $("cancel").hidden = false; }, 500);
  try {
    const a = await (form.stream ? streamed(row, signal) : send(path, body([row]), {signal, busy: () => say("The server is busy. Your question waits for its turn…")}));
    if (signal.aborted) return;
    took = a.ms;
    if (!a.ok) { clearAnswer(); const placed = blame(a); if (!live && placed) document.querySelector("[aria-invalid]")?.focus(); return; }
    $("answer").replaceChildren(show(output, a.json.predictions[0], a.json.probabilities?.[0], a.json.classes));
    say("");
    latest = {row, answer: a.json.predictions[0], probabilities: a.json.probabilities?.[0], classes: a.json.classes, id: a.id};
    offerFeedback();
    document.dispatchEvent(new CustomEvent("answered"));
    explore();
  } catch (e) {
    if (signal.aborted) return;
    clearAnswer();
    say(`The server did not answer (${e.message}). Is it still running?`);
  } finally {
    clearTimeout(slow);
    if (running === mine) { $("answer").classList.remove("stale"); $("cancel").hidden = true; $("progress").hidden = true; running = null; }
  }
}

// partial answers, as the model gives them
async function streamed(row, signal) {
  const started = performance.now(), r = await fetch(address(path.replace(/predict$/, "stream")), {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify({inputs: [row]}), signal});
  if (!r.ok) { const text = await r.text(); let json = null; try { json = JSON.parse(text); } catch { /* not JSON */ } return {ok: false, status: r.status, json, ms: 0}; }
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", last = null;
  $("cancel").hidden = false;
  for (;;) {
    const {value, done} = await reader.read();
    if (done) throw new Error("the connection was cut");
    rest += value;
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const block = rest.slice(0, end), event = /^event: (\w+)$/m.exec(block)?.[1], text = /^data: (.*)$/m.exec(block)?.[1];
      rest = rest.slice(end + 2);
      if (!event || text === undefined) continue;
      const said = JSON.parse(text);
      if (event === "queue") say(said.position === 1 ? "Others are being answered. You are next." : `Others are being answered. You are number ${said.position} in the queue.`);
      if (event === "progress") {
        $("progress").hidden = false;
        if (said.progress === null) $("progress").removeAttribute("value"); else $("progress").value = said.progress;
        say(said.message ?? "Working…");
      }
      if (event === "partial") {
        if (!last) say("Answering…");
        last = said.prediction;
        $("answer").classList.remove("stale");
        $("answer").replaceChildren(show(output, last));
      }
      if (event === "error") return {ok: false, status: said.status, json: said, ms: performance.now() - started};
      if (event === "done") return {ok: true, status: 200, json: {...said, predictions: [said.prediction]}, id: r.headers.get("x-request-id") ?? "", ms: performance.now() - started};
    }
  }
}

// ------------------------------------------------------------------ what if
const along = $("along");
const movable = grid || form.stream ? [] : fields.map((f, i) => ({f, i})).filter(({f}) => f.widget === "number" ? f.low !== undefined : f.widget === "bool" || f.widget === "choice" && f.options.length > 1 && f.options.length <= 24);
const explorable = movable.length && (output.kind === "number" || output.kind === "label");
for (const {f, i} of movable) along.append(element("option", {value: i}, f.label || "the input"));

const points = (f, now) => {
  if (f.widget === "bool") return [true, false];
  if (f.widget === "choice") return f.options;
  const low = Math.min(f.low, now ?? f.low), high = Math.max(f.high, now ?? f.high), n = f.integer ? Math.min(41, high - low + 1) : 41;
  const xs = Array.from({length: n}, (_, k) => low + k / Math.max(1, n - 1) * (high - low));
  return f.integer ? [...new Set(xs.map(Math.round))] : xs;
};

function explore() {
  clearTimeout(whatif);
  if (!explorable || took > FAST) return;
  whatif = setTimeout(async () => {
    if (!latest) return;
    const i = Number(along.value), f = fields[i], values = take(latest.row), now = values[i], xs = points(f, now);
    const a = await send(path, body(xs.map(x => assemble(values.with ? values.with(i, x) : values.map((v, j) => j === i ? x : v))))).catch(() => null);
    if (!a?.ok || Number(along.value) !== i) return;
    $("whatif").hidden = false;
    $("curve").replaceChildren(...[draw(f, xs, now, a.json)].flat());
  }, 120);
}

function draw(f, xs, now, a) {
  const unit = f.unit ? ` ${f.unit}` : "", name = f.label || "the input";
  if (a.probabilities) {
    const order = a.classes.map((c, k) => ({c, k, p: latest.probabilities?.[k] ?? 0, swing: Math.max(...a.probabilities.map(p => p[k])) - Math.min(...a.probabilities.map(p => p[k]))}));
    const two = a.classes.length === 2, chosen = two ? [order[1].p >= 0.5 ? order[1] : order[0]] : order.sort((x, y) => y.swing - x.swing).slice(0, 3).sort((x, y) => x.k - y.k);
    const series = chosen.map(({c, k}) => ({name: c, values: a.probabilities.map(p => p[k])}));
    if (f.widget !== "number") return choices(xs, series[0].values, percent, `share of ${series[0].name}`, now);
    return [lines(xs, series, {mark: now, unit, low: 0, high: 1, format: v => `${Math.round(100 * v)}%`, label: `Probabilities while ${name} goes from ${number(xs[0])} to ${number(xs.at(-1))}`}), legend(two ? [`probability of ${chosen[0].c}`] : chosen.map(x => x.c))];
  }
  if (output.kind === "number") {
    if (f.widget !== "number") return choices(xs, a.predictions, number, "", now);
    return lines(xs, [{name: "answer", values: a.predictions}], {mark: now, unit, label: `The answer while ${name} goes from ${number(xs[0])} to ${number(xs.at(-1))}: from ${number(a.predictions[0])} to ${number(a.predictions.at(-1))}`});
  }
  if (f.widget !== "number") return element("dl", {class: "pairs"}, ...xs.flatMap((x, j) => [element("dt", {}, String(x)), element("dd", {}, String(a.predictions[j]))]));
  return strip(xs, a.predictions, {mark: now, unit, label: `The answer while ${name} goes from ${number(xs[0])} to ${number(xs.at(-1))}`});
}

function choices(xs, values, format, said, now) {
  const most = Math.max(...values.map(Math.abs)) || 1, box = element("div", {class: "bars"});
  xs.forEach((x, j) => {
    const fill = element("i");
    fill.style.width = `${Math.abs(values[j]) / most * 100}%`;
    box.append(element("span", {class: "name"}, x === true ? "Yes" : x === false ? "No" : String(x)), element("span", {class: x === now ? "track first" : "track"}, fill), element("span", {class: "value"}, format(values[j])));
  });
  return said ? [element("p", {class: "dim small"}, said), box] : box;
}

// ------------------------------------------------------------------ this is wrong
function offerFeedback() {
  if (!$("feedback")) return;
  $("feedback").hidden = false;
  $("wrong").hidden = false;
  $("thanks").textContent = "";
  toggle(false);
}

function toggle(open) {
  $("correct").hidden = !open;
  $("wrong").setAttribute("aria-expanded", open);
}

$("wrong")?.addEventListener("click", () => { toggle($("correct").hidden); if (!$("correct").hidden) $("right").focus(); });
$("never-mind")?.addEventListener("click", () => { toggle(false); $("wrong").focus(); });
$("correct")?.addEventListener("submit", async e => {
  e.preventDefault();
  if (!latest) return;
  const row = JSON.stringify(latest.row).length > 200000 ? null : latest.row;
  const a = await send("feedback", {model: form.name, version: form.version, request_id: latest.id, input: row, prediction: latest.answer, right: $("right").value, note: $("note").value}).catch(() => null);
  $("thanks").textContent = a?.ok ? "Thank you. It is kept, and whoever runs this model can learn from it." : a ? reason(a) : "It could not be sent.";
  if (a?.ok) { $("right").value = $("note").value = ""; toggle(false); $("wrong").hidden = true; }
});

// ------------------------------------------------------------------ it begins
function changed(i) {
  for (const b of document.querySelectorAll("#examples [aria-pressed=true]")) b.setAttribute("aria-pressed", "false");
  if (i >= 0 && movable.some(m => m.i === i)) along.value = i;
  clearTimeout(timer);
  if (took <= FAST && !form.stream) timer = setTimeout(() => predict({live: true}), 130);
  document.dispatchEvent(new CustomEvent("entered"));
}

$("ask").addEventListener("input", e => {
  const i = e.target.dataset.slides ?? e.target.dataset.i ?? e.target.dataset.other;
  if (i === undefined || e.target.type === "file") return;
  const f = fields[i], box = document.querySelector(`[data-i="${i}"]`), slider = document.querySelector(`[data-slides="${i}"]`), other = document.querySelector(`[data-other="${i}"]`);
  if (e.target === slider) box.value = f.integer ? Math.round(slider.value) : Number((Math.round(slider.value / f.step) * f.step).toPrecision(10));
  else if (slider && box.value !== "") slider.value = box.value;
  if (other && e.target === box) { other.hidden = box.value !== ""; if (!other.hidden) other.focus(); }
  changed(Number(i));
});
$("ask").addEventListener("submit", e => { e.preventDefault(); clearTimeout(timer); predict(); });
$("cancel").addEventListener("click", () => { running?.abort(); $("answer").classList.remove("stale"); $("cancel").hidden = $("progress").hidden = true; say("Cancelled."); });
along.addEventListener("change", explore);

const initial = f => f.default ?? (f.optional && f.nullable ? null : f.median ?? f.options?.[0] ?? (f.widget === "bool" ? false : f.widget === "json" ? {} : ""));

function begin() {
  forget();
  clearTimeout(timer);
  clearAnswer();
  fields.forEach((f, i) => { if (!grid) write(i, initial(f)); });
  for (const root of document.querySelectorAll("[data-media]")) { root.querySelector("[data-preview]").replaceChildren(); root.querySelector("input[type=file]").value = ""; }
  if (form.examples.length) fill(form.examples[0].row);
  else if (grid) { pixels = null; paint(document.querySelector("[data-seen]"), [0], 1, 1); }
}
$("reset").addEventListener("click", () => { begin(); for (const b of document.querySelectorAll("[data-clear]")) b.click(); start(); });

for (const [k, example] of form.examples.slice(0, grid ? 12 : 6).entries()) {
  const picture = fields.findIndex(f => f.widget === "image"), b = element("button", {type: "button", "aria-pressed": "false"});
  if (grid) { b.className = "picture"; b.append(paint(document.createElement("canvas"), take(example.row).map(v => (v - grid.low) / (grid.high - grid.low)), grid.width, grid.height)); b.setAttribute("aria-label", `Example ${k + 1}`); }
  else if (picture >= 0) { const v = take(example.row)[picture]; b.className = "picture"; b.append(element("img", {alt: `Example ${k + 1}`, src: v.startsWith("data:") ? v : `data:image/png;base64,${v}`})); }
  else b.textContent = example.short || `Example ${k + 1}`;
  b.addEventListener("click", () => {
    fill(example.row);
    changed(-1);
    clearTimeout(timer);
    b.setAttribute("aria-pressed", "true");
    predict();
  });
  $("examples").append(b);
}

// an answer is there before anybody asks: an example's, as it was kept when the model was shipped; then it is asked anew
function start() {
  const first = form.examples[0];
  if (!first) return;
  document.querySelector("#examples button")?.setAttribute("aria-pressed", "true");
  $("answer").replaceChildren(show(output, first.answer, first.probabilities, output.classes));
  if (form.stream) say("The answer to this example, from when the model was shipped. Predict asks anew.");
  else predict({live: true});
}
begin();
start();
