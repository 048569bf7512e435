//! What the component `storage-fs` asks of a host's file system, and that it shares a
//! folder with the native host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use persist_host::{ErrorCode, LocalFileStorage, Precondition, ReadOptions, Result, StorageAdapter, WriteOptions};
use persist_test_support::wasi_storage::{LINK, Os, RENAME, ROOT, SYNC_FILE, SYNC_FOLDER, WasiStorage};

fn write_if(storage: &impl StorageAdapter, key: &str, bytes: &[u8], precondition: Precondition) -> Result<()> {
    let mut writer = storage.open_write(key, WriteOptions::default().precondition(precondition))?;
    writer.write(bytes)?;
    writer.commit().map(drop)
}

fn write(storage: &impl StorageAdapter, key: &str, bytes: &[u8]) -> Result<()> {
    write_if(storage, key, bytes, Precondition::None)
}

#[test]
fn a_write_is_synced_before_and_after_the_rename() {
    let folder = tempfile::tempdir().unwrap();
    let storage = WasiStorage::new(folder.path());
    write(&storage, "a/b/x", b"1").unwrap();
    // The folders new, folder, a and b, each synced in its parent.
    let made = [[SYNC_FOLDER; 4].as_slice(), &[SYNC_FILE, RENAME, SYNC_FOLDER]].concat();
    assert_eq!(storage.take_calls(), made);
    write(&storage, "a/b/x", b"2").unwrap();
    assert_eq!(storage.take_calls(), [SYNC_FILE, RENAME, SYNC_FOLDER]);
    write_if(&storage, "a/b/y", b"1", Precondition::IfAbsent).unwrap();
    assert_eq!(storage.take_calls(), [SYNC_FILE, LINK, SYNC_FOLDER]);
    storage.delete_object("a/b/y", Precondition::None).unwrap();
    assert_eq!(storage.take_calls(), [SYNC_FOLDER]);
}

#[test]
fn a_failed_sync_stores_nothing_and_is_not_retried() {
    let folder = tempfile::tempdir().unwrap();
    let storage = WasiStorage::new(folder.path());
    write(&storage, "x", b"before").unwrap();
    for (call, os, code) in [(SYNC_FILE, Os::Io, ErrorCode::Io), (RENAME, Os::InsufficientSpace, ErrorCode::NoSpace)] {
        storage.take_calls();
        storage.inject(Some((call, os)));
        assert_eq!(write(&storage, "x", b"after").expect_err("it fails").code(), code);
        assert_eq!(storage.take_calls().iter().filter(|made| **made == call).count(), 1);
        assert_eq!(persist_test_support::command::files(&folder.path().join(ROOT)), ["x"], "nothing unfinished is left");
        assert_eq!(fs::read(folder.path().join(ROOT).join("x")).unwrap(), b"before");
    }
}

#[test]
fn a_failed_folder_sync_is_reported_unless_unsupported() {
    let folder = tempfile::tempdir().unwrap();
    let storage = WasiStorage::new(folder.path());
    write(&storage, "x", b"1").unwrap();
    // A host that does not support it is accepted, but a failing disk is reported.
    storage.inject(Some((SYNC_FOLDER, Os::Unsupported)));
    write(&storage, "x", b"2").unwrap();
    storage.inject(Some((SYNC_FOLDER, Os::Io)));
    let error = write(&storage, "x", b"3").expect_err("it may not last");
    assert!(error.code() == ErrorCode::NotDurable && error.to_string().contains("the file is there, but"), "{error}");
    assert_eq!(fs::read(folder.path().join(ROOT).join("x")).unwrap(), b"3");
}

