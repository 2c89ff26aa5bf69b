// Two small behaviours: copy buttons, and sending the request that stands in a text area.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).innerText;
    const said = button.innerText;
    try { await navigator.clipboard.writeText(text); button.innerText = "copied"; }
    catch { button.innerText = "select and copy by hand"; }
    setTimeout(() => { button.innerText = said; }, 1500);
  });
}
for (const form of document.querySelectorAll("form[data-ask]")) {
  const out = form.querySelector("[role=status]"), note = form.querySelector("[data-note]"), button = form.querySelector("button");
  form.addEventListener("submit", async event => {
    event.preventDefault();
    button.disabled = true;
    const started = performance.now();
    try {
      const answer = await fetch(form.dataset.ask, {method: "POST", headers: {"content-type": "application/json"}, body: form.querySelector("textarea").value});
      const text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 1).replace(/\[\s+([^\[\]{}]*?)\s+\]/g, (_, inner) => `[${inner.replace(/\s*\n\s*/g, " ")}]`); }
      catch { /* shown as it came */ }
      out.textContent = shown;
      out.classList.toggle("bad", !answer.ok);
      note.textContent = `${answer.status} in ${(performance.now() - started).toFixed(1)} ms`;
    } catch (error) { out.textContent = `The server did not answer: ${error.message}`; out.classList.add("bad"); note.textContent = ""; }
    button.disabled = false;
  });
}
for (const span of document.querySelectorAll("[data-origin]")) span.textContent = location.href.replace(/\/[^/]*$/, "");
