//! What a component does wrong stays its own: the host goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../../../tests/support/built.rs"]
mod built;

use std::fs;
use std::time::{Duration, Instant};

use persist_example_host::{Objects, Plugin};

/// What a call may write where that is not what is tested.
const BYTES: usize = 1 << 30;

/// The component that misbehaves, and the real one.
fn plugins() -> (Plugin, Plugin) {
    let [hostile, good] = ["hostile-guest", "persist-guest"].map(|package| fs::read(built::library(package)).unwrap());
    (Plugin::new(&hostile).unwrap(), Plugin::new(&good).unwrap())
}

#[test]
fn a_plugin_that_misbehaves_is_stopped() {
    let (hostile, good) = plugins();
    let mut objects = Objects::from([("kept".to_owned(), b"as it was"[..].into())]);
    for (key, says) in [
        ("trap/x", "unreachable"),
        ("bloat/x", "memory"),
        ("loop/x", "interrupt"),
        ("sleep/x", "nothing to wait for"),
        ("overflow/x", "stack"),
        ("leak/x", "table"),
    ] {
        let began = Instant::now();
        let stopped = hostile.call(&mut objects, 20, BYTES, |persist, store| persist.persist_snapshot_snapshots().call_verify(store, key));
        let error = format!("{:?}", stopped.map(drop).expect_err("it misbehaves"));
        assert!(error.contains(says), "{key}: {error}");
        assert!(began.elapsed() < Duration::from_secs(30));
        println!("{key}: {}", error.lines().last().unwrap());
        // The next plugin finds everything as it was.
        assert_eq!(objects.get("kept").map(|kept| &kept[..]), Some(&b"as it was"[..]));
        let exists = good.call(&mut objects, 300, BYTES, |persist, store| persist.persist_snapshot_snapshots().call_exists(store, "kept"));
        assert!(exists.unwrap().unwrap());
    }
}

/// The hostile component asks for such keys, and traps if one is taken.
#[test]
fn a_plugin_gets_no_key_that_leads_out() {
    let (hostile, _) = plugins();
    let mut objects = Objects::from([("kept".to_owned(), b"as it was"[..].into())]);
    let called =
        hostile.call(&mut objects, 300, BYTES, |persist, store| persist.persist_snapshot_snapshots().call_verify(store, "escape/x"));
    called.unwrap().expect("each is refused");
    assert_eq!(objects.into_keys().collect::<Vec<_>>(), ["kept"]);
}

/// Into one writer, and in ever new objects: no more than a call may write.
#[test]
fn a_plugin_that_writes_for_ever_is_refused() {
    let (hostile, _) = plugins();
    let bytes = 1_000_000;
    for (key, prefix) in [("fill/x", "filled"), ("scatter/x", "scattered-")] {
        let mut objects = Objects::from([("kept".to_owned(), b"as it was"[..].into())]);
        let called = hostile.call(&mut objects, 300, bytes, |persist, store| persist.persist_snapshot_snapshots().call_verify(store, key));
        called.unwrap().expect("a refusal to write is the plugin's to handle");
        assert_eq!(objects.remove("kept").as_deref(), Some(&b"as it was"[..]));
        assert!(objects.keys().all(|key| key.starts_with(prefix)));
        let stored: usize = objects.iter().map(|(key, object)| key.len() + object.len()).sum();
        assert!(stored <= bytes && objects.len() < bytes / 100, "{key}: {} objects of {stored} bytes", objects.len());
        // What is not committed is not stored.
        assert_eq!(objects.is_empty(), key == "fill/x");
    }
}
