//! The adapter for a bucket, and how it runs requests.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_types::SdkConfig;
use persist_model::{ErrorCode, PersistError, Result};

use crate::cancel::CancelToken;
use crate::storage::s3::connection::Connection;
use crate::storage::s3::error::Failure;
use crate::storage::s3::options::S3Options;

/// Stores objects in a bucket of Amazon S3 or of a server that speaks its protocol.
///
/// Credentials and region are found the way every AWS tool finds them when they are first needed.
/// Requests are retried after temporary failures, up to [`S3Options::max_attempts`].
/// Objects larger than [`S3Options::part_size`] are uploaded in parts, several at once;
/// a write that fails or is dropped leaves no parts behind. The server enforces
/// conditions. A server that ignores them is detected, and the condition is refused
/// with `Unsupported`.
///
/// Clones share connections and what was learned about the bucket. Requests run on the
/// adapter's own threads, so it can be used on any thread, including one that runs
/// async tasks (which it blocks).
#[derive(Clone)]
pub struct S3StorageAdapter {
    pub(super) connection: Arc<Connection>,
    pub(super) cancel: CancelToken,
}

impl fmt::Debug for S3StorageAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl S3StorageAdapter {
    /// Returns a storage for a bucket, without any request yet. If no region or
    /// endpoint is given, they are found the way every AWS tool finds them.
    ///
    /// # Errors
    /// `Configuration` for options that are not valid.
    pub fn new(bucket: impl Into<String>, region: Option<&str>, endpoint: Option<&str>, options: S3Options) -> Result<Self> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let connection = Connection::new(bucket.into(), owned(region), owned(endpoint), options)?;
        Ok(Self { connection: Arc::new(connection), cancel: CancelToken::new() })
    }

    /// Returns a storage for a bucket that a program reaches with its own configuration: its region,
    /// its endpoint, and its credentials or what provides them. The client for HTTP, timeouts and
    /// retries are those of this storage. `options` must have neither credentials nor a profile.
    ///
    /// # Errors
    /// `Configuration` for options that are not valid.
    pub fn with_config(bucket: impl Into<String>, config: &SdkConfig, options: S3Options) -> Result<Self> {
        if options.credentials.is_some() || options.profile.is_some() {
            let error = PersistError::new(
                ErrorCode::InvalidArgument,
                "the options contain credentials or a profile, although an AWS configuration is given",
            );
            return Err(error.hint("put them into the configuration"));
        }
        let connection = Connection::new(bucket.into(), None, None, options)?.with_config(config.clone());
        Ok(Self { connection: Arc::new(connection), cancel: CancelToken::new() })
    }

    /// Runs requests for a key and waits for them.
    pub(super) fn run<T, F>(&self, key: &str, work: impl FnOnce(Arc<Connection>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.cancel.check()?;
        let done = self.connection.start(work(Arc::clone(&self.connection))).and_then(|work| work.wait(&self.cancel));
        done.and_then(|done| done.map_err(|failure| failure.error)).map_err(|error| error.at(self.connection.locate(key)))
    }

    /// Runs requests that delete something and waits for them. After a cancellation, it
    /// waits a little longer to report their outcome.
    pub(super) fn change<T, F>(&self, key: &str, work: impl FnOnce(Arc<Connection>, Arc<AtomicBool>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.cancel.check()?;
        let begun = Arc::<AtomicBool>::default();
        let work = self.connection.start(work(Arc::clone(&self.connection), Arc::clone(&begun)));
        let done =
            work.and_then(|work| work.wait_for_change(&self.cancel, "it is not known whether the object was deleted", &begun, false));
        done.map_err(|error| error.at(self.connection.locate(key)))
    }
}
