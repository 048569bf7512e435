//! What is written is there completely, with all that belongs to it, or not at all.

use persist_host::{ByteRange, ErrorCode, ReadOptions, WriteOptions};

use super::helpers::{Storage, all_keys, assert_same, code, read, read_if, write};

pub(crate) fn what_is_written_is_read(storage: &Storage) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut writer = storage.open_write("a/b/c.bin", WriteOptions::default().object_size_hint(Some(7))).expect("it opens");
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
    let reader = storage.open_read("a/b/c.bin", ReadOptions::default().range(ByteRange::Suffix(1)).if_match(None)).expect("it opens");
    // The information is about the whole object, whatever the range.
    assert_same(reader.info(), &info);
}

pub(crate) fn content_type_and_attributes_are_kept(storage: &Storage) {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = WriteOptions::default()
        .content_type(Some("application/gzip".to_owned()))
        .attributes(vec![pair("zebra", "last"), pair("agent", "a 1")]);
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
