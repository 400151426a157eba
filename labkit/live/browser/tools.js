// Drop a file on one of labkit's tools; it is read here and sent nowhere.
const base = new URL(".", import.meta.url);
const TOOLS = {
  verify: ["verify", "--root", "/nothing", "--kernel-log", "FILE", "--json"],
  facts: ["verify", "--from", "FILE", "--json"],
  measure: ["measure", "FILE", "--json"],
  eventlog: ["eventlog", "FILE", "--json"],
  quote: ["quote", "inspect", "FILE", "--json"],
};
const LARGEST = 64 << 20;
let worker, ready, next = 1;
const waiting = new Map();
const status = document.querySelector("#status");
status.textContent = "";

function start() {
  ready ??= new Promise((resolve, reject) => {
    if (typeof WebAssembly !== "object") { reject(new Error("This browser has no WebAssembly: use another one, or install labkit.")); return; }
    worker = new Worker(new URL("worker.js", base), { type: "module" });
    worker.onerror = () => reject(new Error("Python cannot be loaded here: is the page served by a web server, and not opened as a file?"));
    worker.onmessage = ({ data }) => {
      if (data.type === "progress") status.textContent = data.text;
      else if (data.type === "ready") { status.textContent = "Python is ready."; resolve(); }
      else if (data.type === "failed") reject(new Error(`Python cannot be loaded: ${data.text}`));
      else { waiting.get(data.id)?.(data); waiting.delete(data.id); }
    };
    worker.postMessage({ type: "start", python: status.dataset.python });
  });
  return ready;
}

async function read(box, file) {
  const shown = box.querySelector("pre");
  box.querySelector(".name").textContent = file.name;
  if (file.size > LARGEST) { shown.textContent = `${file.name} has more than 64 MiB: that is no file for this tool.`; return; }
  shown.textContent = "…";
  try {
    await start();
    const bytes = await file.arrayBuffer();
    const id = next++;
    const name = file.name.replace(/[^\w.-]/g, "_").replace(/^\.*/, "") || "file";
    const done = await new Promise((resolve) => { waiting.set(id, resolve); worker.postMessage({ type: "tool", id, argv: TOOLS[box.dataset.tool], name, bytes }, [bytes]); });
    shown.textContent = done.out || done.err || done.failure;
    box.dataset.code = done.code ?? 70;
  } catch (error) {
    shown.textContent = error.message;
    box.dataset.code = 70;
  }
  box.dataset.file = file.name;
}

for (const box of document.querySelectorAll(".live-tool")) {
  const input = box.querySelector("input");
  input.addEventListener("change", () => input.files[0] && read(box, input.files[0]));
  box.addEventListener("dragover", (event) => { event.preventDefault(); box.classList.add("over"); });
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => { event.preventDefault(); box.classList.remove("over"); if (event.dataTransfer.files[0]) read(box, event.dataTransfer.files[0]); });
}
