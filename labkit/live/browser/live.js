// Makes the cells of a chapter editable and runs them in the reader's browser, beside what was recorded.
import DOMPurify from "./dompurify/purify.es.mjs";

const base = new URL(".", import.meta.url);
const place = document.querySelector(".live-page");
const { notebook: name, python } = place.dataset;
const key = (word) => `labkit:${word}`;
const TAGS = ["a", "abbr", "b", "br", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6",
  "hr", "i", "kbd", "li", "ol", "p", "pre", "s", "small", "span", "strong", "style", "sub", "summary", "sup", "table", "tbody", "td", "tfoot",
  "th", "thead", "tr", "ul", "svg", "g", "path", "rect", "circle", "line", "polyline", "polygon", "text", "tspan", "title", "desc", "defs"];
const CLEAN = { ALLOWED_TAGS: TAGS, ALLOW_DATA_ATTR: false, ADD_ATTR: ["open"], FORBID_ATTR: ["id", "name", "href", "xlink:href"], ALLOW_ARIA_ATTR: true };

// What a style fetches is taken out; the content policy would refuse it as well.
DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (/url\s*\(|image-set|\\/i.test(node.getAttribute?.("style") ?? "")) node.removeAttribute("style");
});

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [word, value] of Object.entries(attributes)) {
    if (word.startsWith("on")) made.addEventListener(word.slice(2), value);
    else if (value !== undefined) made.setAttribute(word, value);
  }
  made.append(...children);
  return made;
}

// Where there is no storage, the page works and forgets; it says so.
function stored(word, value) {
  try {
    if (value === undefined) return localStorage.getItem(key(word)) ?? "";
    localStorage.setItem(key(word), value);
    return value;
  } catch { return ""; }
}

const keeps = () => stored("keeps", "yes") === "yes";
const lines = (journal) => journal.split("\n").filter(Boolean);

// Another tab may have added to the journal meanwhile: both keep their lines.
function keepJournal(journal) {
  const all = new Set([...lines(stored("journal")), ...lines(journal)]);
  stored("journal", [...all].map((line) => `${line}\n`).join(""));
}

function answered(id) {
  let found;
  for (const line of lines(stored("journal"))) {
    try { const entry = JSON.parse(line); if (entry.id === id && "raw" in entry) found = entry.raw; } catch { /* no line of a journal */ }
  }
  return found;
}

const text = (value) => (Array.isArray(value) ? value.join("") : value ?? "");
const plain = (value) => text(value).replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, "");

class Runtime {
  constructor(status) { this.status = status; this.waiting = new Map(); this.next = 1; }

  start() {
    this.ready ??= new Promise((resolve, reject) => {
      if (typeof WebAssembly !== "object" || typeof Worker !== "function") {
        reject(new Error("This browser has no WebAssembly or no workers: read the recorded outputs, or use another browser."));
        return;
      }
      this.worker = new Worker(new URL("worker.js", base), { type: "module" });
      this.worker.onerror = () => reject(new Error("Python cannot be loaded here: is the page served by a web server, and not opened as a file?"));
      this.worker.onmessage = ({ data }) => {
        if (data.type === "progress") this.status(data.text);
        else if (data.type === "ready") {
          const note = keeps() ? "" : " This browser stores nothing for this page: predictions are lost when it is closed.";
          this.status(`Python is ready (${(data.milliseconds / 1000).toFixed(1)} s).${note}`);
          resolve();
        }
        else if (data.type === "failed") reject(new Error(`Python cannot be loaded: ${data.text}`));
        else this.waiting.get(data.id)?.(data);
      };
      this.worker.postMessage({ type: "start", python, journal: stored("journal") });
    });
    return this.ready;
  }

  async ask(message, onoutput) {
    await this.start();
    const id = this.next++;
    return new Promise((resolve) => {
      this.waiting.set(id, (data) => {
        if (data.type === "output") { onoutput?.(data.output); return; }
        this.waiting.delete(id);
        if (data.journal !== undefined) keepJournal(data.journal);
        resolve(data);
      });
      this.worker.postMessage({ ...message, id });
    });
  }

  stop() {
    this.worker?.terminate();
    this.worker = this.ready = undefined;
    for (const end of this.waiting.values()) end({ type: "done", ok: false, stopped: true });
    this.waiting.clear();
  }
}

