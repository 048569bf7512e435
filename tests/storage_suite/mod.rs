//! What the storage contract (`wit/storage.wit`) requires of every storage. Each check
//! gets its own empty storage.

/// Calls a macro with the names of all checks. The key of the first is too long for some
/// storages.
macro_rules! for_each_check {
    ($callback:ident) => {
        $callback! {
            the_longest_key_is_kept,
            what_is_written_is_read,
            content_type_and_attributes_are_kept,
            a_read_of_no_bytes_changes_nothing,
            many_ranges_are_read_in_one_call,
            a_range_is_copied_or_refused,
            many_objects_are_deleted_in_one_call,
            a_level_is_listed_without_what_is_below,
            a_range_is_cut_at_the_end,
            a_missing_object_is_not_found,
            a_dropped_writer_leaves_nothing,
            a_reader_reads_one_version,
            if_absent_is_enforced_or_refused,
            if_match_is_enforced_or_refused,
            a_deleted_object_is_gone,
            a_listing_is_paged_and_in_byte_order,
            a_hostile_key_is_refused_everywhere,
            an_unusual_key_is_kept_unchanged,
            concurrent_writers_of_one_key_leave_a_complete_object,
            the_convenience_methods_work_on_locations,
            errors_name_the_location,
        }
    };
}

#[cfg(unix)]
pub(crate) mod files;

use std::sync::Arc;

use persist_host::{
    ByteRange, ErrorCode, LevelEntry, ObjectInfo, PersistError, Precondition, ReadOptions, ReadRequest, Result, StorageAdapter,
    WriteOptions,
};

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

/// Asserts that two calls describe an object alike, as far as both know it: not every
/// response of a bucket has the etag and time.
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
    let mut writer =
        storage.open_write("a/b/c.bin", WriteOptions { object_size_hint: Some(7), ..WriteOptions::default() }).expect("it opens");
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
    // The information is about the whole object, whatever the range.
    assert_same(reader.info(), &info);
}

pub(crate) fn content_type_and_attributes_are_kept(storage: &Storage) {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = WriteOptions {
        content_type: Some("application/gzip".to_owned()),
        attributes: vec![pair("zebra", "last"), pair("agent", "a 1")],
        ..WriteOptions::default()
    };
    let mut writer = storage.open_write("a/x", options).expect("it opens");
    writer.write(b"bytes").expect("it is written");
    let written = writer.commit().expect("it is committed");
    let can = storage.capabilities();
    let expected_type = can.content_type.then(|| "application/gzip".to_owned());
    let expected = if can.attributes { vec![pair("agent", "a 1"), pair("zebra", "last")] } else { Vec::new() };
    let reader = storage.open_read("a/x", ReadOptions::default()).expect("it opens");
    for info in [written.clone(), storage.stat("a/x").expect("it is there"), reader.info().clone()] {
        assert_eq!((&info.content_type, &info.attributes), (&expected_type, &expected), "sorted by name");
        assert_eq!(info.storage_time.is_some(), can.storage_time);
        assert!(info.storage_time >= written.storage_time, "the storage's time does not go back");
    }
}

pub(crate) fn a_read_of_no_bytes_changes_nothing(storage: &Storage) {
    write(storage, "x", b"0123456789");
    let mut reader = storage.open_read("x", ReadOptions::default()).expect("it opens");
    let mut found = Vec::new();
    for _ in 0..10 {
        assert!(reader.read(0).expect("nothing is read").is_empty());
        found.extend(reader.read(1).expect("it is read"));
    }
    assert_eq!(found, b"0123456789");
    assert!(reader.read(0).expect("nothing is read").is_empty() && reader.read(1).expect("the end").is_empty());
}

pub(crate) fn many_ranges_are_read_in_one_call(storage: &Storage) {
    let first = write(storage, "a/1", b"0123456789");
    write(storage, "a/2", b"");
    write(storage, "b", &vec![7; 3_000_000]);
    let ask = |key: &str, range, if_match| ReadRequest { key: key.to_owned(), range, if_match };
    let span = |offset, length| ByteRange::Span { offset, length };
    let mut requests = vec![
        ask("a/1", span(2, 3), None),
        ask("missing", ByteRange::Suffix(5), None),
        ask("a/1", ByteRange::Suffix(100), None),
        ask("a/1", span(50, 5), None),
        ask("a/2", ByteRange::Suffix(5), None),
        ask("../x", ByteRange::Suffix(5), None),
        ask("b", span(1_000_000, 2_000_000), None),
        ask("a/1", span(0, 0), None),
    ];
    if first.etag.is_some() {
        requests.push(ask("a/1", span(0, 1), first.etag.clone()));
        requests.push(ask("a/1", span(0, 1), Some("another".to_owned())));
    }
    let answers = storage.read_many(&requests).expect("each request has its own result");
    assert_eq!(answers.len(), requests.len());
    let found: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(answer) if answer.bytes.len() < 100 => Ok(String::from_utf8_lossy(&answer.bytes).into_owned()),
            Ok(answer) => Ok(answer.bytes.len().to_string()),
            Err(error) => Err(error.code()),
        })
        .collect();
    let text = |text: &str| Ok(text.to_owned());
    let mut expected = vec![
        text("234"),
        Err(ErrorCode::NotFound),
        text("0123456789"),
        text(""),
        text(""),
        Err(ErrorCode::InvalidKey),
        text("2000000"),
        text(""),
    ];
    if first.etag.is_some() {
        expected.extend([text("0"), Err(ErrorCode::PreconditionFailed)]);
    }
    assert_eq!(found, expected);
    let answer = answers[0].as_ref().expect("it is read");
    assert_same(&answer.info, &first);
    // More than are requested at once.
    let requests: Vec<_> = (0..100).map(|index| ask("a/1", span(index % 10, 1), None)).collect();
    let answers = storage.read_many(&requests).expect("each request has its own result");
    for (index, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.expect("it is read").bytes, [b"0123456789"[index % 10]], "in the order of the requests");
    }
    assert_eq!(storage.read_many(&[]).expect("nothing to read"), []);
}

