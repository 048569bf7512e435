// Runs the component in a thread, which ends if it traps: after that, its instance can't be entered again.

import { readFile } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import { WASIShim } from "@bytecodealliance/preview2-shim/instantiation";
import { instantiate } from "./component/persist-fs.js";

/** Returns a core module of the component. */
const core = async (name) => WebAssembly.compile(await readFile(new URL(`./component/${name}`, import.meta.url)));

// The folder is all that the component can reach.
const sandbox = { preopens: { "/": workerData.folder }, env: {}, args: [], enableNetwork: false };
const starting = instantiate(core, new WASIShim({ sandbox }).getImportObject());

// How many snapshots are listed at a time.
const PAGE = 1000;

function optionsOf({ agentId, sessionId, index, labels, ifAbsent, ...others }) {
  return {
    ...others,
    agentId: agentId ?? "default_agent",
    sessionId: sessionId ?? "default_session",
    snapshotIndex: BigInt(index ?? 0),
    labels: Object.entries(labels ?? {}),
    attributes: [],
    precondition: { tag: ifAbsent ? "if-absent" : "none" },
    hostHashes: false,
  };
}

/** Returns metadata as the package shows it. */
function shown(metadata) {
  const { snapshotIndex, labels, extra, uncompressedSize, compressedSize, storedSize, ...others } = metadata;
  return {
    ...others,
    index: Number(snapshotIndex),
    labels: Object.fromEntries(labels),
    extra: JSON.parse(extra || "{}"),
    uncompressedSize: Number(uncompressedSize),
    compressedSize: Number(compressedSize),
    storedSize: Number(storedSize),
  };
}

const step = ({ number, metadata }) => ({ number: Number(number), metadata: shown(metadata) });

const calls = {
  save: ({ snapshots }, key, state, options) => shown(snapshots.save(key, state, optionsOf(options))),
  restore: ({ snapshots }, key) => snapshots.restore(key),
  metadata: ({ snapshots }, key) => shown(snapshots.getMetadata(key)),
  verify: ({ snapshots }, key) => shown(snapshots.verify(key)),
  exists: ({ snapshots }, key) => snapshots.exists(key),
  delete: ({ snapshots }, key) => snapshots.delete(key, { tag: "none" }),
  list({ snapshots }, prefix) {
    const found = [];
    let after;
    do {
      const page = snapshots.listSnapshots(prefix, after, PAGE, undefined);
      for (const { tag, val } of page.entries) {
        found.push(tag === "snapshot" ? { metadata: shown(val) } : { error: { ...val.error, key: val.key } });
      }
      after = page.next;
    } while (after !== undefined);
    return withoutParts(found);
  },
  append({ timelines }, folder, state, { onConflict = "fail", ...options }) {
    const timeline = new timelines.Timeline(folder);
    const appended = timeline.append(state, optionsOf(options), onConflict, undefined);
    try {
      timeline.finish();
    } catch {
      // It writes down that the step is there. The step is stored all the same.
    }
    return step(appended);
  },
  load({ snapshots, timelines }, folder, number) {
    const wanted = number === undefined ? { tag: "newest" } : { tag: "number", val: BigInt(number) };
    return snapshots.restore(new timelines.Timeline(folder).find(wanted).metadata.key);
  },
  history({ timelines }, folder, limit) {
    const history = new timelines.Timeline(folder).openHistory(undefined, limit);
    const found = [];
    for (let page = history.next(PAGE); page.length > 0; page = history.next(PAGE)) found.push(...page);
    return found.map(({ tag, val }) => (tag === "step" ? step(val) : { number: Number(val[0]), error: val[1] }));
  },
};

parentPort.on("message", async ({ name, given }) => {
  let answer;
  try {
    answer = { result: calls[name](await starting, ...given) };
  } catch (error) {
    const { payload } = error;
    // An error of the contract is the payload of what jco throws. Everything else may be a trap.
    answer = payload?.code
      ? { error: payload, isUsable: true }
      : { error: { code: "other", message: String(error?.message ?? error) }, isUsable: false };
  }
  parentPort.postMessage(answer);
});

/** Leaves out what belongs to a timeline, except its newest step. Entries are in the order of their keys. */
function withoutParts(entries) {
  const keyOf = (entry) => (entry.metadata ?? entry.error).key;
  const folderOf = (key) => key.slice(0, key.lastIndexOf("/") + 1);
  const newest = new Map();
  for (const key of entries.map(keyOf)) {
    if (/(^|\/)\d{12,}\.step$/.test(key)) {
      newest.set(folderOf(key), key);
    }
  }
  return entries.filter((entry) => {
    const key = keyOf(entry);
    const step = newest.get(folderOf(key));
    const isPart = key.endsWith(".step") ? key !== step : entry.error?.code === "not-a-snapshot";
    return step === undefined || !isPart;
  });
}
