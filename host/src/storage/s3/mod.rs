//! Objects in an S3-compatible bucket.

mod client;
mod conditions;
mod error;
mod health;
mod known;
mod list;
mod options;
mod read;
mod retry;
mod transport;
mod window;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use self::client::Connection;
use self::conditions::{Request, headers, is_refusal};
use self::error::{Doubt, Failure};
pub(crate) use self::options::OPTION_NAMES;
pub use self::options::{S3Addressing, S3Checksums, S3Credentials, S3Encryption, S3Options};
use self::read::S3Reader;
use self::transport::noting;
use self::write::S3Writer;
use crate::cancel::CancelToken;
use crate::error::{ErrorCode, PersistError, Result};
use crate::health::HealthCheck;
use crate::key::{check_file_key, check_key};
use crate::storage::{
    Capabilities, DeleteFailure, LevelEntry, Listing, ObjectInfo, Precondition, ReadAnswer, ReadOptions, ReadRequest, StorageAdapter,
    StorageReader, StorageWriter, WriteOptions, delete_if_absent,
};

/// Small operations at once that a bucket is asked for by who has many: each
/// waits for the network most of its time.
const REQUESTS: usize = 16;

/// Objects in a bucket of Amazon S3 or of a server that speaks its protocol.
///
/// Credentials and region are found as by every AWS tool, when they are first
/// needed. Requests are sent again after what passes by itself, up to
/// [`S3Options::max_attempts`]. Objects above [`S3Options::part_size`] go in
/// parts, several at once; a write that fails or is dropped leaves no part
/// behind. Conditions are kept by the server; one that ignores them is found
/// out and refused with `Unsupported`.
///
/// Clones share connections and what was learnt of the bucket. Requests run on
/// threads of the adapter's own, so that it can be used on any thread, also on
/// one that runs async tasks (which it blocks).
#[derive(Clone)]
pub struct S3StorageAdapter {
    connection: Arc<Connection>,
    cancel: CancelToken,
}

impl fmt::Debug for S3StorageAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}

impl S3StorageAdapter {
    /// The objects in a bucket; nothing is asked of the network yet. Region and
    /// endpoint are found as by every AWS tool where none is given.
    ///
    /// # Errors
    /// `Configuration` for options that are not valid.
    pub fn new(bucket: impl Into<String>, region: Option<&str>, endpoint: Option<&str>, options: S3Options) -> Result<Self> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let connection = Connection::new(bucket.into(), owned(region), owned(endpoint), options)?;
        Ok(Self { connection: Arc::new(connection), cancel: CancelToken::new() })
    }

    /// Runs requests for a key, and waits for them.
    fn run<T, F>(&self, key: &str, work: impl FnOnce(Arc<Connection>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.cancel.check()?;
        let done = self.connection.start(work(Arc::clone(&self.connection))).and_then(|work| work.wait(&self.cancel));
        done.and_then(|done| done.map_err(|failure| failure.error)).map_err(|error| error.at(self.connection.locate(key)))
    }
}

impl S3StorageAdapter {
    /// Runs requests that delete something, and waits for them; also a little longer
    /// than until it is cancelled, to say what they came to.
    fn change<T, F>(&self, key: &str, work: impl FnOnce(Arc<Connection>, Arc<AtomicBool>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.cancel.check()?;
        let begun = Arc::<AtomicBool>::default();
        let work = self.connection.start(work(Arc::clone(&self.connection), Arc::clone(&begun)));
        let done = work.and_then(|work| work.wait_for_change(&self.cancel, "whether it was deleted is not known", &begun, false));
        done.map_err(|error| error.at(self.connection.locate(key)))
    }
}

impl StorageAdapter for S3StorageAdapter {
    fn summary(&self) -> String {
        format!("objects in the bucket {}", self.connection.bucket)
    }

    fn locate(&self, key: &str) -> String {
        self.connection.locate(key)
    }

