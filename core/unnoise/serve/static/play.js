// The playground: choose a domain, fill its form, watch the run.

import { Form, make } from "./form.js";
import { Shown } from "./show.js";

const element = (id) => document.getElementById(id);
const say = (text) => { element("status").textContent = text; };
const places = { own: element("own"), usual: element("usual"), shared: element("shared") };
let form, shown, running;

// colours
const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
const toggle = document.querySelector("[data-theme-toggle]");
const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const label = () => {
  toggle.lastElementChild.textContent = isDark() ? "Light" : "Dark";
  toggle.setAttribute("aria-label", `${isDark() ? "Light" : "Dark"} colours`);
};
const kept = localStorage.getItem("unnoise-theme");
if (kept === "light" || kept === "dark") root.dataset.theme = kept;
toggle.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem("unnoise-theme", root.dataset.theme);
  label();
});
dark.addEventListener("change", label);
label();

// the server
const ask = async (path, options = {}) => {
  const token = sessionStorage.getItem("unnoise-token");
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) {
    element("token").hidden = false;
    element("token-field").focus();
  }
  return answer;
};
element("token").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("unnoise-token", element("token-field").value);
  element("token").hidden = true;
  open();
});

const open = async () => {
  const answer = await ask("domains");
  if (!answer.ok) return;
  const { domains } = await answer.json();
  element("domains").replaceChildren(...domains.map(({ name, summary }) =>
    make("li", {}, make("a", { href: `#${name}`, title: summary }, name))));
  const choose = () => {
    const name = decodeURIComponent(location.hash.slice(1));
    return domains.find((one) => one.name === name) || domains[0];
  };
  addEventListener("hashchange", () => { if (location.hash !== "#request") select(choose().name); });
  if (domains.length) await select(choose().name);
};

const select = async (name) => {
  running?.abort();
  const answer = await ask(`schema/${encodeURIComponent(name)}`);
  if (!answer.ok) return;
  const described = await answer.json();
  for (const link of element("domains").querySelectorAll("a")) {
    if (link.textContent === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  element("domain-name").textContent = name;
  element("domain-summary").textContent = described.summary;
  element("general").textContent = "";
  element("run").hidden = true;
  element("hint").hidden = false;
  shown?.clear();
  form = new Form(described, places);
  shown = new Shown(described);
  form.fill(described.demo);
  document.querySelector("main").hidden = false;
  document.title = `${name}: unnoise playground`;
};

element("example").addEventListener("click", () => { form.fill(form.demo); say("The example is in the form."); });
element("clear").addEventListener("click", () => { form.fill({}); say("The form is empty."); });
element("stop").addEventListener("click", () => running?.abort());

// events of a stream, one after the other
const events = async function* (body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const found = /^event: (\w+)\ndata: ([^]*)$/.exec(block);
      if (found) yield [found[1], JSON.parse(found[2])];
    }
  }
};

const failed = (error) => {
  if (!form.wrong(error)) element("general").textContent = error.text;
  say(`Not generated: ${error.text}`);
};

const follow = {
  queued: ({ ahead }) => shown.progress(0, ahead ? `${ahead} before you` : "starting"),
  begun: ({ samples, company }) => shown.progress(0, `${samples} samples${company ? `, beside ${company} requests of others` : ""}`),
  step: ({ batch, batches, step, steps, t }) => shown.progress(
    Math.min(1, (batch + step / Math.max(steps, 1)) / batches),
    `step ${step} of ${steps}${batches > 1 ? `, batch ${batch + 1} of ${batches}` : ""}, t = ${t.toFixed(2)}`),
  look: (look) => shown.look(look),
  batch: ({ files }) => shown.batch(files),
  error: ({ error }) => { element("run").hidden = true; failed(error); },
};

element("request").addEventListener("submit", async (event) => {
  event.preventDefault();
  element("general").textContent = "";
  const asked = form.read();
  if (!asked || running) return;
  running = new AbortController();
  const begun = performance.now(), mine = shown;
  mine.clear();
  mine.progress(0, "sending");
  element("go").disabled = true;
  element("stop").hidden = false;
  say("Generating.");
  if (matchMedia("(max-width: 56rem)").matches) element("outcome").scrollIntoView();
  try {
    const body = new FormData();
    body.append("request", JSON.stringify(asked.request));
    for (const [name, file] of asked.parts) body.append(name, file);
    const plain = { body: JSON.stringify(asked.request), headers: { "Content-Type": "application/json" } };
    const sent = asked.parts.length ? { body, headers: {} } : plain;
    const answer = await ask(`generate/${encodeURIComponent(form.domain)}?preview=1`, {
      method: "POST", body: sent.body, headers: { ...sent.headers, Accept: "text/event-stream" }, signal: running.signal,
    });
    if (!answer.ok) {
      element("run").hidden = true;
      failed((await answer.json()).error);
      return;
    }
    for await (const [name, data] of events(answer.body)) {
      if (mine !== shown) return;
      if (name !== "result") { follow[name]?.(data); continue; }
      mine.result(data);
      mine.again(withNames(asked));
      const seconds = ((performance.now() - begun) / 1000).toFixed(1), count = data.provenance.ids.length;
      const refused = (data.provenance.refused || []).map((one) => `left out: ${one.reason}`);
      const notes = [...(data.provenance.notes || []), ...refused];
      element("notes").textContent = notes.join("; ");
      element("notes").hidden = !notes.length;
      mine.progress(1, `${count} sample${count === 1 ? "" : "s"} in ${seconds} s`);
      say(`${count} samples.`);
    }
  } catch (error) {
    if (mine !== shown) return;
    element("run").hidden = true;
    if (error.name === "AbortError") say("Stopped.");
    else failed({ text: "the server does not answer; is it still running?" });
    element("hint").hidden = false;
  } finally {
    running = undefined;
    element("go").disabled = false;
    element("stop").hidden = true;
  }
});

// The request as it is said where its files are.
const withNames = ({ request, parts }) => {
  const names = Object.fromEntries(parts.map(([part, file]) => [part, file.name]));
  const named = (value) => (Array.isArray(value) ? value.map(named) : value?.upload ? names[value.upload] : value);
  return Object.fromEntries(Object.entries(request).map(([key, value]) => [key, named(value)]));
};

open();
