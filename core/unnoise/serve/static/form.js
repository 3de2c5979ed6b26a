// The form of a domain, from the JSON schema of its requests.

const USUAL = ["num_samples", "steps", "seed"];
const SPELLED = { num_samples: "Samples" };
const plain = (text) => text.toLowerCase().replaceAll("_", " ");

export const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
};

// All simple schemas that a property allows, lists by their items.
const leaves = (schema) => {
  const options = schema.anyOf || schema.oneOf || [schema];
  return options.flatMap((one) => (one === schema ? [one] : leaves(one)));
};

const known = (schema) => {
  const own = leaves(schema);
  const lists = own.filter((one) => one.type === "array");
  const items = lists.flatMap((one) => (one.prefixItems ? one.prefixItems : leaves(one.items || {})));
  const all = [...own.filter((one) => one.type !== "array"), ...items];
  const choices = own.flatMap((one) => one.enum || (one.const === undefined ? [] : [one.const]));
  return {
    types: new Set(all.map((one) => one.type)),
    single: own.some((one) => !["array", "null"].includes(one.type)),
    many: lists.length > 0,
    tuple: lists.some((one) => one.prefixItems),
    choices,
    only: choices.length > 0 && own.every((one) => one.enum || one.const !== undefined || one.type === "null"),
    numeric: own.find((one) => ["integer", "number"].includes(one.type)),
  };
};

// The title that a plugin has given, else the name of the field.
const titled = (name, schema) => SPELLED[name]
  || (schema.title && plain(schema.title) !== plain(name) ? schema.title
    : schema.title === schema.title?.toUpperCase() && schema.title ? schema.title
    : (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " "));

// A word as the value that it stands for.
const valued = (word, types) => {
  const number = /^[+-]?(0|[1-9]\d*)$/.test(word) ? types.has("integer") || types.has("number")
    : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(word) && types.has("number");
  if (!number) return word;
  const value = Number(word);
  if (/^[+-]?\d+$/.test(word) && !Number.isSafeInteger(value)) {
    throw new Error("numbers above 2^53 cannot be sent from this page; use the API");
  }
  return value;
};

const shown = (value) => (Array.isArray(value) ? value.map(shown).join("\n")
  : value !== null && typeof value === "object" ? JSON.stringify(value, null, 1) : String(value));

class Field {
  constructor(name, schema, required) {
    Object.assign(this, { name, schema, required, title: titled(name, schema), kind: known(schema), id: `field-${name}` });
    this.error = make("p", { class: "wrong", id: `${this.id}-error` });
    const about = [schema.description, this.kind.many && !this.kind.tuple && this.kind.types.has("string")
      ? "One in each line." : ""].filter(Boolean).join(". ").replace(/\.\. /, ". ");
    this.help = make("p", { class: "help", id: `${this.id}-help` }, about);
    this.control = this.build();
    this.control.setAttribute("aria-describedby", `${this.id}-error ${this.id}-help`);
    if (required) this.control.setAttribute("aria-required", "true");
    this.element = this.wrapped();
  }
  wrapped() {
    const label = make("label", { for: this.id }, this.title + (this.required ? " (needed)" : ""));
    return make("div", { class: "field" }, label, this.control, this.error, this.help);
  }
  wrong(text) {
    this.error.textContent = text;
    if (text) this.control.setAttribute("aria-invalid", "true");
    else this.control.removeAttribute("aria-invalid");
  }
  focus() {
    this.element.closest("details")?.setAttribute("open", "");
    this.control.focus();
  }
}

class Words extends Field {
  build() {
    const { kind, schema } = this;
    const hint = schema.default === null || schema.default === undefined || schema.default === "" ? ""
      : shown(schema.default).replaceAll("\n", ", ");
    const attributes = { id: this.id, name: this.name, placeholder: hint, spellcheck: "false", autocomplete: "off" };
    const words = kind.types.has("string") && !kind.numeric;
    const long = kind.types.has("object") || (kind.many && !kind.tuple && kind.types.has("string")) || (words && !kind.choices.length);
    if (long && !["grid", "sampler"].includes(this.name)) return make("textarea", { ...attributes, rows: "1" });
    return make("input", { ...attributes, type: "text", inputmode: kind.numeric && !kind.types.has("string") ? "decimal" : false });
  }
  read() {
    const text = this.control.value;
    if (!text.trim()) return undefined;
    const { types, many, single, tuple } = this.kind;
    if (types.has("object") && text.trim().startsWith("{")) return JSON.parse(text);
    if (tuple) return text.split(/[\s,]+/).filter(Boolean).map((word) => valued(word, types));
    if (!many) return valued(types.has("string") ? text : text.trim(), types);
    const parts = types.has("string") ? text.split("\n") : text.split(/[\s,]+/);
    const words = parts.map((word) => word.trim()).filter(Boolean).map((word) => valued(word, types));
    return words.length === 1 && single ? words[0] : words;
  }
  write(value) {
    this.control.value = value === undefined || value === null ? "" : this.kind.tuple ? value.join(", ") : shown(value);
  }
}

class Number_ extends Field {
  build() {
    const { numeric } = this.kind;
    const hint = this.schema.default === null || this.schema.default === undefined ? "" : String(this.schema.default);
    return make("input", {
      id: this.id, name: this.name, type: "number", placeholder: hint, step: numeric.type === "integer" ? "1" : "any",
      min: numeric.minimum === undefined ? false : String(numeric.minimum),
      max: numeric.maximum === undefined ? false : String(numeric.maximum),
    });
  }
  read() {
    if (this.control.validity.badInput) throw new Error("this is no number");
    const text = this.control.value;
    return text === "" ? undefined : valued(text, this.kind.types);
  }
  write(value) { this.control.value = value === undefined || value === null ? "" : String(value); }
}