    /// What S3 keeps, without asking: a server that turns out to ignore a
    /// condition is refused when it is first used.
    fn capabilities(&self) -> Capabilities {
        let is_ignored = |if_match| self.connection.known().is_some_and(|known| known.is_ignored(if_match));
        Capabilities {
            if_absent: !is_ignored(false),
            if_match: !is_ignored(true),
            copy_range: true,
            content_type: true,
            attributes: true,
            // The answers have it, but the SDK does not give it out.
            storage_time: false,
        }
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        // As on files, where a snapshot with the name of an unfinished write could not
        // be copied to. What another client has stored can be read and deleted.
        check_file_key(key)?;
        self.cancel.check()?;
        Ok(Box::new(S3Writer::new(&self.connection, &self.cancel, key, options)?))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        check_key(key)?;
        self.cancel.check()?;
        Ok(Box::new(S3Reader::open(&self.connection, &self.cancel, key, options)?))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        check_key(key)?;
        let owned = key.to_owned();
        self.run(key, |connection| async move { connection.stat(&owned).await })
    }

    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()> {
        check_key(key)?;
        if precondition == Precondition::IfAbsent {
            return Err(delete_if_absent().at(self.locate(key)));
        }
        let owned = key.to_owned();
        self.change(key, |connection, begun| async move { connection.delete(&owned, &precondition, &begun).await })
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let (owned, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.run(prefix, |connection| async move { connection.list(&owned, start_after, limit).await })
    }

    fn read_many(&self, requests: &[ReadRequest]) -> Result<Vec<Result<ReadAnswer>>> {
        let mut under_way = Vec::with_capacity(requests.len());
        for request in requests {
            under_way.push(match check_key(&request.key) {
                Ok(()) => Ok(self.connection.start(read::read_in_window(Arc::clone(&self.connection), request.clone()))?),
                Err(error) => Err(error),
            });
        }
        let answers = under_way.into_iter().zip(requests).map(|(read, request)| {
            let answer = match read {
                Ok(work) => work.wait(&self.cancel)?.map_err(|failure| failure.error.at(self.connection.locate(&request.key))),
                Err(error) => Err(error),
            };
            Ok(answer)
        });
        answers.collect()
    }

    fn delete_many(&self, keys: &[String]) -> Result<Vec<DeleteFailure>> {
        let mut failures = Vec::new();
        let mut good = Vec::new();
        for key in keys {
            match check_key(key) {
                Ok(()) => good.push(key.clone()),
                Err(error) => failures.push(DeleteFailure { key: key.clone(), error }),
            }
        }
        if !good.is_empty() {
            let deleted = self.change("", |connection, begun| async move { noting(&begun, connection.delete_many(good)).await })?;
            failures.extend(deleted.into_iter().map(|failure| {
                let error = failure.error.at(self.connection.locate(&failure.key));
                DeleteFailure { error, ..failure }
            }));
        }
        Ok(failures)
    }

    fn list_level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
        let (owned, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.run(prefix, |connection| async move { connection.list_level(&owned, start_after, limit).await })
    }

    fn walk(&self, prefix: &str, start_after: Option<&str>) -> Option<Listing> {
        let storage = Self { connection: Arc::clone(&self.connection), cancel: self.cancel.clone() };
        Some(list::walk(storage, prefix, start_after))
    }

    fn with_cancel(&self, cancel: &CancelToken) -> Option<Arc<dyn StorageAdapter>> {
        Some(Arc::new(Self { connection: Arc::clone(&self.connection), cancel: cancel.clone() }))
    }

    fn identity(&self) -> Option<String> {
        Some(self.connection.identity())
    }

    fn parallelism(&self) -> usize {
        REQUESTS
    }

    /// The parts in flight, and the one that is being filled or given out.
    fn buffered(&self, object_size: u64) -> u64 {
        let options = &self.connection.options;
        let part = write::part_size(options.part_size, Some(object_size)) as u64;
        object_size.min(part.saturating_mul(options.parallel.get() as u64 + 1))
    }

    fn access_checks(&self, prefix: &str) -> Vec<HealthCheck> {
        self.checks(prefix)
    }
}

impl Connection {
    /// The facts of an object.
    async fn stat(&self, key: &str) -> Result<ObjectInfo, Failure> {
        let head = |client: Client| client.head_object().bucket(&self.bucket).key(key).send();
        match self.request("HeadObject", 0, head).await {
            Ok(found) => {
                let info = object_info(key, found.content_length(), found.e_tag(), found.last_modified())?;
                Ok(with_headers(info, found.content_type(), found.metadata()))
            }
            // The answer to a HEAD has no words. A GET of a byte has: is it the
            // key or the bucket that is missing, the permission or the region?
            Err(failure) if failure.is_unexplained() => {
                let get = |client: Client| client.get_object().bucket(&self.bucket).key(key).range("bytes=0-0").send();
                match self.request("GetObject", 0, get).await {
                    // It has come since, or HEAD alone is not allowed.
                    Ok(found) => read::answer_info(key, &found).map(|(info, ..)| info),
                    // It has come, and is empty.
                    Err(explained) if explained.status == 416 => {
                        Err(Failure::bad_answer("the service contradicts itself about the object"))
                    }
                    Err(explained) => Err(explained),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Deletes an object that is there: S3 itself does not say whether one was.
    async fn delete(self: Arc<Self>, key: &str, precondition: &Precondition, begun: &Arc<AtomicBool>) -> Result<(), Failure> {
        let found = self.stat(key).await?;
        if let Precondition::IfMatch(etag) = precondition
            && found.etag.as_deref() != Some(unquoted(etag))
        {
            return Err(PersistError::new(ErrorCode::PreconditionFailed, "the object is not the one expected")
                .hint("look at what is there now ('persist show --json' gives its etag), and decide anew")
                .into());
        }
        self.require(Request::Delete, precondition, key).await?;
        let (if_match, _) = headers(precondition);
        let delete = |client: Client| client.delete_object().bucket(&self.bucket).key(key).set_if_match(if_match.clone()).send();
        let failure = match noting(begun, self.request("DeleteObject", 0, delete)).await {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        let is_refused = *precondition != Precondition::None && is_refusal(&failure);
        if failure.doubt == Doubt::None && !is_refused {
            return Err(failure);
        }
        // The answer was lost, or an attempt before this one was carried out.
        match self.stat(key).await {
            Err(gone) if gone.error.code() == ErrorCode::NotFound && failure.doubt > Doubt::None => Ok(()),
            Err(gone) if gone.error.code() == ErrorCode::NotFound => Err(gone),
            Err(unknown) => {
                let what = "whether the object was deleted is not known: the answer was lost, and the service can't be asked";
                Err(unknown.outcome_unknown(what))
            }
            // What was not heard of may come yet; or it was carried out, and this
            // is another object.
            Ok(_) if failure.doubt == Doubt::Open => {
                Err(failure.outcome_unknown("whether the object was deleted is not known: the answer was lost"))
            }
            Ok(_) => Err(failure),
        }
    }

    /// Deletes objects, at most 1000, in one request. Gives those that could not
    /// be deleted; S3 does not say which were not there.
    async fn delete_many(self: Arc<Self>, keys: Vec<String>) -> Result<Vec<DeleteFailure>, Failure> {
        let named = |key: &String| ObjectIdentifier::builder().key(key).build();
        let objects = keys.iter().map(named).collect::<Result<Vec<_>, _>>();
        let delete = objects.and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build());
        let delete = delete.map_err(|error| PersistError::new(ErrorCode::Other, format!("the request could not be made: {error}")))?;
        let send = |client: Client| client.delete_objects().bucket(&self.bucket).delete(delete.clone()).send();
        let answer = match self.request("DeleteObjects", 0, send).await {
            // Not every service has it.
            Err(failure) if failure.error.code() == ErrorCode::Unsupported => return self.delete_each(keys).await,
            // Some may be deleted; missing ones are ignored when it is done again.
            Err(failure) if failure.doubt > Doubt::None => return Err(failure.outcome_unknown("which objects were deleted is not known")),
            answer => answer?,
        };
        let region = self.service().await?.region.as_str();
        let target = error::Target { bucket: &self.bucket, region };
        let failed = answer.errors().iter().filter(|failed| !matches!(failed.code(), Some("NoSuchKey" | "NoSuchVersion")));
        let failure = |failed: &aws_sdk_s3::types::Error| DeleteFailure {
            key: failed.key().unwrap_or_default().to_owned(),
            error: error::of_object(failed.code().unwrap_or_default(), failed.message().unwrap_or_default(), &target),
        };
        Ok(failed.map(failure).collect())
    }

    async fn delete_each(self: Arc<Self>, keys: Vec<String>) -> Result<Vec<DeleteFailure>, Failure> {
        let mut failures = Vec::new();
        for key in keys {
            let delete = |client: Client| client.delete_object().bucket(&self.bucket).key(&key).send();
            match self.request("DeleteObject", 0, delete).await {
                Err(failure) if failure.error.code() != ErrorCode::NotFound => failures.push(DeleteFailure { key, error: failure.error }),
                _ => {}
            }
        }
        Ok(failures)
    }
}

/// An etag as users see it.
fn unquoted(etag: &str) -> &str {
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

/// An etag as headers have it.
fn quoted(etag: &str) -> String {
    format!("\"{}\"", unquoted(etag))
}

/// The facts of an object from an answer, which has to hold them.
fn object_info(key: &str, size: Option<i64>, etag: Option<&str>, modified: Option<&DateTime>) -> Result<ObjectInfo, Failure> {
    let info = listed_info(key, size, etag, modified)?;
    if info.etag.is_some() { Ok(info) } else { Err(Failure::bad_answer("the answer lacks the object's etag")) }
}

/// The facts with what else the headers of an answer have; the id of a write is
/// the adapter's own.
fn with_headers(info: ObjectInfo, content_type: Option<&str>, metadata: Option<&HashMap<String, String>>) -> ObjectInfo {
    let own = metadata.into_iter().flatten().filter(|(name, _)| *name != options::WRITE_ID);
    let mut attributes: Vec<_> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    attributes.sort_unstable();
    ObjectInfo { content_type: content_type.map(str::to_owned), attributes, ..info }
}

/// The same from a listing, in which not every server gives an etag.
fn listed_info(key: &str, size: Option<i64>, etag: Option<&str>, modified: Option<&DateTime>) -> Result<ObjectInfo, Failure> {
    let size = size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| Failure::bad_answer("the answer lacks the object's size"))?;
    Ok(ObjectInfo {
        key: key.to_owned(),
        size,
        etag: etag.map(|etag| unquoted(etag).to_owned()),
        // Whole seconds: headers have no more, listings do.
        modified: modified.and_then(|modified| u64::try_from(modified.secs()).ok()).map(|seconds| seconds * 1000),
        ..ObjectInfo::default()
    })
}
