//! The error codes, each defined once: its name, the variant of [`PersistError`] it
//! belongs to, and the exit code of the command. `wit/types.wit` has the same codes in
//! the same order; a test compares them.

use crate::cause::Cause;

/// The details of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorDetail {
    /// The error code.
    pub code: ErrorCode,
    /// One sentence that says what failed. It never contains a secret, and a bucket's
    /// name only if the bucket is missing.
    pub message: String,
    /// The location: a path or `s3://bucket/key`.
    pub location: Option<String>,
    /// Whether the same call may succeed later without any other change.
    pub retryable: bool,
    /// What to do about it.
    pub hint: Option<String>,
    /// Further facts as names and values, such as the expected and actual hash or a
    /// request ID.
    pub facts: Vec<(String, String)>,
    /// What led to it. It does not count when errors are compared.
    pub(crate) cause: Cause,
}

macro_rules! codes {
    (
        ($dollar:tt)
        contract { $($(#[doc = $doc:literal])+ $name:ident = $text:literal, $class:ident;)* }
        host { $($(#[doc = $host_doc:literal])+ $host_name:ident = $host_text:literal, $host_class:ident;)* }
    ) => {
        /// The code of an error. Its text form, in kebab case, appears in the command's
        /// JSON output and as `.code` in Python.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name,)*
            $($(#[doc = $host_doc])+ $host_name,)*
        }

        impl ErrorCode {
            /// The codes of the contract, in its order.
            pub const CONTRACT: &[Self] = &[$(Self::$name),*];

            /// All codes: those of the contract, then those that only hosts use.
            pub const ALL: &[Self] = &[$(Self::$name,)* $(Self::$host_name,)*];

            /// Returns the code as text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    $(Self::$host_name => $host_text,)*
                }
            }

            /// Returns the constructor of the variant that errors with this code belong
            /// to.
            pub(crate) fn class(self) -> fn(Box<ErrorDetail>) -> PersistError {
                match self {
                    $(Self::$name => PersistError::$class,)*
                    $(Self::$host_name => PersistError::$host_class,)*
                }
            }
        }

        /// Calls a macro with a path and the names of the contract's error codes.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __with_contract_codes {
            ($dollar with:path, $dollar module:path) => {
                $dollar with! { $dollar module; $($name)* }
            };
        }
    };
}

macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $name:ident: $exit:literal, $kind:literal;)*) => {
        /// The error of every operation of this library.
        ///
        /// The variants group the codes by how callers react to them;
        /// [`code()`](PersistError::code) is more precise. `Display` prints a prefix for
        /// the variant and the message. Adding the location and the hint is up to the
        /// caller.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum PersistError {
            $($(#[doc = $doc])+ $name(Box<ErrorDetail>),)*
        }

        impl PersistError {
            /// Returns the details.
            pub fn detail(&self) -> &ErrorDetail {
                match self {
                    $(Self::$name(detail))|* => detail,
                }
            }

            /// Returns the details for changing them.
            pub fn detail_mut(&mut self) -> &mut ErrorDetail {
                match self {
                    $(Self::$name(detail))|* => detail,
                }
            }

            /// Returns the exit code of the command for this error.
            pub fn exit_code(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $exit,)*
                }
            }

            /// Returns the prefix of the error's text, or an empty string.
            pub(crate) fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }
        }
    };
}

