// Small charts as SVG: everything that is text goes in as text, never as markup.
const SVG = "http://www.w3.org/2000/svg";

export function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) k === "class" ? e.className = v : k.startsWith("on") ? e.addEventListener(k.slice(2), v) : e.setAttribute(k, v);
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}

const shape = (tag, attributes, text) => {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
};

export function number(v) {
  if (typeof v !== "number" || !isFinite(v)) return String(v);
  if (Math.abs(v) >= 10000) return Math.round(v).toLocaleString("en");
  if (Number.isInteger(v)) return String(v);
  return v !== 0 && Math.abs(v) < 1e-4 ? v.toExponential(2) : String(Number(v.toPrecision(4)));
}

export const percent = p => p > 0 && p < 0.001 ? "<0.1%" : p < 1 && p > 0.999 ? ">99.9%" : `${(100 * p).toFixed(1)}%`;

function frame(width, height, label) {
  return shape("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label});
}

// the answers that training got, and where this one stands
export function distribution(histogram, value, label) {
  const w = 360, h = 92, floor = 70, {low, high, counts} = histogram, most = Math.max(...counts), step = w / counts.length;
  const at = v => Math.max(0, Math.min(w, (v - low) / (high - low) * w)), svg = frame(w, h, label);
  counts.forEach((c, i) => svg.append(shape("rect", {x: i * step + 0.75, width: step - 1.5, rx: 1.5, fill: "var(--other)", height: Math.max(c ? 1.5 : 0, c / most * 52), y: floor - Math.max(c ? 1.5 : 0, c / most * 52)})));
  const x = Math.max(1, Math.min(w - 1, at(value)));
  svg.append(shape("line", {x1: 0, x2: w, y1: floor, y2: floor, stroke: "var(--line)"}),
    shape("line", {x1: x, x2: x, y1: 10, y2: floor, stroke: "var(--bar)", "stroke-width": 2.5}), shape("circle", {cx: x, cy: 10, r: 4.5, fill: "var(--bar)"}),
    shape("text", {x: 0, y: 86}, number(low)), shape("text", {x: w, y: 86, "text-anchor": "end"}, number(high)),
    shape("text", {x: w / 2, y: 86, "text-anchor": "middle"}, "answers in training"));
  return svg;
}

// round ends and steps for an axis
function ticks(low, high, most = 4) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough)), step = power * ([1, 2, 2.5, 5, 10].find(m => m * power >= rough * 0.999));
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({length: last - first + 1}, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// lines over numbers: series is [{name, values}], mark is the x of what is entered now
export function lines(xs, series, {mark = null, unit = "", low = null, high = null, label = "", format = number} = {}) {
  const w = 360, h = 170, right = 8, top = 10, bottom = 146;
  const all = series.flatMap(s => s.values).filter(v => typeof v === "number" && isFinite(v));
  let y0 = low ?? Math.min(...all), y1 = high ?? Math.max(...all);
  if (!(y1 > y0)) { const pad = Math.abs(y0) * 0.05 || 1; y0 -= pad; y1 += pad; }
  const marks = low === 0 && high === 1 ? [0, 0.5, 1] : ticks(y0, y1), said = marks.map(format), left = 10 + 6.3 * Math.max(...said.map(t => t.length));
  [y0, y1] = [marks[0], marks.at(-1)];
  const X = x => left + (x - xs[0]) / ((xs.at(-1) - xs[0]) || 1) * (w - left - right), Y = y => bottom - (y - y0) / (y1 - y0) * (bottom - top);
  const svg = frame(w, h, label);
  for (const [k, y] of marks.entries()) svg.append(shape("line", {x1: left, x2: w - right, y1: Y(y), y2: Y(y), stroke: "var(--line)"}), shape("text", {x: left - 6, y: Y(y) + 4, "text-anchor": "end"}, said[k]));
  if (mark !== null) { const x = Math.max(left, Math.min(w - right, X(mark))); svg.append(shape("line", {x1: x, x2: x, y1: top, y2: bottom, stroke: "var(--dim)", "stroke-dasharray": "3 3"})); }
  series.forEach((s, i) => {
    const path = s.values.map((v, j) => typeof v === "number" && isFinite(v) ? `${j && typeof s.values[j - 1] === "number" ? "L" : "M"}${X(xs[j]).toFixed(1)} ${Y(v).toFixed(1)}` : "").join("");
    s.values.forEach((v, j) => {   // a value without neighbours would be no line
      if (typeof v === "number" && typeof s.values[j - 1] !== "number" && typeof s.values[j + 1] !== "number") svg.append(shape("circle", {cx: X(xs[j]), cy: Y(v), r: 3, fill: `var(--c${i % 3 + 1})`}));
    });
    svg.append(shape("path", {d: path, fill: "none", stroke: `var(--c${i % 3 + 1})`, "stroke-width": 2.2, "stroke-linejoin": "round"}));
  });
  svg.append(shape("text", {x: left, y: 163}, number(xs[0]) + unit), shape("text", {x: w - right, y: 163, "text-anchor": "end"}, number(xs.at(-1)) + unit));
  return svg;
}

// one label after another along a field
export function strip(xs, labels, {mark = null, unit = "", label = ""} = {}) {
  const w = 360, svg = frame(w, 60, label), known = [...new Set(labels)], step = w / labels.length;
  labels.forEach((l, i) => svg.append(shape("rect", {x: i * step, width: step + 0.5, y: 8, height: 24, fill: `var(--c${known.indexOf(l) % 3 + 1})`})));
  if (mark !== null) { const x = Math.max(2, Math.min(w - 2, (mark - xs[0]) / ((xs.at(-1) - xs[0]) || 1) * w)); svg.append(shape("line", {x1: x, x2: x, y1: 2, y2: 38, stroke: "var(--ink)", "stroke-width": 2})); }
  svg.append(shape("text", {x: 0, y: 54}, number(xs[0]) + unit), shape("text", {x: w, y: 54, "text-anchor": "end"}, number(xs.at(-1)) + unit));
  return [svg, legend(known)];
}

export function legend(names) {
  return element("div", {class: "legend"}, ...names.slice(0, 12).map((n, i) => element("span", {}, element("i", {class: `k${i % 3 + 1}`}), String(n))));
}

// [{name, share, text, first}] as horizontal bars
export function bars(items) {
  const box = element("div", {class: "bars"});
  for (const {name, share, text, first} of items) {
    const fill = element("i");
    fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
    box.append(element("span", {class: "name", title: String(name)}, String(name)), element("span", {class: first ? "track first" : "track"}, fill), element("span", {class: "value"}, text));
  }
  return box;
}

// what mlship.kinds.Plot is: one or more rows of numbers over numbers or names, as a line, as points, as bars
export function plot({plot: kind, x: xs, y, title = "", x_label = "", y_label = ""}) {
  const series = Object.entries(y).filter(([, v]) => Array.isArray(v)), isNumber = v => typeof v === "number" && isFinite(v);
  const byName = kind === "bar" || !xs.every(isNumber), places = byName ? xs.map((_, k) => k + 0.5) : xs;
  const all = series.flatMap(([, v]) => v).filter(isNumber), w = 420, h = 230, top = 12, bottom = h - (x_label ? 46 : 30), right = 10;
  if (!all.length || !xs.length) return element("p", {class: "dim"}, "a plot without numbers");
  let y0 = Math.min(...all, ...(kind === "bar" ? [0] : [])), y1 = Math.max(...all, ...(kind === "bar" ? [0] : []));
  if (!(y1 > y0)) { const pad = Math.abs(y0) * 0.05 || 1; y0 -= pad; y1 += pad; }
  const marks = ticks(y0, y1), said = marks.map(number), left = 12 + 6.3 * Math.max(...said.map(t => t.length));
  [y0, y1] = [marks[0], marks.at(-1)];
  const x0 = byName ? 0 : Math.min(...places), x1 = byName ? xs.length : Math.max(...places), edge = kind === "points" ? 8 : 0;
  const X = v => left + edge + (v - x0) / ((x1 - x0) || 1) * (w - left - right - 2 * edge), Y = v => bottom - (v - y0) / (y1 - y0) * (bottom - top);
  const spoken = series.map(([name, v]) => { const n = v.filter(isNumber); return `${name || "values"} from ${number(Math.min(...n))} to ${number(Math.max(...n))}`; }).join("; ");
  const svg = frame(w, h, `${title ? `${title}: ` : ""}${spoken}${x_label ? `, over ${x_label}` : ""}`);
  marks.forEach((m, k) => svg.append(shape("line", {x1: left, x2: w - right, y1: Y(m), y2: Y(m), stroke: "var(--line)"}), shape("text", {x: left - 6, y: Y(m) + 4, "text-anchor": "end"}, said[k])));
  const colour = i => `var(--c${i % 3 + 1})`, wide = (w - left - right) / xs.length, bar = wide * 0.76 / series.length;
  series.forEach(([, values], i) => {
    if (kind === "line") {
      svg.append(shape("path", {d: values.map((v, j) => isNumber(v) && places[j] !== undefined ? `${j && isNumber(values[j - 1]) ? "L" : "M"}${X(places[j]).toFixed(1)} ${Y(v).toFixed(1)}` : "").join(""), fill: "none", stroke: colour(i), "stroke-width": 2.2, "stroke-linejoin": "round", "stroke-dasharray": i < 3 ? "none" : "6 3"}));
    } else values.forEach((v, j) => {
      if (!isNumber(v) || places[j] === undefined) return;
      if (kind === "points") svg.append(shape("circle", {cx: X(places[j]), cy: Y(v), r: values.length > 200 ? 2 : 3.5, fill: colour(i), "fill-opacity": 0.75}));
      else svg.append(shape("rect", {x: left + j * wide + wide * 0.12 + i * bar, width: Math.max(1, bar - 1), rx: 1.5, fill: colour(i), y: Math.min(Y(v), Y(0)), height: Math.max(0.5, Math.abs(Y(v) - Y(0)))}));
    });
  });
  if (byName) {
    const most = Math.max(1, Math.floor((w - left) / (10 + 6.3 * Math.min(12, Math.max(...xs.map(v => String(v).length)))))), every = Math.ceil(xs.length / most);
    xs.forEach((v, k) => k % every || svg.append(shape("text", {x: X(k + 0.5), y: bottom + 17, "text-anchor": "middle"}, String(v).length > 12 ? `${String(v).slice(0, 11)}…` : isNumber(v) ? number(v) : String(v))));
  } else for (const v of ticks(x0, x1, 5)) if (v >= x0 && v <= x1) svg.append(shape("text", {x: X(v), y: bottom + 17, "text-anchor": "middle"}, number(v)));
  if (x_label) svg.append(shape("text", {x: (left + w - right) / 2, y: h - 6, "text-anchor": "middle"}, x_label));
  const names = series.map(([n]) => n).filter(Boolean);
  return element("div", {class: "plot"}, title ? element("p", {class: "plot-title"}, title) : null, y_label ? element("p", {class: "dim small"}, y_label) : null, svg, names.length > 1 ? legend(names) : null);
}
