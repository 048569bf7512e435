//! The parts of the contract beyond whole objects, and errors. `tests/conformance.rs` has what
//! every storage must do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use persist_test_support::wasi_files::bindings::exports::persist::snapshot::storage::{
    ByteRange, CapabilitySet, DeleteFailure, Error, ErrorCode, LevelEntry, ObjectInfo, Precondition, ReadAnswer, ReadOptions, ReadRequest,
    Span, WriteOptions,
};
use persist_test_support::wasi_files::{Os, ROOT, SYNC_FOLDER, WasiFiles};
use tempfile::TempDir;
use wasmtime::component::ResourceAny;

/// A storage and its folder.
struct Storage {
    files: WasiFiles,
    folder: TempDir,
}

type Result<T> = std::result::Result<T, Error>;

fn span(offset: u64, length: u64) -> ByteRange {
    ByteRange::Span(Span { offset, length })
}

fn request(key: &str, range: ByteRange) -> ReadRequest {
    ReadRequest { key: key.to_owned(), range, if_match: None }
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.expect_err("it fails").code
}

impl Storage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { files: WasiFiles::new(folder.path()), folder }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(ROOT).join(key)
    }

    fn open_write(&self, key: &str, precondition: Precondition) -> Result<ResourceAny> {
        let attributes = vec![("name".to_owned(), "value".to_owned())];
        let options = WriteOptions { precondition, object_size_hint: None, content_type: Some("text/plain".to_owned()), attributes };
        self.files.call(|storage, store| storage.call_open_write(store, key, &options))
    }

    fn append(&self, writer: ResourceAny, bytes: &[u8]) -> Result<()> {
        self.files.call(|storage, store| storage.writer().call_write(store, writer, bytes))
    }

    fn copy(&self, writer: ResourceAny, source: &str, offset: u64, length: u64, if_match: Option<&str>) -> Result<()> {
        let span = Span { offset, length };
        self.files.call(|storage, store| storage.writer().call_copy_range(store, writer, source, span, if_match))
    }

    fn commit(&self, writer: ResourceAny) -> Result<ObjectInfo> {
        self.files.call(|storage, store| storage.writer().call_commit(store, writer))
    }

    fn write(&self, key: &str, bytes: &[u8]) -> ObjectInfo {
        let writer = self.open_write(key, Precondition::None).unwrap();
        self.append(writer, bytes).unwrap();
        self.commit(writer).unwrap()
    }

    fn read(&self, reader: ResourceAny, max: u32) -> Vec<u8> {
        self.files.call(|storage, store| storage.reader().call_read(store, reader, max)).unwrap()
    }

    fn read_many(&self, requests: &[ReadRequest]) -> Result<Vec<Result<ReadAnswer>>> {
        self.files.call(|storage, store| storage.call_read_many(store, requests))
    }

    fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        self.files.call(|storage, store| storage.call_delete(store, key, &precondition))
    }

    fn delete_many(&self, keys: &[&str]) -> Result<Vec<DeleteFailure>> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        self.files.call(|storage, store| storage.call_delete_many(store, &keys))
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.files.call(|storage, store| storage.call_list_objects(store, prefix, None, 1000)).unwrap();
        listed.into_iter().map(|info| info.key).collect()
    }

    fn list_level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<LevelEntry>> {
        self.files.call(|storage, store| storage.call_list_level(store, prefix, start_after, limit))
    }

    /// Keys and prefixes, as text.
    fn level(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Vec<String> {
        let level = self.list_level(prefix, start_after, limit).unwrap();
        let name = |entry| match entry {
            LevelEntry::Object(info) => info.key,
            LevelEntry::Prefix(prefix) => prefix,
        };
        level.into_iter().map(name).collect()
    }
}

#[test]
fn it_claims_what_files_can_do() {
    let storage = Storage::new();
    let claimed = storage.files.call(|storage, store| storage.call_capabilities(store));
    let can = CapabilitySet::IF_ABSENT
        | CapabilitySet::READ_MANY
        | CapabilitySet::COPY_RANGE
        | CapabilitySet::DELETE_MANY
        | CapabilitySet::LIST_LEVEL;
    assert!(claimed == can, "{claimed:?}");
    // Abilities that are not claimed are missing.
    for info in [storage.write("x", b"1"), storage.files.call(|storage, store| storage.call_stat(store, "x")).unwrap()] {
        assert_eq!((info.content_type, info.attributes, info.storage_time), (None, Vec::new(), None));
    }
    assert_eq!(code(storage.open_write("x", Precondition::IfMatch("x".to_owned()))), ErrorCode::Unsupported);
    assert_eq!(code(storage.delete("x", Precondition::IfMatch("x".to_owned()))), ErrorCode::Unsupported);
}

