//! Entries of a folder that are not objects: created by other programs, or unfinished.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use persist_host::{ByteRange, ErrorCode, ReadOptions, ReadRequest};

use super::helpers::{Storage, code, keys, opened, write};

/// `root` is the folder of the keys.
pub(crate) fn entries_that_are_not_files_are_not_listed(storage: &Storage, root: &Path) {
    write(storage, "agents/one", b"1");
    let folder = root.join("agents");
    symlink("nowhere", folder.join("dangling")).expect("a link");
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status().expect("mkfifo runs");
    assert!(made.success());

    assert_eq!(keys(storage, "", None, 1000), ["agents/one"]);
    assert_eq!(keys(storage, "agents/", None, 1000), ["agents/one"]);
    // Opening a pipe would wait for the other end.
    assert_eq!(code(opened(storage.open_read("agents/pipe", ReadOptions::default()))), ErrorCode::InvalidKey);
    assert_eq!(code(storage.stat("agents/pipe")), ErrorCode::NotFound);
}

/// Names that are not valid keys are listed as well, and reading one returns the error.
/// For a name that is not UTF-8, its folder is listed.
pub(crate) fn names_that_are_not_keys_are_listed_as_unreadable(storage: &Storage, root: &Path) {
    write(storage, "agents/one", b"1");
    let folder = root.join("agents");
    for name in [&b"no text \xff"[..], b"no text \xfe", b"odd\x07", b".persist-1.tmp"] {
        fs::write(folder.join(OsStr::from_bytes(name)), "2").expect("a file");
    }
    fs::create_dir(folder.join("odd\nfolder")).expect("a folder");
    fs::write(folder.join("odd\nfolder/x"), "3").expect("a file");
    let expected = ["agents/", "agents/odd\u{7}", "agents/odd\nfolder/", "agents/one"];
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    for (prefix, limit) in [("", 1000), ("agents/", 1000), ("", 1), ("agents/", 2)] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = keys(storage, prefix, found.last().map(String::as_str), limit);
            let is_last = page.len() < limit as usize;
            found.extend(page);
            if is_last {
                break;
            }
            assert!(found.len() < 10, "the pages repeat: {found:?}");
        }
        assert_eq!(found, sorted, "{prefix:?}, {limit} at a time");
    }
    for key in sorted.iter().filter(|key| **key != "agents/one") {
        assert_eq!(code(opened(storage.open_read(key, ReadOptions::default()))), ErrorCode::InvalidKey, "{key:?}");
        let request = ReadRequest::new(*key, ByteRange::Suffix(5));
        let answers = storage.read_many(&[request]).expect("each request has its own result");
        assert_eq!(answers[0].as_ref().expect_err("it is not a valid key").code(), ErrorCode::InvalidKey, "{key:?}");
    }
    assert_eq!(keys(storage, "agents/on", None, 1000), ["agents/one"]);
}

/// The entry for the root itself is in order among the others.
pub(crate) fn pages_are_complete_beside_names_that_are_not_utf8(storage: &Storage, root: &Path) {
    write(storage, "z.gz", b"1");
    let mut names: Vec<String> = (0..5).map(|number| format!("-{number}.gz")).collect();
    names.extend([".-.gz", "./", ".x.gz", "0.gz", "z.gz"].map(str::to_owned));
    for name in names.iter().filter(|name| *name != "./") {
        fs::write(root.join(name), "1").expect("a file");
    }
    for name in [&b"no text \xff"[..], b"no text \xfe"] {
        fs::write(root.join(OsStr::from_bytes(name)), "2").expect("a file");
    }
    names.sort();
    for limit in [1, 2, 100] {
        for one_level in [false, true] {
            let mut found: Vec<String> = Vec::new();
            loop {
                let last = found.last().map(String::as_str);
                let page = if one_level {
                    let level = storage.list_level("", last, limit).expect("it is listed");
                    level.iter().map(|entry| entry.name().to_owned()).collect()
                } else {
                    keys(storage, "", last, limit)
                };
                let is_last = page.len() < limit as usize;
                found.extend(page);
                if is_last {
                    break;
                }
                assert!(found.len() < 50, "the pages repeat: {found:?}");
            }
            assert_eq!(found, names, "{limit} at a time, one level: {one_level}");
        }
    }
}

pub(crate) fn a_key_that_cannot_be_checked_is_not_reported_as_missing(storage: &Storage, root: &Path) {
    write(storage, "agents/one", b"1");
    symlink("loop", root.join("agents/loop")).expect("a link");
    for key in ["agents/loop", &format!("agents/{}", "n".repeat(300))] {
        assert_eq!(code(storage.stat(key)), ErrorCode::InvalidKey, "{key}");
    }
    assert_eq!(code(storage.stat("agents")), ErrorCode::NotFound, "a folder is not an object");
}

pub(crate) fn a_listing_is_complete_while_others_save(storage: &Storage, root: &Path) {
    let kept: Vec<String> = (0..20).map(|number| format!("agents/kept-{number:02}")).collect();
    for key in &kept {
        write(storage, key, b"kept");
    }
    let folder = root.join("agents");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As other processes save: under a temporary name, then the key.
        scope.spawn(|| {
            let names: Vec<_> = (0..40).map(|number| folder.join(format!(".persist-{number}.tmp"))).collect();
            while !ended.load(Ordering::Relaxed) {
                names.iter().for_each(|name| fs::write(name, "new").expect("a file"));
                names.iter().for_each(|name| fs::rename(name, folder.join("new")).expect("it is renamed"));
            }
        });
        let began = Instant::now();
        let mut listings = 0;
        while listings < 300 || began.elapsed() < Duration::from_millis(500) {
            let mut listed = keys(storage, if listings % 2 == 0 { "" } else { "agents/" }, None, 1000);
            listed.retain(|key| key != "agents/new");
            if listed != kept {
                ended.store(true, Ordering::Relaxed);
                panic!("listing {listings} has {listed:?}");
            }
            listings += 1;
        }
        ended.store(true, Ordering::Relaxed);
    });
}
