//! What a folder may hold beside the objects of a storage of files: made by
//! other programs, or on its way.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use persist_host::{ByteRange, ErrorCode, ReadOptions, ReadRequest};

use super::{Storage, code, keys, opened, write};

/// `root` is the folder that keys are below.
pub(crate) fn what_is_no_file_is_left_out(storage: &Storage, root: &Path) {
    write(storage, "agents/one", b"1");
    let folder = root.join("agents");
    symlink("nowhere", folder.join("dangling")).expect("a link");
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status().expect("mkfifo runs");
    assert!(made.success());

    assert_eq!(keys(storage, "", None, 1000), ["agents/one"]);
    assert_eq!(keys(storage, "agents/", None, 1000), ["agents/one"]);
    // Who opens a pipe waits for the other end, if nothing is done about it.
    assert_eq!(code(opened(storage.open_read("agents/pipe", ReadOptions::default()))), ErrorCode::InvalidKey);
    assert_eq!(code(storage.stat("agents/pipe")), ErrorCode::NotFound);
}

/// Names that can't be keys are entries all the same: who reads one is told why.
/// Of a name that is not UTF-8 it is the folder that says so.
pub(crate) fn what_can_be_no_key_is_an_entry_that_can_not_be_read(storage: &Storage, root: &Path) {
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
            assert!(found.len() < 10, "it goes in a circle: {found:?}");
        }
        assert_eq!(found, sorted, "{prefix:?}, {limit} at a time");
    }
    for key in sorted.iter().filter(|key| **key != "agents/one") {
        assert_eq!(code(opened(storage.open_read(key, ReadOptions::default()))), ErrorCode::InvalidKey, "{key:?}");
        let request = ReadRequest { key: (*key).to_owned(), range: ByteRange::Suffix(5), if_match: None };
        let answers = storage.read_many(&[request]).expect("each is for itself");
        assert_eq!(answers[0].as_ref().expect_err("it is no key").code(), ErrorCode::InvalidKey, "{key:?}");
    }
    assert_eq!(keys(storage, "agents/on", None, 1000), ["agents/one"]);
}

/// The entry of the root itself stands where its key belongs among the others.
pub(crate) fn pages_have_every_name_beside_one_that_is_not_utf8(storage: &Storage, root: &Path) {
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
                assert!(found.len() < 50, "it goes in a circle: {found:?}");
            }
            assert_eq!(found, names, "{limit} at a time, one level: {one_level}");
        }
    }
}

pub(crate) fn what_can_not_be_told_is_no_absence(storage: &Storage, root: &Path) {
    write(storage, "agents/one", b"1");
    symlink("loop", root.join("agents/loop")).expect("a link");
    for key in ["agents/loop", &format!("agents/{}", "n".repeat(300))] {
        assert_eq!(code(storage.stat(key)), ErrorCode::InvalidKey, "{key}");
    }
    assert_eq!(code(storage.stat("agents")), ErrorCode::NotFound, "a folder is no object");
}

pub(crate) fn a_listing_has_all_while_others_save(storage: &Storage, root: &Path) {
    let kept: Vec<String> = (0..20).map(|number| format!("agents/kept-{number:02}")).collect();
    for key in &kept {
        write(storage, key, b"kept");
    }
    let folder = root.join("agents");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As others save: a name for the time being, then the key.
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
