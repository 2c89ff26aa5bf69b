// API: the request that Try would send now, as code in three languages, and what comes back.
import {address, data, pretty, send} from "./page.js";
import {body, chosen, currentRow, form, isFile, path, quick, take} from "./try.js";

const $ = id => document.getElementById(id);
const stream = form.stream ? path.replace(/predict$/, "stream") : null;

const shell = text => `'${text.replaceAll("'", `'\\''`)}'`;
const python = v => v instanceof FileNamed ? `file(${JSON.stringify(v.name)})` : v === null ? "None" : v === true ? "True" : v === false ? "False" : Array.isArray(v) ? `[${v.map(python).join(", ")}]` : typeof v === "object" ? `{${Object.entries(v).map(([k, x]) => `${JSON.stringify(k)}: ${python(x)}`).join(", ")}}` : JSON.stringify(v);

// a file stands in code by its name: nobody pastes a film
class FileNamed { constructor(name) { this.name = name; } }
const {fields} = form, byFile = fields.some(f => isFile(f));
const nameOf = i => chosen.get(i) ?? {image: "image.png", audio: "sound.wav", video: "film.mp4"}[fields[i].widget] ?? "file";
const withFiles = request => {
  if (!byFile) return request;
  const inputs = request.inputs.map(row => { const values = take(row).map((v, i) => isFile(fields[i]) && v !== null ? new FileNamed(nameOf(i)) : v); return form.row === "record" ? Object.fromEntries(fields.map((f, i) => [f.name, values[i]]).filter(([n]) => n in row)) : values[0]; });
  return {...request, inputs};
};
const code = (v, file) => v instanceof FileNamed ? file(v.name) : Array.isArray(v) ? `[${v.map(x => code(x, file)).join(", ")}]` : v !== null && typeof v === "object" ? `{${Object.entries(v).map(([k, x]) => `${JSON.stringify(k)}: ${code(x, file)}`).join(", ")}}` : JSON.stringify(v);

const snippets = {
  curl(url, request) {
    const key = data.keys ? " \\\n  -H 'authorization: Bearer YOUR_KEY'" : "", text = JSON.stringify(request);
    if (byFile && !stream) {
      const parts = take(withFiles(request).inputs[0]).map((v, i) => v === null || v === undefined ? "" : ` \\\n  -F ${shell(`${form.row === "record" ? fields[i].name : "input"}=${v instanceof FileNamed ? `@${v.name}` : typeof v === "object" ? JSON.stringify(v) : v}`)}`);
      return `curl -s ${shell(url)}${key}${parts.join("")}`;
    }
    if (text.length > 20000) return `# the request is long: save it as request.json first\ncurl -s ${shell(url)}${key} \\\n  -H 'content-type: application/json' \\\n  --data @request.json`;
    return `curl -s${stream ? "N" : ""} ${shell(url)}${key} \\\n  -H 'content-type: application/json' \\\n  -d ${shell(text)}`;
  },
  python(url, request) {
    const key = data.keys ? `, "authorization": "Bearer YOUR_KEY"` : "";
    const read = stream ? `with urllib.request.urlopen(request) as answer:\n    for line in answer:                      # event: partial, progress or done\n        print(line.decode(), end="")` : `with urllib.request.urlopen(request) as answer:\n    print(json.load(answer)["predictions"])`;
    const file = byFile ? `def file(name): return base64.b64encode(open(name, "rb").read()).decode()\n\n` : "";
    return `import ${byFile ? "base64, " : ""}json, urllib.request\n\n${file}body = ${python(withFiles(request))}\nrequest = urllib.request.Request(\n    ${JSON.stringify(url)}, json.dumps(body).encode(),\n    {"content-type": "application/json"${key}})\n${read}`;
  },
  javascript(url, request) {
    const key = data.keys ? `, authorization: "Bearer YOUR_KEY"` : "";
    const read = stream ? `const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();\nfor (let part = await reader.read(); !part.done; part = await reader.read()) console.log(part.value);` : `console.log((await answer.json()).predictions);`;
    const file = byFile ? `import fs from "node:fs";\nconst file = name => fs.readFileSync(name).toString("base64");\n\n` : "";
    return `${file}const answer = await fetch(${JSON.stringify(url)}, {\n  method: "POST",\n  headers: {"content-type": "application/json"${key}},\n  body: JSON.stringify(${byFile ? code(withFiles(request), n => `file(${JSON.stringify(n)})`) : JSON.stringify(request)}),\n});\n${read}`;
  },
};

const request = () => stream ? {inputs: [currentRow()]} : body([currentRow()]);

function draw() {
  const language = document.querySelector("[name=language]:checked").value;
  $("code").textContent = snippets[language](address(stream ?? path), request());
  $("code-note").textContent = {curl: "In a terminal", python: "Python, with nothing to install", javascript: "JavaScript, in Node or on a page"}[language];
}

for (const radio of document.querySelectorAll("[name=language]")) radio.addEventListener("change", draw);
// a model that is quick is asked at once, so that its answer and its time are there to be seen
const open = () => { draw(); if (!stream && quick()) ask(); };
document.addEventListener("tab", e => { if (e.detail === "api") open(); });
document.addEventListener("answered", () => { if (!$("api").hidden) open(); });
$("send").addEventListener("click", ask);
async function ask() {
  $("send").disabled = true;
  try {
    const a = await send(path, body([currentRow()]));
    $("reply").textContent = a.json ? pretty(a.json) : a.text;
    $("reply").classList.toggle("bad", !a.ok);
    $("send-note").textContent = `${a.status}, after ${a.ms.toFixed(1)} ms`;
    $("reply").parentElement.hidden = false;
  } catch (e) { $("send-note").textContent = `The server did not answer (${e.message}).`; }
  $("send").disabled = false;
}
draw();
