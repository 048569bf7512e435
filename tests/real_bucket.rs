//! The suites of storage and commands against a real bucket, with the credentials of the
//! user who runs them. `cargo test` does not run them; `RUN_S3_TESTS=1
//! TEST_S3_BUCKET=name cargo xtask test` does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod place_suite;
#[macro_use]
#[expect(dead_code, reason = "some checks are for folders alone, and the longest key does not fit below a prefix")]
mod storage_suite;

use std::process::Command;
use std::sync::Arc;

use persist_host::{
    Capabilities, ObjectInfo, Precondition, ReadOptions, Result, S3Options, S3StorageAdapter, StorageAdapter, StorageReader, StorageWriter,
    WriteOptions,
};
use persist_test_support::command::command_path;
use place_suite::{Place, every_command_works};
use storage_suite::Storage;

/// A part of a bucket that no other test uses. It is emptied when it is dropped.
#[derive(Debug)]
struct Part {
    bucket: S3StorageAdapter,
    prefix: String,
}

impl Part {
    fn new(name: &str) -> Self {
        let bucket = std::env::var("TEST_S3_BUCKET").expect("TEST_S3_BUCKET names the bucket");
        let bucket = S3StorageAdapter::new(bucket, None, None, S3Options::default()).expect("the options are valid");
        Self { bucket, prefix: format!("persist-tests/{}-{name}/", std::process::id()) }
    }

    fn full(&self, key: &str) -> String {
        // An invalid key must not become valid by the prefix.
        if key.is_empty() || key.starts_with('/') { key.to_owned() } else { format!("{}{key}", self.prefix) }
    }

    fn own(&self, info: ObjectInfo) -> ObjectInfo {
        let key = info.key.strip_prefix(&self.prefix).unwrap_or(&info.key).to_owned();
        info.key(key)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        for info in self.bucket.list_objects(&self.prefix, None, 1000).unwrap_or_default() {
            let _ = self.bucket.delete_object(&info.key, Precondition::None);
        }
    }
}

struct Writer(Box<dyn StorageWriter>, String);
struct Reader(Box<dyn StorageReader>, ObjectInfo);

impl StorageWriter for Writer {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.0.write(chunk)
    }

    fn commit(self: Box<Self>) -> Result<ObjectInfo> {
        Ok(self.0.commit()?.key(self.1))
    }
}

impl StorageReader for Reader {
    fn info(&self) -> &ObjectInfo {
        &self.1
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        self.0.read(max)
    }
}

impl StorageAdapter for Part {
    fn summary(&self) -> String {
        self.bucket.summary()
    }

    fn locate(&self, key: &str) -> String {
        self.bucket.locate(&format!("{}{key}", self.prefix))
    }

    fn capabilities(&self) -> Capabilities {
        self.bucket.capabilities()
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        Ok(Box::new(Writer(self.bucket.open_write(&self.full(key), options)?, key.to_owned())))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        let reader = self.bucket.open_read(&self.full(key), options)?;
        let info = self.own(reader.info().clone());
        Ok(Box::new(Reader(reader, info)))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        self.bucket.stat(&self.full(key)).map(|info| self.own(info))
    }

    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()> {
        self.bucket.delete_object(&self.full(key), precondition)
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let start_after = start_after.map(|key| format!("{}{key}", self.prefix));
        let found = self.bucket.list_objects(&format!("{}{prefix}", self.prefix), start_after.as_deref(), limit)?;
        Ok(found.into_iter().map(|info| self.own(info)).collect())
    }
}

/// Omits the check of the longest key, which does not fit below a prefix.
macro_rules! conformance {
    (the_longest_key_is_kept, $($check:ident),* $(,)?) => {
        $(#[test] fn $check() { let storage: Storage = Arc::new(Part::new(stringify!($check))); storage_suite::$check(&storage); })*
    };
}

for_each_check!(conformance);

#[test]
fn every_command() {
    let part = Part::new("commands");
    let at = part.locate("").trim_end_matches('/').to_owned();
    // With the user's environment, unlike in the other tests.
    let command = || Command::new(command_path());
    every_command_works(&Place { at, folder: tempfile::tempdir().expect("a folder"), command: &command, storage: &part });
}
