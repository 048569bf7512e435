//! What the storage in memory claims, it keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use persist_example_host::storage::{CapabilitySet, Error, ErrorCode, Host, HostWriter, Precondition, WriteOptions};
use persist_example_host::{MemoryStorage, Objects};

fn options(precondition: Precondition) -> WriteOptions {
    WriteOptions { precondition, object_size_hint: None, content_type: None, attributes: Vec::new() }
}

fn code<T>(answer: wasmtime::Result<T>) -> ErrorCode {
    answer.map(drop).expect_err("it is refused").downcast::<Error>().expect("an error of the contract").code
}

#[test]
fn of_two_writers_of_one_key_one_gets_it() {
    let mut storage = MemoryStorage::new(Objects::new(), 1 << 20);
    assert_eq!(storage.capabilities().unwrap(), CapabilitySet::IF_ABSENT);
    let writers = ["first", "second"].map(|bytes| {
        let writer = storage.open_write("a".to_owned(), options(Precondition::IfAbsent)).unwrap();
        storage.write(wasmtime::component::Resource::new_borrow(writer.rep()), bytes.into()).unwrap();
        writer
    });
    let [first, second] = writers.map(|writer| storage.commit(writer));
    assert_eq!(first.unwrap().size, 5);
    assert_eq!(code(second), ErrorCode::AlreadyExists);
    assert_eq!(storage.objects, Objects::from([("a".to_owned(), b"first"[..].into())]));
    // Without the condition, it is replaced.
    let writer = storage.open_write("a".to_owned(), options(Precondition::None)).unwrap();
    assert_eq!(storage.commit(writer).unwrap().size, 0);
}

#[test]
fn what_is_not_claimed_is_unsupported() {
    let mut storage = MemoryStorage::new(Objects::new(), 1 << 20);
    assert_eq!(code(storage.open_write("a".to_owned(), options(Precondition::IfMatch(String::new())))), ErrorCode::Unsupported);
    assert_eq!(code(storage.read_many(Vec::new())), ErrorCode::Unsupported);
    assert_eq!(code(storage.list_level(String::new(), None, 1)), ErrorCode::Unsupported);
}
