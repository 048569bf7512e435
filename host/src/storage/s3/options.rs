//! Options: how to reach a bucket, and how to write objects to it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use persist_model::units;
use persist_model::{ErrorCode, PersistError, Result};

/// The smallest part that S3 accepts, except the last one, and the minimum of
/// [`S3Options::part_size`].
const MIN_PART_SIZE: usize = 5 << 20;

/// The most parts in flight. Each of them takes the memory of a part.
const MAX_PARALLEL: usize = 64;

/// S3 accepts 2 KB of metadata and 10 tags for each object.
const MAX_METADATA_BYTES: usize = 2000;
const MAX_TAGS: usize = 10;

/// The metadata name for the ID of the write that an object comes from.
pub(super) const WRITE_ID: &str = "persist-write";

/// How to reach a bucket and how to write to it. Except for the credentials, each
/// option is also an environment variable (`PERSIST_S3_…`) and an option of the command
/// (`--s3-…`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct S3Options {
    /// The credentials. If none, they are found the way every AWS tool finds them.
    pub credentials: Option<S3Credentials>,
    /// The profile of the AWS configuration. If none, `AWS_PROFILE`, otherwise the
    /// default profile.
    pub profile: Option<String>,
    /// How the bucket is named in requests. If none, in the path if an endpoint is set,
    /// otherwise in the host name.
    pub addressing: Option<S3Addressing>,
    /// Whether to use Transfer Acceleration, if the bucket supports it.
    pub accelerate: bool,
    /// How many times a request is sent before it fails, at least 1. If none, as the
    /// AWS configuration says, otherwise 3.
    pub max_attempts: Option<NonZeroU32>,
    /// The longest wait before the first retry. It doubles with each retry, and all
    /// waits have jitter. The default is 100 ms.
    pub initial_backoff: Duration,
    /// The longest wait before any retry. The default is 20 s. A server may ask for up
    /// to a minute.
    pub max_backoff: Duration,
    /// How long connecting may take. The default is 5 s.
    pub connect_timeout: Duration,
    /// How long the server may be silent, before its response and between two chunks of
    /// it. A large upload gets more time, according to its size. The default is 30 s.
    pub timeout: Duration,
    /// When requests carry optional checksums.
    pub checksums: Option<S3Checksums>,
    /// How the server encrypts objects. If none, as the bucket is configured.
    pub encryption: Option<S3Encryption>,
    /// The storage class, such as `STANDARD_IA` or `INTELLIGENT_TIERING`.
    pub storage_class: Option<String>,
    /// Tags for written objects, at most 10.
    pub tags: BTreeMap<String, String>,
    /// Metadata for written objects, sent as `x-amz-meta-…`: printable ASCII, at most
    /// 2,000 bytes.
    pub metadata: BTreeMap<String, String>,
    /// The size of the parts of a large object, and of the largest object that is
    /// written in one request, in bytes. The default is 8 MiB, the minimum 5 MiB.
    pub part_size: usize,
    /// Parts in flight at once, each of them in memory. The default is 4.
    pub parallel: NonZeroUsize,
    /// Whether only one process writes to the same objects at a time. Then a condition is checked
    /// by looking at the object before the write, and not by the service, which may not support
    /// it. Two writers would lose data.
    pub one_writer: bool,
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
            one_writer: false,
        }
    }
}

/// Credentials from the program's own source.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

impl S3Credentials {
    /// Returns credentials. Temporary ones have a session token.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>, session_token: Option<String>) -> Self {
        Self { access_key_id: access_key_id.into(), secret_access_key: secret_access_key.into(), session_token }
    }
}

impl fmt::Debug for S3Credentials {
    /// Leaves out the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// How a bucket is named in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// `https://endpoint/bucket/key`, as most servers other than AWS expect it.
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}

/// When requests carry optional checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Checksums {
    /// Whenever a request can carry one.
    WhenSupported,
    /// Only when S3 requires one, for servers that refuse optional ones.
    WhenRequired,
}

/// How the server encrypts an object at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Encryption {
    /// With S3's own keys (`AES256`).
    S3,
    /// With a key of the Key Management Service (`aws:kms`).
    Kms {
        /// The key's ID, alias or ARN. If none, the account's default key for S3.
        key_id: Option<String>,
    },
}

/// An option of [`S3Options`] that can be set from text: in the environment, as an
/// argument of the command, and in Python. `docs/s3.md` lists the same options.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct S3Option {
    /// The name, in lower case with hyphens: `max-attempts` is `--s3-max-attempts` in
    /// the command, `PERSIST_S3_MAX_ATTEMPTS` in the environment, and `max_attempts` in
    /// Python.
    pub name: &'static str,
    /// The argument of the command, without `--`.
    pub argument: &'static str,
    /// What the help calls its value; none for a flag.
    pub value: Option<&'static str>,
    /// Its description in the command's help.
    pub help: &'static str,
}

