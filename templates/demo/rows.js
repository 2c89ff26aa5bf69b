// A table: rows from a CSV file, from a spreadsheet or typed, their answers beside them, and a file of both.
import {element, number, percent} from "./chart.js";
import {parse, quote} from "./csv.js";
import {reason, send} from "./page.js";
import {assemble, body, form, path, take} from "./try.js";

const $ = id => document.getElementById(id);
const {fields, grid, output} = form;
const names = fields.length ? fields.map(f => f.name === "input-0" ? f.label || "input" : f.name) : Array.from({length: grid ? grid.width * grid.height : 1}, (_, i) => String(i + 1));
const SHOWN = 200, EDITABLE = 40, CHUNK = 2000;
let extra = [], rows = [], answers = [], busy = null;   // rows: lists of text, fields first, then extra columns

const say = (text, bad = false) => { $("rows-state").textContent = text; $("rows-state").classList.toggle("bad", bad); };
const plain = v => v.trim().toLowerCase();

function open(text) {
  const lines = parse(text.replace(/^\uFEFF/, ""));
  if (!lines.length) return say("There are no rows in it.", true);
  let places = names.map(n => lines[0].findIndex(h => plain(h) === plain(n)));
  const header = names.length === 1 && ["input", "input-0", "text", plain(names[0])].includes(plain(lines[0][0])) ? (places = [0], true) : places.some(p => p >= 0);
  if (header) {
    const absent = fields.filter((f, i) => places[i] < 0 && !f.optional).map(f => f.name);
    if (absent.length) return say(`The file has no column ${absent.slice(0, 5).join(", ")}${absent.length > 5 ? ` and ${absent.length - 5} more` : ""}.`, true);
  } else if (lines[0].length !== names.length) return say(`The file has ${lines[0].length} columns, and none is called ${names[0]}. The first line should name the columns.`, true);
  else places = names.map((_, i) => i);
  const others = header ? lines[0].map((_, i) => i).filter(i => !places.includes(i)) : [];
  extra = others.map(i => lines[0][i]);
  rows = lines.slice(header ? 1 : 0).map(l => [...places, ...others].map(p => l[p] ?? ""));
  answers = [];
  draw();
  say(`${rows.length.toLocaleString("en")} rows${extra.length ? `; not used: ${extra.slice(0, 4).join(", ")}${extra.length > 4 ? " …" : ""}` : ""}`);
  ask();
}

function value(f, text) {
  if (text === "" && f?.nullable) return null;
  if (!f || f.widget === "number") return text.trim() === "" || isNaN(text) ? text : Number(text);
  if (f.widget === "bool") return {true: true, yes: true, 1: true, false: false, no: false, 0: false}[plain(text)] ?? text;
  if (f.widget === "choice") return f.options.find(o => String(o) === text) ?? text;
  if (f.widget === "json") { try { return JSON.parse(text); } catch { return text; } }
  return text;
}

const cells = row => take(row).map(v => v === null || v === undefined ? "" : typeof v === "object" ? JSON.stringify(v) : String(v));
const proba = () => answers.find(a => a?.p)?.classes;
const short = v => typeof v === "number" ? number(v) : typeof v === "object" ? JSON.stringify(v) : String(v);

function draw() {
  const editable = names.length <= EDITABLE && !grid, columns = editable ? names.length : Math.min(8, names.length), sure = output.kind === "label" && proba();
  const head = element("tr", {}, element("th", {scope: "col"}, output.unit ? `answer (${output.unit})` : "answer"), sure ? element("th", {scope: "col"}, "sure") : null, ...names.slice(0, columns).map((n, j) => element("th", {scope: "col"}, fields[j]?.unit ? `${fields[j].label || n} (${fields[j].unit})` : n)), columns < names.length ? element("th", {scope: "col"}, "…") : null);
  const lines = rows.slice(0, SHOWN).map((r, i) => {
    const a = answers[i], tr = element("tr", a?.wrong ? {class: "wrong"} : {});
    tr.append(element("td", {class: "out"}, a ? a.wrong ?? short(a.value) : ""));
    if (sure) tr.append(element("td", {class: "out"}, a?.p ? percent(Math.max(...a.p)) : ""));
    for (let j = 0; j < columns; j++) {
      if (!editable) { tr.append(element("td", {}, r[j])); continue; }
      const box = element("input", {"aria-label": `${names[j]}, row ${i + 1}`, autocomplete: "off"});
      box.value = r[j];
      box.addEventListener("change", () => { r[j] = box.value; answers[i] = null; ask(); });
      tr.append(element("td", {}, box));
    }
    if (columns < names.length) tr.append(element("td", {}, "…"));
    return tr;
  });
  $("table").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines)));
  if (rows.length > SHOWN) $("table").append(element("p", {class: "dim small"}, `The first ${SHOWN} of ${rows.length.toLocaleString("en")} rows are shown; all are answered and downloaded.`));
  $("download").disabled = !answers.some(Boolean);
}
// answers for some rows; those that are refused are told apart, however the server says it
async function answer(some, signal) {
  const inputs = some.map(i => assemble(names.map((_, j) => value(fields[j], rows[i][j]))));
  const a = await send(path, body(inputs), {signal, busy: () => say("The server is busy. Your rows wait for their turn…")});
  if (a.ok) return a.json.predictions.forEach((v, k) => { answers[some[k]] = {value: v, p: a.json.probabilities?.[k], classes: a.json.classes}; });
  if (a.status !== 422) throw new Error(reason(a));
  const bad = new Map();
  for (const p of a.json?.error?.problems ?? []) {
    const k = Number(/\[(\d+)\]/.exec(p.field)?.[1] ?? -1);
    if (k >= 0 && !bad.has(k)) bad.set(k, `${p.field.replace(/^inputs\[\d+\]\.?/, "") || "row"}: expected ${p.expected}`);
  }
  if (!bad.size && some.length === 1) bad.set(0, reason(a));
  for (const [k, said] of bad) answers[some[k]] = {wrong: said};
  const rest = some.filter((_, k) => !bad.has(k)), half = bad.size ? rest.length : Math.ceil(rest.length / 2);
  for (const part of [rest.slice(0, half), rest.slice(half)]) if (part.length) await answer(part, signal);
}

