//! What a component does wrong stays its own: the host goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the test builds another package than the host does")]
#[path = "../../../xtask/src/component.rs"]
mod component;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use persist_example_host::{Objects, Plugin};

#[test]
fn a_plugin_that_misbehaves_is_stopped() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let target = |name: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let hostile = fs::read(component::build_package(workspace, "hostile-guest", &target("hostile")).expect("it builds")).unwrap();
    let good = fs::read(component::build(workspace, &target("components")).expect("it builds")).unwrap();
    let (hostile, good) = (Plugin::new(&hostile).unwrap(), Plugin::new(&good).unwrap());
    let mut objects = Objects::from([("kept".to_owned(), b"as it was".to_vec())]);
    for (key, says) in [("trap/x", "unreachable"), ("bloat/x", "memory"), ("loop/x", "interrupt"), ("overflow/x", "stack"), ("leak/x", "")]
    {
        let began = Instant::now();
        let stopped = hostile.call(&mut objects, 20, |persist, store| persist.persist_snapshot_snapshots().call_verify(store, key));
        let error = format!("{:?}", stopped.map(drop).expect_err("it misbehaves"));
        assert!(error.contains(says), "{key}: {error}");
        assert!(began.elapsed() < Duration::from_secs(30));
        println!("{key}: {}", error.lines().last().unwrap());
        // The next plugin finds everything as it was.
        assert_eq!(objects.get("kept").map(Vec::as_slice), Some(&b"as it was"[..]));
        let exists = good.call(&mut objects, 300, |persist, store| persist.persist_snapshot_snapshots().call_exists(store, "kept"));
        assert!(exists.unwrap().unwrap());
    }
}
