// The host of examples/node with a component that misbehaves as a key tells it to:
//
//     node misbehave.mjs HOSTILE GOOD MOST KEY …
//
// Both components share one map. Prints for each key, as a line of JSON, what the call ended with, the sizes
// of what it stored of MOST bytes at the most, and whether the good one still finds what it had saved.

import { load, options } from "./host.mjs";

const [hostile, good, most, ...keys] = process.argv.slice(2);
const objects = new Map();
const misbehave = load(hostile, objects, { deadline: 5_000, most: Number(most) });
const call = load(good, objects);

for (const key of keys) {
  objects.clear();
  await call("save", "kept.gz", new TextEncoder().encode("as it was"), options);
  const ended = await misbehave("verify", key).then(() => "returned", (error) => error.message);
  const stored = [...objects].filter(([name]) => name !== "kept.gz").map(([name, bytes]) => Buffer.byteLength(name) + bytes.length);
  const kept = new TextDecoder().decode(await call("restore", "kept.gz")) === "as it was";
  // Of the process, so far, in MiB.
  const peak = process.resourceUsage().maxRSS / 1024;
  console.log(JSON.stringify({ key, ended, stored, kept, peak }));
}