async function ask() {
  busy?.abort();
  const mine = busy = new AbortController(), started = performance.now(), open = rows.map((_, i) => i).filter(i => !answers[i]);
  try {
    for (let at = 0; at < open.length; at += CHUNK) {
      if (open.length > CHUNK) say(`${at.toLocaleString("en")} of ${open.length.toLocaleString("en")} rows…`);
      await answer(open.slice(at, at + CHUNK), mine.signal);
    }
  } catch (e) {
    if (mine.signal.aborted) return;
    draw();
    return say(e instanceof TypeError ? "The server did not answer. Is it still running?" : e.message, true);
  }
  draw();
  const wrong = answers.filter(a => a?.wrong).length;
  say(`${rows.length.toLocaleString("en")} ${rows.length === 1 ? "row" : "rows"} in ${((performance.now() - started) / 1000).toFixed(2)} s${wrong ? `; ${wrong} could not be answered` : ""}${extra.length ? `; not used: ${extra.slice(0, 4).join(", ")}` : ""}`);
}

function download() {
  const classes = proba() ?? [], head = [...names, ...extra, "prediction", ...classes.map(c => `probability_${c}`)];
  const lines = rows.map((r, i) => {
    const a = answers[i], v = a?.wrong || !a ? "" : typeof a.value === "object" ? JSON.stringify(a.value) : String(a.value);
    return [...r, v, ...classes.map((_, k) => a?.p ? String(a.p[k]) : "")].map(quote).join(",");
  });
  const file = URL.createObjectURL(new Blob([[head.map(quote).join(","), ...lines].join("\r\n") + "\r\n"], {type: "text/csv"}));
  element("a", {href: file, download: `${form.name}-answers.csv`}).click();
  setTimeout(() => URL.revokeObjectURL(file), 10000);
}

function begin() {
  rows = (form.examples.length ? form.examples.slice(0, 5).map(e => cells(e.row)) : [names.map((_, i) => String(fields[i]?.median ?? fields[i]?.options?.[0] ?? ""))]);
  answers = form.examples.slice(0, 5).map(() => null);
  extra = [];
  draw();
  say(form.examples.length ? "The first examples; put your own rows in their place." : "");
}

for (const radio of document.querySelectorAll("[name=how]")) radio.addEventListener("change", () => {
  const many = document.querySelector("[name=how]:checked").value === "many";
  $("one").hidden = many;
  $("many").hidden = !many;
  if (many && !rows.length) begin();
});
$("add-row").addEventListener("click", () => { rows.unshift(rows[0] ? [...rows[0]] : names.map(() => "")); answers.unshift(null); draw(); $("table").querySelector("input")?.focus(); });
$("ask-rows").addEventListener("click", ask);
$("download").addEventListener("click", download);
const load = async file => { if (file) open(await file.text()); };
$("file").addEventListener("change", e => { load(e.target.files[0]); e.target.value = ""; });
const drop = $("drop");
for (const on of ["dragover", "dragenter"]) drop.addEventListener(on, e => { e.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", e => { e.preventDefault(); drop.classList.remove("over"); load(e.dataTransfer.files[0]); });
document.addEventListener("paste", e => {
  if ($("many").hidden || e.target.closest("input, textarea")) return;
  const text = e.clipboardData.getData("text");
  if (text) { e.preventDefault(); open(text); }
});
