// An answer as elements: labels, numbers, text, pictures, sound, tables, search results, and JSON for the rest.
import {bars, distribution, element, lines, number, percent, plot} from "./chart.js";
import {columns, write} from "./csv.js";
import {pretty} from "./page.js";

const media = /^data:(image|audio|video)\/[\w.+-]+(;[\w=.+%~-]+)*;base64,/, file = /^data:[\w.+-]+\/[\w.+-]+(;[\w=.+%~-]+)*;base64,/;
const isNumber = v => typeof v === "number" && isFinite(v), isObject = v => v !== null && typeof v === "object" && !Array.isArray(v);

function text(v) {
  const kind = media.exec(v)?.[1];
  if (kind === "image") return element("img", {src: v, alt: "the answer, as a picture", class: "answer-image"});
  if (kind) return element(kind, {src: v, controls: "", class: "answer-media"});
  if (file.test(v)) return saved(v);
  return v.length > 60 || v.includes("\n") ? element("div", {class: "answer-text"}, v) : element("p", {class: "answer-main"}, v || "(empty)");
}

export function fileName(uri) {
  const said = /^data:[^,]*;name=([^;,]*)/.exec(uri.slice(0, 1000))?.[1] ?? "";
  try { return decodeURIComponent(said); } catch { return said; }
}

