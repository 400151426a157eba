// Runs Python (Pyodide) in a worker: cells of one chapter, or one of the tools.
// Messages in:  start {python, journal}; run {id, source}; answer {id, question, value}; tool {id, argv, name, bytes}
// Messages out: progress {text}; ready {}; failed {text}; output {id, output}; done {id, ok, journal}
import { loadPyodide } from "./pyodide/pyodide.mjs";
import { ecb } from "./noble/aes.js";

const SITE = "/lib/python3.14/site-packages";
const JOURNAL = "/home/pyodide/.local/state/labkit/learner/predictions.jsonl";
const LIBRARY = "/lib/python314.zip";
const OWN = "/lib/labkit.zip";
let py, cells, current = 0;

const say = (text) => postMessage({ type: "progress", text });

function aes(key, data, encrypt) {
  const cipher = ecb(key.toJs(), { disablePadding: true });
  const bytes = data.toJs();
  const out = encrypt ? cipher.encrypt(bytes) : cipher.decrypt(bytes);
  return py.toPy(out).tobytes();
}

// Byte code that an earlier page has made; the service worker keeps it where Python is kept.
async function keptByteCode(url) {
  try {
    return Boolean(await self.caches?.match(url)) && (await fetch(url)).ok;
  } catch { return false; }
}

let idle, compiler, url, keep = false;
// Once Python is ready and nothing was asked for a while, in small steps.
function rest(wait = 2000) {
  clearTimeout(idle);
  if (keep) idle = setTimeout(compileSome, wait);
}

async function compileSome() {
  try {
    compiler ??= py.runPython(`import compiled; compiled.Compiler("${LIBRARY}", "${OWN}", "${SITE}")`);
    if (!compiler.step()) { rest(20); return; }
    keep = false;
    const bytes = compiler.archive().toJs();
    const cache = await caches.open(`labkit ${new URL("..", import.meta.url).href} ${url.search.slice(1)}`);
    await cache.put(url, new Response(bytes, { headers: { "Content-Type": "application/zip" } }));
  } catch { keep = false; /* later pages start as slowly as this one */ }
}

async function start(python, journal) {
  say("Loading Python (about 14 MB, once for the whole site) …");
  const began = performance.now();
  url = new URL(python.replace("python.zip", "compiled.zip"), import.meta.url);
  const kept = await keptByteCode(url);
  py = await loadPyodide({ ...(kept ? { stdLibURL: url.href } : {}), indexURL: new URL("./pyodide/", import.meta.url).href, stdout: () => {}, stderr: () => {} });
  say("Loading labkit …");
  const answer = await fetch(new URL(python, import.meta.url));
  if (!answer.ok) throw new Error(`python.zip: ${answer.status}`);
  const packages = await answer.arrayBuffer();
  py.FS.writeFile(OWN, new Uint8Array(packages));
  py.unpackArchive(packages, "zip", { extractDir: SITE });
  py.FS.mkdirTree(JOURNAL.slice(0, JOURNAL.lastIndexOf("/")));
  py.FS.writeFile(JOURNAL, journal ?? "");
  py.FS.mkdirTree("/nothing"); // stands for a host of which only the log is known
  py.globals.set("_aes", aes);
  py.globals.set("_emit", (text) => postMessage({ type: "output", id: current, output: JSON.parse(text) }));
  py.runPython(`
import os, sys
os.environ.update(HOME="/home/pyodide", LABKIT_UI="static", LABKIT_STATE_DIR="/home/pyodide/.local/state/labkit", LABKIT_CACHE_DIR="/home/pyodide/.cache/labkit")
sys.path.insert(0, "${SITE}/labkit_browser")
import shims, runner
shims.install()
shims.set_aes(lambda key, data, encrypt: _aes(key, data, encrypt))
`);
  if (kept) py.runPython(`import compiled; compiled.unpack_own("${LIBRARY}", "${SITE}")`);
  keep = !kept && Boolean(self.caches);
  postMessage({ type: "ready", milliseconds: Math.round(performance.now() - began) });
}

function chapter() {
  if (!cells) {
    cells = py.runPython(`
import importlib.util, sys
spec = importlib.util.spec_from_file_location("labkit.lab", "${SITE}/labkit_browser/lab.py")
module = importlib.util.module_from_spec(spec)
sys.modules["labkit.lab"] = module
spec.loader.exec_module(module)
import labkit
labkit.lab = module
from labkit.learn.copies import course_folder
os.chdir(course_folder())
runner.Cells(_emit)
`);
  }
  return cells;
}

const journal = () => py.FS.readFile(JOURNAL, { encoding: "utf8" });

const TOOL = `
def _tool(argv):
    import contextlib, io, sys
    from labkit.cli import main
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["labkit", *argv]
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    return [code, out.getvalue(), err.getvalue()]
_tool
`;

const handlers = {
  async start({ python, journal }) { await start(python, journal); },
  run({ id, source }) {
    current = id;
    const ok = chapter().run(source);
    postMessage({ type: "done", id, ok, journal: journal() });
  },
  answer({ id, question, value }) {
    current = id;
    chapter();
    const given = py.toPy(value);
    py.pyimport("labkit.lab").record(question, given);
    postMessage({ type: "done", id, ok: true, journal: journal() });
  },
  tool({ id, argv, name, bytes }) {
    const path = `/home/pyodide/${name}`;
    py.FS.writeFile(path, new Uint8Array(bytes));
    try {
      const words = py.toPy(argv.map((word) => (word === "FILE" ? name : word)));
      py.FS.chdir("/home/pyodide");
      const [code, out, err] = py.runPython(TOOL)(words).toJs();
      postMessage({ type: "done", id, ok: code === 0, code, out, err });
    } finally {
      py.FS.unlink(path);
    }
  },
};

onmessage = async ({ data }) => {
  clearTimeout(idle);
  try {
    await handlers[data.type](data);
    if (data.type !== "start") rest();
  } catch (error) {
    postMessage(data.type === "start"
      ? { type: "failed", text: String(error.message ?? error) }
      : { type: "done", id: data.id, ok: false, failure: String(error.message ?? error).trim().split("\n").pop() });
  }
};