classes! {
    /// An argument, a key or a setting is invalid.
    Configuration: 2, "Configuration error";
    /// There is no such snapshot.
    NotFound: 3, "Not found";
    /// The snapshot already exists, and the precondition requires that it does not.
    AlreadyExists: 4, "Already exists";
    /// Another writer changed the snapshot.
    Conflict: 4, "Conflict";
    /// The snapshot is damaged.
    Integrity: 5, "Integrity error";
    /// The object is not a snapshot, or has a newer format.
    InvalidFormat: 5, "Format error";
    /// The object was written by Persist, but is of another kind than requested.
    WrongKind: 5, "Format error";
    /// Credentials are missing, expired or wrong.
    Credentials: 6, "Storage error";
    /// Access was denied.
    AccessDenied: 6, "Storage error";
    /// The bucket does not exist, or the storage does not support the operation.
    CloudStorage: 7, "Storage error";
    /// A network or disk operation failed.
    StorageIO: 8, "Storage I/O error";
    /// A resource limit was reached.
    ResourceLimit: 9, "Resource limit";
    /// The object is encrypted, and none of the available keys decrypts it.
    NoKey: 10, "No key";
    /// The object is not sealed by a trusted party.
    Untrusted: 11, "Not trusted";
    /// The change was made, but not synced: a power cut may undo it.
    NotDurable: 12, "Not durable";
    /// It is unknown whether the change was made.
    OutcomeUnknown: 13, "Outcome unknown";
    /// Any other error.
    Other: 1, "";
}

codes! {
    ($)
    contract {
        /// An argument or a setting is invalid.
        InvalidArgument = "invalid-argument", Configuration;
        /// The key breaks a rule, or leads to something that is not an object.
        InvalidKey = "invalid-key", Configuration;
        /// No object has this key.
        NotFound = "not-found", NotFound;
        /// The object already exists, and the precondition requires that it does not.
        AlreadyExists = "already-exists", AlreadyExists;
        /// The object is not the expected one, or was changed in the meantime.
        PreconditionFailed = "precondition-failed", Conflict;
        /// Another write of the same object is in progress; nothing was stored.
        Conflict = "conflict", Conflict;
        /// The snapshot differs from what was written.
        Integrity = "integrity", Integrity;
        /// The object is not a snapshot.
        NotASnapshot = "not-a-snapshot", InvalidFormat;
        /// The object was written by Persist, but is of another kind.
        WrongKind = "wrong-kind", WrongKind;
        /// The snapshot breaks the rules of its format, or is truncated.
        InvalidFormat = "invalid-format", InvalidFormat;
        /// The snapshot has a newer format.
        UnsupportedFormat = "unsupported-format", InvalidFormat;
        /// A table, a state or something else is too large.
        LimitExceeded = "limit-exceeded", ResourceLimit;
        /// The object is encrypted, and none of the available keys decrypts it.
        NoKey = "no-key", NoKey;
        /// The object is not sealed by a trusted party.
        Untrusted = "untrusted", Untrusted;
        /// Credentials are missing, expired or wrong.
        Credentials = "credentials", Credentials;
        /// The credentials, or the permissions of a file, do not allow this.
        AccessDenied = "access-denied", AccessDenied;
        /// The bucket does not exist.
        NoSuchBucket = "no-such-bucket", CloudStorage;
        /// The storage does not support this operation.
        Unsupported = "unsupported", CloudStorage;
        /// The storage's service refused this; the hint says why.
        Refused = "refused", CloudStorage;
        /// The storage could not be reached.
        Unavailable = "unavailable", StorageIO;
        /// The storage took too long.
        Timeout = "timeout", StorageIO;
        /// The storage is full.
        NoSpace = "no-space", StorageIO;
        /// Reading or writing failed.
        Io = "io", StorageIO;
        /// The change was made, but not synced: a power cut may undo it.
        NotDurable = "not-durable", NotDurable;
        /// It is unknown whether the change was made: the answer was lost, and asking
        /// again failed.
        OutcomeUnknown = "outcome-unknown", OutcomeUnknown;
        /// Any other error.
        Other = "other", Other;
    }
    host {
        /// The component reached its memory limit.
        MemoryLimit = "memory-limit", ResourceLimit;
        /// The component computed for longer than its deadline.
        Deadline = "deadline", ResourceLimit;
        /// The operation was cancelled by the caller.
        Cancelled = "cancelled", Other;
    }
}
