// Default options for a save. The others are optional in the contract: `description`, `codec`, `snapshotId` and more.
// See wit/snapshots.wit.

export const defaultOptions = {
  agentId: "default_agent",
  sessionId: "default_session",
  snapshotIndex: 0n,
  labels: [],
  attributes: [],
  precondition: { tag: "none" },
  hostHashes: false,
};
