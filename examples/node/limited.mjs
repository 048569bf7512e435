// Calls with limits on time and memory: each runs in a process of its own, which is ended from outside if it
// takes too long, and which has nothing of this one but the argument. What it dies of is an error of the
// call, and the host goes on. A thread would not do: some ways to run out of memory end the whole process.

import { fork } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** In MiB, in pages of 64 KiB for each memory of WebAssembly, and in entries of each of its tables. */
const LIMITS = ["--max-old-space-size=256", "--wasm-max-mem-pages=2048", "--wasm-max-table-size=100000"];

const ITSELF = fileURLToPath(import.meta.url);

/** Runs the default function of a module with this argument, for at most so many milliseconds. */
export function limited(module, argument, deadline) {
  return new Promise((resolve, reject) => {
    const stdio = ["ignore", "ignore", "ignore", "ipc"];
    const child = fork(ITSELF, { execArgv: LIMITS, serialization: "advanced", stdio, env: {} });
    const timer = setTimeout(() => {
      reject(new Error(`stopped after ${deadline} ms`));
      child.kill("SIGKILL");
    }, deadline);
    child.on("message", ({ found, error }) => (error ? reject(Object.assign(new Error(error.message), error)) : resolve(found)));
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`the process of the call ended early (${signal ?? code})`));
    });
    child.send({ module: module.toString(), argument });
  });
}

/** The core modules of a transpiled component, which lie beside it. */
export function modules(url) {
  return async (name) => WebAssembly.compile(await readFile(new URL(name, url)));
}

const last = new WeakMap();

/** Work on an object, begun when all earlier work on it has ended. */
export function inTurn(subject, work) {
  const done = (last.get(subject) ?? Promise.resolve()).catch(() => {}).then(work);
  last.set(subject, done);
  return done;
}

if (process.send && process.argv[1] === ITSELF) {
  process.once("message", async ({ module, argument }) => {
    const { default: work } = await import(module);
    const said = await work(argument).then(
      (found) => ({ found }),
      ({ message, payload }) => ({ error: { message: String(payload?.message ?? message), payload } }),
    );
    process.send(said, () => process.disconnect());
  });
}
