// Calls a component that misbehaves as the key tells it to, in the host of examples/node:
//
//     node misbehave.mjs HOSTILE GOOD MAX_WRITTEN_BYTES KEY …
//
// A good component works on the same map. Prints a line of JSON for each key: how the call ended, the sizes of the
// objects that it stored, and whether the good component can still restore what it had saved.

import { load } from "./host.mjs";
import { defaultOptions } from "./options.mjs";

const [hostile, good, maxWrittenBytes, ...keys] = process.argv.slice(2);
const objects = new Map();
const misbehave = load(hostile, objects, { deadline: 5_000, maxWrittenBytes: Number(maxWrittenBytes) });
const call = load(good, objects);

for (const key of keys) {
  objects.clear();
  await call("save", "kept.gz", new TextEncoder().encode("as it was"), defaultOptions);
  const ended = await misbehave("verify", key).then(
    () => "returned",
    (error) => error.message,
  );
  const others = [...objects].filter(([name]) => name !== "kept.gz");
  const stored = others.map(([name, bytes]) => Buffer.byteLength(name) + bytes.length);
  const kept = new TextDecoder().decode(await call("restore", "kept.gz")) === "as it was";
  // The most that this process has used so far, in MiB.
  const peak = process.resourceUsage().maxRSS / 1024;
  console.log(JSON.stringify({ key, ended, stored, kept, peak }));
}