class Choice extends Field {
  build() {
    const { choices } = this.kind;
    const usual = this.schema.default === null || this.schema.default === undefined ? "default" : `${this.schema.default} (default)`;
    return make("select", { id: this.id, name: this.name }, make("option", { value: "" }, usual),
      ...choices.filter((one) => one !== this.schema.default).map((one) => make("option", { value: String(one) }, String(one))));
  }
  read() { return this.control.value || undefined; }
  write(value) { this.control.value = value === undefined || value === null ? "" : String(value); }
}

class Check extends Field {
  build() { return make("input", { id: this.id, name: this.name, type: "checkbox" }); }
  wrapped() {
    const label = make("label", { for: this.id }, this.control, this.title);
    return make("div", { class: "field" }, label, this.error, this.help);
  }
  read() { return this.control.checked === Boolean(this.schema.default) ? undefined : this.control.checked; }
  write(value) { this.control.checked = Boolean(value ?? this.schema.default); }
}

// Files, words that may stand in their place, and examples that the domain brings.
class Files extends Field {
  build() {
    this.entries = [];
    this.marks = this.schema["x-files"];
    this.list = make("ul", { class: "entries" });
    return make("div", { role: "group", id: this.id, tabindex: "-1", "aria-labelledby": `${this.id}-label` }, this.list, this.adders());
  }
  wrapped() {
    const label = make("div", { class: "label", id: `${this.id}-label` }, this.title + (this.required ? " (needed)" : ""));
    return make("div", { class: "field" }, label, this.control, this.error, this.help);
  }
  adders() {
    const { accept, words, sent, many } = this.marks;
    const row = make("div", { class: "add" });
    if (sent) {
      const input = make("input", {
        type: "file", id: `${this.id}-file`, multiple: many, accept: accept.join(",") || false,
        "aria-describedby": `${this.id}-error ${this.id}-help`,
        onchange: () => { this.add([...input.files].map((file) => ({ file }))); input.value = ""; },
      });
      row.append(input, make("label", { for: `${this.id}-file` }, many ? "Add files" : "Choose a file",
        make("span", { class: "unseen" }, ` for ${this.title}`)));
    }
    for (const word of words) {
      row.append(make("button", { type: "button", onclick: () => this.add([{ word }]) },
        make("span", { class: "unseen" }, `${this.title}: `), word));
    }
    return row;
  }
  add(found) {
    this.entries = this.marks.many ? [...this.entries, ...found] : found.slice(-1);
    this.wrong("");
    this.draw();
  }
  draw() {
    this.list.replaceChildren(...this.entries.map((entry, k) => {
      const name = entry.word ?? entry.example ?? entry.file.name;
      const picture = /\.(png|jpe?g|gif|webp)$/i.test(name) && !entry.word;
      const source = entry.file ? URL.createObjectURL(entry.file) : `example/${this.domain}/${encodeURIComponent(name)}`;
      const remove = () => { this.entries.splice(k, 1); this.draw(); this.control.focus(); };
      return make("li", {}, ...(picture ? [make("img", { src: source, alt: "" })] : []), make("span", {}, name),
        make("button", { type: "button", "aria-label": `Remove ${name}`, onclick: remove }, "Remove"));
    }));
  }
  read(parts) {
    const values = this.entries.map((entry) => {
      if (entry.word) return entry.word;
      if (entry.example) return { example: entry.example };
      const upload = `file-${parts.length}`;
      parts.push([upload, entry.file]);
      return { upload };
    });
    if (!values.length) return undefined;
    return values.length === 1 ? values[0] : values;
  }
  write(value) {
    const values = value === undefined || value === null ? [] : Array.isArray(value) ? value : [value];
    this.entries = values.map((one) => (typeof one === "string" ? { word: one } : one));
    this.draw();
  }
}

const fieldOf = (name, schema, required) => {
  const kind = known(schema);
  const Kind = schema["x-files"] ? Files : kind.types.has("boolean") && kind.types.size <= 2 ? Check
    : kind.only ? Choice : kind.numeric && !kind.many && !kind.types.has("string") ? Number_ : Words;
  return new Kind(name, schema, required);
};

export class Form {
  constructor(described, places) {
    this.domain = described.domain;
    this.demo = described.demo;
    const needed = new Set(described.schema.required || []);
    this.fields = new Map();
    const groups = { own: [], usual: [], shared: [] };
    for (const [name, schema] of Object.entries(described.schema.properties)) {
      const field = fieldOf(name, schema, needed.has(name));
      field.domain = described.domain;
      if (name === "model" && described.models.length < 2) continue;
      if (field.marks && !field.marks.sent && !field.marks.words.length) continue; // for Python alone
      this.fields.set(name, field);
      const group = USUAL.includes(name) ? "usual" : schema["x-options"] ? "shared" : "own";
      groups[group].push(field.element);
    }
    for (const [name, elements] of Object.entries(groups)) places[name].replaceChildren(...elements);
  }
  fill(values) {
    for (const [name, field] of this.fields) {
      field.write(values[name]);
      field.wrong("");
    }
  }
  // The request, and the files that go beside it; null where a field cannot be read.
  read() {
    const request = {}, parts = [];
    let fine = true;
    for (const [name, field] of this.fields) {
      field.wrong("");
      try {
        const value = field.read(parts);
        if (value !== undefined) request[name] = value;
      } catch (error) {
        field.wrong(error.message);
        if (fine) field.focus();
        fine = false;
      }
    }
    return fine ? { request, parts } : null;
  }
  // Say an error at its field; false where it belongs to none.
  wrong(error) {
    const field = this.fields.get(error.field);
    if (!field) return false;
    field.wrong(error.text);
    field.focus();
    return true;
  }
}