#[test]
fn an_argument_that_makes_no_sense_is_invalid() {
    let storage = Storage::new();
    storage.write("x", b"1");
    assert_eq!(code(storage.delete("x", Precondition::IfAbsent)), ErrorCode::InvalidArgument);
    for limit in [0, 1001, u32::MAX] {
        let listed = storage.files.call(|storage, store| storage.call_list_objects(store, "", None, limit));
        assert_eq!(code(listed), ErrorCode::InvalidArgument, "{limit}");
        assert_eq!(code(storage.list_level("", None, limit)), ErrorCode::InvalidArgument, "{limit}");
    }
    assert_eq!(code(storage.read_many(&[request("x", span(0, 1)), request("x", ByteRange::All)])), ErrorCode::InvalidArgument);
    assert_eq!(storage.keys(""), ["x"]);
}

#[test]
fn an_error_names_the_key() {
    let storage = Storage::new();
    let options = ReadOptions { range: ByteRange::All, if_match: None };
    let opened = storage.files.call(|storage, store| storage.call_open_read(store, "a/none", &options));
    for error in [
        opened.map(drop).unwrap_err(),
        storage.files.call(|storage, store| storage.call_stat(store, "a/none")).unwrap_err(),
        storage.delete("a/none", Precondition::None).unwrap_err(),
        storage.read_many(&[request("a/none", span(0, 1))]).unwrap().remove(0).unwrap_err(),
    ] {
        assert_eq!((error.code, error.key.as_deref()), (ErrorCode::NotFound, Some("a/none")), "{error:?}");
    }
}

#[test]
fn reading_nothing_changes_nothing() {
    let storage = Storage::new();
    storage.write("x", b"0123456789");
    let options = ReadOptions { range: span(2, 5), if_match: None };
    let reader = storage.files.call(|storage, store| storage.call_open_read(store, "x", &options)).unwrap();
    assert_eq!(storage.read(reader, 0), b"");
    assert_eq!(storage.read(reader, 3), b"234");
    assert_eq!(storage.read(reader, 0), b"");
    assert_eq!(storage.read(reader, u32::MAX), b"56");
    assert_eq!(storage.read(reader, 0), b"");
    assert_eq!(storage.read(reader, 1), b"", "the end stays the end");
    storage.files.drop_handle(reader);
}

#[test]
fn many_ranges_are_read_in_one_call() {
    let storage = Storage::new();
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let info = storage.write("a/large", &large);
    let small = storage.write("small", b"0123456789");
    storage.write("none", b"");
    let matching = |etag: Option<String>| ReadRequest { if_match: etag, ..request("small", span(0, 2)) };
    let answers = storage
        .read_many(&[
            request("a/large", span(1_000_000, 1_500_000)),
            request("small", span(3, 4)),
            request("small", span(8, 100)),
            request("small", span(100, 1)),
            request("missing", span(0, 1)),
            request("small", ByteRange::Suffix(3)),
            request("none", ByteRange::Suffix(3)),
            request("a/../small", span(0, 1)),
            request("a", span(0, 1)),
            matching(small.etag.clone()),
            matching(Some("another".to_owned())),
            request("small", span(0, 0)),
        ])
        .unwrap();
    let found: Vec<std::result::Result<&[u8], ErrorCode>> =
        answers.iter().map(|answer| answer.as_ref().map(|answer| &answer.bytes[..]).map_err(|error| error.code)).collect();
    assert!(found[0] == Ok(&large[1_000_000..2_500_000]));
    assert_eq!(
        found[1..],
        [
            Ok(&b"3456"[..]),
            Ok(b"89"),
            Ok(b""),
            Err(ErrorCode::NotFound),
            Ok(b"789"),
            Ok(b""),
            Err(ErrorCode::InvalidKey),
            Err(ErrorCode::InvalidKey),
            Ok(b"01"),
            Err(ErrorCode::PreconditionFailed),
            Ok(b"")
        ]
    );
    let facts = |info: &ObjectInfo| (info.key.clone(), info.size, info.etag.clone(), info.modified);
    assert_eq!(facts(&answers[0].as_ref().unwrap().info), facts(&info), "the whole object's facts");
    assert_eq!(storage.read_many(&[]).unwrap().len(), 0);
}

