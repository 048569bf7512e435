//! What the storage contract (`wit/storage.wit`) asks of every storage. Each
//! check gets an empty storage of its own.

/// Calls a macro with the names of all checks; the first one's key is too long
/// for some.
macro_rules! for_each_check {
    ($callback:ident) => {
        $callback! {
            the_longest_key_is_kept,
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
    };
}

#[cfg(unix)]
pub(crate) mod files;

use std::sync::Arc;

use persist_host::{ByteRange, ErrorCode, ObjectInfo, PersistError, Precondition, ReadOptions, Result, StorageAdapter, WriteOptions};

pub(crate) type Storage = Arc<dyn StorageAdapter>;

fn write_if(storage: &Storage, key: &str, bytes: &[u8], precondition: Precondition) -> Result<ObjectInfo> {
    let mut writer = storage.open_write(key, WriteOptions { precondition, ..WriteOptions::default() })?;
    writer.write(bytes)?;
    writer.commit()
}

fn write(storage: &Storage, key: &str, bytes: &[u8]) -> ObjectInfo {
    write_if(storage, key, bytes, Precondition::None).expect("it is written")
}

fn read_if(storage: &Storage, key: &str, range: ByteRange, if_match: Option<String>, max: u32) -> Result<Vec<u8>> {
    let mut reader = storage.open_read(key, ReadOptions { range, if_match })?;
    let mut bytes = Vec::new();
    loop {
        let chunk = reader.read(max)?;
        assert!(chunk.len() <= max as usize, "more than asked for");
        if chunk.is_empty() {
            assert!(reader.read(max)?.is_empty(), "the end stays the end");
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk);
    }
}

fn read(storage: &Storage, key: &str) -> Vec<u8> {
    read_if(storage, key, ByteRange::All, None, 1 << 20).expect("it is read")
}

fn keys(storage: &Storage, prefix: &str, start_after: Option<&str>, limit: u32) -> Vec<String> {
    let listed = storage.list_objects(prefix, start_after, limit).expect("it is listed");
    listed.into_iter().map(|info| info.key).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.expect_err("it fails").code()
}

/// Whether two calls say the same of an object, as far as both know it: not
/// every answer of a bucket names etag and time.
fn assert_same(one: &ObjectInfo, other: &ObjectInfo) {
    fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
        one.is_none() || other.is_none() || one == other
    }
    assert_eq!((&one.key, one.size), (&other.key, other.size));
    assert!(agree(&one.etag, &other.etag) && agree(&one.modified, &other.modified), "{one:?} {other:?}");
}

fn opened<T>(result: Result<T>) -> Result<()> {
    result.map(drop)
}

fn all_keys(storage: &Storage) -> Vec<String> {
    keys(storage, "", None, 1000)
}

pub(crate) fn what_is_written_is_read(storage: &Storage) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut writer = storage.open_write("a/b/c.bin", WriteOptions { size_hint: Some(7), ..WriteOptions::default() }).expect("it opens");
    for chunk in bytes.chunks(70_001) {
        writer.write(chunk).expect("it is written");
    }
    writer.write(&[]).expect("nothing is written");
    let info = writer.commit().expect("it is committed");
    assert_eq!((info.key.as_str(), info.size), ("a/b/c.bin", 3_000_000));
    assert_same(&storage.stat("a/b/c.bin").expect("it is there"), &info);
    for max in [1000, 65_537, u32::MAX] {
        assert!(read_if(storage, "a/b/c.bin", ByteRange::All, None, max).expect("it is read") == bytes, "{max} at a time");
    }
    let reader = storage.open_read("a/b/c.bin", ReadOptions { range: ByteRange::Suffix(1), if_match: None }).expect("it opens");
    // The whole object's facts, whatever the range.
    assert_same(reader.info(), &info);
}

