// Calls with limits on time and memory: each runs in a worker thread of its own, which is ended from outside
// if it takes too long. What a worker dies of is an error of the call, and the host goes on.

import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { Worker, workerData, parentPort, isMainThread } from "node:worker_threads";

/** What each memory of WebAssembly may have in this process: 128 MiB, in pages of 64 KiB. */
setFlagsFromString("--wasm-max-mem-pages=2048");

/** What else a thread may have. */
const resourceLimits = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 32 };

/** The core modules of a transpiled component, compiled once: threads share the code. */
export async function compiled(transpiled) {
  const folder = dirname(transpiled);
  const names = (await readdir(folder)).filter((name) => name.startsWith(basename(transpiled, ".js")) && name.endsWith(".wasm"));
  const compile = async (name) => [name, await WebAssembly.compile(await readFile(join(folder, name)))];
  return { url: pathToFileURL(transpiled).href, modules: new Map(await Promise.all(names.map(compile))) };
}

/** Runs the default function of a module with this argument, for at most so many milliseconds. */
export function limited(module, argument, deadline) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { module: module.toString(), argument }, resourceLimits, env: {} });
    const timer = setTimeout(() => {
      reject(new Error(`stopped after ${deadline} ms`));
      worker.terminate();
    }, deadline);
    worker.on("message", ({ found, error }) => (error ? reject(Object.assign(new Error(error.message), error)) : resolve(found)));
    worker.on("error", reject);
    worker.on("exit", () => {
      clearTimeout(timer);
      reject(new Error("the worker ended early"));
    });
  });
}

if (!isMainThread && workerData?.module) {
  import(workerData.module)
    .then(({ default: work }) => work(workerData.argument))
    .then((found) => parentPort.postMessage({ found }))
    .catch((error) => {
      const { payload } = error;
      parentPort.postMessage({ error: { message: String(payload?.message ?? error.message ?? error), payload } });
    });
}
