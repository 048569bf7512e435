/** What is known of a snapshot or a step. */
export interface Metadata {
  key: string;
  /** `snapshot` or `step`. */
  kind: string;
  snapshotId: string;
  agentId: string;
  sessionId: string;
  /** The place of the snapshot in its session. */
  index: number;
  /** When the state was taken: RFC 3339. */
  timestamp: string;
  description?: string;
  labels: Record<string, string>;
  contentType: string;
  /** SHA-256 of the state, in hexadecimal. */
  contentHash: string;
  /** Sizes in bytes. */
  uncompressedSize: number;
  compressedSize: number;
  storedSize: number;
  compressionAlgorithm: "gzip" | "zstd";
  formatVersion: number;
  producer: string;
  extra: Record<string, unknown>;
  digest: string;
  etag?: string;
}

/** A step of a timeline. */
export interface Step {
  number: number;
  metadata: Metadata;
}

export interface SaveOptions {
  /** By default `default_agent`. */
  agentId?: string;
  /** By default `default_session`. */
  sessionId?: string;
  /** The place of the snapshot in its session. By default 0. */
  index?: number;
  description?: string;
  labels?: Record<string, string>;
  /** By default `application/json`. */
  contentType?: string;
  codec?: "gzip" | "zstd";
  /** 1 to 9 for gzip, -7 to 4 except 0 for zstd. */
  level?: number;
  /** Whether to fail with `already-exists` instead of replacing a snapshot. */
  ifAbsent?: boolean;
}

export interface AppendOptions extends Omit<SaveOptions, "ifAbsent" | "index"> {
  /** If another writer was faster: `fail` with `already-exists`, or take the next number. */
  onConflict?: "fail" | "rebase";
}

/** A failed call. */
export class PersistError extends Error {
  /** The error code of the contract, such as `not-found`. If the deadline was exceeded, `timeout`, or `outcome-unknown` for a change. */
  readonly code: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  readonly key?: string;
  readonly details: Record<string, string>;
}

/** The snapshots and timelines in a folder. Calls are made one after the other. */
export interface Store {
  save(key: string, value: unknown, options?: SaveOptions): Promise<Metadata>;
  saveBytes(key: string, state: Uint8Array, options?: SaveOptions): Promise<Metadata>;
  restore<T = unknown>(key: string): Promise<T>;
  restoreBytes(key: string): Promise<Uint8Array>;
  /** Reads no state. */
  metadata(key: string): Promise<Metadata>;
  /** Checks every byte. */
  verify(key: string): Promise<Metadata>;
  exists(key: string): Promise<boolean>;
  delete(key: string): Promise<void>;
  /** An error is in place of a snapshot that can't be read. */
  list(prefix?: string): Promise<(Metadata | PersistError)[]>;
  append(timeline: string, value: unknown, options?: AppendOptions): Promise<Step>;
  appendBytes(timeline: string, state: Uint8Array, options?: AppendOptions): Promise<Step>;
  /** The newest step, or that with a number. */
  load<T = unknown>(timeline: string, number?: number): Promise<T>;
  loadBytes(timeline: string, number?: number): Promise<Uint8Array>;
  /** The newest first. */
  history(timeline: string, limit?: number): Promise<(Step | { number: number; error: PersistError })[]>;
  /** Ends the thread of the component. The next call starts it again. */
  close(): Promise<void>;
}

/** Opens a folder, which is made if it is missing. A call takes at most `deadline` milliseconds (60,000). */
export function open(folder: string, options?: { deadline?: number }): Promise<Store>;
