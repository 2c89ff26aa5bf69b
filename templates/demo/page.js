// What every page of a model has: tabs, copy buttons, and requests that stand in a text area.
// Addresses are relative to the page, so that it works behind a proxy's prefix, and without a password that stands in the address.
const base = new URL(document.baseURI);
base.username = base.password = base.search = base.hash = "";
export const address = path => new URL(path, base).href;
export const data = JSON.parse(document.getElementById("data")?.textContent ?? "null");

const wait = (ms, signal) => new Promise((done, stop) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); stop(signal.reason); }, {once: true});
});

// {ok, status, json, id, ms}; a server that is full is asked again, and `busy` says so
export async function send(path, body, {signal, busy} = {}) {
  for (let tries = 0; ; tries++) {
    const started = performance.now();
    const r = await fetch(address(path), {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body), signal});
    const text = await r.text(), ms = performance.now() - started;
    if (r.status === 503 && tries < 20 && r.headers.get("retry-after")) {
      busy?.(tries);
      await wait(1000 * Math.min(10, Number(r.headers.get("retry-after")) || 1), signal);
      continue;
    }
    let json = null;
    try { json = JSON.parse(text); } catch { /* not JSON: a proxy's page */ }
    return {ok: r.ok && json !== null, status: r.status, json, text, id: r.headers.get("x-request-id") ?? "", ms};
  }
}

export function reason(answer) {
  const e = answer.json?.error;
  if (answer.status === 401 || answer.status === 403) return "This key may not ask that.";
  if (e && typeof e === "object") return e.code === "model_failed" ? "The model failed on this input. Whoever runs this server can look it up." : e.message + (e.fix ? ` (${e.fix})` : "");
  return `The server said ${answer.status}.`;
}

export function pretty(value) {
  return JSON.stringify(value, null, 2).replace(/\[\s+([^\[\]{}]*?)\s+\]/g, (_, inner) => `[${inner.replace(/\s*\n\s*/g, " ")}]`);
}

const tabs = [...document.querySelectorAll("[role=tab]")];
function open(tab, focus = false) {
  for (const t of tabs) {
    const chosen = t === tab;
    t.setAttribute("aria-selected", chosen);
    t.tabIndex = chosen ? 0 : -1;
    document.getElementById(t.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  document.dispatchEvent(new CustomEvent("tab", {detail: tab.getAttribute("aria-controls")}));
}
for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => { open(tab); history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`); });
  tab.addEventListener("keydown", e => {
    const to = {ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1}[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const next = tabs[(to + tabs.length) % tabs.length];
    next.click();
    next.focus();
  });
}
const named = () => tabs.find(t => `#${t.getAttribute("aria-controls")}` === location.hash);
addEventListener("hashchange", () => named() && open(named()));
if (named()) setTimeout(() => { open(named()); scrollTo(0, 0); });   // after the other modules have begun to listen

for (const button of document.querySelectorAll("[data-copy]")) {
  const said = button.textContent;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try { await navigator.clipboard.writeText(source.textContent); button.textContent = "Copied"; }
    catch {   // not allowed here: select it, so that one key copies
      getSelection().selectAllChildren(source);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = said; }, 1500);
  });
}

for (const form of document.querySelectorAll("form[data-ask]")) {
  const out = form.querySelector("[role=status]"), note = form.querySelector("[data-note]"), button = form.querySelector("button");
  form.addEventListener("submit", async event => {
    event.preventDefault();
    button.disabled = true;
    const started = performance.now();
    try {
      const answer = await fetch(address(form.dataset.ask), {method: "POST", headers: {"content-type": "application/json"}, body: form.querySelector("textarea").value});
      const text = await answer.text();
      let shown = text;
      try { shown = pretty(JSON.parse(text)); } catch { /* shown as it came */ }
      out.textContent = shown;
      out.classList.toggle("bad", !answer.ok);
      note.textContent = `${answer.status} in ${(performance.now() - started).toFixed(1)} ms`;
    } catch (error) { out.textContent = `The server did not answer: ${error.message}`; out.classList.add("bad"); note.textContent = ""; }
    button.disabled = false;
  });
}