#[test]
fn many_reads_are_bounded() {
    const MOST: u64 = 8 << 20;
    let storage = Storage::new();
    storage.write("x", &vec![7; 9 << 20]);
    let answers = storage.read_many(&[request("x", span(1, MOST - 1)), request("x", ByteRange::Suffix(1))]).unwrap();
    assert_eq!(answers[0].as_ref().unwrap().bytes.len() as u64, MOST - 1);
    for requests in [
        vec![request("x", span(1, MOST)), request("x", ByteRange::Suffix(1))],
        vec![request("x", span(0, u64::MAX)), request("x", span(0, u64::MAX))],
        vec![request("x", span(0, 1)); 1001],
    ] {
        assert_eq!(code(storage.read_many(&requests)), ErrorCode::LimitExceeded);
    }
    let answers = storage.read_many(&vec![request("x", span(0, 1)); 1000]).unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.bytes == [7])));
    // There is no folder before the first write.
    let answers = Storage::new().read_many(&[request("x", span(0, 1))]).unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn ranges_are_copied_between_writes() {
    let storage = Storage::new();
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let info = storage.write("a/source", &large);
    let writer = storage.open_write("b/copy", Precondition::IfAbsent).unwrap();
    storage.append(writer, b"begin").unwrap();
    storage.copy(writer, "a/source", 10, 2_500_000, info.etag.as_deref()).unwrap();
    storage.copy(writer, "a/source", 0, 0, None).unwrap();
    storage.append(writer, b"end").unwrap();
    let copied = storage.commit(writer).unwrap();
    let expected = [b"begin", &large[10..2_500_010], b"end"].concat();
    assert_eq!(copied.size, expected.len() as u64);
    assert!(fs::read(storage.path("b/copy")).unwrap() == expected);
}

#[test]
fn a_copy_that_fails_leaves_a_writer_that_can_only_be_dropped() {
    let storage = Storage::new();
    storage.write("ten", b"0123456789");
    for (source, offset, length, if_match, expected) in [
        ("ten", 5, 6, None, ErrorCode::Io),
        ("ten", 11, 1, None, ErrorCode::Io),
        ("ten", u64::MAX, u64::MAX, None, ErrorCode::Io),
        ("ten", 0, 10, Some("another"), ErrorCode::PreconditionFailed),
        ("missing", 0, 1, None, ErrorCode::NotFound),
        ("missing", 0, 0, None, ErrorCode::NotFound),
        ("../ten", 0, 1, None, ErrorCode::InvalidKey),
    ] {
        let writer = storage.open_write("x", Precondition::None).unwrap();
        storage.append(writer, b"before").unwrap();
        let error = storage.copy(writer, source, offset, length, if_match).unwrap_err();
        assert_eq!((error.code, error.key.as_deref()), (expected, Some(source)), "{error:?}");
        assert_eq!(code(storage.append(writer, b"after")), ErrorCode::InvalidArgument);
        assert_eq!(code(storage.commit(writer)), ErrorCode::InvalidArgument);
        assert_eq!(storage.keys(""), ["ten"], "nothing of it becomes visible");
    }
    assert_eq!(fs::read_dir(storage.path("")).unwrap().count(), 1, "nothing unfinished is left");
}

#[test]
fn many_files_are_deleted_folder_by_folder() {
    let storage = Storage::new();
    for key in ["a/1", "a/2", "a/3", "b/1", "top", "c/d/1"] {
        storage.write(key, b"1");
    }
    storage.files.take_calls();
    let failures = storage.delete_many(&["b/1", "a/1", "none", "top", "a/none", "no/folder", "top/x", "a/3", "a/3"]).unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(storage.files.take_calls(), [SYNC_FOLDER; 3], "each folder once");
    assert_eq!(storage.keys(""), ["a/2", "c/d/1"]);

    // Failures are named, and the other files are deleted.
    let failures = storage.delete_many(&["c/../x", "a/2", "c/d", ""]).unwrap();
    let mut failed: Vec<_> = failures.iter().map(|failure| (failure.key.as_str(), failure.error.code)).collect();
    failed.sort_unstable_by_key(|(key, _)| *key);
    assert_eq!(failed, [("", ErrorCode::InvalidKey), ("c/../x", ErrorCode::InvalidKey), ("c/d", ErrorCode::InvalidKey)]);
    assert_eq!(storage.keys(""), ["c/d/1"]);

    assert_eq!(code(storage.delete_many(&["x"; 1001])), ErrorCode::LimitExceeded);
    assert!(storage.delete_many(&["x"; 1000]).unwrap().is_empty());
    assert!(storage.delete_many(&[]).unwrap().is_empty());
    assert!(Storage::new().delete_many(&["x"]).unwrap().is_empty(), "there is no folder yet");
}

