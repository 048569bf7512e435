//! Many processes on one storage for a while: some write, others list, copy, verify,
//! restore and delete, and all are killed at random moments. No process gets an
//! unexpected error or a byte that was never written, and nothing is left behind.
//!
//! Each storage takes ten seconds, or the number in `PERSIST_SOAK_SECONDS`, which `cargo
//! xtask soak` sets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use persist_host::{
    Durability, Engine, ErrorCode, ListEntry, LocalFileStorage, PersistError, Precondition, SnapshotOptions, StorageAdapter,
};
use persist_test_support::proxy::Proxy;
use persist_test_support::server::Server;
use persist_test_support::wasi_storage;
use persist_test_support::wasi_storage::{BUILT, ROOT, WasiStorage};

/// The storage.
#[derive(Clone, Copy, Debug)]
enum Place {
    Folder,
    Bucket,
    StorageFs,
}

/// What a process does until it is killed or told to stop.
///
/// Its name is passed to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Write,
    Restore,
    List,
    Copy,
    Verify,
    Delete,
}

const WRITERS: usize = 8;
const OTHERS: [Role; 5] = [Role::Restore, Role::List, Role::Copy, Role::Verify, Role::Delete];

/// The number of keys, small enough that the processes collide.
const KEYS: u64 = 12;

/// The maximum size of a state in bytes: small enough that a snapshot is not uploaded in
/// parts, which a killed process would leave behind.
const MAX_STATE: u64 = 1_500_000;

// The variables that configure a child process.
const ROLE: &str = "PERSIST_SOAK_ROLE";
const WHERE: &str = "PERSIST_SOAK_WHERE";
const SEED: &str = "PERSIST_SOAK_SEED";

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

/// Returns a state that contains the seed of its own contents.
fn state(seed: u64) -> Vec<u8> {
    let mut random = Random(seed | 1);
    let length = if random.below(3) == 0 { random.below(MAX_STATE) } else { random.below(20_000) };
    let mut state = format!("{seed:016x}").into_bytes();
    while (state.len() as u64) < length {
        state.extend_from_slice(&random.below(u64::MAX).to_le_bytes());
        state.extend_from_slice(b"what an agent may have said ");
    }
    state
}

fn is_a_state(found: &[u8]) -> bool {
    let seed = found.get(..16).and_then(|seed| std::str::from_utf8(seed).ok()).and_then(|seed| u64::from_str_radix(seed, 16).ok());
    seed.is_some_and(|seed| state(seed) == found)
}

fn key(random: &mut Random) -> String {
    let number = random.below(KEYS);
    format!("agents/{}/{number:02}.json.{}", number % 3, if number < KEYS / 2 { "gz" } else { "zst" })
}

impl Place {
    fn storage(self, at: &str) -> Arc<dyn StorageAdapter> {
        match self {
            Self::Folder => Arc::new(LocalFileStorage::new(at)),
            Self::Bucket => Arc::new(persist_test_support::server::adapter(at)),
            Self::StorageFs => Arc::new(WasiStorage::new(Path::new(at))),
        }
    }

    fn engine(self, at: &str) -> Engine {
        Engine::builder().shared_storage(self.storage(at)).workers(1).build().expect("an engine")
    }
}

/// Returns whether an error is expected in this situation.
fn is_meant(role: Role, error: &PersistError) -> bool {
    match error.code() {
        ErrorCode::NotFound => role != Role::Write,
        ErrorCode::AlreadyExists => role == Role::Write,
        // The object was replaced during every attempt.
        ErrorCode::PreconditionFailed => matches!(role, Role::Restore | Role::Copy | Role::Verify | Role::List),
        _ => false,
    }
}