pub(crate) fn a_range_is_cut_at_the_end(storage: &Storage) {
    write(storage, "ten", b"0123456789");
    write(storage, "none", b"");
    let span = |offset, length| ByteRange::Span { offset, length };
    for (range, expected) in [
        (ByteRange::All, "0123456789"),
        (span(0, 10), "0123456789"),
        (span(3, 4), "3456"),
        (span(9, 1), "9"),
        (span(8, 100), "89"),
        (span(5, u64::MAX), "56789"),
        (span(10, 1), ""),
        (span(10_000, 5), ""),
        (span(u64::MAX, u64::MAX), ""),
        (span(3, 0), ""),
        (ByteRange::Suffix(0), ""),
        (ByteRange::Suffix(3), "789"),
        (ByteRange::Suffix(10), "0123456789"),
        (ByteRange::Suffix(11), "0123456789"),
        (ByteRange::Suffix(u64::MAX), "0123456789"),
    ] {
        for max in [1, 3, 1000] {
            let found = read_if(storage, "ten", range, None, max).expect("it is read");
            assert_eq!(String::from_utf8_lossy(&found), expected, "{range:?}, {max} at a time");
        }
        assert_eq!(read_if(storage, "none", range, None, 5).expect("it is read"), b"", "{range:?} of an empty object");
    }
    assert_eq!(storage.stat("none").expect("it is there").size, 0);
}

pub(crate) fn a_missing_object_is_not_found(storage: &Storage) {
    for present in [false, true] {
        for key in ["missing", "a/missing", "a/b/missing"] {
            assert_eq!(code(storage.stat(key)), ErrorCode::NotFound);
            assert_eq!(code(opened(storage.open_read(key, ReadOptions::default()))), ErrorCode::NotFound);
            assert_eq!(code(storage.delete_object(key, Precondition::None)), ErrorCode::NotFound);
            let matching = ReadOptions { if_match: Some("x".to_owned()), ..ReadOptions::default() };
            assert_eq!(code(opened(storage.open_read(key, matching))), ErrorCode::NotFound);
        }
        if !present {
            write(storage, "a/b/there", b"1");
        }
    }
}

pub(crate) fn a_dropped_writer_leaves_nothing(storage: &Storage) {
    let mut writer = storage.open_write("a/x", WriteOptions::default()).expect("it opens");
    writer.write(&[7; 100_000]).expect("it is written");
    assert_eq!(code(storage.stat("a/x")), ErrorCode::NotFound, "not before the commit");
    assert_eq!(all_keys(storage), Vec::<String>::new(), "unfinished writes are not listed");
    drop(writer);
    assert_eq!(code(storage.stat("a/x")), ErrorCode::NotFound);
    assert_eq!(all_keys(storage), Vec::<String>::new());

    write(storage, "a/x", b"before");
    drop(storage.open_write("a/x", WriteOptions::default()).expect("it opens"));
    assert_eq!(read(storage, "a/x"), b"before");
    // Nor does a writer that nothing was written to, once it is committed.
    let writer = storage.open_write("a/empty", WriteOptions::default()).expect("it opens");
    assert_eq!(writer.commit().expect("it is committed").size, 0);
    assert_eq!(all_keys(storage), ["a/empty", "a/x"]);
}

pub(crate) fn a_reader_reads_one_version(storage: &Storage) {
    let old = vec![1; 5_000_000];
    let first = write(storage, "x", &old);
    let mut reader = storage.open_read("x", ReadOptions::default()).expect("it opens");
    let mut found = reader.read(1000).expect("it is read");
    let second = write(storage, "x", &vec![2; 4_000_000]);
    let whole = loop {
        match reader.read(1 << 20) {
            Ok(chunk) if chunk.is_empty() => break true,
            Ok(chunk) => found.extend_from_slice(&chunk),
            // Where an old version can't be kept, the read fails.
            Err(error) => break error.code() != ErrorCode::PreconditionFailed,
        }
    };
    assert!(found.iter().all(|byte| *byte == 1), "no mixture");
    assert!(!whole || found.len() == old.len());
    assert_same(&storage.stat("x").expect("it is there"), &second);

    if let Some(etag) = first.etag {
        assert_ne!(second.etag.as_ref(), Some(&etag), "a replaced object has another etag");
        assert_eq!(code(read_if(storage, "x", ByteRange::All, Some(etag), 10)), ErrorCode::PreconditionFailed);
        assert_eq!(read_if(storage, "x", ByteRange::Suffix(2), second.etag, 10).expect("it is read"), [2, 2]);
    }
}

