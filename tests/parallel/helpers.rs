//! An engine with a number of workers, and options that give equal snapshots.

use std::path::Path;

use persist_host::{Codec, Engine, LocalFileStorage, SnapshotOptions};

pub(crate) fn engine(root: &Path, workers: usize) -> Engine {
    let storage = LocalFileStorage::new(root).durability(persist_host::Durability::None);
    Engine::builder().storage(storage).workers(workers).build().expect("an engine")
}

pub(crate) fn options(codec: Codec) -> SnapshotOptions {
    SnapshotOptions::default()
        .codec(Some(codec))
        .snapshot_id(Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()))
        .timestamp(Some("2026-01-31T12:00:00Z".to_owned()))
}

pub(crate) const MIB: usize = 1 << 20;