/// Does what a process does over and over.
fn act(role: Role, engine: &Engine, random: &mut Random) -> Result<(), PersistError> {
    let key = key(random);
    match role {
        Role::Write => {
            let precondition = if random.below(3) == 0 { Precondition::IfAbsent } else { Precondition::None };
            let options = SnapshotOptions::default().precondition(precondition).level(Some(1));
            engine.snapshot(&key, &state(random.below(u64::MAX)), &options).map(drop)
        }
        Role::Restore => engine.restore(&key).map(|found| assert!(is_a_state(&found), "{key}: bytes that were never written")),
        Role::Verify => engine.verify(&key).map(drop),
        Role::Delete => {
            std::thread::sleep(Duration::from_millis(random.below(40)));
            engine.delete(&key, Precondition::None)
        }
        Role::Copy => engine.copy(&key, engine, &format!("copies/{key}"), Precondition::None, |_| {}).map(drop),
        Role::List => {
            let mut last = String::new();
            for entry in engine.list("") {
                let key = match entry? {
                    ListEntry::Snapshot(metadata) => metadata.key,
                    ListEntry::Unreadable { key, error } if is_meant(role, &error) => key,
                    ListEntry::Unreadable { key, error } => panic!("{key}: {error:?}"),
                };
                assert!(key > last, "{key} comes after {last}");
                last = key;
            }
            Ok(())
        }
    }
}

/// How long a process continues that has done nothing yet when it is told to stop. It may
/// have been started a moment ago, in place of one that was killed.
const MAX_LONGER: Duration = Duration::from_secs(30);

/// Runs a child process until it is told to stop and has done something.
fn child(place: Place, role: &str) {
    let role = [Role::Write].iter().chain(&OTHERS).copied().find(|known| format!("{known:?}") == role).expect("a role");
    let at = std::env::var(WHERE).expect("a place");
    let mut random = Random(std::env::var(SEED).expect("a seed").parse().expect("a number"));
    let engine = place.engine(&at);
    // The parent closes stdin to stop the process.
    let stdin = std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let (mut count, mut told_to_stop) = (0_u64, None);
    loop {
        match act(role, &engine, &mut random) {
            Ok(()) => count += 1,
            Err(error) => assert!(is_meant(role, &error), "{role:?}: {error:?}"),
        }
        if stdin.is_finished() && (count > 0 || told_to_stop.get_or_insert_with(Instant::now).elapsed() > MAX_LONGER) {
            break;
        }
    }
    eprintln!("{role:?} {count}");
}

/// The path of the component, which is built once for all processes.
static STORAGE_FS: LazyLock<PathBuf> = LazyLock::new(wasi_storage::built);

