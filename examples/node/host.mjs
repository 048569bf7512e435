// A host of the bare component in Node, transpiled by jco. Its storage is a map:
//
//     npm install @bytecodealliance/jco @bytecodealliance/preview2-shim
//     cargo xtask component persist.wasm
//     npx jco transpile persist.wasm --instantiation async -o transpiled
//     node host.mjs ./transpiled/persist.js
//
// memory.mjs implements the storage: start there to keep snapshots somewhere else. limited.mjs keeps the component in
// bounds: if it traps, asks for too much memory, takes too long or writes too much, the call fails and the host goes
// on. To that end each call has its own process, which works on a copy of the map. The map changes once the call has
// ended.

import { pathToFileURL } from "node:url";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";
import { coreModules, limited } from "./limited.mjs";
import { memoryStorage } from "./memory.mjs";
import { defaultOptions } from "./options.mjs";
import { operation } from "./timelines.mjs";

/** Runs in the process of the call. */
export default async function call({ url, objects, maxWrittenBytes, name, given }) {
  const { instantiate } = await import(url);
  const wasi = new WASIShim({ sandbox: { preopens: {}, env: {}, args: [], enableNetwork: false } });
  const imports = { ...wasi.getImportObject(), "persist:snapshot/storage": memoryStorage(objects, maxWrittenBytes) };
  const instance = await instantiate(coreModules(url), imports);
  return { result: operation(instance, name)(...given), objects };
}

/**
 * Returns a function that calls the component by name, with `objects` as its storage. It also takes the names of the
 * operations in timelines.mjs.
 *
 * A call takes at most `deadline` milliseconds and writes at most `maxWrittenBytes`, keys included. Each has a fresh
 * instance: after a trap an instance can't be entered again.
 */
export function load(transpiled, objects, { deadline = 60_000, maxWrittenBytes = 256 << 20 } = {}) {
  const url = pathToFileURL(transpiled).href;
  return (name, ...given) =>
    inTurn(objects, async () => {
      const before = new Map(objects);
      const answer = await limited(import.meta.url, { url, objects, maxWrittenBytes, name, given }, deadline);
      applyChanges(objects, before, answer.objects);
      return answer.result;
    });
}

/** Applies the difference between two maps to a third. What else has changed there in the meantime stays. */
function applyChanges(objects, before, after) {
  for (const key of before.keys()) {
    if (!after.has(key)) objects.delete(key);
  }
  for (const [key, bytes] of after) {
    if (!before.get(key)?.equals(bytes)) objects.set(key, Buffer.from(bytes));
  }
}

const lastWork = new WeakMap();

/**
 * Starts work on a map once all earlier work on it has ended, so that a call sees what the one before stored. This is
 * why `if-absent` holds among calls.
 */
function inTurn(objects, work) {
  const earlier = lastWork.get(objects) ?? Promise.resolve();
  // A failed call does not fail the next one.
  const done = earlier.catch(() => {}).then(work);
  lastWork.set(objects, done);
  return done;
}

if (process.argv[1]?.endsWith("host.mjs") && process.argv.length > 2) {
  const objects = new Map();
  const call = load(process.argv[2], objects);
  const key = "session-1/0001.json.gz";
  const state = new TextEncoder().encode('{"messages": ["Hello"]}');
  console.log(await call("save", key, state, { ...defaultOptions, agentId: "support" }));
  console.log(new TextDecoder().decode(await call("restore", key)), objects.get(key).length, "bytes stored");
  console.log((await call("appendStep", "support/case-1/", state, defaultOptions)).number);
}
