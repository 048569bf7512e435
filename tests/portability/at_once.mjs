// Two hosts of examples/node on one map, asked for several saves at once:
//
//     node at_once.mjs TRANSPILED KEY …
//
// Prints the keys of what is stored in the end, as JSON.

import { load, options } from "./host.mjs";

const [transpiled, ...keys] = process.argv.slice(2);
const objects = new Map();
const calls = [load(transpiled, objects), load(transpiled, objects)];
const save = (key, index) => calls[index % 2]("save", key, new TextEncoder().encode(key), options);
const saving = Promise.all(keys.map(save));
objects.set("by hand", Buffer.from("while they are under way"));
await saving;
console.log(JSON.stringify([...objects.keys()].sort()));
