// Runs the hosts of examples/node for tests/portability:
//
//     node drive.mjs composed|bare TRANSPILED FOLDER save STATE KEY
//     node drive.mjs composed|bare TRANSPILED FOLDER restore|verify|show|exists|delete KEY …
//     node drive.mjs composed|bare TRANSPILED FOLDER list
//
// Prints one line for each key. A restored state goes to the file FOLDER/KEY.restored.

import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { open } from "./composed.mjs";
import { load } from "./host.mjs";
import { defaultOptions } from "./options.mjs";

const [kind, transpiled, folder, operation, ...rest] = process.argv.slice(2);
const keys = operation === "save" ? rest.slice(1) : rest;
const fileNames = () => readdirSync(folder).filter((name) => !name.endsWith(".restored"));
const readObject = (name) => [name, readFileSync(join(folder, name))];
const objects = new Map(kind === "bare" ? fileNames().map(readObject) : []);
const call = kind === "bare" ? load(transpiled, objects) : open(transpiled, folder).call;
const saveOptions = { ...defaultOptions, snapshotId: process.env.SNAPSHOT_ID, timestamp: process.env.TIMESTAMP };

const operations = {
  save: async (key) => (await call("save", key, new Uint8Array(readFileSync(rest[0])), saveOptions)).contentHash,
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

if (operation === "list") {
  const page = await call("listSnapshots", "", undefined, 1000, undefined);
  for (const { val } of page.entries) console.log(val.key);
} else {
  for (const key of keys) console.log(await operations[operation](key));
}

if (kind === "bare") {
  for (const name of fileNames()) {
    if (!objects.has(name)) rmSync(join(folder, name));
  }
  for (const [name, bytes] of objects) writeFileSync(join(folder, name), bytes);
}
