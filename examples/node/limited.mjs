// Calls with limits on time and memory. Each runs in its own process, which gets nothing from this one but the
// argument, and is killed if it takes too long. If that process dies, the call fails and the host goes on. A thread
// would not be enough: some ways to run out of memory end the whole process.

import { fork } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const LIMITS = [
  "--max-old-space-size=256", // MiB of JavaScript objects.
  "--wasm-max-mem-pages=2048", // 128 MiB for each WebAssembly memory, in pages of 64 KiB.
  "--wasm-max-table-size=100000", // Entries of each WebAssembly table.
];

const THIS_FILE = fileURLToPath(import.meta.url);

/** Runs the default export of a module with this argument, for at most `deadline` milliseconds. */
export function limited(module, argument, deadline) {
  return new Promise((resolve, reject) => {
    const stdio = ["ignore", "ignore", "ignore", "ipc"];
    // "advanced" passes maps, bytes and big integers as they are.
    const child = fork(THIS_FILE, { execArgv: LIMITS, serialization: "advanced", stdio, env: {} });
    const timer = setTimeout(() => {
      reject(new Error(`stopped after ${deadline} ms`));
      child.kill("SIGKILL");
    }, deadline);
    child.on("message", ({ result, error }) => {
      if (error) reject(Object.assign(new Error(error.message), error));
      else resolve(result);
    });
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      // Has no effect if the result has arrived.
      reject(new Error(`the process of the call ended early (${signal ?? code})`));
    });
    child.send({ module: module.toString(), argument });
  });
}

/** Loads the core modules of a transpiled component, which are files next to it. */
export function coreModules(url) {
  return async (name) => WebAssembly.compile(await readFile(new URL(name, url)));
}

/** Runs in the process of the call. */
async function runCall({ module, argument }) {
  const { default: call } = await import(module);
  const answer = await call(argument).then(
    (result) => ({ result }),
    // An error of the contract is the payload of what jco throws.
    ({ message, payload }) => ({ error: { message: String(payload?.message ?? message), payload } }),
  );
  process.send(answer, () => process.disconnect());
}

if (process.send && process.argv[1] === THIS_FILE) process.once("message", runCall);