pub(crate) fn if_absent_is_kept_or_refused(storage: &Storage) {
    if !storage.supported_conditions().if_absent {
        assert_eq!(code(write_if(storage, "x", b"1", Precondition::IfAbsent)), ErrorCode::Unsupported);
        assert_eq!(all_keys(storage), Vec::<String>::new());
        return;
    }
    write_if(storage, "a/x", b"first", Precondition::IfAbsent).expect("nothing is there");
    assert_eq!(code(write_if(storage, "a/x", b"second", Precondition::IfAbsent)), ErrorCode::AlreadyExists);
    assert_eq!(read(storage, "a/x"), b"first");
    // A race: both begin while nothing is there.
    let options = || WriteOptions { precondition: Precondition::IfAbsent, ..WriteOptions::default() };
    let mut writers: Vec<_> = (0..4).map(|_| storage.open_write("a/y", options()).expect("nothing is there")).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.write(&[number as u8]).expect("it is written");
    }
    let mut outcomes: Vec<_> = writers.into_iter().map(|writer| writer.commit().map_err(|error| error.code())).collect();
    assert!(outcomes.remove(0).is_ok());
    assert!(outcomes.iter().all(|outcome| outcome == &Err(ErrorCode::AlreadyExists)), "{outcomes:?}");
    assert_eq!(read(storage, "a/y"), [0]);
    assert_eq!(all_keys(storage), ["a/x", "a/y"], "the losers left nothing");
    storage.delete_object("a/y", Precondition::None).expect("it is deleted");
    write_if(storage, "a/y", b"again", Precondition::IfAbsent).expect("nothing is there any more");
}

pub(crate) fn if_match_is_kept_or_refused(storage: &Storage) {
    let first = write(storage, "x", b"first");
    let matching = |etag: &Option<String>| Precondition::IfMatch(etag.clone().unwrap_or_default());
    if !storage.supported_conditions().if_match {
        assert_eq!(code(write_if(storage, "x", b"2", matching(&first.etag))), ErrorCode::Unsupported);
        assert_eq!(code(storage.delete_object("x", matching(&first.etag))), ErrorCode::Unsupported);
        assert_eq!(read(storage, "x"), b"first");
        return;
    }
    let second = write_if(storage, "x", b"second", matching(&first.etag)).expect("it is the one");
    assert_eq!(code(write_if(storage, "x", b"third", matching(&first.etag))), ErrorCode::PreconditionFailed);
    assert_eq!(code(storage.delete_object("x", matching(&first.etag))), ErrorCode::PreconditionFailed);
    assert_eq!(code(write_if(storage, "missing", b"1", matching(&first.etag))), ErrorCode::PreconditionFailed);
    assert_eq!(read(storage, "x"), b"second");
    match storage.delete_object("x", matching(&second.etag)) {
        // What turns out not to be kept is refused, and claimed no more.
        Err(error) if error.code() == ErrorCode::Unsupported => {
            assert!(!storage.supported_conditions().if_match);
            assert_eq!(all_keys(storage), ["x"]);
        }
        deleted => {
            deleted.expect("it is the one");
            assert_eq!(all_keys(storage), Vec::<String>::new());
        }
    }
}

pub(crate) fn a_deleted_object_is_gone(storage: &Storage) {
    write(storage, "a/x", b"1");
    write(storage, "a/y", b"2");
    assert_eq!(code(storage.delete_object("a/x", Precondition::IfAbsent)), ErrorCode::Unsupported);
    storage.delete_object("a/x", Precondition::None).expect("it is deleted");
    assert_eq!(code(storage.delete_object("a/x", Precondition::None)), ErrorCode::NotFound);
    assert_eq!(all_keys(storage), ["a/y"]);
    write(storage, "a/x", b"3");
    assert_eq!(read(storage, "a/x"), b"3");
}

