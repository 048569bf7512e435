//! One suite for every storage: it fulfils the contract, or says what it does not
//! support.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[macro_use]
mod storage_suite;

use std::any::Any;
use std::sync::Arc;

use persist_host::{LocalFileStorage, MemoryStorage, StorageBackend};
use persist_test_support::moto::Moto;
use persist_test_support::proxy::Proxy;
use persist_test_support::server::Server;
use persist_test_support::wasi_storage;
use storage_suite::Storage;

/// An empty storage, and what has to live as long as the storage.
type Fresh = (Storage, Box<dyn Any>);

fn local() -> Fresh {
    let folder = tempfile::tempdir().expect("a folder");
    // It does not exist yet: the first write creates it.
    (Arc::new(LocalFileStorage::new(folder.path().join("root/of/all"))), Box::new(folder))
}

fn memory() -> Fresh {
    (Arc::new(MemoryStorage::new()), Box::new(()))
}

fn s3() -> Fresh {
    let server = Server::start();
    (Arc::new(server.adapter()), Box::new(server))
}

/// The same storage through TLS.
fn s3_tls() -> Fresh {
    persist_test_support::tls::trust();
    let server = Server::start();
    let proxy = Proxy::start_tls(server.address);
    (Arc::new(persist_test_support::server::adapter(&proxy.endpoint())), Box::new((server, proxy)))
}

/// Another server, which does not check signatures but takes keys of any length.
fn moto() -> Fresh {
    let moto = Moto::start();
    (Arc::new(moto.adapter()), Box::new(moto))
}

macro_rules! conformance {
    ($($check:ident),* $(,)?) => {
        mod moto { $(#[test] fn $check() { let (storage, _server) = super::moto(); super::storage_suite::$check(&storage); })* }
        mod local { $(#[test] fn $check() { let (storage, _folder) = super::local(); super::storage_suite::$check(&storage); })* }
        // A component in a host that only knows WASI.
        mod wasi { $(#[test] fn $check() { let (storage, _folder) = super::wasi_storage::fresh(); super::storage_suite::$check(&storage); })* }
        mod memory { $(#[test] fn $check() { let (storage, _folder) = super::memory(); super::storage_suite::$check(&storage); })* }
    };
}

/// This server stores objects in files whose names limit the length of keys.
macro_rules! without_the_longest_key {
    (the_longest_key_is_kept, $($check:ident),* $(,)?) => {
        mod s3 { $(#[test] fn $check() { let (storage, _server) = super::s3(); super::storage_suite::$check(&storage); })* }
        mod s3_tls { $(#[test] fn $check() { let (storage, _server) = super::s3_tls(); super::storage_suite::$check(&storage); })* }
    };
}

for_each_check!(conformance);

/// Runs a check on each storage whose objects are files, with the folder of its keys.
#[cfg(unix)]
fn in_a_folder(check: fn(&Storage, &std::path::Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(&(Arc::new(LocalFileStorage::new(folder.path())) as Storage), folder.path());
    let folder = tempfile::tempdir().expect("a folder");
    check(&wasi_storage::below(folder.path()), &folder.path().join(wasi_storage::ROOT));
}

#[cfg(unix)]
#[test]
fn entries_that_are_not_files_are_not_listed() {
    in_a_folder(storage_suite::files::entries_that_are_not_files_are_not_listed);
}

#[cfg(unix)]
#[test]
fn names_that_are_not_keys_are_listed_as_unreadable() {
    in_a_folder(storage_suite::files::names_that_are_not_keys_are_listed_as_unreadable);
}

#[cfg(unix)]
#[test]
fn pages_are_complete_beside_names_that_are_not_utf8() {
    in_a_folder(storage_suite::files::pages_are_complete_beside_names_that_are_not_utf8);
}

#[cfg(unix)]
#[test]
fn a_key_that_cannot_be_checked_is_not_reported_as_missing() {
    in_a_folder(storage_suite::files::a_key_that_cannot_be_checked_is_not_reported_as_missing);
}

#[cfg(unix)]
#[test]
fn a_listing_is_complete_while_others_save() {
    in_a_folder(storage_suite::files::a_listing_is_complete_while_others_save);
}

for_each_check!(without_the_longest_key);

/// A new backend has to be listed here and above.
#[test]
fn every_backend_is_tested() {
    for backend in [StorageBackend::Local, StorageBackend::S3, StorageBackend::Memory] {
        match backend {
            StorageBackend::Local => drop(local()),
            StorageBackend::Memory => drop(memory()),
            StorageBackend::S3 => drop(s3()),
        }
    }
}
