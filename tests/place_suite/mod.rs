//! Every command on every storage, with the same table for all.

use std::fs;
use std::process::{Command, Stdio};

use persist_host::{StorageAdapter, StorageLocation};
use persist_test_support::command::{Done, chat_bytes};
use tempfile::TempDir;

/// A location for snapshots, and how the command reaches it.
pub(crate) struct Place<'a> {
    /// The prefix of all locations: a folder, or `s3://bucket/prefix`.
    pub(crate) at: String,
    /// The folder in which commands run.
    pub(crate) folder: TempDir,
    /// The command, with the environment that it needs.
    pub(crate) command: &'a dyn Fn() -> Command,
    /// Direct access to the storage.
    pub(crate) storage: &'a dyn StorageAdapter,
}

/// The command line, the exit code, and texts that stdout and stderr contain. `@` stands
/// for the location.
type Row = (&'static str, i32, &'static [&'static str], &'static [&'static str]);

const SAVED: &[Row] = &[
    ("exists @/a/0001.json.gz", 3, &["@/a/0001.json.gz does not exist"], &[]),
    ("restore @/a/0001.json.gz", 3, &[], &["Not found", "@/a/0001.json.gz"]),
    ("show @/a/0001.json.gz", 3, &[], &["Not found"]),
    ("verify @/a/0001.json.gz", 3, &[], &["Not found"]),
    ("delete @/a/0001.json.gz --yes", 3, &[], &["Not found"]),
    ("salvage @/a/0001.json.gz -o left", 3, &[], &["Not found"]),
    ("copy @/a/0001.json.gz @/b/", 3, &[], &["Not found"]),
    ("snapshot state.json @/a/0001.json.gz --agent-id one --label k=v", 0, &["saved @/a/0001.json.gz: 300,000 bytes of state in "], &[]),
    ("snapshot state.json @/a/0001.json.gz --if-exists fail", 4, &[], &["Already exists", "@/a/0001.json.gz"]),
    ("snapshot state.json @/a/0002.json.zst --agent-id two --index 2", 0, &["(zstd, "], &[]),
    ("snapshot state.json @/a/../x.gz --codec nothing", 2, &[], &["nothing"]),
    ("exists @/a/0001.json.gz", 0, &["@/a/0001.json.gz exists"], &[]),
    ("show @/a/0001.json.gz", 0, &["  agent         one", "  label         k=v", "300,000 bytes, application/json"], &[]),
    ("verify @/a/0001.json.gz @/a/0002.json.zst", 0, &["@/a/0001.json.gz: ok, 300,000 bytes", "@/a/0002.json.zst: ok"], &[]),
    ("list @", 0, &["a/0001.json.gz   one", "a/0002.json.zst  two"], &[]),
    ("list @/a --json", 0, &["\"key\":\"", "0001.json.gz\"", "\"snapshot_index\":2"], &[]),
    ("list @/empty-as-can-be/", -1, &[], &[]),
    ("restore @/a/0001.json.gz -o out/1.json", 0, &["restored out/1.json: 300,000 bytes of state"], &[]),
    ("restore @/a/0002.json.zst -o out/2.json", 0, &["restored out/2.json"], &[]),
    ("copy @/a/0001.json.gz @/b/", 0, &["copied @/a/0001.json.gz to @/b/0001.json.gz"], &[]),
    ("copy @/a/0001.json.gz @/b/0001.json.gz", 0, &["skipped"], &[]),
    ("copy @/a/0002.json.zst @/b/0001.json.gz --if-exists fail", 4, &[], &["Already exists"]),
    ("copy --recursive @/a here", 0, &["to here/0001.json.gz", "to here/0002.json.zst"], &["2 copied"]),
    ("copy --recursive here @/c", 0, &["to @/c/0001.json.gz"], &["2 copied"]),
    ("verify @/c/0002.json.zst @/c/missing", 3, &["@/c/0002.json.zst: ok"], &["@/c/missing"]),
    ("doctor @", 0, &["ok       write", "ok       delete"], &[]),
];

/// With a snapshot that is damaged in the middle, and a file that is not a snapshot.
const DAMAGED: &[Row] = &[
    ("verify @/d/damaged.json.gz", 5, &[], &["Integrity error", "@/d/damaged.json.gz"]),
    ("restore @/d/damaged.json.gz -o out/3.json", 5, &[], &["Integrity error"]),
    ("copy @/d/damaged.json.gz @/d/copy.json.gz", 5, &[], &["Integrity error"]),
    ("exists @/d/copy.json.gz", 3, &[], &[]),
    ("salvage @/d/damaged.json.gz -o left.json", 5, &["UNVERIFIED", "checked    0 bytes", "a frame was changed"], &[]),
    ("restore @/d/notes.txt", 5, &[], &["not a snapshot"]),
    ("list @/d", 0, &["damaged.json.gz"], &["1 other file is not a snapshot"]),
    ("delete @/a/0001.json.gz", 2, &[], &["--yes"]),
    ("delete @/a/0001.json.gz @/a/0002.json.zst --yes", 0, &["deleted @/a/0001.json.gz", "deleted @/a/0002.json.zst"], &[]),
    ("exists @/a/0001.json.gz", 3, &[], &[]),
    ("list @/b", 0, &["0001.json.gz"], &[]),
];

fn run_all(place: &Place<'_>, rows: &[Row]) {
    let resolved = |text: &str| text.replace('@', &place.at);
    for (typed, code, stdout, stderr) in rows {
        let arguments: Vec<String> = typed.split(' ').map(resolved).collect();
        let mut command = (place.command)();
        let done: Done = command.current_dir(place.folder.path()).args(&arguments).stdin(Stdio::null()).output().expect("it starts").into();
        // An empty prefix is an empty listing, while a missing folder is an error.
        assert!(done.code == *code || *code == -1, "persist {typed}: {done:?}");
        for (found, expected) in [(&done.stdout, stdout), (&done.stderr, stderr)] {
            for part in expected.iter() {
                assert!(found.contains(&resolved(part)), "persist {typed}: {part:?} in {done:?}");
            }
        }
    }
}

/// Runs every command on a storage.
pub(crate) fn every_command_works(place: &Place<'_>) {
    let folder = place.folder.path();
    let state = chat_bytes(300_000);
    fs::write(folder.join("state.json"), &state).expect("a state");
    run_all(place, SAVED);
    for name in ["1", "2"] {
        assert!(fs::read(folder.join(format!("out/{name}.json"))).expect("it was restored") == state, "{name}");
    }
    let location = |key: &str| -> StorageLocation { place.storage.locate(key).parse().expect("a location") };
    let mut bytes = place.storage.load(&location("a/0001.json.gz")).expect("it is there");
    assert!(fs::read(folder.join("here/0001.json.gz")).expect("it was copied") == bytes, "the copy differs");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.storage.save(&location("d/damaged.json.gz"), &bytes).expect("it is written");
    place.storage.save(&location("d/notes.txt"), b"not a snapshot").expect("it is written");
    run_all(place, DAMAGED);
    assert!(!folder.join("out/3.json").exists(), "a damaged snapshot was restored");
}
