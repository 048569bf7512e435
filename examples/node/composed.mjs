// Persist in Node by one component that WASI is enough for, transpiled by jco:
//
//     npx jco transpile persist-fs.wasm --instantiation async -o transpiled
//     node composed.mjs ./transpiled/persist-fs.js FOLDER
//
// A call has an instance of its own, since after a trap an instance can't be entered again, and a process
// of its own, which is ended if it takes too long.

import { pathToFileURL } from "node:url";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";
import { limited, modules } from "./limited.mjs";

/** What the process of a call does. */
export default async function call({ url, folder, name, given }) {
  const { instantiate } = await import(url);
  const wasi = new WASIShim({ sandbox: { preopens: { "/": folder }, env: {}, args: [], enableNetwork: false } });
  const instance = await instantiate(modules(url), wasi.getImportObject());
  return instance.snapshots[name](...given);
}

const identity = { agentId: "default_agent", sessionId: "default_session", snapshotIndex: 0n };
const nothing = { ...identity, labels: [], attributes: [], precondition: { tag: "none" }, hostHashes: false };

export function open(transpiled, folder, deadline = 60_000) {
  const url = pathToFileURL(transpiled).href;
  const run = (name, ...given) => limited(import.meta.url, { url, folder, name, given }, deadline);
  return {
    call: run,
    save: (key, state, options = {}) => run("save", key, state, { ...nothing, ...options }),
    restore: (key) => run("restore", key),
  };
}

if (process.argv[1]?.endsWith("composed.mjs") && process.argv.length > 3) {
  const persist = open(process.argv[2], process.argv[3]);
  const key = "session-1/0001.json.gz";
  await persist.save(key, new TextEncoder().encode('{"messages": ["Hello"]}'), { agentId: "support" });
  console.log(new TextDecoder().decode(await persist.restore(key)), await persist.call("verify", key));
}
