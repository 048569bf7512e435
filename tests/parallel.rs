//! Processing blocks on several instances gives the same bytes and errors as on one, and
//! any fault of a worker is one clean error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use persist_host::{
    ByteRange, CancelToken, Capabilities, Codec, Engine, ErrorCode, LocalFileStorage, MemoryStorage, ObjectInfo, PersistError,
    Precondition, ReadOptions, SnapshotOptions, StorageAdapter, StorageReader, StorageWriter, WriteOptions,
};
use persist_test_support::command::{chat_bytes, files, noise};
use persist_test_support::precompiled;

fn engine(root: &Path, workers: usize) -> Engine {
    let storage = LocalFileStorage::new(root).durability(persist_host::Durability::None);
    Engine::builder().storage(storage).workers(workers).build().expect("an engine")
}

fn options(codec: Codec) -> SnapshotOptions {
    SnapshotOptions {
        codec: Some(codec),
        snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        timestamp: Some("2026-01-31T12:00:00Z".to_owned()),
        ..SnapshotOptions::default()
    }
}

const MIB: usize = 1 << 20;

#[test]
fn any_number_of_workers_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let engines = [1, 2, 3, 8].map(|workers| (workers, engine(folder.path(), workers)));
    let mut compared = 0;
    // Each codec with the size of its blocks.
    for (codec, block) in [(Codec::Gzip, 5 * MIB / 4), (Codec::Zstd, MIB)] {
        let sizes = [0, 1, MIB / 4, MIB / 4 + 1, block - 1, block, block + 1, 2 * block, 2 * block + 1, 4 * block, 13_000_001];
        for size in sizes {
            for state in [chat_bytes(size as u64), noise(size)] {
                let mut expected = None;
                for (workers, engine) in &engines {
                    // In one piece of known size, and in pieces of an odd size.
                    engine.snapshot("whole", &state, &options(codec)).expect("it is saved");
                    let mut writer = engine.writer("pieces", options(codec)).expect("a writer");
                    for piece in state.chunks(777_777) {
                        writer.write_state(piece).expect("it is written");
                    }
                    writer.commit().expect("it is saved");
                    for key in ["whole", "pieces"] {
                        let stored = fs::read(folder.path().join(key)).unwrap();
                        let expected = expected.get_or_insert_with(|| stored.clone());
                        assert!(stored == *expected, "{workers} workers, {size} bytes of {codec:?}, {key}");
                        assert!(engine.restore(key).expect("it is restored") == state);
                        compared += 1;
                    }
                }
            }
        }
    }
    println!("{compared} snapshots by 1, 2, 3 and 8 workers, the same bytes for each state");
}

#[test]
fn errors_do_not_depend_on_the_workers() {
    let folder = tempfile::tempdir().unwrap();
    let (one, three) = (engine(folder.path(), 1), engine(folder.path(), 3));
    for codec in [Codec::Gzip, Codec::Zstd] {
        one.snapshot("x", &chat_bytes(9_000_000), &options(codec)).unwrap();
        let whole = fs::read(folder.path().join("x")).unwrap();
        let mut damages: Vec<Vec<u8>> = Vec::new();
        for part in 0..40 {
            let mut damaged = whole.clone();
            damaged[whole.len() / 41 * (part + 1)] ^= 0x10;
            damages.push(damaged);
        }
        damages.push(whole[..whole.len() / 2].to_vec());
        damages.push([&whole[..1000], &whole[2000..]].concat());
        damages.push([&whole[..], b"x"].concat());
        for damaged in damages {
            fs::write(folder.path().join("x"), damaged).unwrap();
            let read = |engine: &Engine| -> (usize, PersistError) {
                let mut given = 0;
                let mut read = || {
                    let mut reader = engine.reader("x")?;
                    while let Some(chunk) = reader.next_chunk()? {
                        given += chunk.len();
                    }
                    Ok::<_, PersistError>(())
                };
                let error = read().expect_err("it is damaged");
                (given, error)
            };
            assert_eq!(read(&one), read(&three));
        }
        // After an error, a reader returns the same error again.
        let mut reader = three.reader("x").and_then(|mut reader| reader.next_chunk().map(|_| reader));
        if let Ok(reader) = &mut reader {
            let first = std::iter::from_fn(|| Some(reader.next_chunk())).find(Result::is_err);
            assert_eq!(first, Some(reader.next_chunk()));
        }
    }
}

