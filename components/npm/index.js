// Snapshots and timelines in a local folder. The component runs in a thread of its own, see worker.js.

import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { appendOptions, bytes, count, json, saveOptions, text } from "./arguments.js";
import { PersistError } from "./error.js";

export { PersistError };

/** Opens a folder, which is made if it is missing. */
export async function open(folder, { deadline = 60_000 } = {}) {
  text("folder", folder);
  count("deadline", deadline, 1, 2 ** 31 - 1);
  await mkdir(folder, { recursive: true });
  return new Store(resolve(folder), deadline);
}

const parsed = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
const CHANGES = ["save", "append", "delete"];
const folderOf = (timeline) => `${text("timeline", timeline).replace(/\/+$/, "")}/`;

/** The snapshots and timelines in a folder. Calls are made one after the other. */
class Store {
  #folder;
  #deadline;
  #worker;
  #last = Promise.resolve();

  constructor(folder, deadline) {
    this.#folder = folder;
    this.#deadline = deadline;
  }

  /** Saves a value as JSON. Returns the metadata. */
  async save(key, value, options) {
    return this.saveBytes(key, json(value), options);
  }

  /** Saves bytes. Returns the metadata. */
  async saveBytes(key, state, options = {}) {
    return this.#call("save", [text("key", key), bytes(state), saveOptions(options)]);
  }

  /** Returns the value of a snapshot that has JSON. */
  async restore(key) {
    return parsed(await this.restoreBytes(key));
  }

  /** Returns the bytes of a snapshot. */
  async restoreBytes(key) {
    return this.#call("restore", [text("key", key)]);
  }

  /** Returns the metadata of a snapshot, without reading its state. */
  async metadata(key) {
    return this.#call("metadata", [text("key", key)]);
  }

  /** Checks a whole snapshot. Returns its metadata. */
  async verify(key) {
    return this.#call("verify", [text("key", key)]);
  }

  /** Returns whether there is an object with this key. */
  async exists(key) {
    return this.#call("exists", [text("key", key)]);
  }

  /** Deletes a snapshot. */
  async delete(key) {
    return this.#call("delete", [text("key", key)]);
  }

  /** Returns the metadata of the snapshots whose keys begin with a prefix; an error in place of one that can't be read. */
  async list(prefix = "") {
    const found = await this.#call("list", [text("prefix", prefix)]);
    return found.map((entry) => (entry.error ? new PersistError(entry.error) : entry.metadata));
  }

  /** Appends a value to a timeline as its next step. Returns the step. */
  async append(timeline, value, options) {
    return this.appendBytes(timeline, json(value), options);
  }

  /** Appends bytes to a timeline as its next step. Returns the step. */
  async appendBytes(timeline, state, options = {}) {
    return this.#call("append", [folderOf(timeline), bytes(state), appendOptions(options)]);
  }

  /** Returns the value of a step: the newest, or that with a number. */
  async load(timeline, number) {
    return parsed(await this.loadBytes(timeline, number));
  }

  /** Returns the bytes of a step: the newest, or that with a number. */
  async loadBytes(timeline, number) {
    return this.#call("load", [folderOf(timeline), number === undefined ? number : count("number", number)]);
  }

  /** Returns the last steps of a timeline, the newest first. One that can't be read has an error. */
  async history(timeline, limit = 20) {
    const found = await this.#call("history", [folderOf(timeline), count("limit", limit, 0, 2 ** 32 - 1)]);
    return found.map((entry) => (entry.error ? { ...entry, error: new PersistError(entry.error) } : entry));
  }

  /** Ends the thread. The next call starts it again. */
  async close() {
    await this.#last;
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  #call(name, given) {
    const done = this.#last.then(() => this.#run(name, given));
    // A failed call does not fail the next one.
    this.#last = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  #run(name, given) {
    this.#worker ??= new Worker(new URL("./worker.js", import.meta.url), {
      workerData: { folder: this.#folder },
      env: {},
      stdin: false,
    });
    const worker = this.#worker;
    worker.ref();
    return new Promise((resolve, reject) => {
      const end = (settle, with_, isUsable) => {
        clearTimeout(timer);
        worker.off("message", onMessage).off("error", onError).off("exit", onExit);
        if (isUsable) {
          // An idle thread does not keep the process alive.
          worker.unref();
        } else {
          this.#worker = undefined;
          worker.terminate();
        }
        settle(with_);
      };
      const failed = (code, message) => end(reject, new PersistError({ code, message }), false);
      const onMessage = ({ result, error, isUsable }) =>
        error ? end(reject, new PersistError(error), isUsable) : end(resolve, result, true);
      const onError = (error) => failed("other", `the component could not run: ${error.message}`);
      const onExit = (code) => failed("other", `the thread of the component ended early (${code})`);
      const timer = setTimeout(() => {
        const stopped = `the call was stopped after ${this.#deadline} ms`;
        // Nobody knows how far a change has come.
        if (CHANGES.includes(name)) failed("outcome-unknown", `${stopped}: look at what is stored before you try again`);
        else failed("timeout", stopped);
      }, this.#deadline);
      worker.on("message", onMessage).on("error", onError).on("exit", onExit);
      worker.postMessage({ name, given });
    });
  }
}
