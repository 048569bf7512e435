// Persist in Node with one component that needs only WASI, transpiled by jco. It keeps snapshots as files in a folder:
//
//     npm install @bytecodealliance/jco @bytecodealliance/preview2-shim
//     cargo xtask dist dist
//     npx jco transpile dist/persist-fs.wasm --instantiation async -o transpiled
//     node composed.mjs ./transpiled/persist-fs.js FOLDER
//
// Each call has its own instance, since after a trap an instance can't be entered again, and its own process, which is
// killed if it takes too long.

import { pathToFileURL } from "node:url";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";
import { coreModules, limited } from "./limited.mjs";
import { defaultOptions } from "./options.mjs";
import { operation } from "./timelines.mjs";

/** Runs in the process of the call. */
export default async function call({ url, folder, name, given }) {
  const { instantiate } = await import(url);
  // The folder is all that the component can reach.
  const wasi = new WASIShim({ sandbox: { preopens: { "/": folder }, env: {}, args: [], enableNetwork: false } });
  const instance = await instantiate(coreModules(url), wasi.getImportObject());
  return operation(instance, name)(...given);
}

/**
 * Opens a folder, which has to exist. A call takes at most `deadline` milliseconds. `call` also takes the names of the
 * operations in timelines.mjs.
 */
export function open(transpiled, folder, deadline = 60_000) {
  const url = pathToFileURL(transpiled).href;
  const callLimited = (name, ...given) => limited(import.meta.url, { url, folder, name, given }, deadline);
  return {
    call: callLimited,
    save: (key, state, options = {}) => callLimited("save", key, state, { ...defaultOptions, ...options }),
    restore: (key) => callLimited("restore", key),
  };
}

if (process.argv[1]?.endsWith("composed.mjs") && process.argv.length > 3) {
  const [transpiled, folder] = process.argv.slice(2);
  const persist = open(transpiled, folder);
  const key = "session-1/0001.json.gz";
  await persist.save(key, new TextEncoder().encode('{"messages": ["Hello"]}'), { agentId: "support" });
  console.log(new TextDecoder().decode(await persist.restore(key)), await persist.call("verify", key));
  const timeline = "support/case-1/";
  for (const state of ['{"messages": ["Hello"]}', '{"messages": ["Hello", "How can I help?"]}']) {
    await persist.call("appendStep", timeline, new TextEncoder().encode(state), defaultOptions);
  }
  console.log(await persist.call("history", timeline, 20));
}
