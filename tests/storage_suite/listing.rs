//! Pages of a listing and of a level, in byte order.

use persist_host::LevelEntry;

use super::helpers::{Storage, all_keys, assert_same, keys, write};

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
