//! How a bucket is reached and how objects are written to it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use persist_model::units;

use crate::error::{ErrorCode, PersistError, Result};

/// The least that S3 takes for a part but the last, and the least for
/// [`S3Options::part_size`].
const MIN_PART_SIZE: usize = 5 << 20;

/// Parts in flight, for each of which a part's memory is held.
const MAX_PARALLEL: usize = 64;

/// S3 takes 2 KB of metadata and 10 tags an object.
const MAX_METADATA_BYTES: usize = 2000;
const MAX_TAGS: usize = 10;

/// The metadata under which every object carries the id of its write.
pub(super) const WRITE_ID: &str = "persist-write";

/// How to reach a bucket and how to write to it. All but credentials have their
/// value in the environment (`PERSIST_S3_…`) and as an option of the command
/// (`--s3-…`) too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3Options {
    /// The credentials; found as by every AWS tool if none.
    pub credentials: Option<S3Credentials>,
    /// The profile of the AWS configuration; `AWS_PROFILE` or the default one if none.
    pub profile: Option<String>,
    /// How the bucket is named in requests; if none, by path where an endpoint
    /// is set, else by host.
    pub addressing: Option<S3Addressing>,
    /// Whether to use Transfer Acceleration, where the bucket has it.
    pub accelerate: bool,
    /// How often a request is sent before its failure counts, at least 1; if
    /// none, as the AWS configuration says, else 3.
    pub max_attempts: Option<NonZeroU32>,
    /// How long to wait before the first retry, at most; each one more waits
    /// twice as long, all with jitter. 100 ms unless set.
    pub initial_backoff: Duration,
    /// The longest wait before a retry, 20 s unless set. A server that asks for
    /// more is given up to a minute.
    pub max_backoff: Duration,
    /// How long a connection may take to be made; 5 s unless set.
    pub connect_timeout: Duration,
    /// How long the server may stay silent: before it answers, and between two
    /// pieces of an answer. A large upload has longer, by its size. 30 s unless
    /// set.
    pub timeout: Duration,
    /// Whether requests carry checksums that the server need not have.
    pub checksums: Option<S3Checksums>,
    /// How the server is to encrypt objects; if none, as the bucket is set up.
    pub encryption: Option<S3Encryption>,
    /// The storage class: `STANDARD_IA`, `INTELLIGENT_TIERING` and so on.
    pub storage_class: Option<String>,
    /// Tags of the objects that are written, at most 10.
    pub tags: BTreeMap<String, String>,
    /// Metadata of the objects that are written, as `x-amz-meta-…`: printable
    /// ASCII, 2,000 bytes at most.
    pub metadata: BTreeMap<String, String>,
    /// The size of the parts that a large object goes in, in bytes, and of the
    /// largest that goes whole: 8 MiB unless set, at least 5 MiB.
    pub part_size: usize,
    /// Parts that are in flight at once, each in memory: 4 unless set.
    pub parallel: NonZeroUsize,
}

impl Default for S3Options {
    fn default() -> Self {
        const PARALLEL: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
        Self {
            credentials: None,
            profile: None,
            addressing: None,
            accelerate: false,
            max_attempts: None,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            checksums: None,
            encryption: None,
            storage_class: None,
            tags: BTreeMap::new(),
            metadata: BTreeMap::new(),
            part_size: 8 << 20,
            parallel: PARALLEL,
        }
    }
}

/// Credentials that a program has from somewhere of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

impl S3Credentials {
    /// Credentials; with a session token if they are temporary.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>, session_token: Option<String>) -> Self {
        Self { access_key_id: access_key_id.into(), secret_access_key: secret_access_key.into(), session_token }
    }
}

impl fmt::Debug for S3Credentials {
    /// Never the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// `https://endpoint/bucket/key`, as most other servers than AWS want it.
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}

/// Whether requests carry checksums that the server need not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Checksums {
    /// Wherever a request can carry one.
    WhenSupported,
    /// Only where S3 insists, for servers that refuse others.
    WhenRequired,
}

/// How the server encrypts an object at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// With keys of S3's own (`AES256`).
    S3,
    /// With a key of the Key Management Service (`aws:kms`).
    Kms {
        /// The key's id, alias or ARN; the account's own key for S3 if none.
        key_id: Option<String>,
    },
}

/// The options by name, as the environment and the command give them. The
/// names are in lower case with hyphens: `max-attempts` is
/// `PERSIST_S3_MAX_ATTEMPTS` and `--s3-max-attempts`.
pub(crate) const OPTION_NAMES: [&str; 16] = [
    "profile",
    "addressing",
    "accelerate",
    "max-attempts",
    "initial-backoff",
    "max-backoff",
    "connect-timeout",
    "timeout",
    "checksums",
    "sse",
    "kms-key-id",
    "storage-class",
    "tags",
    "metadata",
    "part-size",
    "parallel",
];