#[test]
fn writers_with_and_without_locks_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (wasi, native) = (WasiStorage::new(folder.path()), LocalFileStorage::new(folder.path().join(ROOT)));
    let mut slow = wasi.open_write("a/slow", WriteOptions::default()).unwrap();
    slow.write(b"by the component").unwrap();
    let mut locked = native.open_write("a/locked", WriteOptions::default()).unwrap();
    locked.write(b"by the native host").unwrap();
    // Each write sweeps the folder when it begins.
    write(&native, "a/between", b"1").unwrap();
    write(&wasi, "a/between", b"2").unwrap();
    slow.commit().expect("it was not swept");
    locked.commit().expect("it was not swept");
    assert_eq!(persist_test_support::command::files(&folder.path().join(ROOT)), ["a", "a/between", "a/locked", "a/slow"]);
}

#[test]
fn unfinished_files_are_removed_after_a_day() {
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    for is_native in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(ROOT);
        fs::create_dir_all(&root).unwrap();
        for (name, modified) in [(".persist-unlocked-old.tmp", long_ago), (".persist-unlocked-new.tmp", SystemTime::now())] {
            File::create(root.join(name)).unwrap().set_modified(modified).unwrap();
        }
        match is_native {
            true => write(&LocalFileStorage::new(&root), "x", b"1").unwrap(),
            false => write(&WasiStorage::new(folder.path()), "x", b"1").unwrap(),
        }
        assert_eq!(persist_test_support::command::files(&root), [".persist-unlocked-new.tmp", "x"], "native: {is_native}");
    }
}

/// Only a host with file locks can tell whether the writer of such a file still runs.
#[test]
fn files_that_may_be_locked_are_left_to_the_native_host() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(ROOT);
    fs::create_dir_all(&root).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
    File::create(root.join(".persist-old.tmp")).unwrap().set_modified(long_ago).unwrap();
    write(&WasiStorage::new(folder.path()), "x", b"1").unwrap();
    assert_eq!(persist_test_support::command::files(&root), [".persist-old.tmp", "x"]);
    write(&LocalFileStorage::new(&root), "x", b"1").unwrap();
    assert_eq!(persist_test_support::command::files(&root), ["x"]);
}

#[test]
fn a_save_into_a_large_folder_does_not_read_it_each_time() {
    const SAVES: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let storage = WasiStorage::new(folder.path());
    write(&storage, "small", b"1").unwrap();
    assert_eq!(storage.take_lists(), 1, "a small folder is swept each time");
    let root = folder.path().join(ROOT);
    for number in 0..8000 {
        fs::write(root.join(format!("{number:060}")), "").unwrap();
    }
    for number in 0..SAVES {
        write(&storage, &number.to_string(), b"1").unwrap();
    }
    let (swept, expected) = (storage.take_lists(), SAVES as f64 * 16384.0 / fs::metadata(&root).unwrap().len() as f64);
    assert!(expected < SAVES as f64 / 8.0 && (swept as f64) < 3.0 * expected + 10.0, "{swept} of {SAVES}, {expected} expected");
}

/// Lists all keys in pages, and calls `meanwhile` before each page except the first.
fn paged(storage: &WasiStorage, mut meanwhile: impl FnMut(usize)) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let page = storage.list_objects("", keys.last().map(String::as_str), 1000).unwrap();
        let is_last = page.len() < 1000;
        keys.extend(page.into_iter().map(|info| info.key));
        if is_last {
            return keys;
        }
        meanwhile(keys.len() / 1000);
    }
}

