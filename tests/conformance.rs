//! One suite for every storage: it keeps the contract, or says what it can't.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod storage_suite;

use std::sync::Arc;

use persist_host::{ErrorCode, LocalFileStorage, MemoryStorage, StorageBackend, StorageConfig};
use storage_suite::Storage;
use tempfile::TempDir;

/// An empty storage, and what has to live as long as it.
type Fresh = (Storage, Option<TempDir>);

fn local() -> Fresh {
    let folder = tempfile::tempdir().expect("a folder");
    // Not there yet: the first write makes it.
    (Arc::new(LocalFileStorage::new(folder.path().join("root/of/all"))), Some(folder))
}

fn memory() -> Fresh {
    (Arc::new(MemoryStorage::new()), None)
}

macro_rules! conformance {
    ($($check:ident),* $(,)?) => {
        mod local { $(#[test] fn $check() { let (storage, _folder) = super::local(); super::storage_suite::$check(&storage); })* }
        mod memory { $(#[test] fn $check() { let (storage, _folder) = super::memory(); super::storage_suite::$check(&storage); })* }
    };
}

conformance! {
    what_is_written_is_read,
    a_range_is_cut_at_the_end,
    a_missing_object_is_not_found,
    a_dropped_writer_leaves_nothing,
    a_reader_reads_one_version,
    if_absent_is_kept_or_refused,
    if_match_is_kept_or_refused,
    a_deleted_object_is_gone,
    a_listing_is_in_the_order_of_bytes_and_pages,
    a_hostile_key_is_refused_everywhere,
    an_unusual_key_is_kept_as_it_is,
    many_writers_of_one_key_leave_a_whole_object,
    the_conveniences_work_on_locations,
    messages_name_the_place,
}

/// A backend that is added has to be listed here, and above.
#[test]
fn every_backend_is_tested() {
    for backend in [StorageBackend::Local, StorageBackend::S3, StorageBackend::Memory] {
        match backend {
            StorageBackend::Local => drop(local()),
            StorageBackend::Memory => drop(memory()),
            StorageBackend::S3 => {
                let location = "s3://bucket/key".parse().expect("a location");
                let refused = StorageConfig::s3("bucket").open(&location).expect_err("not built in yet");
                assert_eq!(refused.code(), ErrorCode::Unsupported);
            }
        }
    }
}