function rendered(output, question) {
  const data = output.data ?? {};
  if (output.output_type === "stream") return element("pre", { class: `stream ${output.name}` }, plain(output.text));
  if (output.output_type === "error") return element("pre", { class: "error", role: "alert" }, plain(output.traceback.join("\n")));
  const form = data["application/vnd.labkit.question+json"];
  const html = data["text/html"] ?? data["image/svg+xml"];
  const shown = element("div", { class: "rich" });
  if (html !== undefined) shown.innerHTML = DOMPurify.sanitize(text(html), CLEAN);
  else if (data["image/png"]) shown.append(element("img", { src: `data:image/png;base64,${text(data["image/png"])}`, alt: "output" }));
  else shown.append(element("pre", {}, plain(data["text/plain"] ?? data["text/markdown"])));
  if (form && question) shown.append(question(form));
  return shown;
}

class Cell {
  // imports: null where the cell can run here; else what the cells below need of it.
  constructor(page, node, source, index, imports) {
    Object.assign(this, { page, node, source, index, imports });
    if (imports !== null) { node.append(element("p", { class: "live-machine" }, "This cell needs a virtual machine, and a browser has none: its recorded output stands above.")); return; }
    const input = node.querySelector(".input_area") ?? node;
    this.editor = element("textarea", { class: "live-editor", spellcheck: "false", autocapitalize: "off", "aria-label": `Code of cell ${index + 1}`, rows: String(source.split("\n").length) });
    this.editor.value = source;
    this.editor.addEventListener("input", () => { this.editor.rows = this.editor.value.split("\n").length; });
    this.editor.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.shiftKey || event.ctrlKey)) { event.preventDefault(); page.run(this).then(() => event.shiftKey && page.focus(this.index + 1)); }
    });
    this.button = element("button", { type: "button", class: "live-run", "aria-label": `Run cell ${index + 1}`, title: "Run this cell (Ctrl+Enter; Shift+Enter goes on to the next)", onclick: () => page.run(this) }, "Run");
    this.output = element("section", { class: "live-output", hidden: "", "aria-live": "polite", "aria-label": `Output of cell ${index + 1}, from your browser` });
    input.replaceChildren(this.editor);
    input.after(element("div", { class: "live-bar" }, this.button));
    node.append(this.output);
  }

  get runs() { return this.imports === null; }

  clear() { if (this.runs) { this.output.hidden = true; this.output.replaceChildren(); this.outputs = undefined; } }

  reset() { if (!this.runs) return; this.editor.value = this.source; this.editor.rows = this.source.split("\n").length; this.clear(); }

  async run() {
    this.outputs = [];
    const body = element("div", { class: "live-body" });
    const stamp = element("p", { class: "live-stamp" }, "running in your browser …");
    this.output.replaceChildren(stamp, body);
    this.output.hidden = false;
    let last;
    const show = (output) => {
      this.outputs.push(output);
      if (output.output_type === "stream" && last?.dataset.stream === output.name) { last.textContent += plain(output.text); return; }
      last = rendered(output, (form) => this.form(form));
      if (output.output_type === "stream") last.dataset.stream = output.name;
      body.append(last);
    };
    const done = await this.page.runtime.ask({ type: "run", source: this.editor.value }, show);
    stamp.textContent = done.stopped ? "stopped; what the cells before it had defined is gone" : done.failure ? `Python ended: ${done.failure}` : "ran in your browser";
    stamp.classList.toggle("failed", !done.ok);
    return done.ok;
  }

  form(question) {
    const made = element("form", { class: "live-question", "aria-label": question.text });
    const earlier = answered(question.id);
    const say = element("div", { "aria-live": "polite" });
    let read;
    if (question.kind === "choice") {
      for (const offer of question.offers) made.append(element("label", {}, element("input", { type: "radio", name: "answer", value: offer, checked: offer === earlier ? "" : undefined }), ` ${offer}`));
      read = () => made.querySelector("input:checked")?.value;
    } else {
      const hint = question.kind === "order" ? "in order, separated by commas" : question.kind === "number" ? `a number${question.unit ? `, in ${question.unit}` : ""}` : "your prediction";
      const field = element("input", { type: question.kind === "number" ? "number" : "text", step: "any", placeholder: hint, "aria-label": hint });
      if (earlier !== undefined) field.value = Array.isArray(earlier) ? earlier.join(", ") : String(earlier);
      made.append(field);
      read = () => (field.value === "" ? undefined : question.kind === "number" ? Number(field.value) : question.kind === "order" ? field.value.split(",").map((word) => word.trim()) : field.value);
    }
    made.append(element("button", { type: "submit" }, "Record"), say);
    made.addEventListener("submit", async (event) => {
      event.preventDefault();
      const value = read();
      if (value === undefined) { say.textContent = "Answer first; a guess is as good as any."; return; }
      say.replaceChildren();
      const done = await this.page.runtime.ask({ type: "answer", question: question.id, value }, (output) => say.replaceChildren(rendered(output)));
      if (!done.ok) say.textContent = done.failure ?? "This could not be recorded.";
    });
    return made;
  }
}

