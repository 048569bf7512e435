//! One suite for every storage: it keeps the contract, or says what it can't.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[macro_use]
mod storage_suite;
mod support;
#[path = "support/wasi_storage.rs"]
mod wasi_storage;

use std::any::Any;
use std::sync::Arc;

use persist_host::{LocalFileStorage, MemoryStorage, StorageBackend};
use storage_suite::Storage;
use support::moto::Moto;
use support::proxy::Proxy;
use support::server::Server;

/// An empty storage, and what has to live as long as it.
type Fresh = (Storage, Box<dyn Any>);

fn local() -> Fresh {
    let folder = tempfile::tempdir().expect("a folder");
    // Not there yet: the first write makes it.
    (Arc::new(LocalFileStorage::new(folder.path().join("root/of/all"))), Box::new(folder))
}

fn memory() -> Fresh {
    (Arc::new(MemoryStorage::new()), Box::new(()))
}

fn s3() -> Fresh {
    let server = Server::start();
    (Arc::new(server.adapter()), Box::new(server))
}

/// The same, spoken to through TLS.
fn s3_tls() -> Fresh {
    support::tls::trust();
    let server = Server::start();
    let proxy = Proxy::start_tls(server.address);
    (Arc::new(support::server::adapter(&proxy.endpoint())), Box::new((server, proxy)))
}

/// The other server: it has no signatures, but keys of any length.
fn moto() -> Fresh {
    let moto = Moto::start();
    (Arc::new(moto.adapter()), Box::new(moto))
}

macro_rules! conformance {
    ($($check:ident),* $(,)?) => {
        mod moto { $(#[test] fn $check() { let (storage, _server) = super::moto(); super::storage_suite::$check(&storage); })* }
        mod local { $(#[test] fn $check() { let (storage, _folder) = super::local(); super::storage_suite::$check(&storage); })* }
        // Not ours: a component, in a host that knows WASI alone.
        mod wasi { $(#[test] fn $check() { let (storage, _folder) = super::wasi_storage::fresh(); super::storage_suite::$check(&storage); })* }
        mod memory { $(#[test] fn $check() { let (storage, _folder) = super::memory(); super::storage_suite::$check(&storage); })* }
    };
}

/// This one's files have names that its keys have to fit in.
macro_rules! without_the_longest_key {
    (the_longest_key_is_kept, $($check:ident),* $(,)?) => {
        mod s3 { $(#[test] fn $check() { let (storage, _server) = super::s3(); super::storage_suite::$check(&storage); })* }
        mod s3_tls { $(#[test] fn $check() { let (storage, _server) = super::s3_tls(); super::storage_suite::$check(&storage); })* }
    };
}

for_each_check!(conformance);

/// The storages of files, each with the folder that its keys are below.
#[cfg(unix)]
fn in_a_folder(check: fn(&Storage, &std::path::Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    check(&(Arc::new(LocalFileStorage::new(folder.path())) as Storage), folder.path());
    let folder = tempfile::tempdir().expect("a folder");
    check(&wasi_storage::below(folder.path()), &folder.path().join(wasi_storage::ROOT));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_left_out() {
    in_a_folder(storage_suite::files::what_is_no_file_is_left_out);
}

#[cfg(unix)]
#[test]
fn what_can_be_no_key_is_an_entry_that_can_not_be_read() {
    in_a_folder(storage_suite::files::what_can_be_no_key_is_an_entry_that_can_not_be_read);
}

#[cfg(unix)]
#[test]
fn pages_have_every_name_beside_one_that_is_not_utf8() {
    in_a_folder(storage_suite::files::pages_have_every_name_beside_one_that_is_not_utf8);
}

#[cfg(unix)]
#[test]
fn what_can_not_be_told_is_no_absence() {
    in_a_folder(storage_suite::files::what_can_not_be_told_is_no_absence);
}

#[cfg(unix)]
#[test]
fn a_listing_has_all_while_others_save() {
    in_a_folder(storage_suite::files::a_listing_has_all_while_others_save);
}

for_each_check!(without_the_longest_key);

/// A backend that is added has to be listed here, and above.
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
