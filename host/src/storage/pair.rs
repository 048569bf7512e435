//! Two storages as one, to be read.

use std::sync::Arc;

use persist_model::{ErrorCode, PersistError, Precondition, Result};

use crate::cancel::CancelToken;
use crate::storage::adapter::{StorageAdapter, StorageReader, StorageWriter};
use crate::storage::types::{Capabilities, ObjectInfo, ReadAnswer, ReadOptions, ReadRequest, WriteOptions};

const FIRST: &str = "1/";
const SECOND: &str = "2/";

/// Returns the key of an object of the first storage.
pub(crate) fn in_first(key: &str) -> String {
    format!("{FIRST}{key}")
}

/// Returns the key of an object of the second storage.
pub(crate) fn in_second(key: &str) -> String {
    format!("{SECOND}{key}")
}

/// Two storages whose objects can be read.
#[derive(Debug)]
pub(crate) struct Pair {
    first: Arc<dyn StorageAdapter>,
    second: Arc<dyn StorageAdapter>,
}

impl Pair {
    pub(crate) fn new(first: Arc<dyn StorageAdapter>, second: Arc<dyn StorageAdapter>) -> Self {
        Self { first, second }
    }

    /// Returns the storage of an object, and its key there.
    fn of<'a>(&'a self, key: &'a str) -> Result<(&'a dyn StorageAdapter, &'a str, &'static str)> {
        if let Some(key) = key.strip_prefix(FIRST) {
            return Ok((&*self.first, key, FIRST));
        }
        match key.strip_prefix(SECOND) {
            Some(key) => Ok((&*self.second, key, SECOND)),
            None => Err(PersistError::new(ErrorCode::InvalidKey, "the key is in neither of the two storages").at(key)),
        }
    }
}

fn only_reads() -> PersistError {
    PersistError::new(ErrorCode::Unsupported, "storages that are being compared can only be read")
}

/// Gives an object the key that it has in the pair.
fn named(info: ObjectInfo, prefix: &str) -> ObjectInfo {
    ObjectInfo { key: format!("{prefix}{}", info.key), ..info }
}

/// A reader with the key that the object has in the pair.
struct Named {
    reader: Box<dyn StorageReader>,
    info: ObjectInfo,
}

impl StorageReader for Named {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        self.reader.read(max)
    }
}

impl StorageAdapter for Pair {
    fn summary(&self) -> String {
        format!("{} and {}", self.first.summary(), self.second.summary())
    }

    fn locate(&self, key: &str) -> String {
        self.of(key).map_or_else(|_| key.to_owned(), |(storage, key, _)| storage.locate(key))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn open_write(&self, _: &str, _: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        Err(only_reads())
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        let (storage, key, prefix) = self.of(key)?;
        let reader = storage.open_read(key, options)?;
        let info = named(reader.info().clone(), prefix);
        Ok(Box::new(Named { reader, info }))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        let (storage, key, prefix) = self.of(key)?;
        Ok(named(storage.stat(key)?, prefix))
    }

    fn delete_object(&self, _: &str, _: Precondition) -> Result<()> {
        Err(only_reads())
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let (storage, below, side) = self.of(prefix)?;
        let start_after = start_after.map(|after| after.strip_prefix(side).unwrap_or(after));
        Ok(storage.list_objects(below, start_after, limit)?.into_iter().map(|info| named(info, side)).collect())
    }

    fn read_many(&self, requests: &[ReadRequest]) -> Result<Vec<Result<ReadAnswer>>> {
        // All reads of a step are in one storage.
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let (storage, _, prefix) = self.of(&first.key)?;
        let inner = |request: &ReadRequest| {
            let key = request
                .key
                .strip_prefix(prefix)
                .ok_or_else(|| PersistError::new(ErrorCode::InvalidKey, "one call can't read from both storages"));
            Ok(ReadRequest { key: key?.to_owned(), ..request.clone() })
        };
        let answers = storage.read_many(&requests.iter().map(inner).collect::<Result<Vec<_>>>()?)?;
        let named = |answer: ReadAnswer| ReadAnswer { info: named(answer.info, prefix), ..answer };
        Ok(answers.into_iter().map(|answer| answer.map(named)).collect())
    }

    fn with_cancel(&self, cancel: &CancelToken) -> Option<Arc<dyn StorageAdapter>> {
        let with = |storage: &Arc<dyn StorageAdapter>| storage.with_cancel(cancel).unwrap_or_else(|| Arc::clone(storage));
        Some(Arc::new(Self::new(with(&self.first), with(&self.second))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;
    use crate::storage::{ByteRange, MemoryStorage};

    #[test]
    fn each_key_is_read_in_its_storage() {
        let memory = || Arc::new(MemoryStorage::new());
        let (first, second) = (memory(), memory());
        let put = |storage: &MemoryStorage, key: &str| {
            let mut writer = storage.open_write(key, WriteOptions::default()).unwrap();
            writer.write(key.as_bytes()).unwrap();
            writer.commit().unwrap();
        };
        put(&first, "a/x");
        put(&second, "a/y");
        let pair = Pair::new(first, second);
        let keys = |prefix: &str| pair.list_objects(prefix, None, 10).unwrap().into_iter().map(|info| info.key).collect::<Vec<_>>();
        assert_eq!((keys("1/"), keys("2/a/")), (vec!["1/a/x".to_owned()], vec!["2/a/y".to_owned()]));
        assert_eq!(pair.stat("1/a/x").unwrap().key, "1/a/x");
        assert_eq!(pair.stat("1/a/y").unwrap_err().code(), ErrorCode::NotFound);
        assert_eq!(pair.stat("a/y").unwrap_err().code(), ErrorCode::InvalidKey);
        assert_eq!(pair.open_read("2/a/y", ReadOptions::default()).unwrap().info().key, "2/a/y");
        let request = |key: &str| ReadRequest { key: key.to_owned(), range: ByteRange::Suffix(9), if_match: None };
        let answers = pair.read_many(&[request("2/a/y"), request("2/b")]).unwrap();
        assert_eq!(answers[0].as_ref().unwrap().bytes, b"a/y");
        assert_eq!(answers[1].as_ref().unwrap_err().code(), ErrorCode::NotFound);
        assert!(pair.locate("2/a/y").ends_with("a/y"));
    }
}
