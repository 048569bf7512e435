//! Uploads of writes that fail or are cancelled.

use std::time::{Duration, Instant};

use persist_host::{ErrorCode, Precondition, SnapshotOptions, StorageAdapter, WriteOptions};
use persist_test_support::proxy::{DELAY, Fault, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_with};

use crate::helpers::{Samples, put_if, read};

#[test]
fn an_upload_that_cannot_be_aborted_is_named() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = persist_test_support::server::adapter(&proxy.endpoint());
    proxy.inject(Operation::UploadPart, Fault::Answer(500, "InternalError"), When::Always);
    proxy.inject(Operation::AbortUpload, Fault::Answer(500, "InternalError"), When::Always);
    let error = put_if(&adapter, "large", &vec![1; 20 << 20], Precondition::None).expect_err("no part arrives");
    let left = server.unfinished_uploads();
    let id = error.detail().facts.iter().find(|(name, _)| name == "upload_id").map(|(_, id)| id.clone()).expect("the id is a fact");
    assert!(left.iter().any(|name| name.contains(&id)), "{id}: {left:?}");
    assert!(error.detail().hint.as_ref().is_some_and(|hint| hint.contains(&id)), "{error:?}");
}

#[test]
fn parts_in_progress_end_before_their_upload_is_aborted() {
    // A service may store a part while its upload is being aborted, and keep it.
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    proxy.inject(Operation::UploadPart, Fault::Answer(403, "AccessDenied"), When::First);
    proxy.inject(Operation::UploadPart, Fault::LateReply, When::Always);
    let mut writer = adapter.open_write("large", WriteOptions::default()).expect("it opens");
    writer.write(&vec![1; 6 << 20]).expect("its first part is sent");
    while proxy.hits() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    writer.write(&vec![1; 10 << 20]).expect("two more are");
    assert_eq!(writer.commit().expect_err("the first was refused").code(), ErrorCode::AccessDenied);
    let seen = proxy.seen();
    let aborted = seen.iter().find(|seen| seen.operation == Operation::AbortUpload).expect("it is aborted").arrived;
    let parts: Vec<_> = seen.iter().filter(|seen| seen.operation == Operation::UploadPart).collect();
    let ended = parts.iter().filter(|part| part.ended.is_some_and(|ended| ended <= aborted)).count();
    // All except the one that was refused.
    assert!(parts.len() > 1 && ended == parts.len() - 1, "{ended} of {} parts: {seen:?}", parts.len());
}

#[test]
fn an_upload_that_begins_while_its_write_is_stopped_is_aborted() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let cancel = persist_host::CancelToken::new();
    let adapter = persist_test_support::server::adapter(&proxy.endpoint()).with_cancel(&cancel).expect("it can be cancelled");
    proxy.inject(Operation::CreateUpload, Fault::LateReply, When::Always);
    let mut writer = adapter.open_write("large", WriteOptions::default()).expect("it opens");
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.unfinished_uploads().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            cancel.cancel();
        });
        writer.write(&vec![1; 20 << 20])
    });
    assert_eq!(outcome.expect_err("it was cancelled").code(), ErrorCode::Cancelled);
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
    assert!(proxy.seen().iter().all(|seen| seen.operation != Operation::UploadPart), "a part was sent after the abort");
}

#[test]
fn the_outcome_of_a_cancelled_commit_is_reported() {
    let (samples, server) = (Samples::new(), Server::start());
    let proxy = Proxy::start(server.address);
    for (fault, is_known) in [(Fault::LateReply, true), (Fault::Delay, false)] {
        for (size, operation) in [(1, Operation::PutObject), (9 << 20, Operation::CompleteUpload)] {
            let cancel = persist_host::CancelToken::new();
            let engine = samples.on(persist_test_support::server::adapter(&proxy.endpoint())).with_cancel(&cancel);
            let key = format!("{fault}-{size}.zst");
            let met = proxy.hits();
            proxy.inject(operation, fault, When::Always);
            // If the upload cannot be aborted either, the error reports both.
            proxy.inject(Operation::AbortUpload, Fault::Answer(403, "AccessDenied"), When::Always);
            let outcome = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while proxy.hits() == met {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    cancel.cancel();
                });
                engine.snapshot(&key, &persist_test_support::command::noise(size), &SnapshotOptions::default())
            });
            proxy.heal();
            match outcome {
                Ok(_) => assert!(is_known && read(&server.adapter(), &key).len() > size, "{key}"),
                Err(error) => {
                    assert!(!is_known && error.code() == ErrorCode::OutcomeUnknown, "{key}: {error:?}");
                    assert!(error.detail().message.contains("not known"), "{key}: {error:?}");
                    let hint = error.detail().hint.clone().unwrap_or_default();
                    assert_eq!(hint.contains("incomplete upload"), operation == Operation::CompleteUpload, "{key}: {error:?}");
                }
            }
        }
    }
}

#[test]
fn a_stopped_write_is_aborted() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let cancel = persist_host::CancelToken::new();
    let adapter = persist_test_support::server::adapter(&proxy.endpoint()).with_cancel(&cancel).expect("it can be cancelled");
    proxy.inject(Operation::UploadPart, Fault::Delay, When::Always);
    let mut writer = adapter.open_write("large", WriteOptions::default()).expect("it opens");
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        });
        writer.write(&vec![1; 100 << 20])
    });
    assert_eq!(outcome.expect_err("it was cancelled").code(), ErrorCode::Cancelled);
    assert!(began.elapsed() < DELAY, "before the parts are through: {:?}", began.elapsed());
    // Parts in transit at the time of the abort may still arrive, and are refused.
    std::thread::sleep(DELAY + Duration::from_secs(1));
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
    assert_eq!(adapter.stat("large").expect_err("cancelled for good").code(), ErrorCode::Cancelled);
}
