//! A storage that breaks off, and a state that is slow to arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use persist_host::{
    ByteRange, Codec, Engine, ErrorCode, MemoryStorage, ObjectInfo, PersistError, ReadOptions, StorageAdapter, StorageReader,
    StorageWriter, WriteOptions,
};
use persist_test_support::command::noise;
use persist_test_support::pass_on;

use crate::helpers::{MIB, options};

/// A memory storage that fails to read beyond an offset, and counts the bytes written.
#[derive(Debug)]
struct Broken {
    memory: MemoryStorage,
    breaks_at: AtomicU64,
    written: Arc<AtomicU64>,
}

impl Broken {
    fn new() -> Self {
        Self { memory: MemoryStorage::new(), breaks_at: AtomicU64::new(u64::MAX), written: Arc::default() }
    }
}

struct BrokenReader {
    reader: Box<dyn StorageReader>,
    left: u64,
}

impl StorageReader for BrokenReader {
    fn info(&self) -> &ObjectInfo {
        self.reader.info()
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>, PersistError> {
        if self.left == 0 {
            return Err(PersistError::new(ErrorCode::Io, "the disk is broken here"));
        }
        let max = u32::try_from(self.left).unwrap_or(u32::MAX).min(max);
        let chunk = self.reader.read(max)?;
        self.left -= chunk.len() as u64;
        Ok(chunk)
    }
}

struct CountingWriter {
    writer: Box<dyn StorageWriter>,
    written: Arc<AtomicU64>,
}

impl StorageWriter for CountingWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<(), PersistError> {
        self.written.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        self.writer.write(chunk)
    }

    fn commit(self: Box<Self>) -> Result<ObjectInfo, PersistError> {
        self.writer.commit()
    }
}

impl StorageAdapter for Broken {
    pass_on!(memory: summary, locate, capabilities, stat, delete_object, list_objects);

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>, PersistError> {
        let writer = self.memory.open_write(key, options)?;
        Ok(Box::new(CountingWriter { writer, written: Arc::clone(&self.written) }))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>, PersistError> {
        let breaks_at = self.breaks_at.load(Ordering::Relaxed);
        // Reads from the end succeed.
        let left = if matches!(options.range, ByteRange::Suffix(_)) { u64::MAX } else { breaks_at };
        Ok(Box::new(BrokenReader { reader: self.memory.open_read(key, options)?, left }))
    }
}

#[test]
fn data_before_a_read_error_is_returned() {
    let storage = Arc::new(Broken::new());
    let engines = [1, 3].map(|workers| {
        let shared: Arc<dyn StorageAdapter> = Arc::clone(&storage) as _;
        Engine::builder().shared_storage(shared).workers(workers).build().expect("an engine")
    });
    let state = noise(8 * MIB);
    engines[0].snapshot("x", &state, &options(Codec::Zstd)).expect("it is saved");
    for megabytes in 0..8 {
        storage.breaks_at.store(megabytes * MIB as u64 + 500_000, Ordering::Relaxed);
        let [one, three] = engines.each_ref().map(|engine| {
            let mut given = Vec::new();
            let mut reader = engine.reader("x").expect("its end is good");
            let error = loop {
                match reader.next_chunk() {
                    Ok(chunk) => given.extend(chunk.expect("it does not end")),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.code(), ErrorCode::Io, "{error:?}");
            assert!(given == state[..given.len()]);
            (given.len() as u64, error)
        });
        assert_eq!(one, three);
        assert_eq!(one.0, megabytes * MIB as u64);
    }
}

#[test]
fn encoded_blocks_are_written_while_the_state_is_slow_to_arrive() {
    let storage = Broken::new();
    let written = Arc::clone(&storage.written);
    let engine = Engine::builder().storage(storage).workers(8).build().unwrap();
    let mut writer = engine.writer("x", options(Codec::Zstd)).expect("a writer");
    let state = noise(10 * MIB);
    let began = Instant::now();
    for (number, piece) in state.chunks(MIB).enumerate() {
        // After a while, every block has been written except the first, which might have
        // been the only one, and the last two.
        let wanted = (number.saturating_sub(2) * MIB) as u64;
        while written.load(Ordering::Relaxed) < wanted {
            assert!(began.elapsed() < Duration::from_secs(60), "{number}: {written:?} bytes are out");
            writer.write_state(&[]).expect("nothing is written");
            std::thread::sleep(Duration::from_millis(1));
        }
        writer.write_state(piece).expect("it is written");
    }
    writer.commit().expect("it is saved");
    assert!(engine.restore("x").expect("it is restored") == state);
}
