// The host of examples/node, asked for several saves at once:
//
//     node at_once.mjs TRANSPILED KEY …
//
// Prints the keys of what is stored in the end, as JSON.

import { load, options } from "./host.mjs";

const [transpiled, ...keys] = process.argv.slice(2);
const objects = new Map();
const call = await load(transpiled, objects);
await Promise.all(keys.map((key) => call("save", key, new TextEncoder().encode(key), options)));
console.log(JSON.stringify([...objects.keys()].sort()));