impl S3Options {
    /// Sets an option from text, by its name in the environment or the command
    /// without `PERSIST_S3_` or `--s3-`: `max-attempts`.
    ///
    /// # Errors
    /// `Configuration` for a name or a value that is not known.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| {
            let message = format!("'{}' is no value for the S3 option {name}", value.escape_debug());
            PersistError::new(ErrorCode::InvalidArgument, message).hint(format!("it is {expected}"))
        };
        match name {
            "addressing" => {
                self.addressing = Some(match value {
                    "path" => S3Addressing::Path,
                    "virtual" => S3Addressing::Virtual,
                    _ => return Err(wrong("path or virtual")),
                });
            }
            "profile" => self.profile = Some(value.to_owned()),
            "accelerate" => self.accelerate = value.parse().map_err(|_| wrong("true or false"))?,
            "max-attempts" => self.max_attempts = Some(value.parse().map_err(|_| wrong("a number from 1"))?),
            "initial-backoff" => self.initial_backoff = units::duration(value).ok_or_else(|| wrong("a time, as 30s"))?,
            "max-backoff" => self.max_backoff = units::duration(value).ok_or_else(|| wrong("a time, as 30s"))?,
            "connect-timeout" => self.connect_timeout = units::duration(value).ok_or_else(|| wrong("a time, as 30s"))?,
            "timeout" => self.timeout = units::duration(value).ok_or_else(|| wrong("a time, as 30s"))?,
            "checksums" => {
                self.checksums = Some(match value {
                    "when-supported" => S3Checksums::WhenSupported,
                    "when-required" => S3Checksums::WhenRequired,
                    _ => return Err(wrong("when-supported or when-required")),
                });
            }
            "sse" => {
                let key_id = self.kms_key_id().map(str::to_owned);
                self.encryption = Some(match value {
                    "AES256" => S3Encryption::S3,
                    "aws:kms" => S3Encryption::Kms { key_id },
                    _ => return Err(wrong("AES256 or aws:kms")),
                });
            }
            "kms-key-id" if self.encryption == Some(S3Encryption::S3) => return Err(wrong("for sse aws:kms, and sse is AES256")),
            // A key says that it is to be used.
            "kms-key-id" => self.encryption = Some(S3Encryption::Kms { key_id: Some(value.to_owned()) }),
            "storage-class" => self.storage_class = Some(value.to_owned()),
            "tags" => self.tags = pairs(value).ok_or_else(|| wrong("NAME=VALUE, several of them separated by commas"))?,
            "metadata" => self.metadata = pairs(value).ok_or_else(|| wrong("NAME=VALUE, several of them separated by commas"))?,
            "part-size" => {
                self.part_size = units::bytes(value).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| wrong("a size, as 8M"))?
            }
            "parallel" => self.parallel = value.parse().map_err(|_| wrong("a number from 1"))?,
            _ => {
                return Err(PersistError::new(ErrorCode::InvalidArgument, format!("the S3 option '{name}' is not known"))
                    .hint(format!("it is one of {}", OPTION_NAMES.join(", "))));
            }
        }
        Ok(())
    }

    fn kms_key_id(&self) -> Option<&str> {
        match &self.encryption {
            Some(S3Encryption::Kms { key_id }) => key_id.as_deref(),
            _ => None,
        }
    }

    /// Checks the values against S3's limits and each other.
    ///
    /// # Errors
    /// `Configuration` that names the option.
    pub fn validate(&self) -> Result<()> {
        let problem = if self.part_size < MIN_PART_SIZE || self.part_size > 5 << 30 {
            "part-size is 5 MiB to 5 GiB"
        } else if self.parallel.get() > MAX_PARALLEL {
            "parallel is 1 to 64"
        } else if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            "a timeout is more than 0 seconds"
        } else if self.accelerate && self.addressing == Some(S3Addressing::Path) {
            "accelerate needs addressing virtual"
        } else if self.tags.len() > MAX_TAGS {
            "there are at most 10 tags"
        } else if self.tags.iter().any(|(name, value)| name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256) {
            "a tag's name has 1 to 128 characters, its value at most 256"
        } else if !self.metadata.iter().all(|(name, value)| is_metadata(name, value)) {
            "metadata has names of letters, digits and hyphens, and values of printable ASCII"
        } else if self.metadata.keys().any(|name| name.eq_ignore_ascii_case(WRITE_ID)) {
            "the metadata persist-write is taken"
        } else if self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_METADATA_BYTES {
            "metadata has at most 2,000 bytes in all"
        } else {
            return Ok(());
        };
        Err(PersistError::new(ErrorCode::InvalidArgument, format!("the S3 options are not valid: {problem}"))
            .hint("change the option --s3-… or the variable PERSIST_S3_…: docs/s3.md lists them"))
    }
}

/// Whether S3 takes this as `x-amz-meta-name: value`.
pub(super) fn is_metadata(name: &str, value: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(in_name) && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// `a=1,b=2`
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let pair =
        |pair: &str| pair.split_once('=').filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split(',').map(pair).collect()
}
