//! Uploads that the service no longer has.

use std::sync::Arc;

use persist_host::{Engine, ErrorCode, MemoryStorage, Precondition, SnapshotOptions, StorageAdapter};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_with};

use crate::helpers::{MIB, count, put, read, small_parts};

#[test]
fn a_lost_upload_is_restarted_once() {
    let bytes = persist_test_support::command::noise(17 * MIB);
    for (operation, when) in [
        (Operation::UploadPart, When::First),
        (Operation::UploadPart, When::Nth(3)),
        (Operation::UploadPart, When::Nth(4)),
        (Operation::CompleteUpload, When::First),
    ] {
        let server = Server::start();
        let proxy = Proxy::start(server.address);
        let adapter = small_parts(&proxy);
        proxy.inject(operation, Fault::Answer(404, "NoSuchUpload"), when);
        put(&adapter, "x", &bytes, Precondition::None).unwrap_or_else(|error| panic!("{operation:?} {when:?}: {error:?}"));
        assert!(read(&server, "x") == bytes, "{operation:?} {when:?}");
        assert_eq!(count(&proxy, Operation::CreateUpload), 2, "{operation:?} {when:?}");
        // The service was wrong: it still has the first upload.
        assert_eq!(server.unfinished_uploads(), Vec::<String>::new(), "{operation:?} {when:?}");
    }
}

#[test]
fn an_upload_that_keeps_getting_lost_is_not_a_missing_object() {
    let bytes = persist_test_support::command::noise(17 * MIB);
    for operation in [Operation::UploadPart, Operation::CompleteUpload] {
        let server = Server::start();
        let proxy = Proxy::start(server.address);
        let adapter = small_parts(&proxy);
        proxy.inject(operation, Fault::Answer(404, "NoSuchUpload"), When::Always);
        for condition in [Precondition::None, Precondition::IfAbsent] {
            let error = put(&adapter, "x", &bytes, condition).expect_err("it is gone each time");
            assert_eq!((error.code(), error.retryable()), (ErrorCode::Refused, true), "{error:?}");
            assert!(error.detail().message.contains("no longer has the upload"), "{error:?}");
            assert!(error.detail().hint.as_ref().is_some_and(|hint| hint.contains("lifecycle rule")), "{error:?}");
            assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
        }
        assert_eq!(server.adapter().stat("x").expect_err("it is not stored").code(), ErrorCode::NotFound);
    }
}

#[test]
fn a_large_state_in_memory_and_a_copy_are_sent_again_completely() {
    // More than the part of an upload that is kept: two parts of 5 MiB.
    let state = persist_test_support::command::noise(25 * MIB);
    let (server, other) = (Server::start(), Server::start());
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| {
        options.part_size = 5 * MIB;
        options.parallel = std::num::NonZeroUsize::new(2).expect("it is more than 0");
    });
    let engine = Engine::builder().storage(MemoryStorage::new()).build().expect("it runs");
    let (here, there) = (engine.with_storage(Arc::new(adapter)), engine.with_storage(Arc::new(other.adapter())));
    let options = SnapshotOptions::default().level(Some(1));
    proxy.inject(Operation::CompleteUpload, Fault::Answer(404, "NoSuchUpload"), When::First);
    here.snapshot("x.gz", &state, &options).expect("the second upload");
    assert!(here.restore("x.gz").expect("it is there") == state);
    there.snapshot("x.gz", &state, &options).expect("it is saved");
    proxy.heal();
    proxy.inject(Operation::CompleteUpload, Fault::Answer(404, "NoSuchUpload"), When::First);
    there.copy("x.gz", &here, "copy.gz", Precondition::None, |_| {}).expect("the second upload");
    assert!(here.restore("copy.gz").expect("it is there") == state);
}
