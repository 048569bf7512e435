//! Tests of what a write and a listing do on the disk, and of what they report about
//! unusual files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::disk::{Operation, Probe};
use super::{Durability, LocalFileStorage};
use crate::{Engine, ErrorCode, ListEntry, Listed, ObjectInfo, Permissions, ReadOptions, StorageAdapter, WriteOptions};

type Decide = Box<dyn Fn(&Operation<'_>) -> Option<Errno> + Send + Sync>;

/// Records which folders are read, and makes chosen operations fail.
struct Watch {
    listed: Mutex<Vec<String>>,
    fails: Decide,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Probe for Watch {
    fn before(&self, operation: &Operation<'_>) -> io::Result<usize> {
        if let Operation::List(path) = operation {
            self.listed.lock().unwrap().push((*path).to_owned());
        }
        (self.fails)(operation).map_or(Ok(usize::MAX), |errno| Err(errno.into()))
    }
}

fn watched(root: &Path, fails: impl Fn(&Operation<'_>) -> Option<Errno> + Send + Sync + 'static) -> (LocalFileStorage, Arc<Watch>) {
    let watch = Arc::new(Watch { listed: Mutex::default(), fails: Box::new(fails) });
    let mut storage = LocalFileStorage::new(root).durability(Durability::None);
    storage.disk.probe = Some(Arc::<Watch>::clone(&watch));
    (storage, watch)
}

fn plain(root: &Path) -> LocalFileStorage {
    LocalFileStorage::new(root).durability(Durability::None)
}

fn write(storage: &LocalFileStorage, key: &str) -> crate::Result<ObjectInfo> {
    let mut writer = storage.open_write(key, WriteOptions::default())?;
    writer.write(key.as_bytes())?;
    writer.commit()
}

fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let is_unfinished = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(persist_paths::key::is_temporary);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_unfinished).collect()
}

fn make_old(path: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
    File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

#[test]
fn a_writer_that_holds_its_lock_is_never_swept() {
    let folder = tempfile::tempdir().unwrap();
    let storage = plain(folder.path());
    let mut slow = storage.open_write("slow", WriteOptions::default()).unwrap();
    slow.write(b"slow").unwrap();
    let [file] = &unfinished(folder.path())[..] else { panic!("one file") };
    // As after the machine was suspended, or its clock was set.
    make_old(file);
    write(&storage, "between").unwrap();
    slow.commit().expect("the file was not swept");
    assert_eq!(fs::read(folder.path().join("slow")).unwrap(), b"slow");
    // The lock of a writer ends with it.
    fs::write(folder.path().join(".persist-0123.tmp"), "left by a writer that is gone").unwrap();
    write(&storage, "between").unwrap();
    assert_eq!(unfinished(folder.path()), Vec::<PathBuf>::new());
}

/// On NFS, a file that is open only for reading can't be locked exclusively.
#[cfg(target_os = "linux")]
#[test]
fn a_sweep_opens_to_write_what_it_locks() {
    const LEFT: &str = ".persist-0123.tmp";
    const READ_AND_WRITE: u32 = 0o2;
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().canonicalize().unwrap().join(LEFT);
    let accesses = Arc::new(Mutex::new(Vec::new()));
    let (storage, _) = watched(folder.path(), {
        let (left, accesses) = (left.clone(), Arc::clone(&accesses));
        move |operation| {
            // The lock is held until the file is gone.
            if matches!(operation, Operation::Remove("", LEFT)) {
                for open in fs::read_dir("/proc/self/fd").unwrap().flatten() {
                    if !fs::read_link(open.path()).is_ok_and(|path| path == left) {
                        continue;
                    }
                    let facts = fs::read_to_string(Path::new("/proc/self/fdinfo").join(open.file_name())).unwrap();
                    let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
                    accesses.lock().unwrap().push(u32::from_str_radix(flags.trim(), 8).unwrap() & 0o3);
                }
            }
            None
        }
    });
    fs::write(&left, "left by a writer that is gone").unwrap();
    write(&storage, "x").unwrap();
    assert_eq!((accesses.lock().unwrap().as_slice(), unfinished(folder.path())), (&[READ_AND_WRITE][..], Vec::new()));
}

#[test]
fn a_sweep_takes_a_file_that_is_read_only_and_waits_for_no_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join(".persist-0123.tmp");
    fs::write(&left, "its writer ended when it had its permissions").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o400)).unwrap();
    write(&plain(folder.path()), "x").unwrap();
    assert_eq!(unfinished(folder.path()), Vec::<PathBuf>::new());
    // The file may be replaced after it was inspected.
    assert!(std::process::Command::new("mkfifo").arg(&left).status().unwrap().success());
    symlink("x", folder.path().join("link")).unwrap();
    let root = cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
    for name in [".persist-0123.tmp", "link"] {
        super::folder::open_to_lock(&root, name).expect_err(name);
    }
    super::folder::open_to_lock(&root, "x").expect("it is a file");
}

