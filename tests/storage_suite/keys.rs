//! Which keys are accepted, and how locations and errors name them.

use persist_host::{ErrorCode, PersistError, Precondition, ReadOptions, WriteOptions};

use super::helpers::{Storage, all_keys, code, opened, read, write};

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
