// API: the request that Try would send now, as code in three languages, and what comes back.
import {address, data, pretty, send} from "./page.js";
import {body, currentRow, form, path} from "./try.js";

const $ = id => document.getElementById(id);
const stream = form.stream ? path.replace(/predict$/, "stream") : null;

const shell = text => `'${text.replaceAll("'", `'\\''`)}'`;
const python = v => v === null ? "None" : v === true ? "True" : v === false ? "False" : Array.isArray(v) ? `[${v.map(python).join(", ")}]` : typeof v === "object" ? `{${Object.entries(v).map(([k, x]) => `${JSON.stringify(k)}: ${python(x)}`).join(", ")}}` : JSON.stringify(v);

const snippets = {
  curl(url, request) {
    const key = data.keys ? " \\\n  -H 'authorization: Bearer YOUR_KEY'" : "", text = JSON.stringify(request);
    if (text.length > 20000) return `# the request is long: save it as request.json first\ncurl -s ${shell(url)}${key} \\\n  -H 'content-type: application/json' \\\n  --data @request.json`;
    return `curl -s${stream ? "N" : ""} ${shell(url)}${key} \\\n  -H 'content-type: application/json' \\\n  -d ${shell(text)}`;
  },
  python(url, request) {
    const key = data.keys ? `, "authorization": "Bearer YOUR_KEY"` : "";
    const read = stream ? `with urllib.request.urlopen(request) as answer:\n    for line in answer:                      # event: partial, progress or done\n        print(line.decode(), end="")` : `with urllib.request.urlopen(request) as answer:\n    print(json.load(answer)["predictions"])`;
    return `import json, urllib.request\n\nbody = ${python(request)}\nrequest = urllib.request.Request(\n    ${JSON.stringify(url)}, json.dumps(body).encode(),\n    {"content-type": "application/json"${key}})\n${read}`;
  },
  javascript(url, request) {
    const key = data.keys ? `, authorization: "Bearer YOUR_KEY"` : "";
    const read = stream ? `const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();\nfor (let part = await reader.read(); !part.done; part = await reader.read()) console.log(part.value);` : `console.log((await answer.json()).predictions);`;
    return `const answer = await fetch(${JSON.stringify(url)}, {\n  method: "POST",\n  headers: {"content-type": "application/json"${key}},\n  body: JSON.stringify(${JSON.stringify(request)}),\n});\n${read}`;
  },
};

const request = () => stream ? {inputs: [currentRow()]} : body([currentRow()]);

function draw() {
  const language = document.querySelector("[name=language]:checked").value;
  $("code").textContent = snippets[language](address(stream ?? path), request());
  $("code-note").textContent = {curl: "In a terminal", python: "Python, with nothing to install", javascript: "JavaScript, in Node or on a page"}[language];
}

for (const radio of document.querySelectorAll("[name=language]")) radio.addEventListener("change", draw);
document.addEventListener("tab", e => { if (e.detail === "api") draw(); });
document.addEventListener("answered", () => { if (!$("api").hidden) draw(); });
$("send").addEventListener("click", async () => {
  $("send").disabled = true;
  try {
    const a = await send(path, body([currentRow()]));
    $("reply").textContent = a.json ? pretty(a.json) : a.text;
    $("reply").classList.toggle("bad", !a.ok);
    $("send-note").textContent = `${a.status}, after ${a.ms.toFixed(1)} ms`;
  } catch (e) { $("send-note").textContent = `The server did not answer (${e.message}).`; }
  $("send").disabled = false;
});
draw();
