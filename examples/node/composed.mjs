// Persist in Node by one component that WASI is enough for, transpiled by jco:
//
//     npx jco transpile persist-fs.wasm --instantiation async -o transpiled
//     node composed.mjs ./transpiled/persist-fs.js FOLDER
//
// A call has an instance of its own: after a trap an instance can't be entered again.

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";

export async function open(transpiled, folder) {
  const url = pathToFileURL(transpiled);
  const { instantiate } = await import(url);
  const modules = new Map();
  const load = async (name) => {
    if (!modules.has(name)) modules.set(name, await WebAssembly.compile(await readFile(new URL(name, url))));
    return modules.get(name);
  };
  const call = async (name, ...given) => {
    const wasi = new WASIShim({ sandbox: { preopens: { "/": folder }, env: {}, args: [], enableNetwork: false } });
    const instance = await instantiate(load, wasi.getImportObject());
    return instance.snapshots[name](...given);
  };
  const options = { agentId: "default_agent", sessionId: "default_session", snapshotIndex: 0n, labels: [], attributes: [], precondition: { tag: "none" } };
  return {
    call,
    save: (key, state, given = {}) => call("save", key, state, { ...options, ...given }),
    restore: (key) => call("restore", key),
  };
}

if (process.argv[1]?.endsWith("composed.mjs")) {
  const persist = await open(process.argv[2], process.argv[3]);
  const key = "session-1/0001.json.gz";
  await persist.save(key, new TextEncoder().encode('{"messages": ["Hello"]}'), { agentId: "support" });
  console.log(new TextDecoder().decode(await persist.restore(key)), await persist.call("verify", key));
}
