// Saves two states under one key that has to be free, in the host of examples/node:
//
//     node taken.mjs TRANSPILED
//
// Prints how the second save ended, and the state that is there.

import { load } from "./host.mjs";
import { defaultOptions } from "./options.mjs";

const objects = new Map();
const call = load(process.argv[2], objects);
const save = (state) =>
  call("save", "a.gz", new TextEncoder().encode(state), { ...defaultOptions, precondition: { tag: "if-absent" } });

// The two calls are made at the same time, and run in turn.
const [, second] = await Promise.allSettled([save("first"), save("second")]);
console.log(second.reason?.payload.code, new TextDecoder().decode(await call("restore", "a.gz")));
