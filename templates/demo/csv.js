// CSV: read as RFC 4180 has it, with the separator that its first line shows; written with commas.
export function parse(text) {
  const head = text.split("\n", 1)[0], comma = ["\t", ";", ","].sort((a, b) => head.split(b).length - head.split(a).length)[0];
  const lines = [];
  let line = [], value = "", quoted = false, was = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) { if (c === '"' && text[i + 1] === '"') { value += c; i++; } else if (c === '"') quoted = false; else value += c; }
    else if (c === '"' && value === "") quoted = was = true;
    else if (c === comma) { line.push(value); value = ""; }
    else if (c === "\n" || c === "\r") { if (c === "\r" && text[i + 1] === "\n") i++; line.push(value); if (line.length > 1 || value || was) lines.push(line); line = []; value = ""; was = false; }
    else value += c;
  }
  if (value || line.length) lines.push([...line, value]);
  return lines;
}

export const quote = v => /[",\r\n]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v;
const isNumber = v => /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(v);   // 007 is a name

// rows with a head as objects: a column of numbers becomes numbers, an empty cell null
export function records(text) {
  const [head, ...lines] = parse(text.replace(/^\uFEFF/, "")), names = (head ?? []).map(n => n.trim());
  const read = names.map((_, j) => {
    const there = lines.map(l => (l[j] ?? "").trim()).filter(v => v !== "");
    if (there.length && there.every(isNumber)) return Number;
    return there.length && there.every(v => /^(true|false)$/i.test(v)) ? v => v.toLowerCase() === "true" : v => v;
  });
  return {names, rows: lines.map(l => Object.fromEntries(names.map((n, j) => [n, (l[j] ?? "").trim() === "" ? null : read[j](l[j].trim())])))};
}

const cell = v => v === null || v === undefined ? "" : typeof v === "object" ? JSON.stringify(v) : String(v);
export const columns = rows => [...new Set(rows.flatMap(r => Object.keys(r)))];
export const write = (rows, names = columns(rows)) => [names, ...rows.map(r => names.map(n => cell(r[n])))].map(l => l.map(quote).join(",")).join("\n") + "\n";
