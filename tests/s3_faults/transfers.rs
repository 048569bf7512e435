//! Single reads and writes: what follows a failure, memory, connections and retries.

use std::time::{Duration, Instant};

use persist_host::{Engine, ErrorCode, Precondition, ReadOptions, SnapshotOptions, StorageAdapter, WriteOptions};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_with};

use crate::helpers::{put_if, read};

#[test]
fn a_failed_write_cannot_be_committed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    adapter.save(&adapter.locate("x").parse().unwrap(), b"before").expect("it is saved");
    proxy.inject(Operation::CreateUpload, Fault::Answer(403, "AccessDenied"), When::Always);
    let mut writer = adapter.open_write("x", WriteOptions::default()).expect("it opens");
    assert_eq!(writer.write(&vec![1; 6 << 20]).expect_err("no upload begins").code(), ErrorCode::AccessDenied);
    proxy.heal();
    // Continuing must not create an object from the rest.
    assert!(writer.write(b"more").is_err());
    assert!(writer.commit().is_err());
    assert_eq!(read(&adapter, "x"), b"before");
}

#[test]
fn nothing_is_read_past_a_gap() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    let bytes = persist_test_support::command::noise(16 << 20);
    adapter.save(&adapter.locate("x").parse().unwrap(), &bytes).expect("it is saved");
    let mut reader = adapter.open_read("x", ReadOptions::default()).expect("it opens");
    // The first range was read; every attempt to read the next fails.
    proxy.inject(Operation::GetObject, Fault::Answer(500, "InternalError"), When::Always);
    let mut found = Vec::new();
    let error = loop {
        match reader.read(1 << 20) {
            Ok(chunk) => found.extend(chunk),
            Err(error) => break error,
        }
    };
    proxy.heal();
    assert!(found.len() == 5 << 20 && bytes.starts_with(&found), "{} bytes", found.len());
    assert_eq!(reader.read(1 << 20).expect_err("it keeps failing"), error);
}

#[test]
fn a_size_hint_does_not_determine_memory_use() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = persist_test_support::server::adapter(&proxy.endpoint());
    let options = WriteOptions::default().object_size_hint(Some(u64::MAX));
    let mut writer = adapter.open_write("x", options).expect("it opens");
    for _ in 0..130 {
        writer.write(&[7; 1 << 20]).expect("it is written");
    }
    // Parts of 64 MiB are sent, instead of one of 5 GiB held in memory.
    writer.commit().expect("it is committed");
    assert_eq!(proxy.seen().iter().filter(|seen| seen.operation == Operation::UploadPart).count(), 3);
}

#[test]
fn connections_are_reused() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let samples = persist_test_support::server::adapter(&proxy.endpoint());
    let engine = Engine::builder().storage(samples).build().expect("it runs");
    for number in 0..10 {
        let key = format!("{number}.json.gz");
        engine.snapshot(&key, b"{}", &SnapshotOptions::default()).expect("it is saved");
        assert_eq!(engine.restore(&key).expect("it is restored"), b"{}");
        assert!(engine.exists(&key).expect("it is asked"));
    }
    assert!(proxy.seen().len() >= 30 && proxy.connections() == 1, "{} connections", proxy.connections());
}

#[test]
fn retry_after_is_respected() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = persist_test_support::server::adapter(&proxy.endpoint());
    proxy.inject(Operation::PutObject, Fault::Answer(503, "SlowDown"), When::First);
    let began = Instant::now();
    put_if(&adapter, "x", b"1", Precondition::None).expect("the second attempt");
    assert!(began.elapsed() >= Duration::from_secs(1), "the answer asked for a second: {:?}", began.elapsed());
}
