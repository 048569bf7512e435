// Runs the hosts of examples/node for tests/portability:
//
//     node drive.mjs composed|bare TRANSPILED FOLDER save STATE KEY
//     node drive.mjs composed|bare TRANSPILED FOLDER restore|verify|show|exists|delete KEY …
//     node drive.mjs composed|bare TRANSPILED FOLDER list
//     node drive.mjs composed|bare TRANSPILED FOLDER append STATE TIMELINE
//     node drive.mjs composed|bare TRANSPILED FOLDER load TIMELINE NUMBER …
//     node drive.mjs composed|bare TRANSPILED FOLDER history TIMELINE
//     node drive.mjs composed|bare TRANSPILED FOLDER prune TIMELINE KEEP_LAST
//
// Prints one line for each key or step. A restored state goes to the file FOLDER/KEY.restored, that of a step to
// FOLDER/TIMELINE/NUMBER.restored.

import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { open } from "./composed.mjs";
import { load } from "./host.mjs";
import { defaultOptions } from "./options.mjs";

const [kind, transpiled, folder, operation, ...rest] = process.argv.slice(2);
const isObject = (entry) => entry.isFile() && !entry.name.endsWith(".restored");
const keyOf = (entry) => join(entry.parentPath, entry.name).slice(join(folder, "/").length);
const keys = () => readdirSync(folder, { recursive: true, withFileTypes: true }).filter(isObject).map(keyOf);
const readObject = (key) => [key, readFileSync(join(folder, key))];
const objects = new Map(kind === "bare" ? keys().map(readObject) : []);
const call = kind === "bare" ? load(transpiled, objects) : open(transpiled, folder).call;
const saveOptions = { ...defaultOptions, snapshotId: process.env.SNAPSHOT_ID, timestamp: process.env.TIMESTAMP };
const readState = (path) => new Uint8Array(readFileSync(path));

const ofEach = {
  restore: async (key) => {
    writeFileSync(join(folder, `${key}.restored`), await call("restore", key));
    return "restored";
  },
  verify: async (key) => (await call("verify", key)).contentHash,
  show: async (key) => (await call("getMetadata", key)).contentHash,
  exists: async (key) => String(await call("exists", key)),
  delete: async (key) => {
    await call("delete", key, { tag: "none" });
    return "deleted";
  },
};

const ofAll = {
  save: async (state, key) => [(await call("save", key, readState(state), saveOptions)).contentHash],
  list: async () => (await call("listSnapshots", "", undefined, 1000, undefined)).entries.map(({ val }) => val.key),
  append: async (state, timeline) => {
    return [(await call("appendStep", timeline, readState(state), saveOptions)).number];
  },
  load: async (timeline, ...numbers) => {
    for (const number of numbers) {
      const state = await call("loadStep", timeline, { tag: "number", val: BigInt(number) });
      writeFileSync(join(folder, timeline, `${number}.restored`), state);
    }
    return numbers.map(() => "restored");
  },
  history: async (timeline) => {
    const steps = (await call("history", timeline, 1000)).map(({ val }) => val);
    return steps.map(({ number, metadata }) => `${number} ${metadata.contentHash}`);
  },
  prune: async (timeline, keepLast) => {
    const { steps } = await call("prune", timeline, Number(keepLast));
    return steps.map(({ number, outcome }) => `${number} ${outcome.tag}`);
  },
};

if (operation in ofAll) {
  for (const line of await ofAll[operation](...rest)) console.log(String(line));
} else {
  for (const key of rest) console.log(await ofEach[operation](key));
}

if (kind === "bare") {
  for (const key of keys()) {
    if (!objects.has(key)) rmSync(join(folder, key));
  }
  for (const [key, bytes] of objects) {
    mkdirSync(dirname(join(folder, key)), { recursive: true });
    writeFileSync(join(folder, key), bytes);
  }
}