// saved as bytes of no kind: what a model gives is never opened as a page of this address
function save(bytes, name) {
  const address = URL.createObjectURL(new Blob([bytes], {type: "application/octet-stream"}));
  element("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

const size = n => n < 1000 ? `${n} bytes` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;

export function fileSize(uri) {
  const base64 = uri.slice(uri.indexOf(",") + 1);
  return size(Math.floor(base64.length * 3 / 4) - (base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0));
}

function saved(uri) {   // a file, to be saved
  const base64 = uri.slice(uri.indexOf(",") + 1), kind = /^data:([^;,]*)/.exec(uri)[1], name = fileName(uri) || `answer.${{"text/csv": "csv", "application/pdf": "pdf", "application/zip": "zip", "application/gzip": "gz"}[kind] ?? "bin"}`;
  return element("div", {class: "answer-file"}, element("div", {}, element("strong", {}, name), element("div", {class: "dim small"}, `${kind === "application/octet-stream" ? "" : `${kind}, `}${fileSize(uri)}`)),
    element("button", {type: "button", class: "quiet", onclick: () => save(Uint8Array.from(atob(base64), c => c.charCodeAt(0)), name)}, "Save"));
}

function table(rows) {
  const names = columns(rows), more = rows.length > 200 ? `The first 200 of ${rows.length.toLocaleString("en")} rows. ` : "";
  return element("div", {}, element("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "the answer, as a table"}, element("table", {},
    element("thead", {}, element("tr", {}, ...names.map(n => element("th", rows.some(r => isNumber(r[n])) ? {scope: "col", class: "number"} : {scope: "col"}, n)))),
    element("tbody", {}, ...rows.slice(0, 200).map(r => element("tr", {}, ...names.map(n => element("td", isNumber(r[n]) ? {class: "number"} : {}, cell(r[n])))))))),
    rows.length > 1 ? element("p", {class: "dim small"}, more, element("button", {type: "button", class: "link", onclick: () => save(write(rows, names), "answer.csv")}, "Save as CSV")) : null);
}

const cell = v => v === null || v === undefined ? "" : isNumber(v) ? number(v) : typeof v === "string" ? file.test(v) ? text(v) : v : JSON.stringify(v);
const title = r => ["title", "name", "text", "label", "id"].find(k => typeof r[k] === "string" || (k === "id" && k in r));

function results(rows) {   // what a search found
  return element("div", {class: "results"}, ...rows.slice(0, 50).map(r => {
    const head = title(r), rest = Object.entries(r).filter(([k]) => k !== head);
    return element("article", {class: "card"}, element("strong", {}, cell(r[head])),
      element("div", {class: "dim small"}, ...rest.flatMap(([k, v], i) => [i ? " · " : "", media.test(v) ? text(v) : `${k} ${cell(v)}`])));
  }));
}

export function generic(v, depth = 0) {
  if (v === null || v === undefined) return element("p", {class: "dim"}, "no answer");
  if (isNumber(v)) return element("p", {class: "answer-main"}, number(v));
  if (typeof v === "boolean") return element("p", {class: "answer-main"}, v ? "Yes" : "No");
  if (typeof v === "string") return text(v);
  if (Array.isArray(v)) {
    if (v.length && v.every(isObject)) return v.every(title) && v.some(r => "score" in r || "distance" in r) ? results(v) : table(v);
    if (v.length > 3 && v.every(isNumber)) return lines(v.map((_, i) => i + 1), [{name: "", values: v}], {label: `${v.length} numbers from ${number(Math.min(...v))} to ${number(Math.max(...v))}`});
    if (v.length && v.every(r => Array.isArray(r) && r.length <= 12 && !r.some(Array.isArray))) return table(v.map(r => Object.fromEntries(r.map((x, i) => [i + 1, x]))));
  }
  if (isObject(v) && ["line", "points", "bar"].includes(v.plot) && Array.isArray(v.x) && isObject(v.y)) return plot(v);
  if (isObject(v)) {
    const entries = Object.entries(v), scores = entries.map(e => e[1]);
    if (entries.length > 1 && scores.every(s => isNumber(s) && s >= 0 && s <= 1) && Math.abs(scores.reduce((a, b) => a + b, 0) - 1) < 0.01) return label(entries.sort((a, b) => b[1] - a[1])[0][0], entries);
    if (depth < 2 && entries.length <= 30) return element("dl", {class: "pairs"}, ...entries.flatMap(([k, x]) => [element("dt", {}, k), element("dd", {}, typeof x === "object" && x !== null || file.test(x) ? generic(x, depth + 1) : cell(typeof x === "boolean" ? x ? "yes" : "no" : x))]));
  }
  return element("pre", {class: "answer-json", tabindex: "0"}, pretty(v));
}

function label(answer, pairs) {
  const sorted = pairs ? [...pairs].sort((a, b) => b[1] - a[1]) : [], top = sorted.slice(0, 6), rest = sorted.slice(6).reduce((s, p) => s + p[1], 0);
  const items = top.map(([name, p], i) => ({name, share: p, text: percent(p), first: i === 0}));
  if (sorted.length > 6) items.push({name: `${sorted.length - 6} others`, share: rest, text: percent(rest)});
  return element("div", {}, element("p", {class: "answer-main"}, String(answer)), items.length ? bars(items) : null);
}

function standing(value, quantiles) {   // where a number is among the answers that training got
  const levels = [0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100];
  if (!quantiles || value < quantiles[0]) return quantiles ? "Lower than every answer in training." : "";
  if (value > quantiles.at(-1)) return "Higher than every answer in training.";
  let i = quantiles.findIndex((q, j) => j && value <= q);
  const part = (value - quantiles[i - 1]) / ((quantiles[i] - quantiles[i - 1]) || 1), level = Math.round(levels[i - 1] + part * (levels[i] - levels[i - 1]));
  return `Higher than ${level}% of the answers in training.`;
}

// one answer; probabilities belong to classes, in their order
export function show(output, value, probabilities = null, classes = null) {
  if (output.kind === "label" && isObject(value) && Object.keys(value).length) return label(Object.keys(value).reduce((a, b) => value[b] > value[a] ? b : a), Object.entries(value));
  if (output.kind === "label") return label(value, probabilities && classes ? classes.map((c, i) => [c, probabilities[i]]) : null);
  if (output.kind === "number" && isNumber(value)) {
    const box = element("div", {}, element("p", {class: "answer-main"}, number(value), output.unit ? element("span", {class: "unit"}, ` ${output.unit}`) : null));
    if (output.histogram) box.append(element("p", {class: "dim small"}, standing(value, output.quantiles)), distribution(output.histogram, value, `${number(value)}, among the answers in training from ${number(output.histogram.low)} to ${number(output.histogram.high)}`));
    return box;
  }
  const box = element("div", {}, generic(value));
  if (probabilities && classes) box.append(bars(classes.map((c, i) => ({name: c, share: probabilities[i], text: percent(probabilities[i]), first: false})).sort((a, b) => b.share - a.share).slice(0, 8)));
  return box;
}