pub(crate) fn a_listing_is_in_the_order_of_bytes_and_pages(storage: &Storage) {
    assert_eq!(all_keys(storage), Vec::<String>::new(), "an empty storage");
    // In the order of their bytes: '-' < '.' < '/' < '0' < 'A' < 'a' < 'é'.
    let sorted = ["a-b/1", "a.b", "a/1", "a/1.x", "a/10", "a/2", "a/b/c/d", "a0", "b", "ba/1", "é"];
    for key in sorted.iter().rev() {
        write(storage, key, key.as_bytes());
    }
    assert_eq!(all_keys(storage), sorted);
    for (prefix, count) in
        [("", 11), ("a", 8), ("a/", 5), ("a/1", 3), ("a/b", 1), ("a/b/c/", 1), ("b", 2), ("é", 1), ("z", 0), ("a/1/", 0), ("a/b/c/d/e", 0)]
    {
        let found = keys(storage, prefix, None, 1000);
        assert_eq!(found.len(), count, "{prefix}: {found:?}");
        assert!(found.iter().all(|key| key.starts_with(prefix)));
    }
    // What no key begins with.
    let too_long = format!("{}/", "x".repeat(300));
    for prefix in ["/", "/etc/", "../", "a/../", "a//", "./", "a\nb/", &too_long] {
        assert_eq!(keys(storage, prefix, None, 1000), Vec::<String>::new(), "{prefix:?}");
    }
    for limit in 1..=12 {
        let (mut pages, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = keys(storage, "", after.as_deref(), limit);
            assert!(page.len() <= limit as usize);
            pages.extend(page.iter().cloned());
            after = page.last().cloned();
            if page.len() < limit as usize {
                break;
            }
        }
        assert_eq!(pages, sorted, "{limit} at a time");
    }
    assert_eq!(keys(storage, "a/", Some("a/1"), 1000), ["a/1.x", "a/10", "a/2", "a/b/c/d"]);
    assert_eq!(keys(storage, "a/", Some("a/1."), 1000), ["a/1.x", "a/10", "a/2", "a/b/c/d"], "after a key that is not there");
    assert_eq!(keys(storage, "a/", Some("a/b/c"), 1000), ["a/b/c/d"]);
    assert_eq!(keys(storage, "a/", Some("Z"), 1000).len(), 5, "before the prefix");
    assert_eq!(keys(storage, "a/", Some("b"), 1000), Vec::<String>::new(), "behind the prefix");
    for info in storage.list_objects("", None, 1000).expect("it is listed") {
        assert_eq!(info.size, info.key.len() as u64);
        assert_same(&storage.stat(&info.key).expect("it is there"), &info);
    }
}

pub(crate) fn a_hostile_key_is_refused_everywhere(storage: &Storage) {
    write(storage, "a/x", b"1");
    let too_long = format!("{}x", "0123456789/".repeat(93) + "1");
    assert_eq!(too_long.len(), 1025);
    for key in [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//x",
        "//a",
        ".",
        "..",
        "../x",
        "a/../x",
        "a/./x",
        "a/..",
        "a\0b",
        "a\nb",
        "a\u{7f}",
        "a\u{85}b",
        &too_long,
    ] {
        assert_eq!(code(opened(storage.open_write(key, WriteOptions::default()))), ErrorCode::InvalidKey, "write {key:?}");
        assert_eq!(code(opened(storage.open_read(key, ReadOptions::default()))), ErrorCode::InvalidKey, "read {key:?}");
        assert_eq!(code(storage.stat(key)), ErrorCode::InvalidKey, "stat {key:?}");
        assert_eq!(code(storage.delete_object(key, Precondition::None)), ErrorCode::InvalidKey, "delete {key:?}");
    }
    assert_eq!(all_keys(storage), ["a/x"]);
}

