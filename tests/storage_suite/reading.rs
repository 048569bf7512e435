//! Whole objects and ranges of them, one at a time and many in one call.

use persist_host::{ByteRange, ErrorCode, Precondition, ReadOptions, ReadRequest};

use super::helpers::{Storage, assert_same, code, opened, read_if, write};

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
    let ask = |key: &str, range, if_match| ReadRequest::new(key, range).if_match(if_match);
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
            let matching = ReadOptions::default().if_match(Some("x".to_owned()));
            assert_eq!(code(opened(storage.open_read(key, matching))), ErrorCode::NotFound);
        }
        if !present {
            write(storage, "a/b/there", b"1");
        }
    }
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
