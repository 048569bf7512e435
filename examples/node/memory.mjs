// The import persist:snapshot/storage, implemented on a map of keys to bytes. host.mjs shows how to use it.
//
// A storage need not support what it does not claim in `capabilities`: such calls fail with `unsupported`. This one
// claims `if-absent`, which timelines need, and nothing else.

const MAX_KEY_BYTES = 1024;
const MAX_LISTED = 1000;

/** The most bytes that one read returns, whatever the component asks for. */
const MAX_READ_BYTES = 1 << 20;

/** What each object costs in addition to its key and bytes, so that empty objects are not free. */
const OBJECT_OVERHEAD_BYTES = 4096;

/** An error that is returned to the component: jco passes on what is thrown. An `Error` would stop the component. */
const refusal = (code, message) => ({ code, retryable: false, message, details: [] });

const unsupported = () => {
  throw refusal("unsupported", "this storage has no precondition except if-absent, and no batches");
};

function checkKey(key) {
  const isPath = key.split("/").every((part) => !["", ".", ".."].includes(part));
  const isPlain = !/\p{Cc}/u.test(key);
  if (!isPath || !isPlain || Buffer.byteLength(key) > MAX_KEY_BYTES) {
    throw refusal("invalid-key", "a key is a path of up to 1,024 bytes, without '.', '..' or control characters");
  }
}

/** The part of an object that a byte-range asks for. */
function inRange(bytes, { tag, val }) {
  if (tag === "span") return bytes.subarray(Number(val.offset), Number(val.offset + val.length));
  if (tag === "suffix") return bytes.subarray(Math.max(0, bytes.length - Number(val)));
  return bytes;
}

/** The contract orders keys by their UTF-8 bytes, whereas JavaScript compares UTF-16. */
const compareKeys = (one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other));

/** The storage of one call, which may write `writableBytes` in all, keys included. */
export function memoryStorage(objects, writableBytes) {
  const spend = (bytes) => {
    if (bytes > writableBytes) throw refusal("no-space", "this call may not write any more");
    writableBytes -= bytes;
  };
  const bytesOf = (key) => {
    checkKey(key);
    if (!objects.has(key)) throw refusal("not-found", "no object has this key");
    return objects.get(key);
  };
  // The fields that this storage does not know are left out.
  const objectInfo = (key, bytes) => ({ key, size: BigInt(bytes.length), attributes: [] });

  class Writer {
    chunks = [];
    copyRange = unsupported;

    constructor(key, ifAbsent) {
      this.key = key;
      this.ifAbsent = ifAbsent;
    }

    write(chunk) {
      spend(chunk.length);
      this.chunks.push(Buffer.from(chunk));
    }

    static commit({ key, ifAbsent, chunks }) {
      // Not earlier: the component may hold two writers of one key.
      if (ifAbsent && objects.has(key)) throw refusal("already-exists", "an object has this key");
      const bytes = Buffer.concat(chunks);
      objects.set(key, bytes);
      return objectInfo(key, bytes);
    }
  }

  class Reader {
    constructor(info, rest) {
      this.opened = info;
      this.rest = rest;
    }

    info() {
      return this.opened;
    }

    read(max) {
      const chunk = this.rest.subarray(0, Math.min(max, MAX_READ_BYTES));
      this.rest = this.rest.subarray(chunk.length);
      return new Uint8Array(chunk);
    }
  }

  return {
    Writer,
    Reader,
    capabilities: () => ({ ifAbsent: true }),
    readMany: unsupported,
    deleteMany: unsupported,
    listLevel: unsupported,

    openWrite(key, { precondition }) {
      if (precondition.tag === "if-match") unsupported();
      checkKey(key);
      spend(Buffer.byteLength(key) + OBJECT_OVERHEAD_BYTES);
      return new Writer(key, precondition.tag === "if-absent");
    },

    openRead(key, { range, ifMatch }) {
      if (ifMatch !== undefined) unsupported();
      const bytes = bytesOf(key);
      return new Reader(objectInfo(key, bytes), inRange(bytes, range));
    },

    stat(key) {
      return objectInfo(key, bytesOf(key));
    },

    delete(key, precondition) {
      if (precondition.tag === "if-absent") {
        throw refusal("invalid-argument", "a delete can't have the precondition if-absent");
      }
      if (precondition.tag !== "none") unsupported();
      bytesOf(key);
      objects.delete(key);
    },

    listObjects(prefix, startAfter, limit) {
      if (limit < 1 || limit > MAX_LISTED) throw refusal("invalid-argument", "the limit of a listing is 1 to 1,000");
      const comesAfter = (key) => startAfter === undefined || compareKeys(key, startAfter) > 0;
      const wanted = [...objects.keys()].filter((key) => key.startsWith(prefix) && comesAfter(key));
      return wanted.sort(compareKeys).slice(0, limit).map((key) => objectInfo(key, objects.get(key)));
    },
  };
}
