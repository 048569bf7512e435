//! Listings: the entries of a page, filters, and the size of a page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use persist_guest::codec::Codec;
use persist_guest::error::ErrorCode;
use persist_guest::memory::MemoryStorage;
use persist_guest::{SaveOptions, snapshots};

mod support;

use support::options;

#[test]
fn a_listing_shows_snapshots_and_other_files_page_by_page() {
    let storage = MemoryStorage::default();
    for index in 0..25 {
        let options = SaveOptions { snapshot_index: index, ..options(Codec::Gzip) };
        snapshots::save(&storage, &format!("a/{index:02}.json.gz"), b"{}", options).unwrap();
    }
    storage.put("a/07.json.gz", b"damaged".to_vec());
    storage.put("b/other", Vec::new());
    let mut keys = Vec::new();
    let mut next = None;
    loop {
        let page = snapshots::list(&storage, "a/", next.as_deref(), 10, snapshots::ListFilter::default()).unwrap();
        assert!(page.entries.len() <= 10);
        keys.extend(page.entries.iter().map(|entry| match entry {
            snapshots::ListEntry::Snapshot(metadata) => metadata.key.clone(),
            snapshots::ListEntry::Unreadable { info, error } => format!("{}: {:?}", info.key, error.code),
        }));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let expected: Vec<String> =
        (0..25).map(|index| if index == 7 { "a/07.json.gz: NotASnapshot".to_owned() } else { format!("a/{index:02}.json.gz") }).collect();
    assert_eq!(keys, expected);
    for limit in [0, 1001] {
        assert_eq!(
            snapshots::list(&storage, "", None, limit, snapshots::ListFilter::default()).unwrap_err().code,
            ErrorCode::InvalidArgument
        );
    }
}

/// Whatever part of a snapshot a crash or a full disk leaves is reported as damage, not as
/// another kind of file. If nothing is left, the name decides.
#[test]
fn what_is_left_of_a_snapshot_is_never_another_kind_of_file() {
    let state: Vec<u8> = (0..300_000_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let code_of = |key: &str, bytes: Vec<u8>| {
        let storage = MemoryStorage::default();
        storage.put(key, bytes);
        let page = snapshots::list(&storage, "", None, 10, snapshots::ListFilter::default()).unwrap();
        match page.entries.as_slice() {
            [snapshots::ListEntry::Snapshot(_)] => None,
            [snapshots::ListEntry::Unreadable { error, .. }] => Some(error.code),
            others => panic!("{others:?}"),
        }
    };
    let is_damage = |code: Option<ErrorCode>| matches!(code, Some(ErrorCode::InvalidFormat | ErrorCode::Integrity));
    for (key, length) in [("x.json.gz", 100), ("x.json.zst", 100), ("x.json.gz", state.len()), ("x.json.zst", state.len())] {
        let storage = MemoryStorage::default();
        snapshots::save(&storage, key, &state[..length], SaveOptions::default()).unwrap();
        let whole = storage.get(key).unwrap();
        assert_eq!(code_of(key, whole.clone()), None);
        let ends = (0..40).chain((1..30).map(|part| whole.len() * part / 30)).chain((1..120).map(|end| whole.len() - end));
        for cut in ends.filter(|cut| *cut < whole.len()) {
            assert!(is_damage(code_of(key, whole[..cut].to_vec())), "{key} of {length}, cut at {cut}");
            let mut zeroed = whole[..cut].to_vec();
            zeroed.resize(whole.len(), 0);
            // Nothing is lost if the bytes were already zero.
            let found = code_of(key, zeroed.clone());
            assert!(zeroed == whole || is_damage(found), "{key} of {length}, zeros from {cut}: {found:?}");
        }
        // The first bytes are overwritten, then the last one is lost.
        let mut torn = whole.clone();
        torn[..16].fill(0xa5);
        assert_eq!(code_of(key, torn.clone()), None, "its metadata is at its end");
        torn.pop();
        assert!(is_damage(code_of(key, torn)), "{key} of {length}");
        // Five bytes of a zstd header suffice whatever the name is, but gzip needs all of it.
        let left = if key.ends_with("gz") { 10 } else { 5 };
        assert!(is_damage(code_of("x", whole[..left].to_vec())), "{key} of {length}");
    }
    for key in ["x.gz", "x.GZ", "x.zst", "x.Zst", "x.zstd"] {
        assert!(is_damage(code_of(key, Vec::new())) && is_damage(code_of(key, vec![0; 100_000])), "{key}");
    }
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x04\0\x43\xbe\xb7\xe8\x01\0\0\0";
    let zstd = b"\x28\xb5\x2f\xfd\x04\x58\x09\0\0\x61\x0a\x31\x95\xf3\xe8";
    let others: [(&str, &[u8]); 7] =
        [("x.gz", gzip), ("x.zst", zstd), ("x.gz", b"a text"), ("x.gz", zstd), ("x", b""), ("x.json", &[0; 1000]), ("x.log", gzip)];
    for (key, bytes) in others {
        assert_eq!(code_of(key, bytes.to_vec()), Some(ErrorCode::NotASnapshot), "{key} {bytes:?}");
    }
}

#[test]
fn a_filter_leaves_out_exactly_what_does_not_match() {
    let storage = MemoryStorage::default();
    for (key, agent, session, label, time) in [
        ("1", "a", "s", "x", "2026-01-31T12:00:00Z"),
        ("2", "a", "s", "y", "2026-01-31T13:00:00Z"),
        ("3", "a", "t", "x", "2026-01-31T14:00:00Z"),
        ("4", "b", "s", "x", "2026-01-31T15:00:00.000001Z"),
    ] {
        let options = SaveOptions {
            agent_id: agent.to_owned(),
            session_id: session.to_owned(),
            labels: vec![("l".to_owned(), label.to_owned()), ("all".to_owned(), String::new())],
            timestamp: Some(time.to_owned()),
            ..SaveOptions::default()
        };
        snapshots::save(&storage, key, b"{}", options).unwrap();
    }
    storage.put("5", b"no snapshot".to_vec());
    let text = |text: &str| Some(text.to_owned());
    let label = |value: &str| vec![("l".to_owned(), value.to_owned())];
    let none = snapshots::ListFilter::default;
    for (filter, wanted) in [
        (none(), "12345"),
        (snapshots::ListFilter { agent_id: text("a"), ..none() }, "1235"),
        (snapshots::ListFilter { session_id: text("s"), ..none() }, "1245"),
        (snapshots::ListFilter { agent_id: text("a"), session_id: text("s"), labels: label("y"), ..none() }, "25"),
        (snapshots::ListFilter { labels: label("z"), ..none() }, "5"),
        (snapshots::ListFilter { labels: [label("x"), vec![("all".to_owned(), String::new())]].concat(), ..none() }, "1345"),
        // `since` is inclusive and `until` exclusive, with any offset.
        (snapshots::ListFilter { since: text("2026-01-31T14:00:00+01:00"), until: text("2026-01-31T15:00:00.000001Z"), ..none() }, "235"),
        (snapshots::ListFilter { since: text("2026-01-31T15:00:00.000001Z"), ..none() }, "45"),
    ] {
        let mut found = String::new();
        let mut next = None;
        loop {
            let page = snapshots::list(&storage, "", next.as_deref(), 2, filter.clone()).unwrap();
            found.extend(page.entries.iter().map(|entry| match entry {
                snapshots::ListEntry::Snapshot(metadata) => metadata.key.clone(),
                snapshots::ListEntry::Unreadable { info, .. } => info.key.clone(),
            }));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(found, wanted, "{filter:?}");
    }
    let wrong = snapshots::ListFilter { since: text("yesterday"), ..none() };
    let error = snapshots::list(&storage, "", None, 10, wrong).unwrap_err();
    assert!(error.code == ErrorCode::InvalidArgument && error.message.contains("RFC 3339"), "{error}");
}

#[test]
fn a_page_is_bounded_even_if_nothing_can_be_read() {
    let storage = MemoryStorage::default();
    for index in 0..1000 {
        storage.put(&format!("{}/{index:04}", "long".repeat(200)), b"no snapshot".to_vec());
    }
    let mut seen = 0;
    let mut next = None;
    loop {
        let page = snapshots::list(&storage, "", next.as_deref(), 1000, snapshots::ListFilter::default()).unwrap();
        assert!(page.entries.len() < 600, "{} entries of about 2 KiB", page.entries.len());
        seen += page.entries.len();
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, 1000);
}
