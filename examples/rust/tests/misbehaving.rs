//! A component that misbehaves fails its own call, and the host goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::{Duration, Instant};

use persist_example_host::snapshots::{Error, Metadata};
use persist_example_host::{CallLimits, Objects, Sandbox};
use persist_test_support::built;

fn sandbox(package: &str) -> Sandbox {
    Sandbox::new(&fs::read(built::library(package)).unwrap()).unwrap()
}

/// The component that misbehaves as the key tells it to.
fn hostile() -> Sandbox {
    sandbox("hostile-guest")
}

/// One object, which no misbehaviour may touch.
fn kept() -> Objects {
    Objects::from([("kept".to_owned(), b"as it was"[..].into())])
}

fn verify(sandbox: &Sandbox, objects: &mut Objects, limits: CallLimits, key: &str) -> wasmtime::Result<Result<Metadata, Error>> {
    sandbox.call(objects, limits, |persist, store| persist.persist_snapshot_snapshots().call_verify(store, key))
}

fn exists(sandbox: &Sandbox, objects: &mut Objects, key: &str) -> wasmtime::Result<Result<bool, Error>> {
    sandbox.call(objects, CallLimits::default(), |persist, store| persist.persist_snapshot_snapshots().call_exists(store, key))
}

#[test]
fn a_component_that_misbehaves_is_stopped() {
    let (hostile, good) = (hostile(), sandbox("persist-guest"));
    let limits = CallLimits { computing: Duration::from_secs(2), ..CallLimits::default() };
    let mut objects = kept();
    for (key, cause) in [
        ("trap/x", "unreachable"),
        ("bloat/x", "memory"),
        ("loop/x", "interrupt"),
        ("sleep/x", "nothing to wait for"),
        ("overflow/x", "stack"),
        ("leak/x", "table"),
    ] {
        let began = Instant::now();
        let stopped = verify(&hostile, &mut objects, limits, key);
        let error = format!("{:?}", stopped.map(drop).expect_err("it misbehaves"));
        assert!(error.contains(cause), "{key}: {error}");
        assert!(began.elapsed() < Duration::from_secs(30));
        println!("{key}: {}", error.lines().last().unwrap());
        // The next component finds everything as it was.
        assert_eq!(objects, kept());
        assert!(exists(&good, &mut objects, "kept").unwrap().unwrap());
    }
}

/// The hostile component tries such keys itself, and traps if one is accepted.
#[test]
fn a_component_gets_no_key_that_leads_out() {
    let mut objects = kept();
    verify(&hostile(), &mut objects, CallLimits::default(), "escape/x").unwrap().expect("every key is refused");
    assert_eq!(objects, kept());
}

/// A call may write a limited number of bytes, into one writer or into ever new objects.
#[test]
fn a_component_that_writes_for_ever_is_refused() {
    let hostile = hostile();
    let limits = CallLimits { written_bytes: 1_000_000, ..CallLimits::default() };
    for (key, prefix) in [("fill/x", "filled"), ("scatter/x", "scattered-")] {
        let mut objects = kept();
        verify(&hostile, &mut objects, limits, key).unwrap().expect("the component handles a write that is refused");
        assert_eq!(objects.remove("kept").as_deref(), Some(&b"as it was"[..]));
        assert!(objects.keys().all(|key| key.starts_with(prefix)));
        let stored: usize = objects.iter().map(|(key, object)| key.len() + object.len()).sum();
        assert!(stored <= limits.written_bytes, "{key}: {stored} bytes");
        assert!(objects.len() < limits.written_bytes / 100, "{key}: {} objects", objects.len());
        // What is not committed is not stored.
        assert_eq!(objects.is_empty(), key == "fill/x");
    }
}