/// Creates an engine with a component whose blocks have 64 bytes, and which does what a
/// block says when it is encoded or decoded.
///
/// The deadline is short if it is what ends a block, and otherwise long enough for a busy
/// machine.
fn hostile(root: &Path, says: &str) -> Engine {
    static HOSTILE: LazyLock<Vec<u8>> =
        LazyLock::new(|| precompiled::precompiled(&fs::read(persist_test_support::built::library("hostile-guest")).unwrap()));
    // SAFETY: it was compiled by this build, just now or earlier.
    let engine = unsafe { Engine::builder().precompiled_component(HOSTILE.as_slice()) };
    engine
        .storage(LocalFileStorage::new(root))
        .memory_limit(64 << 20)
        .deadline(if says.starts_with("loop") { Duration::from_millis(500) } else { Duration::from_secs(20) })
        .workers(3)
        .build()
        .expect("an engine")
}

const FAULTS: [(&str, ErrorCode); 3] = [("trap/", ErrorCode::Other), ("loop/", ErrorCode::Deadline), ("bloat/", ErrorCode::MemoryLimit)];

/// Returns a state of ten blocks, one of which causes the fault.
fn faulty(says: &str, at: usize) -> Vec<u8> {
    let mut state = vec![b'.'; 640];
    state[at * 64..at * 64 + says.len()].copy_from_slice(says.as_bytes());
    state
}

#[test]
fn a_fault_in_a_block_is_one_clean_error() {
    let folder = tempfile::tempdir().unwrap();
    for (says, code) in FAULTS {
        let engine = hostile(folder.path(), says);
        // All at once, where the operation's own instance works too, and slowly, where
        // the workers do everything.
        for (at, pause) in [(0, 0), (2, 0), (9, 0), (0, 20), (2, 20), (8, 20)] {
            let state = faulty(says, at);
            let mut writer = engine.writer("blocks/x", SnapshotOptions::default()).expect("a writer");
            let began = Instant::now();
            let written = state.chunks(64).try_for_each(|block| {
                std::thread::sleep(Duration::from_millis(pause));
                writer.write_state(block)
            });
            let error = written.and_then(|()| writer.commit().map(drop)).expect_err("a worker failed");
            assert_eq!(error.code(), code, "{says} in block {at}: {error:?}");
            assert!(error.location().is_some_and(|location| location.ends_with("blocks/x")), "{error:?}");
            assert!(began.elapsed() < Duration::from_secs(10));
            assert_eq!(files(folder.path()), Vec::<String>::new());
        }
        // Without a fault it works as before, since all workers were returned.
        let mut writer = engine.writer("blocks/x", SnapshotOptions::default()).expect("a writer");
        writer.write_state(&[b'.'; 640]).expect("ten blocks");
        writer.commit().expect("nonsense is passed on");
    }
}

#[test]
fn a_fault_while_reading_a_block_is_one_clean_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("blocks")).unwrap();
    let path = folder.path().join("blocks/x");
    for (says, code) in FAULTS.into_iter().chain([("no", ErrorCode::Other)]) {
        let engine = hostile(folder.path(), says);
        for (at, pause) in [(0, 0), (2, 0), (9, 0), (0, 20), (2, 20), (9, 20)] {
            fs::write(&path, faulty(says, at)).unwrap();
            let began = Instant::now();
            let mut reader = engine.reader("blocks/x").expect("it opens");
            for number in 0..at {
                std::thread::sleep(Duration::from_millis(pause));
                assert_eq!(reader.next_chunk().expect("it is before the fault").map(|block| block.len()), Some(64), "block {number}");
            }
            let error = reader.next_chunk().map(drop).expect_err("a worker failed");
            assert_eq!(error.code(), code, "{says} in block {at}: {error:?}");
            assert!(error.location().is_some_and(|location| location.ends_with("blocks/x")), "{error:?}");
            assert_eq!(reader.next_chunk().map(drop), Err(error));
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        fs::write(&path, [b'.'; 640]).unwrap();
        assert_eq!(engine.restore("blocks/x").expect("it is read"), [b'.'; 640]);
    }
}

