// Asks the YAML language server what an editor asks it: node editor.mjs SERVER FILE LINE:COLUMN...
// For each place (from 0), what it would complete there and what it shows on hover; and what is wrong with the file. One
// line of JSON: { "problems": [message], "places": [{ "completes": { label: documentation }, "hover": text }] }
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [server, file, ...places] = process.argv.slice(2);
const uri = pathToFileURL(file).href;
const child = spawn(process.execPath, [server, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
const waiting = new Map();
let next = 1, seen = Buffer.alloc(0), told;
const problems = new Promise((resolve) => (told = resolve));

function send(message) {
  const body = Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));
  child.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
  child.stdin.write(body);
}
function ask(method, params) {
  const id = next++;
  send({ id, method, params });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

child.stdout.on("data", (bytes) => {
  seen = Buffer.concat([seen, bytes]);
  for (;;) {
    const end = seen.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(seen.subarray(0, end))[1]);
    if (seen.length < end + 4 + length) return;
    const message = JSON.parse(seen.subarray(end + 4, end + 4 + length));
    seen = seen.subarray(end + 4 + length);
    if (message.method && message.id !== undefined) {
      // It asks for its settings, and may read no file but through itself.
      const result = message.method === "workspace/configuration" ? message.params.items.map(() => null) : null;
      send({ id: message.id, result });
    } else if (message.method === "textDocument/publishDiagnostics") {
      told(message.params.diagnostics.map((d) => d.message));
    } else if (waiting.has(message.id)) {
      const { resolve, reject } = waiting.get(message.id);
      message.error ? reject(new Error(message.error.message)) : resolve(message.result);
    }
  }
});

setTimeout(() => { console.error("the language server did not answer"); process.exit(1); }, 60_000).unref();
await ask("initialize", {
  processId: process.pid,
  rootUri: null,
  capabilities: { textDocument: { completion: { completionItem: { documentationFormat: ["markdown"] } }, hover: { contentFormat: ["markdown"] } } },
});
send({ method: "initialized", params: {} });
send({
  method: "workspace/didChangeConfiguration",
  params: { settings: { yaml: { validate: true, hover: true, completion: true, schemaStore: { enable: false } } } },
});
const text = readFileSync(file, "utf8");
send({ method: "textDocument/didOpen", params: { textDocument: { uri, languageId: "yaml", version: 1, text } } });

const plain = (of) => (typeof of === "string" ? of : of?.value ?? "");
const answers = [];
for (const place of places) {
  const [line, character] = place.split(":").map(Number);
  const at = { textDocument: { uri }, position: { line, character } };
  const completion = await ask("textDocument/completion", at);
  const hover = await ask("textDocument/hover", at);
  const items = completion?.items ?? completion ?? [];
  answers.push({
    completes: Object.fromEntries(items.map((item) => [item.label, plain(item.documentation)])),
    hover: plain(hover?.contents),
  });
}
console.log(JSON.stringify({ problems: await problems, places: answers }));
child.kill();
process.exit(0);
