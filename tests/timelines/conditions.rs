//! A bucket that ignores or refuses preconditions keeps no timeline.

use std::sync::Arc;

use persist_host::timeline::{Checked, OnConflict, Policy};
use persist_host::{ErrorCode, StorageAdapter};
use persist_test_support::moto::Moto;
use persist_test_support::proxy::{Fault, Proxy, When};
use persist_test_support::server::{Server, adapter, adapter_in};

use crate::helpers::{TIMELINE, append, on};

/// The bucket of a server that ignores preconditions. What is known of it is kept by its
/// name, which no other test uses.
const CARELESS: &str = "careless-with-timelines";

fn assert_refused(storage: Arc<dyn StorageAdapter>) {
    for on_conflict in [OnConflict::Fail, OnConflict::Rebase] {
        let mut timeline = on(Arc::clone(&storage)).timeline(TIMELINE).expect("a folder");
        // The second append knows it, the first finds out.
        for id in [1, 2] {
            let error = append(&mut timeline, id, on_conflict).expect_err("it is refused");
            assert_eq!(error.code(), ErrorCode::Unsupported, "{error:?}");
            assert!(error.detail().hint.is_some() && error.location().is_some(), "{error:?}");
        }
    }
    let left = storage.list_objects("", None, 10).expect("it is listed");
    assert_eq!(left.len(), 0, "{left:?}");
}

#[test]
fn a_bucket_that_ignores_preconditions_keeps_no_timeline() {
    // A server that does not check signatures, since the preconditions are signed.
    let server = Moto::start();
    server.make_bucket(CARELESS);
    let proxy = Proxy::start(server.address());
    proxy.inject(None, Fault::StripConditions, When::Always);
    assert_refused(Arc::new(adapter_in(CARELESS, &proxy.endpoint(), |_| {})));
}

#[test]
fn a_bucket_that_refuses_preconditions_keeps_no_timeline() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    proxy.inject(None, Fault::RefuseConditions, When::Always);
    assert_refused(Arc::new(adapter(&proxy.endpoint())));
}

#[test]
fn one_writer_keeps_a_timeline_in_a_bucket_without_preconditions() {
    for (number, fault) in (0..).zip([Fault::StripConditions, Fault::RefuseConditions]) {
        let server = Moto::start();
        let bucket = format!("one-writer-{number}");
        server.make_bucket(&bucket);
        let proxy = Proxy::start(server.address());
        proxy.inject(None, fault, When::Always);
        let storage: Arc<dyn StorageAdapter> = Arc::new(adapter_in(&bucket, &proxy.endpoint(), |options| options.one_writer = true));
        let mut timeline = on(Arc::clone(&storage)).timeline(TIMELINE).expect("a folder");
        // A handle that does not know of the second step.
        let mut stale = on(Arc::clone(&storage)).timeline(TIMELINE).expect("a folder");
        append(&mut stale, 1, OnConflict::Fail).expect("it is appended");
        append(&mut timeline, 2, OnConflict::Fail).expect("it is appended");
        let error = append(&mut stale, 3, OnConflict::Fail).expect_err("another was faster");
        assert_eq!(error.code(), ErrorCode::AlreadyExists, "{error:?}");
        append(&mut stale, 3, OnConflict::Rebase).expect("it is appended");
        let keep = Policy::default().last(1);
        timeline.prune(&keep, false).expect("it is pruned");
        let wrong: Vec<_> =
            timeline.check(true).expect("it is checked").filter(|checked| !matches!(checked, Ok(Checked { error: None, .. }))).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        timeline.delete().expect("it is deleted");
    }
}
