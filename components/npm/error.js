// The error that all calls fail with.

/** A failed call. `code` is the error code of the contract. */
export class PersistError extends Error {
  constructor({ message, code, retryable = false, key, details = [] }) {
    super(message);
    this.name = "PersistError";
    this.code = code;
    this.retryable = retryable;
    this.key = key;
    this.details = Object.fromEntries(details);
  }
}
