//! The memory that copies and endless responses take.

use std::sync::Arc;

use persist_host::{Engine, MemoryStorage, Precondition, SnapshotOptions, StorageAdapter};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{BUCKET, Server};

use crate::helpers::{MIB, json_error, persist, run, run_measured};

#[test]
fn copying_a_folder_takes_no_more_memory_than_documented() {
    let (from, to) = (Server::start(), Server::start());
    let engine = Engine::builder().storage(MemoryStorage::new()).build().expect("it runs");
    let source = engine.with_storage(Arc::new(from.adapter()));
    let options = SnapshotOptions::default().level(Some(1));
    // Large enough that eight copies at once would exceed the limit.
    let state = persist_test_support::command::noise(100 * MIB);
    source.snapshot("a/0.gz", &state, &options).expect("it is saved");
    for number in 1..8 {
        source.copy("a/0.gz", &source, &format!("a/{number}.gz"), Precondition::None, |_| {}).expect("it is copied");
    }
    drop((state, source, engine));
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (folder.path().join("here").display().to_string(), format!("s3://{BUCKET}/a"));
    for (endpoint, from, to) in [(from.endpoint(), &there, &here), (to.endpoint(), &here, &there)] {
        let (done, memory) = run_measured(persist(&endpoint).args(["copy", "--recursive", from, to, "--s3-part-size", "33554432"]));
        assert_eq!(done.code, 0, "{done:?}");
        println!("8 snapshots of 100 MiB from {from} to {to}: {memory} MiB");
        // The limit, plus the memory of the command itself.
        assert!(memory < 512 + 64, "{memory} MiB");
    }
    assert_eq!(to.adapter().list_objects("a/", None, 100).expect("it is listed").len(), 8);
}

#[test]
fn an_endless_response_is_an_error_in_bounded_memory() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    std::fs::write(&state, "{}").expect("it is written");
    let (location, bucket) = (format!("s3://{BUCKET}/x.gz"), format!("s3://{BUCKET}/"));
    assert_eq!(run(persist(&proxy.endpoint()).args(["snapshot", state.to_str().unwrap(), &location])).code, 0);
    // Not endless, but much larger once parsed.
    let dense: &'static str = Box::leak(format!("<ListBucketResult>{}</ListBucketResult>", "<Contents/>".repeat(370_000)).into_boxed_str());
    let mut most = 0;
    let cases: [(Operation, Fault, &[&str]); 6] = [
        (Operation::ListObjects, Fault::Endless(200), &["list", &bucket]),
        (Operation::ListObjects, Fault::Endless(500), &["list", &bucket]),
        (Operation::ListObjects, Fault::Body(dense), &["list", &bucket]),
        (Operation::GetObject, Fault::Endless(206), &["restore", &location]),
        (Operation::GetObject, Fault::Endless(403), &["restore", &location]),
        (Operation::PutObject, Fault::Endless(500), &["snapshot", state.to_str().unwrap(), &location]),
    ];
    for (number, (operation, fault, arguments)) in cases.into_iter().enumerate() {
        proxy.inject(operation, fault, When::Always);
        let (done, memory) = run_measured(persist(&proxy.endpoint()).arg("--json").args(arguments));
        proxy.heal();
        println!("{operation:?}, answer {number}: {memory} MiB");
        most = most.max(memory);
        assert!(matches!(done.code, 6 | 8 | 13), "{operation:?}, answer {number}: {done:?}");
        assert!(json_error(&done)["message"].is_string(), "{done:?}");
    }
    assert!(most < 64, "{most} MiB");
}