class Page {
  constructor({ notebook, machine }) {
    this.status = element("span", { role: "status", class: "live-status" });
    this.runtime = new Runtime((words) => { this.status.textContent = words; });
    const nodes = [...document.querySelectorAll(".code_cell")];
    this.notebook = notebook;
    const sources = notebook.cells.filter((cell) => cell.cell_type === "code");
    this.bar = element("div", { class: "live-page", role: "toolbar", "aria-label": "This chapter in your browser" },
      element("button", { type: "button", class: "live-all", onclick: () => this.runAll() }, "Run all"),
      element("button", { type: "button", class: "live-stop", onclick: () => this.stop() }, "Stop"),
      element("button", { type: "button", onclick: () => this.restart() }, "Restart"),
      element("button", { type: "button", onclick: () => this.cells.forEach((cell) => cell.reset()) }, "Reset all cells"),
      element("button", { type: "button", onclick: () => this.download() }, "Download the notebook"), this.status);
    this.cells = nodes.map((node, index) => new Cell(this, node, text(sources[index].source), index, machine[index]));
    this.end();
  }

  end() { this.runtime.stop(); this.queue = Promise.resolve(); this.imported = new Set(); }
  focus(index) { (this.cells.find((cell) => cell.runs && cell.index >= index) ?? this.cells.findLast((cell) => cell.runs)).editor.focus(); }

  // One after the other; what waits when Python is stopped is not run.
  run(cell) {
    const imported = this.imported;
    this.queue = this.queue.then(async () => {
      for (const { index, imports } of this.cells.slice(0, cell.index)) {
        if (imports && !imported.has(index)) { imported.add(index); await this.runtime.ask({ type: "run", source: imports }); }
        if (imported !== this.imported) return false;
      }
      return cell.run();
    }).catch((error) => { this.status.textContent = error.message; return false; });
    return this.queue;
  }

  async runAll() {
    for (const cell of this.cells.filter(({ runs }) => runs)) {
      if (!(await this.run(cell))) { this.status.textContent = `Stopped at cell ${cell.index + 1}, which did not end well.`; return false; }
    }
    return true;
  }

  stop() { this.end(); this.status.textContent = "Stopped. Python starts anew with the next cell; run the chapter from its beginning."; }
  restart() { this.end(); this.cells.forEach((cell) => cell.clear()); this.runtime.start().catch((error) => { this.status.textContent = error.message; }); }

  download() {
    const copy = structuredClone(this.notebook);
    let at = 0;
    for (const cell of copy.cells) {
      if (cell.cell_type !== "code") continue;
      const live = this.cells[at++];
      if (!live.runs) continue;
      Object.assign(cell, { source: live.editor.value, outputs: (live.outputs ?? []).map((output) => ({ ...output })), execution_count: null });
      for (const output of cell.outputs) delete output.data?.["application/vnd.labkit.question+json"];
      for (const output of cell.outputs) if (output.output_type === "execute_result") output.execution_count = null;
      if (cell.outputs.length) cell.metadata = { ...cell.metadata, labkit: { ...cell.metadata?.labkit, ran: "in a browser" } };
    }
    const link = element("a", { href: URL.createObjectURL(new Blob([JSON.stringify(copy, null, 1)], { type: "application/x-ipynb+json" })), download: `${name}.ipynb` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

// What the service worker keeps is loaded once for all pages of the site; where there is none, the page works without.
async function keepPython() {
  const workers = navigator.serviceWorker;
  if (!workers || workers.controller) return;
  const taken = new Promise((resolve) => { workers.addEventListener("controllerchange", resolve, { once: true }); setTimeout(resolve, 2000); });
  await workers.register(new URL("../sw.js", base)).then(() => taken, () => {});
}

async function begin(button) {
  button.disabled = true;
  const status = button.nextElementSibling;
  try {
    const answer = await fetch(new URL(`cells/${encodeURIComponent(name)}.json`, base));
    if (!answer.ok) throw new Error(`The cells of this chapter are not there (${answer.status}).`);
    const page = new Page(await answer.json());
    window.labkit = page;
    button.parentElement.replaceWith(page.bar);
    await keepPython();
    await page.runtime.start();
  } catch (error) {
    (window.labkit?.status ?? status).textContent = error.message;
    button.disabled = false;
  }
}

const button = element("button", { type: "button", class: "live-begin", onclick: () => begin(button) }, "Run this chapter in your browser");
place.replaceChildren(button, element("span", { role: "status" }, "Nothing is sent anywhere; Python is loaded from this site."));