#[test]
fn blocks_of_another_object_are_read_from_that_object() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("blocks")).unwrap();
    fs::write(folder.path().join("blocks/elsewhere"), [b'.'; 640]).unwrap();
    let other: Vec<u8> = (0..10).flat_map(|number| [&b"."[..], &[b'0' + number; 63]].concat()).collect();
    fs::write(folder.path().join("blocks/other"), &other).unwrap();
    let engine = hostile(folder.path(), "no");
    assert_eq!(engine.restore("blocks/elsewhere").expect("it is read"), other);
    // Only from the expected version. If the object is gone, reading fails.
    let mut reader = engine.reader("blocks/elsewhere").expect("it opens");
    assert!(reader.next_chunk().expect("the first").is_some());
    fs::remove_file(folder.path().join("blocks/other")).unwrap();
    let error = loop {
        match reader.next_chunk() {
            Ok(chunk) => assert!(chunk.is_some(), "the end was reached"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::NotFound, "{error:?}");
    assert!(error.location().is_some_and(|location| location.ends_with("blocks/other")), "{error:?}");
}

#[test]
fn blocks_of_invalid_size_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = hostile(folder.path(), "");
    for key in ["none/x", "huge/x"] {
        let error = engine.writer(key, SnapshotOptions::default()).map(drop).expect_err("no snapshot has such blocks");
        assert!(error.to_string().contains("blocks of"), "{error:?}");
        assert!(error.location().is_some_and(|location| location.ends_with(key)), "{error:?}");
    }
}

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
    fn summary(&self) -> String {
        self.memory.summary()
    }

    fn locate(&self, key: &str) -> String {
        self.memory.locate(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

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

    fn stat(&self, key: &str) -> Result<ObjectInfo, PersistError> {
        self.memory.stat(key)
    }

    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<(), PersistError> {
        self.memory.delete_object(key, precondition)
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>, PersistError> {
        self.memory.list_objects(prefix, start_after, limit)
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

#[test]
fn workers_without_memory_leave_the_work_to_the_operation() {
    let state = chat_bytes(6_000_000);
    // Just enough for one instance.
    let engines = [1, 2].map(|workers| Engine::builder().total_memory_limit(12 << 20).workers(workers).build().expect("an engine"));
    for engine in &engines {
        for _ in 0..5 {
            engine.snapshot("x", &state, &options(Codec::Zstd)).expect("it is saved");
            assert!(engine.restore("x").expect("it is restored") == state);
        }
    }
}

#[test]
fn a_failed_worker_stores_nothing_and_the_next_save_works() {
    let folder = tempfile::tempdir().unwrap();
    let small =
        Engine::builder().storage(LocalFileStorage::new(folder.path())).memory_limit(6 << 20).workers(2).build().expect("an engine");
    let mut writer = small.writer("x.zst", options(Codec::Zstd)).expect("a writer");
    let state = chat_bytes(20_000_000);
    let error = writer.write_state(&state).and_then(|()| writer.commit().map(drop)).expect_err("zstd needs more");
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::MemoryLimit, 9), "{error:?}");
    assert_eq!(files(folder.path()), Vec::<String>::new());
    small.snapshot("x.gz", &state, &options(Codec::Gzip)).expect("gzip needs less");
    assert!(small.restore("x.gz").expect("it is restored") == state);
}

#[test]
fn cancelling_stops_the_workers_too() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path(), 3);
    let token = CancelToken::new();
    let state = noise(60_000_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            token.cancel();
        });
        let began = Instant::now();
        let error = engine.with_cancel(&token).snapshot("x", &state, &options(Codec::Gzip)).expect_err("it was cancelled");
        assert_eq!(error.code(), ErrorCode::Cancelled, "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(3));
    });
    assert_eq!(files(folder.path()), Vec::<String>::new());
    engine.snapshot("x", &state, &options(Codec::Zstd)).expect("the workers are available again");
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(engine.with_cancel(&token).restore("x").expect_err("it was cancelled").code(), ErrorCode::Cancelled);

    // A slow reader has the next blocks ready, but is still cancelled.
    let token = CancelToken::new();
    let mut reader = engine.with_cancel(&token).reader("x").expect("it opens");
    reader.next_chunk().expect("it is read");
    std::thread::sleep(Duration::from_millis(300));
    token.cancel();
    assert_eq!(reader.next_chunk().map(drop).expect_err("it was cancelled").code(), ErrorCode::Cancelled);
}