fn start(test: &str, place: Place, at: &str, role: Role, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture"]);
    command.env(ROLE, format!("{role:?}")).env(WHERE, at).env(SEED, seed.to_string());
    if let Place::StorageFs = place {
        command.env(BUILT, &*STORAGE_FS);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// Waits for a process, and checks that it was killed by this test or succeeded.
fn end(child: Child, role: Role, done: &mut BTreeMap<String, u64>) {
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.signal() == Some(Signal::SIGKILL as i32) {
        return;
    }
    assert!(output.status.success(), "{role:?}: {said}");
    let counted = said.lines().find_map(|line| line.strip_prefix(&format!("{role:?} "))?.parse::<u64>().ok());
    *done.entry(format!("{role:?}")).or_default() += counted.unwrap_or_else(|| panic!("{role:?}: {said}"));
}

/// Serialises the storages, since each keeps the machine busy.
static TURN: Mutex<()> = Mutex::new(());

fn soak(test: &str, place: Place, at: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = std::env::var("PERSIST_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(10);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    // Compiles the component once, before the processes need it.
    place.engine(at).snapshot("agents/0/00.json.gz", &state(1), &SnapshotOptions::default()).expect("it is saved");
    let roles = [[Role::Write; WRITERS].as_slice(), &OTHERS].concat();
    let mut children: Vec<(Role, Child)> =
        roles.iter().map(|role| (*role, start(test, place, at, *role, random.below(u64::MAX) | 1))).collect();
    let (began, mut kills, mut done) = (Instant::now(), 0, BTreeMap::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(50 + random.below(300)));
        let victim = usize::try_from(random.below(children.len() as u64)).unwrap();
        let role = children[victim].0;
        let fresh = (role, start(test, place, at, role, random.below(u64::MAX) | 1));
        let (_, mut killed) = std::mem::replace(&mut children[victim], fresh);
        killed.kill().expect("it is killed");
        end(killed, role, &mut done);
        kills += 1;
    }
    // All are told to stop before the first is waited for.
    for (_, child) in &mut children {
        drop(child.stdin.take());
    }
    for (role, child) in children {
        end(child, role, &mut done);
    }
    let engine = place.engine(at);
    let mut found = 0;
    for entry in engine.list("") {
        let ListEntry::Snapshot(metadata) = entry.expect("it is listed") else { panic!("no snapshot is damaged") };
        engine.verify(&metadata.key).expect("it is whole");
        assert!(is_a_state(&engine.restore(&metadata.key).expect("it is there")), "{}: bytes that were never written", metadata.key);
        found += 1;
    }
    println!("{place:?}, {seconds} s: {kills} kills, {found} snapshots, all intact; done by processes that were not killed: {done:?}");
    assert!(kills > 0 && found > 0 && roles.iter().all(|role| done.get(&format!("{role:?}")).is_some_and(|count| *count > 0)), "{done:?}");
}

/// Runs the child if this is a child process, and returns whether it was.
fn was_child(place: Place) -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    child(place, &role);
    true
}

/// Writes once more into each folder, which sweeps it.
fn write_everywhere(storage: &dyn StorageAdapter) {
    for folder in ["agents/0", "agents/1", "agents/2", "copies/agents/0", "copies/agents/1", "copies/agents/2"] {
        let location = storage.locate(&format!("{folder}/last")).parse().expect("a location");
        storage.save(&location, b"the last").expect("it is saved");
    }
}

#[test]
fn many_processes_on_one_folder() {
    if was_child(Place::Folder) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_str().expect("UTF-8");
    soak("many_processes_on_one_folder", Place::Folder, at);
    write_everywhere(&LocalFileStorage::new(at).durability(Durability::None));
    let left: Vec<String> =
        persist_test_support::command::files(folder.path()).into_iter().filter(|file| file.contains(".persist-")).collect();
    assert_eq!(left, Vec::<String>::new(), "the next write sweeps");
}

#[test]
fn many_processes_on_one_bucket() {
    if was_child(Place::Bucket) {
        return;
    }
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    // The server takes several steps for what S3 does atomically.
    proxy.take_turns();
    soak("many_processes_on_one_bucket", Place::Bucket, &proxy.endpoint());
    let left: Vec<String> =
        persist_test_support::command::files(&server.file("")).into_iter().filter(|file| file.contains(".persist-")).collect();
    // A killed process cannot remove the empty object with which it probes the service.
    assert!(left.iter().all(|file| file.contains(".persist-probe-")), "{left:?}");
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
}

#[test]
fn many_processes_through_storage_fs() {
    if was_child(Place::StorageFs) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    soak("many_processes_through_storage_fs", Place::StorageFs, folder.path().to_str().expect("UTF-8"));
    let root = folder.path().join(ROOT);
    let unfinished =
        || -> Vec<String> { persist_test_support::command::files(&root).into_iter().filter(|file| file.contains(".persist-")).collect() };
    // WASI has no file locks, so only the age of a file tells that its writer is gone.
    for file in unfinished() {
        assert!(file.contains(".persist-unlocked-"), "{file}");
        let day_before = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
        File::options().write(true).open(root.join(&file)).expect("the file").set_modified(day_before).expect("it has a time");
    }
    write_everywhere(&WasiStorage::new(folder.path()));
    assert_eq!(unfinished(), Vec::<String>::new(), "the next write sweeps");
    assert!(fs::read_dir(root).expect("the folder").count() > 0);
}
