// Makes several saves at once, with two hosts of examples/node that share one map:
//
//     node at_once.mjs TRANSPILED KEY …
//
// Prints the keys of all objects at the end, as JSON.

import { load } from "./host.mjs";
import { defaultOptions } from "./options.mjs";

const [transpiled, ...keys] = process.argv.slice(2);
const objects = new Map();
const calls = [load(transpiled, objects), load(transpiled, objects)];
const save = (key, index) => calls[index % 2]("save", key, new TextEncoder().encode(key), defaultOptions);
const saving = Promise.all(keys.map(save));
objects.set("by hand", Buffer.from("while the saves are under way"));
await saving;
console.log(JSON.stringify([...objects.keys()].sort()));
