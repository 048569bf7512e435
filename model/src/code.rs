//! The codes of errors, each written down once: what it is called, in which
//! variant of [`PersistError`] it comes, and what the command exits with. The
//! same codes stand in `wit/types.wit`, in the same order; a test compares them.

/// The facts of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetail {
    /// The kind of failure.
    pub code: ErrorCode,
    /// One sentence: what failed. Never a secret; a bucket's name only where it
    /// is the bucket that is missing.
    pub message: String,
    /// Where: a path, `s3://bucket/key`.
    pub location: Option<String>,
    /// Whether the same call may succeed later with nothing else changed.
    pub retryable: bool,
    /// What to do about it.
    pub hint: Option<String>,
    /// Further facts as name and value: expected and found hashes, a request id.
    pub facts: Vec<(String, String)>,
}

macro_rules! codes {
    (
        ($dollar:tt)
        contract { $($(#[doc = $doc:literal])+ $name:ident = $text:literal, $class:ident;)* }
        host { $($(#[doc = $host_doc:literal])+ $host_name:ident = $host_text:literal, $host_class:ident;)* }
    ) => {
        /// The kind of a failure. Its text form, in kebab case, is what the
        /// command prints in JSON and what Python gives as `.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name,)*
            $($(#[doc = $host_doc])+ $host_name,)*
        }

        impl ErrorCode {
            /// The codes of the contract, in its order.
            pub const CONTRACT: &[Self] = &[$(Self::$name),*];

            /// All codes: those of the contract, then those of hosts alone.
            pub const ALL: &[Self] = &[$(Self::$name,)* $(Self::$host_name,)*];

            /// The code as text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    $(Self::$host_name => $host_text,)*
                }
            }

            /// The variant that an error of this code comes in.
            pub(crate) fn class(self) -> fn(Box<ErrorDetail>) -> PersistError {
                match self {
                    $(Self::$name => PersistError::$class,)*
                    $(Self::$host_name => PersistError::$host_class,)*
                }
            }
        }

        /// Calls a macro with a path and the names of the contract's codes.
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
        /// What every operation of this library fails with.
        ///
        /// The variants group the codes the way callers act on them;
        /// [`code()`](PersistError::code) tells more. `Display` gives a kind and
        /// the message; location and hint are for the caller to add.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum PersistError {
            $($(#[doc = $doc])+ $name(Box<ErrorDetail>),)*
        }

        impl PersistError {
            /// All facts of the failure.
            pub fn detail(&self) -> &ErrorDetail {
                match self {
                    $(Self::$name(detail))|* => detail,
                }
            }

            /// All facts of the failure, to add to them.
            pub fn detail_mut(&mut self) -> &mut ErrorDetail {
                match self {
                    $(Self::$name(detail))|* => detail,
                }
            }

            /// What the command exits with.
            pub fn exit_code(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $exit,)*
                }
            }

            /// What the text of the error begins with; empty for none.
            pub(crate) fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }
        }
    };
}

classes! {
    /// An argument, a key or a setting is wrong.
    Configuration: 2, "Configuration error";
    /// No such snapshot.
    NotFound: 3, "Not found";
    /// The snapshot was not to exist, and does.
    AlreadyExists: 4, "Already exists";
    /// Somebody else changed it.
    Conflict: 4, "Conflict";
    /// A damaged snapshot.
    Integrity: 5, "Integrity error";
    /// Not a snapshot, or one of a newer format.
    InvalidFormat: 5, "Format error";
    /// An object of Persist's, but not of the kind that was asked for.
    WrongKind: 5, "Format error";
    /// Credentials are missing, expired or wrong.
    Credentials: 6, "Storage error";
    /// Not allowed.
    AccessDenied: 6, "Storage error";
    /// The bucket is missing, or the storage can't do what was asked.
    CloudStorage: 7, "Storage error";
    /// Network or disk failed.
    StorageIO: 8, "Storage I/O error";
    /// A limit of the sandbox was reached.
    ResourceLimit: 9, "Resource limit";
    /// Encrypted, and none of the keys at hand opens it.
    NoKey: 10, "No key";
    /// Not sealed by anybody who is trusted.
    Untrusted: 11, "Not trusted";
    /// It is stored, but was not synced: a power cut may take it back.
    NotDurable: 12, "Not durable";
    /// It may be stored or not: nobody could be asked.
    OutcomeUnknown: 13, "Outcome unknown";
    /// Anything else.
    Other: 1, "";
}

codes! {
    ($)
    contract {
        /// An argument or a setting is wrong.
        InvalidArgument = "invalid-argument", Configuration;
        /// The key breaks a rule, or leads to something that is not an object.
        InvalidKey = "invalid-key", Configuration;
        /// No object has this key.
        NotFound = "not-found", NotFound;
        /// The object was not to exist, and does.
        AlreadyExists = "already-exists", AlreadyExists;
        /// The object is not the one expected, or changed meanwhile.
        PreconditionFailed = "precondition-failed", Conflict;
        /// Another write of the same object is under way; nothing was stored.
        Conflict = "conflict", Conflict;
        /// A snapshot, but not as it was written.
        Integrity = "integrity", Integrity;
        /// Something else than a snapshot.
        NotASnapshot = "not-a-snapshot", InvalidFormat;
        /// An object of Persist's, but of another kind.
        WrongKind = "wrong-kind", WrongKind;
        /// A snapshot that breaks the rules of its format, or the beginning of one.
        InvalidFormat = "invalid-format", InvalidFormat;
        /// A snapshot of a newer format.
        UnsupportedFormat = "unsupported-format", InvalidFormat;
        /// More than can be handled: a table or state that is too large.
        LimitExceeded = "limit-exceeded", ResourceLimit;
        /// It is encrypted, and none of the keys at hand opens it.
        NoKey = "no-key", NoKey;
        /// It is not sealed by anybody who is trusted.
        Untrusted = "untrusted", Untrusted;
        /// Credentials are missing, expired or wrong.
        Credentials = "credentials", Credentials;
        /// The credentials, or the permissions of a file, do not allow this.
        AccessDenied = "access-denied", AccessDenied;
        /// The bucket does not exist.
        NoSuchBucket = "no-such-bucket", CloudStorage;
        /// The storage cannot do this, ever.
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
        /// It is done, but was not synced: a power cut may take it back.
        NotDurable = "not-durable", NotDurable;
        /// It may be done or not: the answer was lost, and nobody could be asked.
        OutcomeUnknown = "outcome-unknown", OutcomeUnknown;
        /// Anything else.
        Other = "other", Other;
    }
    host {
        /// The component wanted more memory than it may have.
        MemoryLimit = "memory-limit", ResourceLimit;
        /// The component computed for longer than it may.
        Deadline = "deadline", ResourceLimit;
        /// The operation was stopped from outside.
        Cancelled = "cancelled", Other;
    }
}
