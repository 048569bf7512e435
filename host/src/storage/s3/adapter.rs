//! A bucket as a storage.

use std::sync::Arc;

use persist_model::{Precondition, Result};
use persist_paths::key::{check_file_key, check_key};

use crate::cancel::CancelToken;
use crate::storage::s3::bucket::S3StorageAdapter;
use crate::storage::s3::read::{self, S3Reader};
use crate::storage::s3::transport::noting;
use crate::storage::s3::write::S3Writer;
use crate::storage::s3::{health, list, parts};
use crate::storage::{
    Capabilities, DeleteFailure, HealthCheck, LevelEntry, Listing, ObjectInfo, ReadAnswer, ReadOptions, ReadRequest, StorageAdapter,
    StorageReader, StorageWriter, WriteOptions, delete_if_absent,
};

/// How many small operations to send to a bucket at once. Each of them mostly waits for
/// the network.
const REQUESTS: usize = 16;

impl StorageAdapter for S3StorageAdapter {
    fn summary(&self) -> String {
        format!("objects in the bucket {}", self.connection.bucket)
    }

    fn locate(&self, key: &str) -> String {
        self.connection.locate(key)
    }

    /// Returns what S3 itself supports, without asking the service. If a server turns
    /// out to ignore a condition, the condition is refused when it is first used.
    fn capabilities(&self) -> Capabilities {
        let one_writer = self.connection.options.one_writer;
        let is_ignored = |if_match| !one_writer && self.connection.known().is_some_and(|known| known.is_ignored(if_match));
        Capabilities {
            if_absent: !is_ignored(false),
            if_match: !is_ignored(true),
            copy_range: true,
            content_type: true,
            attributes: true,
            storage_time: true,
        }
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        // As for files: otherwise, a snapshot with the name of an unfinished write
        // could not be copied to a folder. Objects with such names from other clients
        // can be read and deleted.
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

    /// Counts the parts in flight, and the one being filled or returned.
    fn buffered(&self, object_size: u64) -> u64 {
        let options = &self.connection.options;
        let part = parts::part_size(options.part_size, Some(object_size)) as u64;
        object_size.min(part.saturating_mul(options.parallel.get() as u64 + 1))
    }

    fn access_checks(&self, prefix: &str) -> Vec<HealthCheck> {
        health::checks(self, prefix)
    }
}
