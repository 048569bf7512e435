// A host of the bare component in Node, whose storage is a map; the component is transpiled by jco:
//
//     npx jco transpile persist.wasm --instantiation async -o transpiled
//     node host.mjs ./transpiled/persist.js
//
// A component that traps, wants too much or does not end is stopped, and the host goes on: each call has a
// process of its own, which works on a copy of the map. What it has stored counts once the call has ended.

import { pathToFileURL } from "node:url";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";
import { inTurn, limited, modules } from "./limited.mjs";

const error = (code, message) => ({ code, retryable: false, message, details: [] });
const check = (key, isClaimed = true) => {
  if (!isClaimed) throw error("unsupported", "not here: one object at a time, and no conditions");
  const isOdd = key.split("/").some((part) => ["", ".", ".."].includes(part)) || Buffer.byteLength(key) > 1024;
  if (isOdd || /\p{Cc}/u.test(key)) throw error("invalid-key", "a key is a path of up to 1,024 bytes, without '.' and '..'");
};

/** The most bytes that one call may write in all, and what an object counts besides its key and its bytes. */
const [MOST_BYTES, ENTRY] = [1 << 28, 4096];

/** The contract of persist:snapshot/storage, on a map of keys to bytes. */
export function memory(objects, room) {
  const spend = (bytes) => {
    if (bytes > room) throw error("no-space", "this call may write no more");
    room -= bytes;
  };
  // What else there is to say of an object is not known, and left out.
  const info = (key) => ({ key, size: BigInt(objects.get(key).length), attributes: [] });
  const refuse = () => check("any", false);
  const found = (key) => {
    check(key);
    if (!objects.has(key)) throw error("not-found", "there is no such object");
    return objects.get(key);
  };
  class Writer {
    chunks = [];
    constructor(key) {
      this.key = key;
    }
    write(chunk) {
      spend(chunk.length);
      this.chunks.push(Buffer.from(chunk));
    }
    copyRange = refuse;
    static commit(writer) {
      objects.set(writer.key, Buffer.concat(writer.chunks));
      return info(writer.key);
    }
  }
  class Reader {
    constructor(key, bytes) {
      this.opened = info(key);
      this.rest = bytes;
    }
    info = () => this.opened;
    read(max) {
      const chunk = this.rest.subarray(0, Math.min(max, 1 << 20));
      this.rest = this.rest.subarray(chunk.length);
      return new Uint8Array(chunk);
    }
  }
  return {
    Writer, Reader, capabilities: () => ({}), readMany: refuse, deleteMany: refuse, listLevel: refuse,
    openWrite(key, { precondition }) {
      check(key, precondition.tag === "none");
      spend(Buffer.byteLength(key) + ENTRY);
      return new Writer(key);
    },
    openRead(key, { range, ifMatch }) {
      check(key, ifMatch === undefined);
      const bytes = found(key);
      if (range.tag === "span") return new Reader(key, bytes.subarray(Number(range.val.offset), Number(range.val.offset + range.val.length)));
      return new Reader(key, range.tag === "suffix" ? bytes.subarray(Math.max(0, bytes.length - Number(range.val))) : bytes);
    },
    stat: (key) => found(key) && info(key),
    delete(key, precondition) {
      if (precondition.tag === "if-absent") throw error("invalid-argument", "a delete can't ask for an absent object");
      check(key, precondition.tag === "none");
      objects.delete(found(key) && key);
    },
    listObjects(prefix, after, limit) {
      if (limit < 1 || limit > 1000) throw error("invalid-argument", "a listing has 1 to 1,000 entries");
      const order = (one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other));
      const wanted = [...objects.keys()].filter((key) => key.startsWith(prefix) && (after === undefined || order(key, after) > 0));
      return wanted.sort(order).slice(0, limit).map(info);
    },
  };
}

/** What the process of a call does. */
export default async function call({ url, objects, most, name, given }) {
  const { instantiate } = await import(url);
  const wasi = new WASIShim({ sandbox: { preopens: {}, env: {}, args: [], enableNetwork: false } }).getImportObject();
  const instance = await instantiate(modules(url), { ...wasi, "persist:snapshot/storage": memory(objects, most) });
  return { found: instance.snapshots[name](...given), objects };
}

/** Calls of the component, each into a fresh instance: after a trap one can't be entered again. */
export function load(transpiled, objects, { deadline = 60_000, most = MOST_BYTES } = {}) {
  // Each begins with what the one before has stored.
  return (name, ...given) => inTurn(objects, async () => {
    const [before, argument] = [new Map(objects), { url: pathToFileURL(transpiled).href, objects, most, name, given }];
    const { found, objects: after } = await limited(import.meta.url, argument, deadline);
    for (const key of before.keys()) if (!after.has(key)) objects.delete(key);
    for (const [key, bytes] of after) if (!before.get(key)?.equals(bytes)) objects.set(key, Buffer.from(bytes));
    return found;
  });
}

const identity = { agentId: "default_agent", sessionId: "default_session", snapshotIndex: 0n };
export const options = { ...identity, labels: [], attributes: [], precondition: { tag: "none" }, hostHashes: false };

if (process.argv[1]?.endsWith("host.mjs") && process.argv.length > 2) {
  const objects = new Map();
  const call = load(process.argv[2], objects);
  console.log(await call("save", "greeting.json.gz", new TextEncoder().encode('{"messages": ["Hello"]}'), options));
  console.log(new TextDecoder().decode(await call("restore", "greeting.json.gz")), objects.get("greeting.json.gz").length, "bytes stored");
}
