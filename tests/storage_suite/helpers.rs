//! Calls that the checks have in common.

use std::sync::Arc;

use persist_host::{ByteRange, ErrorCode, ObjectInfo, Precondition, ReadOptions, Result, StorageAdapter, WriteOptions};

pub(crate) type Storage = Arc<dyn StorageAdapter>;

pub(crate) fn write_if(storage: &Storage, key: &str, bytes: &[u8], precondition: Precondition) -> Result<ObjectInfo> {
    let mut writer = storage.open_write(key, WriteOptions::default().precondition(precondition))?;
    writer.write(bytes)?;
    writer.commit()
}

pub(crate) fn write(storage: &Storage, key: &str, bytes: &[u8]) -> ObjectInfo {
    write_if(storage, key, bytes, Precondition::None).expect("it is written")
}

pub(crate) fn read_if(storage: &Storage, key: &str, range: ByteRange, if_match: Option<String>, max: u32) -> Result<Vec<u8>> {
    let mut reader = storage.open_read(key, ReadOptions::default().range(range).if_match(if_match))?;
    let mut bytes = Vec::new();
    loop {
        let chunk = reader.read(max)?;
        assert!(chunk.len() <= max as usize, "more than asked for");
        if chunk.is_empty() {
            assert!(reader.read(max)?.is_empty(), "the end stays the end");
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk);
    }
}

pub(crate) fn read(storage: &Storage, key: &str) -> Vec<u8> {
    read_if(storage, key, ByteRange::All, None, 1 << 20).expect("it is read")
}

pub(crate) fn keys(storage: &Storage, prefix: &str, start_after: Option<&str>, limit: u32) -> Vec<String> {
    let listed = storage.list_objects(prefix, start_after, limit).expect("it is listed");
    listed.into_iter().map(|info| info.key).collect()
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.expect_err("it fails").code()
}

/// Asserts that two calls describe an object alike, as far as both know it: not every
/// response of a bucket has the etag and time.
pub(crate) fn assert_same(one: &ObjectInfo, other: &ObjectInfo) {
    fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
        one.is_none() || other.is_none() || one == other
    }
    assert_eq!((&one.key, one.size), (&other.key, other.size));
    assert!(agree(&one.etag, &other.etag) && agree(&one.modified, &other.modified), "{one:?} {other:?}");
}

pub(crate) fn opened<T>(result: Result<T>) -> Result<()> {
    result.map(drop)
}

pub(crate) fn all_keys(storage: &Storage) -> Vec<String> {
    keys(storage, "", None, 1000)
}
