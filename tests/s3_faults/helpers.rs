//! Writing and reading an object, and the snapshots that all cases share.

use std::sync::Arc;

use persist_host::{Engine, MemoryStorage, Precondition, Result, S3StorageAdapter, SnapshotOptions, StorageAdapter, WriteOptions};

pub(crate) const KEY: &str = "agents/one/0001.json.gz";

/// States and snapshots that all cases share.
pub(crate) struct Samples {
    pub(crate) engine: Engine,
    pub(crate) old: Vec<u8>,
    pub(crate) new: Vec<u8>,
    /// The state of a stored snapshot of three parts.
    pub(crate) large_state: Vec<u8>,
    pub(crate) large: Arc<dyn StorageAdapter>,
}

impl Samples {
    pub(crate) fn new() -> Self {
        let large: Arc<dyn StorageAdapter> = Arc::new(MemoryStorage::new());
        let engine = Engine::builder().storage(MemoryStorage::new()).build().expect("it runs");
        // Incompressible, so that the snapshot is as large.
        let large_state = persist_test_support::command::noise(11_000_000);
        let options = SnapshotOptions::default().level(Some(1));
        engine.with_storage(Arc::clone(&large)).snapshot(KEY, &large_state, &options).expect("it is saved");
        Self { engine, old: br#"{"step": 1}"#.to_vec(), new: persist_test_support::command::chat_bytes(200_000), large_state, large }
    }

    pub(crate) fn on(&self, storage: impl StorageAdapter + 'static) -> Engine {
        self.engine.with_storage(Arc::new(storage))
    }
}

/// Writes an object with a precondition.
pub(crate) fn put_if(adapter: &S3StorageAdapter, key: &str, bytes: &[u8], precondition: Precondition) -> Result<()> {
    let mut writer = adapter.open_write(key, WriteOptions::default().precondition(precondition))?;
    writer.write(bytes)?;
    writer.commit().map(drop)
}

pub(crate) fn read(adapter: &S3StorageAdapter, key: &str) -> Vec<u8> {
    adapter.load(&adapter.locate(key).parse().expect("a location")).expect("it is there")
}
