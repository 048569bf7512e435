// A host of the bare component in Node, whose storage is a map; the component is transpiled by jco:
//
//     npx jco transpile persist.wasm --instantiation async -o transpiled
//     node host.mjs ./transpiled/persist.js
//
// A component that traps is stopped, and the host goes on. Limits on time and memory are for a worker
// thread to keep, which can be ended from outside: new Worker(…, { resourceLimits }), worker.terminate().

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";

const missing = () => ({ code: "not-found", retryable: false, message: "there is no such object", details: [] });

/** The contract of persist:snapshot/storage, on a map of keys to bytes. */
export function memory(objects) {
  const info = (key) => ({ key, size: BigInt(objects.get(key).length), etag: undefined, modified: undefined });
  const found = (key) => {
    if (!objects.has(key)) throw missing();
    return objects.get(key);
  };
  class Writer {
    constructor(key) {
      this.key = key;
      this.chunks = [];
    }
    write(chunk) {
      this.chunks.push(Buffer.from(chunk));
    }
    static commit(writer) {
      objects.set(writer.key, Buffer.concat(writer.chunks));
      return info(writer.key);
    }
  }
  class Reader {
    constructor(key, bytes) {
      this.key = key;
      this.rest = bytes;
    }
    info() {
      return info(this.key);
    }
    read(max) {
      const chunk = this.rest.subarray(0, max);
      this.rest = this.rest.subarray(max);
      return new Uint8Array(chunk);
    }
  }
  return {
    Writer,
    Reader,
    supportedConditions: () => ({}),
    openWrite: (key) => new Writer(key),
    openRead(key, { range }) {
      const bytes = found(key);
      if (range.tag === "span") return new Reader(key, bytes.subarray(Number(range.val.offset), Number(range.val.offset + range.val.length)));
      return new Reader(key, range.tag === "suffix" ? bytes.subarray(Math.max(0, bytes.length - Number(range.val))) : bytes);
    },
    stat: (key) => found(key) && info(key),
    delete: (key) => void (found(key) && objects.delete(key)),
    listObjects: (prefix, after, limit) =>
      [...objects.keys()].filter((key) => key.startsWith(prefix) && (after === undefined || key > after)).sort().slice(0, limit).map(info),
  };
}

/** Calls of the component, each into a fresh instance: after a trap one can't be entered again. */
export async function load(transpiled, objects) {
  const url = pathToFileURL(transpiled);
  const { instantiate } = await import(url);
  const modules = new Map();
  const core = async (name) => {
    if (!modules.has(name)) modules.set(name, await WebAssembly.compile(await readFile(new URL(name, url))));
    return modules.get(name);
  };
  return async (name, ...given) => {
    const wasi = new WASIShim({ sandbox: { preopens: {}, env: {}, args: [], enableNetwork: false } }).getImportObject();
    const instance = await instantiate(core, { ...wasi, "persist:snapshot/storage": memory(objects) });
    return instance.snapshots[name](...given);
  };
}

export const options = {
  agentId: "default_agent", sessionId: "default_session", snapshotIndex: 0n, labels: [], attributes: [], precondition: { tag: "none" },
};

if (process.argv[1]?.endsWith("host.mjs")) {
  const objects = new Map();
  const call = await load(process.argv[2], objects);
  console.log(await call("save", "greeting.json.gz", new TextEncoder().encode('{"messages": ["Hello"]}'), options));
  console.log(new TextDecoder().decode(await call("restore", "greeting.json.gz")), objects.get("greeting.json.gz").length, "bytes stored");
}