#[test]
fn where_files_can_not_be_locked_their_names_say_so_and_their_age_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (lockless, _) = watched(folder.path(), |operation| matches!(operation, Operation::Lock).then_some(Errno::NOTSUP));
    let mut slow = lockless.open_write("slow", WriteOptions::default()).unwrap();
    slow.write(b"slow").unwrap();
    let [file] = &unfinished(folder.path())[..] else { panic!("one file") };
    assert!(persist_paths::key::is_unlocked_temporary(file.file_name().unwrap().to_str().unwrap()), "{}", file.display());
    // That its lock can be taken says nothing.
    write(&plain(folder.path()), "between").unwrap();
    assert_eq!(unfinished(folder.path()).len(), 1);
    slow.commit().expect("the file was not swept");
    let left = folder.path().join(".persist-unlocked-0123.tmp");
    fs::write(&left, "left by a writer that is gone").unwrap();
    make_old(&left);
    write(&lockless, "between").unwrap();
    assert_eq!(unfinished(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_save_into_a_large_folder_does_not_read_it_each_time() {
    const SAVES: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let (storage, watch) = watched(folder.path(), |_| None);
    write(&storage, "small").unwrap();
    assert_eq!(watch.listed.lock().unwrap().len(), 1, "a small folder is swept each time");
    for number in 0..8000 {
        fs::write(folder.path().join(format!("{number:060}")), "").unwrap();
    }
    watch.listed.lock().unwrap().clear();
    for number in 0..SAVES {
        write(&storage, &format!("{number}")).unwrap();
    }
    let size = fs::metadata(folder.path()).unwrap().size();
    let (swept, expected) = (watch.listed.lock().unwrap().len(), SAVES as f64 * 16384.0 / size as f64);
    println!("a folder of {size} bytes: swept by {swept} of {SAVES} saves, {expected:.1} expected");
    assert!(expected < SAVES as f64 / 8.0, "the folder's size does not grow with its names: {size}");
    assert!((swept as f64) < 3.0 * expected + 20.0, "{swept} of {SAVES}, {expected} expected");
}

#[test]
fn a_listing_reads_each_folder_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("deep")).unwrap();
    let mut keys: Vec<String> = (0..5000).map(|number| format!("{number}")).collect();
    keys.extend((0..10).map(|number| format!("deep/{number}")));
    keys.sort();
    for key in &keys {
        fs::write(folder.path().join(key), "").unwrap();
    }
    let (storage, watch) = watched(folder.path(), |_| None);
    let engine = Engine::builder().storage(storage.clone()).build().unwrap();
    let found: Vec<String> = engine
        .list("")
        .map(|entry| match entry.expect("it is listed") {
            ListEntry::Unreadable { key, error } if error.code() == ErrorCode::NotASnapshot => key,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(found == keys);
    assert_eq!(*watch.listed.lock().unwrap(), ["", "deep/"]);
    // Pages give the same keys.
    let mut paged: Vec<String> = Vec::new();
    loop {
        let page = storage.list_objects("", paged.last().map(String::as_str), 999).unwrap();
        let is_last = page.len() < 999;
        paged.extend(page.into_iter().map(|info| info.key));
        if is_last {
            break;
        }
    }
    assert!(paged == keys);
}

/// Makes a folder that can't be read, names that can't be keys, and what is left out.
fn strange(folder: &Path) {
    for name in ["closed", "gone\nastray", "open"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    for name in ["closed/x", "gone\nastray/x", "open/x", "odd\u{7}", "last", ".persist-0.tmp"] {
        fs::write(folder.join(name), "").unwrap();
    }
    fs::write(folder.join(OsStr::from_bytes(b"no text \xff")), "").unwrap();
    let mut long = folder.to_owned();
    for _ in 0..5 {
        long.push("n".repeat(205));
        fs::create_dir(&long).unwrap();
    }
    symlink("/etc/hosts", folder.join("out")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    symlink("circle", folder.join("circle")).unwrap();
    symlink("closed", folder.join("folder")).unwrap();
}

fn is_closed(operation: &Operation<'_>) -> Option<Errno> {
    matches!(operation, Operation::OpenFolder("closed/" | "closed")).then_some(Errno::ACCESS)
}

#[test]
fn what_can_not_be_listed_is_said_and_the_rest_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    strange(folder.path());
    let (storage, _) = watched(folder.path(), is_closed);
    let found: Vec<_> = storage
        .walk("", None)
        .unwrap()
        .map(|item| match item.unwrap() {
            Listed::Object(info) => (info.key, None),
            Listed::Unreadable { key, error } => {
                assert!(error.location().is_some_and(|location| location.contains(folder.path().to_str().unwrap())), "{error:?}");
                (key, Some(error.code()))
            }
        })
        .collect();
    let long = format!("{}/", [&*"n".repeat(205); 5].join("/"));
    let expected = [
        ("closed/", Some(ErrorCode::AccessDenied)),
        ("gone\nastray/", Some(ErrorCode::InvalidKey)),
        ("last", None),
        (&long, Some(ErrorCode::InvalidKey)),
        ("no text \\xff", Some(ErrorCode::InvalidKey)),
        ("odd\u{7}", Some(ErrorCode::InvalidKey)),
        ("open/x", None),
    ];
    assert_eq!(found, expected.map(|(key, code)| (key.to_owned(), code)));

    // In pages these are entries too, and reading them returns the reason.
    let expected = ["./", "closed/", "gone\nastray/", "last", &long, "odd\u{7}", "open/x"];
    for limit in [1, 3, 1000] {
        let mut keys: Vec<String> = Vec::new();
        loop {
            let page = storage.list_objects("", keys.last().map(String::as_str), limit).unwrap();
            let is_last = page.len() < limit as usize;
            keys.extend(page.into_iter().map(|info| info.key));
            if is_last {
                break;
            }
            assert!(keys.len() < 20, "the listing does not advance: {keys:?}");
        }
        assert_eq!(keys, expected, "{limit} at a time");
    }
    for (key, code) in [
        ("./", ErrorCode::InvalidKey),
        ("closed/", ErrorCode::AccessDenied),
        ("gone\nastray/", ErrorCode::InvalidKey),
        (&long, ErrorCode::InvalidKey),
        ("open/", ErrorCode::InvalidKey),
        ("missing/", ErrorCode::InvalidKey),
        ("//", ErrorCode::InvalidKey),
        ("../", ErrorCode::InvalidKey),
    ] {
        assert_eq!(storage.open_read(key, ReadOptions::default()).map(drop).expect_err(key).code(), code, "{key}");
    }
    let level: Vec<_> = storage.list_level("", None, 1000).unwrap().iter().map(|entry| entry.name().to_owned()).collect();
    let folder_of_long = format!("{}/", "n".repeat(205));
    assert_eq!(level, ["./", "closed/", "gone\nastray/", "last", &folder_of_long, "odd\u{7}", "open/"]);
}

#[test]
fn the_folder_that_is_listed_has_to_be_readable() {
    let folder = tempfile::tempdir().unwrap();
    strange(folder.path());
    let (storage, _) = watched(folder.path(), is_closed);
    let items: Vec<_> = storage.walk("closed/", None).unwrap().collect();
    assert!(matches!(&items[..], [Err(error)] if error.code() == ErrorCode::AccessDenied), "{items:?}");
    assert_eq!(storage.list_objects("closed/", None, 10).expect_err("it can't be read").code(), ErrorCode::AccessDenied);
    let (storage, _) = watched(folder.path(), |operation| matches!(operation, Operation::List("")).then_some(Errno::IO));
    let items: Vec<_> = storage.walk("", None).unwrap().collect();
    assert!(matches!(&items[..], [Err(error)] if error.code() == ErrorCode::Io), "{items:?}");
}

#[test]
fn a_file_that_can_not_be_looked_at_is_said() {
    let folder = tempfile::tempdir().unwrap();
    strange(folder.path());
    let (storage, _) = watched(folder.path(), |operation| matches!(operation, Operation::Stat("open/x")).then_some(Errno::ACCESS));
    let found: Vec<_> = storage.walk("o", None).unwrap().map(Result::unwrap).collect();
    assert!(
        matches!(&found[1], Listed::Unreadable { key, error } if key == "open/x" && error.code() == ErrorCode::AccessDenied),
        "{found:?}"
    );
}

#[test]
fn what_is_stored_is_stored_also_where_nobody_can_look_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |operation: &Operation<'_>| matches!(operation, Operation::Stat("x")).then_some(Errno::IO);
    let (storage, _) = watched(folder.path(), fails);
    let storage = storage.durability(Durability::Fsync);
    let info = write(&storage, "x").expect("it was synced");
    assert_eq!((info.key.as_str(), info.size, info.etag), ("x", 1, None));
    let (storage, _) = watched(folder.path(), |operation| matches!(operation, Operation::SyncFolder("")).then_some(Errno::IO));
    assert_eq!(write(&storage.durability(Durability::Fsync), "x").expect_err("it was not").code(), ErrorCode::NotDurable);
}

#[test]
fn a_file_is_as_open_as_it_is_to_be_and_never_more() {
    let folder = tempfile::tempdir().unwrap();
    let storage = plain(folder.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let by_umask = {
        fs::write(folder.path().join("other"), "").unwrap();
        mode(&folder.path().join("other"))
    };
    let file = folder.path().join("x");
    // (requested permissions, those while it is written, final ones)
    for (permissions, meanwhile, end) in [
        (None, by_umask, by_umask),
        (Some(0o640), 0o600, 0o640),
        // Those of the earlier file.
        (None, 0o600, 0o640),
        (Some(0o666), 0o600, 0o666),
        (Some(0o400), 0o600, 0o400),
        (Some(0o4755), 0o600, 0o755),
    ] {
        let permissions = permissions.map(|bits| Permissions::new(bits, None));
        let mut writer = storage.open_write("x", WriteOptions { permissions, ..WriteOptions::default() }).unwrap();
        writer.write(b"x").unwrap();
        assert_eq!(mode(&unfinished(folder.path())[0]), meanwhile, "{permissions:?}");
        writer.commit().unwrap();
        let group = Some(fs::metadata(&file).unwrap().gid());
        assert_eq!((mode(&file), storage.permissions("x")), (end, Some(Permissions::new(end, group))), "{permissions:?}");
    }
    assert_eq!((storage.permissions("missing"), storage.permissions("../x")), (None, None));
}