#[test]
fn a_change_that_could_not_be_synced_is_done_but_not_durable() {
    let storage = Storage::new();
    storage.write("a/x", b"before");
    for key in ["a/y", "a/z", "b/y"] {
        storage.write(key, b"1");
    }
    storage.files.inject(Some((SYNC_FOLDER, Os::Io)));
    let writer = storage.open_write("a/x", Precondition::None).unwrap();
    storage.append(writer, b"after").unwrap();
    assert_eq!(code(storage.commit(writer)), ErrorCode::NotDurable);
    assert_eq!(fs::read(storage.path("a/x")).unwrap(), b"after");
    assert_eq!(code(storage.delete("a/x", Precondition::None)), ErrorCode::NotDurable);
    let failures = storage.delete_many(&["a/y", "a/none", "b/y"]).unwrap();
    let failed: Vec<_> = failures.iter().map(|failure| (failure.key.as_str(), failure.error.code)).collect();
    assert_eq!(failed, [("a/y", ErrorCode::NotDurable), ("b/y", ErrorCode::NotDurable)]);
    assert_eq!(storage.keys(""), ["a/z"], "it is done");
}

#[test]
fn a_level_has_objects_and_what_is_below_once() {
    let storage = Storage::new();
    assert_eq!(storage.level("", None, 1000), Vec::<String>::new(), "there is no folder yet");
    // Byte order: '-' < '.' < '/' < '0'.
    for key in ["a-b/1", "a.b", "a/1", "a/1.x", "a/10", "a/b/c/d", "a/b/e", "a0", "b", "ba/1", "é/é"] {
        storage.write(key, key.as_bytes());
    }
    for (prefix, expected) in [
        ("", &["a-b/", "a.b", "a/", "a0", "b", "ba/", "é/"][..]),
        ("a", &["a-b/", "a.b", "a/", "a0"]),
        ("a/", &["a/1", "a/1.x", "a/10", "a/b/"]),
        ("a/1", &["a/1", "a/1.x", "a/10"]),
        ("a/b", &["a/b/"]),
        ("a/b/", &["a/b/c/", "a/b/e"]),
        ("a/b/c/d", &["a/b/c/d"]),
        ("a/b/c/d/", &[]),
        ("none/", &[]),
        ("z", &[]),
        ("../", &[]),
        ("/", &[]),
        ("a//", &[]),
    ] {
        assert_eq!(storage.level(prefix, None, 1000), expected, "{prefix:?}");
        for limit in 1..=expected.len() as u32 {
            let (mut pages, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = storage.level(prefix, after.as_deref(), limit);
                assert!(page.len() <= limit as usize);
                after = page.last().cloned();
                pages.extend(page.iter().cloned());
                if page.len() < limit as usize {
                    break;
                }
            }
            assert_eq!(pages, expected, "{prefix:?}, {limit} at a time");
        }
    }
    assert_eq!(storage.level("", Some("a/"), 2), ["a0", "b"], "after a prefix");
    assert_eq!(storage.level("", Some("a.zzz"), 1), ["a/"], "after what is not there");
    let level = storage.list_level("a/", None, 1).unwrap();
    assert!(matches!(&level[..], [LevelEntry::Object(info)] if info.size == 3 && info.etag.is_some()), "{level:?}");
}

#[test]
fn a_folder_without_objects_is_not_listed() {
    let storage = Storage::new();
    storage.write("kept/deep/down/x", b"1");
    for folder in ["empty", "empty-below/one/two", "debris", "odd\nname"] {
        fs::create_dir_all(storage.path(folder)).unwrap();
    }
    fs::write(storage.path("debris/.persist-unlocked-1.tmp"), "unfinished").unwrap();
    fs::write(storage.path("odd\nname/x"), "no key").unwrap();
    symlink("kept", storage.path("linked")).unwrap();
    symlink("nowhere", storage.path("dangling")).unwrap();
    // What is below a name that can't be in a key is not left out silently.
    assert_eq!(storage.level("", None, 1000), ["kept/", "odd\nname/"]);
    assert_eq!(storage.keys(""), ["kept/deep/down/x", "odd\nname/"]);
    fs::remove_dir_all(storage.path("odd\nname")).unwrap();
    // Empty folders come before and between these entries.
    storage.write("empty/deep/x", b"1");
    storage.write("z", b"1");
    assert_eq!(storage.level("", None, 2), ["empty/", "kept/"]);
    assert_eq!(storage.level("", Some("empty/"), 2), ["kept/", "z"]);
}
