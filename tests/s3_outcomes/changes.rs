//! Conflicts, refusals and deletes whose outcome has to be determined.

use std::time::Duration;

use persist_host::{CancelToken, ErrorCode, Precondition, Result, StorageAdapter};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::Server;

use crate::helpers::{MIB, put, read, small_parts, writer};

#[test]
fn a_conflict_of_two_writes_is_retried_and_is_not_an_existing_object() {
    for (code, expected) in [("ConditionalRequestConflict", ErrorCode::Conflict), ("", ErrorCode::Unavailable)] {
        for (size, operation) in [(1, Operation::PutObject), (6 * MIB, Operation::CompleteUpload)] {
            for condition in [Precondition::IfAbsent, Precondition::None] {
                let server = Server::start();
                let proxy = Proxy::start(server.address);
                let adapter = small_parts(&proxy);
                put(&adapter, "probe", &vec![0; size], condition.clone()).expect("nothing is there");
                proxy.inject(operation, Fault::Answer(409, code), When::First);
                put(&adapter, "x", &vec![1; size], condition.clone()).expect("the next attempt");
                proxy.heal();
                proxy.inject(operation, Fault::Answer(409, code), When::Always);
                let error = put(&adapter, "y", &vec![1; size], condition.clone()).expect_err("each attempt is refused");
                assert_eq!(error.code(), expected, "{code} {condition:?}: {error:?}");
                assert!(error.retryable() && error.detail().hint.as_deref() == Some("try again"), "{error:?}");
                assert_eq!(server.adapter().stat("y").expect_err("it is not stored").code(), ErrorCode::NotFound);
                assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn a_refusal_that_cannot_be_verified_is_an_unknown_outcome() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = small_parts(&proxy);
    for size in [1, 6 * MIB] {
        put(&adapter, &format!("probe/{size}"), &vec![0; size], Precondition::IfAbsent).expect("nothing is there");
    }
    // Another writer's object is there, and asking whose it is fails.
    for (size, operation) in [(1, Operation::PutObject), (6 * MIB, Operation::CompleteUpload)] {
        let key = format!("x/{size}");
        let mut writer = writer(&adapter, &key, Precondition::IfAbsent);
        writer.write(&vec![1; size]).expect("it is written");
        put(&server.adapter(), &key, b"another's", Precondition::None).expect("it is written");
        proxy.inject(operation, Fault::LoseReply, When::First);
        proxy.inject(Operation::HeadObject, Fault::Answer(500, "InternalError"), When::Always);
        let error = writer.commit().expect_err("the outcome is unknown");
        proxy.heal();
        assert_eq!(error.code(), ErrorCode::OutcomeUnknown, "{error:?}");
        assert_eq!(read(&server, &key), b"another's");
    }
}

#[test]
fn the_outcome_of_a_delete_whose_reply_was_lost_is_determined() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let (adapter, direct) = (small_parts(&proxy), server.adapter());
    let etag = |key: &str| direct.stat(key).expect("it is there").etag.expect("an etag");
    // Probes the server's preconditions first.
    put(&direct, "probe", b"1", Precondition::None).expect("it is written");
    adapter.delete_object("probe", Precondition::IfMatch(etag("probe"))).expect("it is deleted");
    for is_conditional in [false, true] {
        for lost in [When::First, When::Of(2, 3), When::Always] {
            put(&direct, "x", b"1", Precondition::None).expect("it is written");
            let condition = if is_conditional { Precondition::IfMatch(etag("x")) } else { Precondition::None };
            proxy.inject(Operation::DeleteObject, Fault::LoseReply, lost);
            adapter.delete_object("x", condition).expect("it was carried out");
            proxy.heal();
            assert_eq!(direct.stat("x").expect_err("it is gone").code(), ErrorCode::NotFound);
        }
        // Apparently not carried out, but that may still happen.
        put(&direct, "x", b"1", Precondition::None).expect("it is written");
        let condition = if is_conditional { Precondition::IfMatch(etag("x")) } else { Precondition::None };
        proxy.inject(Operation::DeleteObject, Fault::Refuse, When::Always);
        assert_eq!(adapter.delete_object("x", condition).expect_err("the outcome is unknown").code(), ErrorCode::OutcomeUnknown);
        proxy.heal();
    }
    // A clear refusal is reported as such.
    let error = adapter.delete_object("x", Precondition::IfMatch("0".to_owned())).expect_err("it is another");
    assert_eq!(error.code(), ErrorCode::PreconditionFailed);
    assert_eq!(read(&server, "x"), b"1");
}

#[test]
fn a_change_that_was_not_begun_is_cancelled_not_unknown() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    put(&server.adapter(), "x", b"1", Precondition::None).expect("it is written");
    type Act<'a> = &'a dyn Fn(&dyn StorageAdapter) -> Result<()>;
    let cases: [(Operation, Act<'_>); 2] = [
        // Requests that are sent before the change itself.
        (Operation::PutObject, &|adapter| put(adapter, "new", b"1", Precondition::IfAbsent)),
        (Operation::HeadObject, &|adapter| adapter.delete_object("x", Precondition::None)),
    ];
    for (operation, act) in cases {
        let cancel = CancelToken::new();
        let adapter = small_parts(&proxy).with_cancel(&cancel).expect("it can be cancelled");
        proxy.inject(operation, Fault::Delay, When::Always);
        let hits = proxy.hits();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                while proxy.hits() == hits {
                    std::thread::sleep(Duration::from_millis(5));
                }
                cancel.cancel();
            });
            act(&*adapter)
        });
        proxy.heal();
        assert_eq!(outcome.expect_err("it is cancelled").code(), ErrorCode::Cancelled, "{operation:?}");
    }
}
