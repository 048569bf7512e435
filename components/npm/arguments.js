// Checks the arguments of calls, before any of them reaches the component.

import { PersistError } from "./error.js";

const shown = (value) => (value === null ? "null" : Array.isArray(value) ? "an array" : typeof value);

function wrong(name, wanted, value) {
  return new PersistError({ code: "invalid-argument", message: `${name} has to be ${wanted}, not ${value}` });
}

/** Returns an argument that is a string. */
export function text(name, value) {
  if (typeof value === "string") return value;
  throw wrong(name, "a string", shown(value));
}

/** Returns an argument that is a whole number. */
export function count(name, value, least = 0, most = Number.MAX_SAFE_INTEGER) {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw wrong(name, `a whole number from ${least} to ${most}`, typeof value === "number" ? value : shown(value));
}

/** Returns a state that is bytes. */
export function bytes(value) {
  if (value instanceof Uint8Array) return value;
  throw wrong("the state", "a Uint8Array", shown(value));
}

/** Returns the JSON of a state. */
export function json(value) {
  let written;
  try {
    written = JSON.stringify(value);
  } catch (error) {
    throw new PersistError({ code: "invalid-argument", message: `the state is not JSON: ${error.message}` });
  }
  if (written === undefined) throw wrong("the state", "a value that JSON has", shown(value));
  return new TextEncoder().encode(written);
}

const flag = (name, value) => {
  if (typeof value === "boolean") return value;
  throw wrong(name, "true or false", shown(value));
};

const oneOf = (choices) => (name, value) => {
  if (choices.includes(value)) return value;
  throw wrong(name, `one of ${choices.join(", ")}`, typeof value === "string" ? `'${value}'` : shown(value));
};

function labels(name, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(name, "an object", shown(value));
  for (const [label, its] of Object.entries(value)) text(`${name}.${label}`, its);
  return value;
}

const COMMON = {
  agentId: text,
  sessionId: text,
  description: text,
  labels,
  contentType: text,
  codec: oneOf(["gzip", "zstd"]),
  level: (name, value) => count(name, value, -7, 9),
};

/** Returns a function that checks the options of a call. One that is undefined counts as not given. */
const options = (known) => (given) => {
  if (typeof given !== "object" || given === null) throw wrong("options", "an object", shown(given));
  const found = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [name, value] of found) {
    if (!Object.hasOwn(known, name)) {
      const message = `there is no option '${name}': the options are ${Object.keys(known).join(", ")}`;
      throw new PersistError({ code: "invalid-argument", message });
    }
    known[name](name, value);
  }
  return Object.fromEntries(found);
};

export const saveOptions = options({ ...COMMON, index: count, ifAbsent: flag });
export const appendOptions = options({ ...COMMON, onConflict: oneOf(["fail", "rebase"]) });
