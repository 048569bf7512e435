//! A large state is streamed in little memory, and its metadata is read in one small
//! read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use nix::sys::resource::{UsageWho, getrusage};
use persist_host::{Engine, LocalFileStorage, ObjectInfo, ReadOptions, Result, StorageAdapter, StorageReader};
use persist_test_support::command::{chat_state, in_soak, persist};
use persist_test_support::pass_on;

/// Returns the size of the state in bytes: twice the allowed memory, or 1 GiB in the
/// soak.
fn size() -> u64 {
    in_soak(256 << 20, 1 << 30)
}

/// The maximum memory of saving or restoring it in MiB, with up to two workers, and how
/// much more each further worker may take.
const MAX_RESIDENT: i64 = 128;
const MORE_RESIDENT: i64 = 25;

fn max_resident() -> i64 {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    MAX_RESIDENT + MORE_RESIDENT * i64::try_from(workers).unwrap_or(64).saturating_sub(2).max(0)
}

/// Returns the peak memory in MiB of the largest process that this test started and that
/// has ended. The system includes what the child shares with its parent before it becomes
/// `persist`, so the test itself has to stay small.
fn peak_of_children() -> i64 {
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system tells").max_rss();
    // Linux counts in KiB, macOS in bytes.
    if cfg!(target_os = "macos") { peak >> 20 } else { peak >> 10 }
}

fn save(folder: &Path, name: &str) {
    let mut command = persist();
    command.current_dir(folder).args(["snapshot", "-", name, "--quiet"]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("persist starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    chat_state(size()).for_each(|chunk| stdin.write_all(&chunk).expect("persist reads"));
    drop(stdin);
    assert!(child.wait().expect("persist ends").success());
}

fn restore(folder: &Path, name: &str) {
    let mut command = persist();
    command.current_dir(folder).args(["restore", name]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("persist starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut found = Vec::new();
    for expected in chat_state(size()) {
        found.resize(expected.len(), 0);
        stdout.read_exact(&mut found).expect("persist writes");
        assert!(found == expected);
    }
    assert_eq!(stdout.read(&mut [0]).expect("the end"), 0);
    assert!(child.wait().expect("persist ends").success());
}

/// A local storage that counts the bytes of every read.
#[derive(Debug)]
struct CountingStorage {
    storage: LocalFileStorage,
    reads: Arc<Mutex<Vec<u64>>>,
}

struct CountingReader {
    reader: Box<dyn StorageReader>,
    reads: Arc<Mutex<Vec<u64>>>,
    number: usize,
}

impl StorageAdapter for CountingStorage {
    pass_on!(storage: summary, locate, capabilities, open_write, stat, delete_object, list_objects);

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        let reader = self.storage.open_read(key, options)?;
        let mut reads = self.reads.lock().expect("no test panicked");
        reads.push(0);
        Ok(Box::new(CountingReader { reader, reads: Arc::clone(&self.reads), number: reads.len() - 1 }))
    }
}

impl StorageReader for CountingReader {
    fn info(&self) -> &ObjectInfo {
        self.reader.info()
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        let chunk = self.reader.read(max)?;
        self.reads.lock().expect("no test panicked")[self.number] += chunk.len() as u64;
        Ok(chunk)
    }
}

/// Does what `persist show` does, through a storage that counts.
fn show(folder: &Path, name: &str) {
    let reads = Arc::new(Mutex::new(Vec::new()));
    let storage = CountingStorage { storage: LocalFileStorage::new(folder), reads: Arc::clone(&reads) };
    let metadata = Engine::builder().storage(storage).build().expect("an engine").metadata(name).expect("the metadata");
    assert_eq!(metadata.uncompressed_size, size());
    let reads = reads.lock().expect("no test panicked").clone();
    println!("{name}: {} bytes stored, metadata in reads of {reads:?} bytes", metadata.stored_size);
    assert!(matches!(reads[..], [0..=65_536]), "{reads:?}");
}

fn streams(name: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    for (operation, work) in [("snapshot", save as fn(&Path, &str)), ("restore", restore)] {
        work(folder, name);
        let peak = peak_of_children();
        println!("{name}, {operation} of {} bytes: at most {peak} MiB resident so far", size());
        assert!(peak < max_resident(), "{name}, {operation}: {peak} MiB");
    }
    show(folder, name);
    assert!(File::open(folder.join(name)).is_ok());
}

#[test]
fn a_large_state_as_gzip() {
    streams("big.json.gz");
}

#[test]
fn a_large_state_as_zstd() {
    streams("big.json.zst");
}

/// The size of each of two states that are compared, in bytes, and the maximum memory in MiB.
const COMPARED: u64 = 100_000_000;
const MAX_COMPARING: i64 = 300;

/// Writes a JSON state of this size. `change` returns what a message has instead of its text.
fn write_messages(path: &Path, change: impl Fn(u64) -> Option<&'static str>) {
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let text = "word ".repeat(190);
    file.write_all(b"{\"messages\":[{}").expect("it is written");
    for id in 0..COMPARED / 1000 {
        let content = change(id).unwrap_or(&text);
        write!(file, ",{{\"id\":{id},\"content\":\"{content}\",\"role\":\"user\"}}").expect("it is written");
    }
    file.write_all(b"]}").expect("it is written");
    file.flush().expect("it is written");
}

#[test]
fn two_states_of_100_mb_are_compared_in_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    write_messages(&folder.path().join("before.json"), |_| None);
    write_messages(&folder.path().join("after.json"), |id| (id == 70_000).then_some("changed"));
    // Every message is different.
    write_messages(&folder.path().join("other.json"), |id| Some(if id % 2 == 0 { "even" } else { "odd" }));
    for (after, changes) in [("after.json", 1), ("other.json", COMPARED / 1000)] {
        let output = folder.path().join("patch.json");
        let mut command = persist();
        command.current_dir(folder.path()).args(["diff", "before.json", after, "--json"]);
        assert!(command.stdout(File::create(&output).expect("a file")).status().expect("persist runs").success());
        let found = BufReader::new(File::open(&output).expect("a file"))
            .lines()
            .filter(|line| line.as_ref().is_ok_and(|line| line.contains("\"op\"")));
        assert_eq!(found.count() as u64, changes, "{after}");
    }
    let peak = peak_of_children();
    assert!(peak < MAX_COMPARING, "{peak} MiB");
    println!("two states of {COMPARED} bytes: {peak} MiB");
}