pub(crate) fn a_range_is_copied_or_refused(storage: &Storage) {
    let bytes: Vec<u8> = (0..14_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let source = write(storage, "a/source", &bytes);
    let begin = || {
        let mut writer = storage.open_write("b/target", WriteOptions::default()).expect("it opens");
        writer.write(b"before").expect("it is written");
        writer
    };
    if !storage.capabilities().copy_range {
        assert_eq!(code(begin().copy_range("a/source", 0, 5, None)), ErrorCode::Unsupported);
        return;
    }
    // Small ranges, and ranges that a bucket copies as separate parts.
    for ranges in
        [&[(0, 5), (3, 0), (13_999_999, 1)][..], &[(1, 13_000_000)], &[(0, 100), (500, 6_000_000), (7, 7), (6_000_000, 5_300_000)]]
    {
        let mut writer = begin();
        let mut expected = b"before".to_vec();
        for (offset, length) in ranges {
            writer.copy_range("a/source", *offset as u64, *length as u64, source.etag.as_deref()).expect("it is copied");
            expected.extend_from_slice(&bytes[*offset..offset + length]);
        }
        writer.write(b"after").expect("it is written");
        expected.extend_from_slice(b"after");
        assert_eq!(writer.commit().expect("it is committed").size, expected.len() as u64);
        assert!(read(storage, "b/target") == expected, "{ranges:?}");
    }
    begin().copy_range("a/source", 20_000_000, 0, None).expect("nothing is there, and nothing was asked for");
    assert_eq!(code(begin().copy_range("a/source", 13_999_999, 2, None)), ErrorCode::Io, "the whole span, or an error");
    assert_eq!(code(begin().copy_range("a/missing", 0, 1, None)), ErrorCode::NotFound);
    assert_eq!(code(begin().copy_range("../x", 0, 1, None)), ErrorCode::InvalidKey);
    if source.etag.is_some() {
        assert_eq!(code(begin().copy_range("a/source", 0, 1, Some("another"))), ErrorCode::PreconditionFailed);
        assert_eq!(code(begin().copy_range("a/source", 0, 6_000_000, Some("another"))), ErrorCode::PreconditionFailed);
    }
    assert_eq!(all_keys(storage), ["a/source", "b/target"]);
}

pub(crate) fn many_objects_are_deleted_in_one_call(storage: &Storage) {
    for key in ["a/1", "a/2", "b/c/d", "kept"] {
        write(storage, key, b"1");
    }
    let named = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let failures =
        storage.delete_many(&named(&["a/1", "missing", "a/2", "../x", "b/c/d", "a/1"])).expect("each request has its own result");
    let found: Vec<_> = failures.iter().map(|failure| (failure.key.as_str(), failure.error.code())).collect();
    assert_eq!(found, [("../x", ErrorCode::InvalidKey)], "missing ones are ignored");
    assert_eq!(all_keys(storage), ["kept"]);
    assert!(storage.delete_many(&[]).expect("nothing to delete").is_empty());
    assert!(storage.delete_many(&named(&["missing"])).expect("ignored").is_empty());
}

fn level(storage: &Storage, prefix: &str, start_after: Option<&str>, limit: u32) -> Vec<String> {
    let entries = storage.list_level(prefix, start_after, limit).expect("it is listed");
    for entry in &entries {
        match entry {
            LevelEntry::Object(info) => assert!(!info.key.ends_with('/') && info.size == info.key.len() as u64),
            LevelEntry::Prefix(prefix) => assert!(prefix.ends_with('/')),
        }
    }
    entries.iter().map(|entry| entry.name().to_owned()).collect()
}

pub(crate) fn a_level_is_listed_without_what_is_below(storage: &Storage) {
    assert_eq!(level(storage, "", None, 1000), Vec::<String>::new());
    for key in ["a-b/1", "a.b", "a/1", "a/1.x", "a/b/c/d", "a/b/e", "a0", "b", "ba/1", "ba/c/1", "é/x"] {
        write(storage, key, key.as_bytes());
    }
    let all = ["a-b/", "a.b", "a/", "a0", "b", "ba/", "é/"];
    assert_eq!(level(storage, "", None, 1000), all);
    assert_eq!(level(storage, "a", None, 1000), ["a-b/", "a.b", "a/", "a0"]);
    assert_eq!(level(storage, "a/", None, 1000), ["a/1", "a/1.x", "a/b/"]);
    assert_eq!(level(storage, "a/b", None, 1000), ["a/b/"]);
    assert_eq!(level(storage, "a/b/", None, 1000), ["a/b/c/", "a/b/e"]);
    for prefix in ["z", "a/1/", "a/b/c/d/e", "/", "a//", "../"] {
        assert_eq!(level(storage, prefix, None, 1000), Vec::<String>::new(), "{prefix:?}");
    }
    for limit in 1..=8 {
        let (mut pages, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = level(storage, "", after.as_deref(), limit);
            assert!(page.len() <= limit as usize);
            after = page.last().cloned();
            let ended = page.len() < limit as usize;
            pages.extend(page);
            if ended {
                break;
            }
        }
        assert_eq!(pages, all, "{limit} at a time");
    }
    // `start_after` may be any text.
    let prefixes = ["", "a", "a/", "a/b", "a/b/", "ba/"];
    for after in ["a", "a-b/", "a.b", "a/", "a/1", "a/1.x", "a/b", "a/b/", "a/b/c", "a/b/c/", "a/b/c/d", "a/zz", "b", "ba/", "z"] {
        for prefix in prefixes {
            let mut expected = level(storage, prefix, None, 1000);
            expected.retain(|entry| entry.as_str() > after);
            assert_eq!(level(storage, prefix, Some(after), 1000), expected, "{prefix:?} after {after:?}");
            expected.truncate(1);
            assert_eq!(level(storage, prefix, Some(after), 1), expected, "{prefix:?} after {after:?}");
        }
    }
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
    // A writer without any write creates an empty object when it is committed.
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
            // If the old version cannot be kept, the read fails.
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

pub(crate) fn if_absent_is_enforced_or_refused(storage: &Storage) {
    if !storage.capabilities().if_absent {
        assert_eq!(code(write_if(storage, "x", b"1", Precondition::IfAbsent)), ErrorCode::Unsupported);
        assert_eq!(all_keys(storage), Vec::<String>::new());
        return;
    }
    write_if(storage, "a/x", b"first", Precondition::IfAbsent).expect("nothing is there");
    assert_eq!(code(write_if(storage, "a/x", b"second", Precondition::IfAbsent)), ErrorCode::AlreadyExists);
    assert_eq!(read(storage, "a/x"), b"first");
    // A race: all begin while nothing is there.
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

pub(crate) fn if_match_is_enforced_or_refused(storage: &Storage) {
    let first = write(storage, "x", b"first");
    let matching = |etag: &Option<String>| Precondition::IfMatch(etag.clone().unwrap_or_default());
    if !storage.capabilities().if_match {
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
        // A precondition that turns out to be ignored is refused, and no longer claimed.
        Err(error) if error.code() == ErrorCode::Unsupported => {
            assert!(!storage.capabilities().if_match);
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
    assert_eq!(code(storage.delete_object("a/x", Precondition::IfAbsent)), ErrorCode::InvalidArgument);
    storage.delete_object("a/x", Precondition::None).expect("it is deleted");
    assert_eq!(code(storage.delete_object("a/x", Precondition::None)), ErrorCode::NotFound);
    assert_eq!(all_keys(storage), ["a/y"]);
    write(storage, "a/x", b"3");
    assert_eq!(read(storage, "a/x"), b"3");
}

pub(crate) fn a_listing_is_paged_and_in_byte_order(storage: &Storage) {
    assert_eq!(all_keys(storage), Vec::<String>::new(), "an empty storage");
    // In byte order: '-' < '.' < '/' < '0' < 'A' < 'a' < 'é'.
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
    // Prefixes of no valid key.
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
    assert_eq!(keys(storage, "", Some("a/"), 1000).len(), 9, "the name of a level is text like any other");
    assert_eq!(keys(storage, "a/", Some("Z"), 1000).len(), 5, "before the prefix");
    assert_eq!(keys(storage, "a/", Some("b"), 1000), Vec::<String>::new(), "after the prefix");
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

pub(crate) fn an_unusual_key_is_kept_unchanged(storage: &Storage) {
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

pub(crate) fn concurrent_writers_of_one_key_leave_a_complete_object(storage: &Storage) {
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

pub(crate) fn the_convenience_methods_work_on_locations(storage: &Storage) {
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

pub(crate) fn errors_name_the_location(storage: &Storage) {
    let error = storage.stat("some/missing").expect_err("it is not there");
    assert!(error.location().is_some_and(|location| location.ends_with("some/missing")), "{error:?}");
    let error = opened(storage.open_read("some/missing", ReadOptions::default())).expect_err("it is not there");
    assert!(error.location().is_some_and(|location| location.ends_with("some/missing")), "{error:?}");
    assert!(!storage.summary().is_empty());
}