impl S3Option {
    /// Returns the variable of the environment for an option's name.
    pub fn variable(name: &str) -> String {
        format!("PERSIST_S3_{}", name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// An option whose argument is `--s3-NAME`.
macro_rules! option {
    ($name:literal, $value:expr, $help:literal $(,)?) => {
        S3Option { name: $name, argument: concat!("s3-", $name), value: $value, help: $help }
    };
}

/// The options, in the order in which they are applied: the KMS key needs the method
/// that uses it.
pub const S3_OPTIONS: [S3Option; 17] = [
    S3Option {
        name: "profile",
        argument: "profile",
        value: Some("NAME"),
        help: "The profile of the AWS configuration [default: AWS_PROFILE]",
    },
    option!(
        "addressing",
        Some("STYLE"),
        "How the bucket is named in requests: path or virtual [default: path if an endpoint is set, otherwise virtual]"
    ),
    option!("accelerate", None, "Use Transfer Acceleration"),
    option!("max-attempts", Some("N"), "How many times a request is sent before it fails [default: 3]"),
    option!("initial-backoff", Some("TIME"), "The longest wait before the first retry; it doubles with each retry [default: 100ms]"),
    option!("max-backoff", Some("TIME"), "The longest wait before any retry [default: 20s]"),
    option!("connect-timeout", Some("TIME"), "How long connecting may take [default: 5s]"),
    option!("timeout", Some("TIME"), "How long the server may be silent [default: 30s]"),
    option!(
        "checksums",
        Some("WHEN"),
        "When to send checksums: when-supported, or when-required for servers that refuse optional ones [default: as AWS is configured]"
    ),
    option!("sse", Some("METHOD"), "How the server encrypts objects: AES256 or aws:kms [default: as the bucket is configured]"),
    option!("kms-key-id", Some("ID"), "The ID of the key for aws:kms"),
    option!("storage-class", Some("CLASS"), "The storage class, such as STANDARD_IA"),
    option!("tags", Some("NAME=VALUE,…"), "Tags for written objects"),
    option!("metadata", Some("NAME=VALUE,…"), "Metadata for written objects, sent as x-amz-meta-NAME"),
    option!("part-size", Some("SIZE"), "The size of the parts of a large object [default: 8M]"),
    option!("parallel", Some("N"), "Parts in flight at once [default: 4]"),
    option!(
        "one-writer",
        None,
        "Assume that only one process writes at a time, and check conditions before each write instead of having the service enforce them"
    ),
];

impl S3Options {
    /// Sets an option from text. `name` is its name in the environment or the command
    /// without `PERSIST_S3_` or `--s3-`, such as `max-attempts`.
    ///
    /// # Errors
    /// `Configuration` for an unknown name or an invalid value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| {
            let message = format!("'{}' is not a valid value for the S3 option {name}", value.escape_debug());
            PersistError::new(ErrorCode::InvalidArgument, message).hint(format!("use {expected}"))
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
            "one-writer" => self.one_writer = value.parse().map_err(|_| wrong("true or false"))?,
            "max-attempts" => self.max_attempts = Some(value.parse().map_err(|_| wrong("a number of at least 1"))?),
            "initial-backoff" => self.initial_backoff = units::duration(value).ok_or_else(|| wrong("a time, such as 30s"))?,
            "max-backoff" => self.max_backoff = units::duration(value).ok_or_else(|| wrong("a time, such as 30s"))?,
            "connect-timeout" => self.connect_timeout = units::duration(value).ok_or_else(|| wrong("a time, such as 30s"))?,
            "timeout" => self.timeout = units::duration(value).ok_or_else(|| wrong("a time, such as 30s"))?,
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
            "kms-key-id" if self.encryption == Some(S3Encryption::S3) => return Err(wrong("it only with sse aws:kms, not with AES256")),
            // Giving a key also selects KMS.
            "kms-key-id" => self.encryption = Some(S3Encryption::Kms { key_id: Some(value.to_owned()) }),
            "storage-class" => self.storage_class = Some(value.to_owned()),
            "tags" => self.tags = pairs(value).ok_or_else(|| wrong("NAME=VALUE, or several of them separated by commas"))?,
            "metadata" => self.metadata = pairs(value).ok_or_else(|| wrong("NAME=VALUE, or several of them separated by commas"))?,
            "part-size" => {
                self.part_size =
                    units::bytes(value).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| wrong("a size, such as 8M"))?
            }
            "parallel" => self.parallel = value.parse().map_err(|_| wrong("a number of at least 1"))?,
            _ => {
                return Err(PersistError::new(ErrorCode::InvalidArgument, format!("the S3 option '{name}' is not known"))
                    .hint(format!("use one of {}", S3_OPTIONS.map(|option| option.name).join(", "))));
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

    /// Checks the values against the limits of S3 and against each other.
    ///
    /// # Errors
    /// `Configuration` that names the option.
    pub fn validate(&self) -> Result<()> {
        let problem = if self.part_size < MIN_PART_SIZE || self.part_size > 5 << 30 {
            "part-size must be 5 MiB to 5 GiB"
        } else if self.parallel.get() > MAX_PARALLEL {
            "parallel must be 1 to 64"
        } else if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            "timeouts must be longer than 0 seconds"
        } else if self.accelerate && self.addressing == Some(S3Addressing::Path) {
            "accelerate requires virtual addressing"
        } else if self.tags.len() > MAX_TAGS {
            "at most 10 tags are allowed"
        } else if self.tags.iter().any(|(name, value)| name.is_empty() || name.chars().count() > 128 || value.chars().count() > 256) {
            "a tag name must have 1 to 128 characters, and its value at most 256"
        } else if !self.metadata.iter().all(|(name, value)| is_metadata(name, value)) {
            "metadata names must contain only letters, digits, hyphens, dots and underscores, and values only printable ASCII"
        } else if self.metadata.keys().any(|name| name.eq_ignore_ascii_case(WRITE_ID)) {
            "the metadata name persist-write is reserved"
        } else if self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_METADATA_BYTES {
            "at most 2,000 bytes of metadata are allowed"
        } else {
            return Ok(());
        };
        Err(PersistError::new(ErrorCode::InvalidArgument, format!("the S3 options are not valid: {problem}"))
            .hint("change the option --s3-… or the variable PERSIST_S3_…; docs/s3.md lists them"))
    }
}

/// Returns whether S3 accepts this as `x-amz-meta-name: value`.
pub(super) fn is_metadata(name: &str, value: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.bytes().all(in_name) && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Parses `a=1,b=2`.
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let pair =
        |pair: &str| pair.split_once('=').filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split(',').map(pair).collect()
}