#[test]
fn pages_of_a_listing_read_each_folder_once() {
    let folder = tempfile::tempdir().unwrap();
    let storage = WasiStorage::new(folder.path());
    let root = folder.path().join(ROOT);
    fs::create_dir_all(root.join("a/b")).unwrap();
    let mut expected: Vec<String> = (0..5000).map(|number| format!("a/{number:04}")).collect();
    expected.extend((0..10).map(|number| format!("a/b/{number}")));
    for key in &expected {
        fs::write(root.join(key), "").unwrap();
    }
    assert!(paged(&storage, |_| {}) == expected);
    assert_eq!(storage.take_lists(), 3, "the root, a, and b");
    // The same for a single level.
    let (mut last, mut levels) = (None::<String>, 0);
    loop {
        let page = storage.list_level("a/", last.as_deref(), 1000).unwrap();
        last = page.last().map(|entry| entry.name().to_owned());
        levels += page.len();
        if page.len() < 1000 {
            break;
        }
    }
    assert_eq!((levels, storage.take_lists()), (5001, 2), "a, and b to see whether it is empty");
    // Files written in the meantime, by the component or by others, are not missed.
    expected.extend(["a/z".to_owned(), "a/zz".to_owned()]);
    let found = paged(&storage, |page| match page {
        1 => write(&storage, "a/z", b"1").unwrap(),
        // Longer than the clock resolution of any file system.
        2 => std::thread::sleep(Duration::from_millis(50)),
        3 => fs::write(root.join("a/zz"), "").unwrap(),
        _ => {}
    });
    assert!(found == expected, "{:?}", found.last());
    let lists = storage.take_lists();
    assert!((4..=9).contains(&lists), "{lists}");
}

/// As in a deployment that preserves modification times.
#[test]
fn a_folder_that_replaces_another_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(ROOT);
    let (current, next) = (root.join("current"), root.join("next"));
    let time = SystemTime::now() - Duration::from_secs(1000);
    for (made, ending) in [(&current, ""), (&next, "-new")] {
        fs::create_dir_all(made).unwrap();
        for number in 0..10 {
            fs::write(made.join(format!("{number}{ending}")), "").unwrap();
        }
        File::open(made).unwrap().set_modified(time).unwrap();
    }
    let storage = WasiStorage::new(folder.path());
    let keys = |start_after: Option<&str>, limit| -> Vec<String> {
        let listed = storage.list_objects("current/", start_after, limit).unwrap();
        listed.into_iter().map(|info| info.key).collect()
    };
    assert_eq!(keys(None, 5), ["current/0", "current/1", "current/2", "current/3", "current/4"]);
    fs::rename(&current, root.join("before")).unwrap();
    fs::rename(&next, &current).unwrap();
    let modified = |path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&current), modified(&root.join("before")));
    let expected: Vec<String> = (4..10).map(|number| format!("current/{number}-new")).collect();
    assert_eq!(keys(Some("current/4"), 100), expected);
}

#[test]
fn an_unreadable_folder_is_an_entry_and_the_rest_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let storage = WasiStorage::new(folder.path());
    for key in ["a/1", "closed/x", "z"] {
        write(&storage, key, b"1").unwrap();
    }
    // Only the root and a can be read.
    storage.close_after(2, Os::Access);
    let keys = storage.list_objects("", None, 1000).unwrap();
    assert_eq!(keys.iter().map(|info| info.key.as_str()).collect::<Vec<_>>(), ["a/1", "closed/", "z"]);
    let error = storage.open_read("closed/", ReadOptions::default()).map(drop).expect_err("it is closed");
    assert_eq!(error.code(), ErrorCode::AccessDenied, "{error}");
    // The folder to list has to be readable.
    assert_eq!(storage.list_objects("closed/", None, 1000).expect_err("it is closed").code(), ErrorCode::AccessDenied);
    storage.inject(None);
    assert_eq!(storage.open_read("closed/", ReadOptions::default()).map(drop).expect_err("a folder").code(), ErrorCode::InvalidKey);
}

#[test]
fn a_file_changed_in_place_gets_a_new_etag() {
    let folder = tempfile::tempdir().unwrap();
    let storage = WasiStorage::new(folder.path());
    write(&storage, "x", b"before").unwrap();
    let etag = storage.stat("x").unwrap().etag;
    let mut file = File::options().write(true).open(folder.path().join(ROOT).join("x")).unwrap();
    file.write_all(b"after.").unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    assert_ne!(storage.stat("x").unwrap().etag, etag);
    let matching = ReadOptions::default().if_match(etag);
    assert_eq!(storage.open_read("x", matching).map(drop).expect_err("it is another").code(), ErrorCode::PreconditionFailed);
}