pub(crate) fn the_longest_key_is_kept(storage: &Storage) {
    let long = format!("{}{}", "0123456789/".repeat(92), "x".repeat(12));
    assert_eq!(long.len(), 1024);
    write(storage, &long, b"1");
    assert_eq!(read(storage, &long), b"1");
    assert_eq!(all_keys(storage), [long.as_str()]);
    storage.delete_object(&long, Precondition::None).expect("it is deleted");
}

pub(crate) fn an_unusual_key_is_kept_as_it_is(storage: &Storage) {
    let mut unusual = vec![
        "-rf",
        "a b",
        "a'b\"c",
        "a\\b",
        "a%2Fb",
        "a:b",
        "a*?",
        "con",
        "x.",
        "~",
        "#1",
        "日本/語",
        "e\u{301}",
        "é",
        "\u{1f600}",
        "...",
        "..a/b..",
    ];
    for key in &unusual {
        write(storage, key, key.as_bytes());
    }
    unusual.sort_unstable();
    assert_eq!(all_keys(storage), unusual);
    for key in unusual {
        assert_eq!(read(storage, key), key.as_bytes());
        assert_eq!(storage.stat(key).expect("it is there").key, key);
        storage.delete_object(key, Precondition::None).expect("it is deleted");
    }
    assert_eq!(all_keys(storage), Vec::<String>::new());
}

pub(crate) fn many_writers_of_one_key_leave_a_whole_object(storage: &Storage) {
    const SIZE: usize = 300_000;
    write(storage, "a/x", &[0; SIZE]);
    std::thread::scope(|scope| {
        for number in 1..=8 {
            scope.spawn(move || {
                for _ in 0..5 {
                    let mut writer = storage.open_write("a/x", WriteOptions::default()).expect("it opens");
                    for _ in 0..3 {
                        writer.write(&[number; SIZE / 3]).expect("it is written");
                    }
                    writer.commit().expect("it is committed");
                }
            });
        }
        for _ in 0..50 {
            let found = read(storage, "a/x");
            assert_eq!(found.len(), SIZE);
            assert!(found.iter().all(|byte| *byte == found[0]), "a mixture");
        }
    });
    assert_eq!(all_keys(storage), ["a/x"]);
}

pub(crate) fn the_conveniences_work_on_locations(storage: &Storage) {
    for key in ["x.bin", "deep/down/x.bin"] {
        let here = storage.locate(key).parse().expect("a location");
        assert!(!storage.exists(&here).expect("it can tell"));
        assert_eq!(storage.load(&here).expect_err("it is not there").code(), ErrorCode::NotFound);
        storage.save(&here, b"bytes").expect("it is saved");
        assert_eq!(all_keys(storage), [key]);
        assert!(storage.exists(&here).expect("it can tell"));
        assert_eq!(storage.load(&here).expect("it is loaded"), b"bytes");
        storage.delete(&here).expect("it is deleted");
        assert!(!storage.exists(&here).expect("it can tell"));
    }
    let elsewhere = "/another/place/x.bin".parse().expect("a location");
    assert!(matches!(storage.save(&elsewhere, b""), Err(PersistError::Configuration(_))));
    let elsewhere = "s3://another-bucket/x.bin".parse().expect("a location");
    assert!(matches!(storage.exists(&elsewhere), Err(PersistError::Configuration(_))));
}

pub(crate) fn messages_name_the_place(storage: &Storage) {
    let error = storage.stat("some/missing").expect_err("it is not there");
    assert!(error.location().is_some_and(|location| location.ends_with("some/missing")), "{error:?}");
    let error = opened(storage.open_read("some/missing", ReadOptions::default())).expect_err("it is not there");
    assert!(error.location().is_some_and(|location| location.ends_with("some/missing")), "{error:?}");
    assert!(!storage.summary().is_empty());
}
