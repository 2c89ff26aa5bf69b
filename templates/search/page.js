// One form: send the query, show each hit as a card. Nothing that came from outside is ever put in as HTML.
const form = document.getElementById("ask"), note = document.getElementById("note"), hits = document.getElementById("hits");
const field = id => document.getElementById(id), make = (tag, text) => Object.assign(document.createElement(tag), {textContent: text});
const base64 = file => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result); reader.onerror = failed; reader.readAsDataURL(file);
});
const query = async () => {
  if (form.dataset.kind === "text") return field("query").value;
  if (form.dataset.kind !== "image") return JSON.parse(field("query").value);
  if (!field("query").files.length) throw new Error("choose an image first");
  return base64(field("query").files[0]);
};
function card(hit) {
  const li = document.createElement("li"), list = document.createElement("dl");
  li.append(make("b", hit.id), make("span", `  ${hit.score.toPrecision(4)}`));
  for (const [name, value] of Object.entries(hit.payload ?? {})) {
    if (typeof value === "string" && /^(data:image\/(png|jpeg|webp|gif);base64,|https:\/\/\S+\.(png|jpe?g|webp|gif)$)/.test(value)) {
      li.append(Object.assign(document.createElement("img"), {src: value, alt: `${name} of ${hit.id}`}));
    } else if (value !== null) list.append(make("dt", name), make("dd", typeof value === "object" ? JSON.stringify(value) : value));
  }
  li.append(list);
  return li;
}
form.addEventListener("submit", async event => {
  event.preventDefault();
  const started = performance.now();
  try {
    const given = field("filter")?.value.trim();
    const body = {query: await query(), k: Number(field("k").value), ...(given ? {filter: JSON.parse(given)} : {})};
    const answer = await fetch(form.dataset.path, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
    const said = await answer.json();
    if (!answer.ok) throw new Error([said.error.message, said.error.expected && `expected ${said.error.expected}`].filter(Boolean).join("; "));
    hits.replaceChildren(...said.results.map(card));
    note.textContent = `${said.results.length} found in ${(performance.now() - started).toFixed(0)} ms`;
    note.classList.remove("bad");
  } catch (error) { note.textContent = error.message; note.classList.add("bad"); }
});
for (const button of document.querySelectorAll(".try")) {
  button.addEventListener("click", () => { field("query").value = button.textContent; form.requestSubmit(); });
}
for (const span of document.querySelectorAll("[data-origin]")) span.textContent = location.href.replace(/\/[^/]*$/, "");
