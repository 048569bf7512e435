// Timelines in Node: every step of a session, each stored as what is new in it. See wit/timelines.wit.
//
// A timeline is a resource, which lives as long as its instance. Here each call has an instance of its own, so each
// opens the timeline anew, and an append reads the newest state first. A program that appends often would keep the
// instance and the timeline, which keeps that state.

const NEWEST = { tag: "newest" };

/** A rule that keeps nothing. */
const NONE = { count: 0 };

/** Returns a function of the interface `snapshots`, or one of the operations on timelines that follow, by its name. */
export function operation({ snapshots, timelines }, name) {
  const open = (folder) => new timelines.Timeline(folder);
  const operations = {
    /**
     * Appends a state as the next step of the timeline in a folder, and returns the step. The folder ends with "/".
     *
     * If another writer is faster, this fails with `already-exists`, or with "rebase" takes the next number.
     */
    appendStep(folder, state, options, onConflict = "fail") {
      const timeline = open(folder);
      const step = timeline.append(state, options, onConflict, undefined);
      try {
        timeline.finish();
      } catch {
        // It writes down that the step is there. The step is stored all the same.
      }
      return step;
    },

    /** Returns the state of a step: the newest, or for example `{ tag: "number", val: 42n }`. */
    loadStep: (folder, step = NEWEST) => snapshots.restore(open(folder).find(step).metadata.key),

    /** Returns the last steps, the newest first. One that can't be read is an entry, too. */
    history: (folder, limit) => open(folder).openHistory(undefined, limit).next(limit),

    /** Removes all steps except the last ones, and returns what became of each. */
    prune(folder, keepLast) {
      const periods = { hourly: NONE, daily: NONE, weekly: NONE, monthly: NONE, yearly: NONE };
      return open(folder).prune({ last: keepLast, ...periods, labels: [] }, false);
    },
  };
  return operations[name] ?? snapshots[name];
}
