// What came of a request: samples, the way to them, files, and how to make them again.

import { make } from "./form.js";

const MOMENTS = 10; // of the way
const ROWS = 24; // of a table
const LONGEST = 20000; // characters of a text

const element = (id) => document.getElementById(id);
const bytesOf = (file) => Uint8Array.from(atob(file.base64), (letter) => letter.charCodeAt(0));
const sized = (n) => (n < 1000 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`);

export class Shown {
  constructor(described) {
    this.described = described;
    this.looks = [];
    this.links = [];
    this.files = new Map();
  }
  clear() {
    this.links.forEach((link) => URL.revokeObjectURL(link));
    this.links = [];
    this.looks = [];
    this.files = new Map();
    for (const id of ["notes", "samples", "way", "files", "again"]) element(id).hidden = true;
    element("frames").replaceChildren();
  }
  progress(done, text) {
    element("hint").hidden = true;
    element("run").hidden = false;
    element("bar").value = done;
    element("where").textContent = text;
  }
  look({ t, cells }) {
    // a plan of several diffusions is shown by its last one
    if (this.looks.length && t > this.looks.at(-1).t) this.looks = [];
    this.looks.push({ t, cells });
    if (this.looks.length > 2 * MOMENTS) this.looks = this.looks.filter((_, k) => k % 2 === 0 || k === this.looks.length - 1);
    const step = Math.max(1, (this.looks.length - 1) / (MOMENTS - 1));
    const chosen = [...new Set(Array.from({ length: Math.min(MOMENTS, this.looks.length) }, (_, k) => Math.round(k * step)))]
      .filter((k) => k < this.looks.length).map((k) => this.looks[k]);
    const time = (look) => make("span", { class: "time" }, make("span", { class: "unseen" }, "t = "), look.t.toFixed(2));
    const cell = (html) => { const box = make("div", { class: "cell" }); box.innerHTML = html; return box; };
    const place = element("way").querySelector("div");
    if (this.described.strip === "down") {
      place.replaceChildren(...cells.map((_, row) => make("ol", { class: "strip down" },
        ...chosen.map((look) => make("li", {}, time(look), cell(look.cells[row] ?? ""))))));
    } else {
      place.replaceChildren(make("ol", { class: "strip across" },
        ...chosen.map((look) => make("li", {}, time(look), ...look.cells.map(cell)))));
    }
    element("way").hidden = false;
  }
  batch(files) {
    for (const file of files) this.files.set(file.name, file);
  }
  result({ provenance, files, preview }) {
    this.batch(files);
    const box = element("samples").querySelector(".samples");
    box.innerHTML = preview || "";
    element("samples").hidden = !preview;
    const names = new Set([...(provenance.files || []), ...files.map((file) => file.name)]);
    const kept = [...this.files.values()].filter((file) => names.has(file.name) || !provenance.files);
    element("frames").replaceChildren(...kept.filter((f) => f.name.endsWith(".html")).map((f) => this.frame(f)));
    const rows = [...kept.map((file) => this.row(file)), this.row({
      name: "provenance.json", type: "application/json",
      base64: btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(provenance, null, 2)))),
    })];
    element("files").querySelector("ul").replaceChildren(...rows);
    element("files").hidden = false;
  }
  frame(file) {
    const text = new TextDecoder().decode(bytesOf(file));
    const frame = make("iframe", { src: "assets/frame.html", sandbox: "allow-scripts", title: `${file.name}, samples in 3D` });
    const listen = (event) => {
      if (event.source !== frame.contentWindow) return;
      removeEventListener("message", listen);
      frame.contentWindow.postMessage(text, "*");
    };
    addEventListener("message", listen);
    return frame;
  }
  link(file) {
    const link = URL.createObjectURL(new Blob([bytesOf(file)], { type: file.type }));
    this.links.push(link);
    return link;
  }
  row(file) {
    const bytes = bytesOf(file), body = make("div");
    const fill = () => {
      if (body.childElementCount) return;
      const save = make("a", { class: "save", href: this.link(file), download: file.name }, `Save ${file.name}`);
      body.append(save, ...this.view(file, bytes));
    };
    return make("li", {}, make("details", { ontoggle: fill },
      make("summary", {}, file.name, make("span", {}, sized(bytes.length))), body));
  }
  view(file, bytes) {
    if (file.type.startsWith("image/")) {
      const image = make("img", { src: this.link(file), alt: file.name });
      image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 100));
      return [make("br"), image];
    }
    if (file.type.startsWith("audio/")) return [make("br"), make("audio", { controls: true, src: this.link(file) })];
    if (file.name.endsWith(".html") || !/^(text|application\/json|chemical)/.test(file.type)) return [];
    const text = new TextDecoder().decode(bytes);
    if (file.name.endsWith(".csv")) return [table(text, file.name)];
    return [make("pre", { tabindex: "0" }, text.length > LONGEST ? `${text.slice(0, LONGEST)}\n…` : text)];
  }
  again(request) {
    const pre = (label, text) => make("pre", { tabindex: "0", role: "group", "aria-label": label }, text);
    element("again").querySelector("div").replaceChildren(
      pre("Command line", command(this.described.domain, request)), pre("Python", python(this.described.domain, request)));
    element("again").hidden = false;
  }
}

const table = (text, name) => {
  const rows = text.trim().split(/\r?\n/).map((line) => line.match(/("([^"]|"")*"|[^,]*)(,|$)/g).slice(0, -1)
    .map((cell) => cell.replace(/,$/, "").replace(/^"|"$/g, "").replaceAll('""', '"')));
  const [head, ...body] = rows;
  const short = (cell) => (/^-?\d+\.\d{5,}$/.test(cell) ? Number(cell).toPrecision(5) : cell);
  const more = body.length > ROWS ? [make("p", { class: "help" }, `and ${body.length - ROWS} more rows`)] : [];
  return make("div", { tabindex: "0", role: "group", "aria-label": name }, make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((cell) => make("th", { scope: "col" }, cell)))),
    make("tbody", {}, ...body.slice(0, ROWS).map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, short(cell))))))), ...more);
};

const named = (value) => (Array.isArray(value) ? value.map(named)
  : value !== null && typeof value === "object" ? value.example ?? value.name ?? value : value);
const quoted = (word) => (/^[\w.,:/=+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

const command = (domain, request) => {
  const words = Object.entries(request).flatMap(([key, given]) => {
    const flag = `--${key.replaceAll("_", "-")}`, value = named(given);
    if (value === true) return [flag];
    if (value === false) return [`--no-${flag.slice(2)}`];
    const texts = (Array.isArray(value) ? value : [value]).map((one) => (typeof one === "object" ? JSON.stringify(one) : String(one)));
    return texts.some((one) => one.startsWith("-")) ? texts.map((one) => quoted(`${flag}=${one}`)) : [flag, ...texts.map(quoted)];
  });
  return ["unnoise generate", domain, ...words, "--out samples"].join(" ");
};

const literal = (value) => (value === true ? "True" : value === false ? "False" : value === null ? "None"
  : Array.isArray(value) ? `[${value.map(literal).join(", ")}]` : typeof value === "object"
  ? `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${literal(v)}`).join(", ")}}` : JSON.stringify(value));

const python = (domain, request) => {
  const given = Object.entries(request).map(([key, value]) => `    ${key}=${literal(named(value))},\n`).join("");
  return `import unnoise\n\nout = unnoise.generate(\n    ${JSON.stringify(domain)},\n${given})\nout.save("samples")`;
};
