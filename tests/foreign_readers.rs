//! To other tools, a snapshot is a plain gzip or zstd file: they print the state, whose
//! SHA-256 is the snapshot's `content_hash`.
//!
//! Tools that are not installed are named and skipped, unless `PERSIST_REQUIRE_TOOLS` is
//! set, as in continuous integration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use persist_test_support::command::{chat_state, ok_in};
use serde_json::Value;
use sha2::{Digest, Sha256};

const MIB: u64 = 1 << 20;

/// Empty, one byte, around the size of a block, and many blocks.
const SIZES: [u64; 6] = [0, 1, MIB - 1, MIB, MIB + 1, 100_000_000];

const PYTHON: &str = "import gzip, shutil, sys; shutil.copyfileobj(gzip.open(sys.argv[1]), sys.stdout.buffer)";
const NODE: &str = "require('fs').createReadStream(process.argv[1]).pipe(require('zlib').createGunzip()).on('error', e => { throw e }).pipe(process.stdout)";

/// Commands that print the contents of a file, which is their last argument.
const GZIP_READERS: [&[&str]; 6] =
    [&["zcat"], &["gzip", "-dc"], &["pigz", "-dc"], &["busybox", "zcat"], &["python3", "-c", PYTHON], &["node", "-e", NODE]];
const ZSTD_READERS: [&[&str]; 3] = [&["zstd", "-dcq"], &["zstdcat"], &["bsdcat"]];

/// Commands that only check a file, which is their last argument.
const GZIP_CHECKERS: [&[&str]; 2] = [&["gzip", "-t"], &["pigz", "-t"]];
const ZSTD_CHECKERS: [&[&str]; 1] = [&["zstd", "-tq"]];

fn is_installed(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file());
    if !found {
        println!("skipped: {tool} is not installed");
        assert!(std::env::var_os("PERSIST_REQUIRE_TOOLS").is_none(), "{tool} is required, but not installed");
    }
    found
}

fn hash_of(reader: &mut impl Read) -> (String, u64) {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = reader.read(&mut buffer).expect("it is read");
        if read == 0 {
            return (hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), size);
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Saves a state of this many bytes. Returns the content hash in the snapshot, which
/// equals that of the state.
fn save(folder: &Path, size: u64, name: &str) -> String {
    let mut state = File::create(folder.join("state")).expect("a file");
    chat_state(size).for_each(|chunk| state.write_all(&chunk).expect("it is written"));
    ok_in(folder, &["snapshot", "state", name]);
    let shown: Value = serde_json::from_str(&ok_in(folder, &["show", name, "--json"])).expect("JSON");
    assert_eq!(shown["uncompressed_size"], size);
    let content_hash = shown["content_hash"].as_str().expect("a hash").to_owned();
    let state = hash_of(&mut File::open(folder.join("state")).expect("the state"));
    assert_eq!(state, (content_hash.clone(), size));
    content_hash
}

fn readers_agree(name: &str, readers: &[&[&str]], checkers: &[&[&str]]) {
    let readers: Vec<_> = readers.iter().filter(|reader| is_installed(reader[0])).collect();
    let checkers: Vec<_> = checkers.iter().filter(|checker| is_installed(checker[0])).collect();
    let folder = tempfile::tempdir().expect("a folder");
    for size in SIZES {
        let content_hash = save(folder.path(), size, name);
        for reader in &readers {
            let mut command = Command::new(reader[0]);
            command.current_dir(folder.path()).args(&reader[1..]).arg(name).stdout(Stdio::piped());
            let mut child = command.spawn().expect("it starts");
            let found = hash_of(child.stdout.as_mut().expect("stdout is piped"));
            assert!(child.wait().expect("it ends").success(), "{reader:?} of {size}");
            assert_eq!(found, (content_hash.clone(), size), "{reader:?} of {size}");
        }
        for checker in &checkers {
            let status = Command::new(checker[0]).current_dir(folder.path()).args(&checker[1..]).arg(name).status().expect("it starts");
            assert!(status.success(), "{checker:?} of {size}");
        }
    }
    let names: Vec<_> = readers
        .iter()
        .chain(&checkers)
        .map(|reader| reader[..reader.len().min(2)].join(" ").replace(" -c", "").replace(" -e", ""))
        .collect();
    println!("{name}: {} agree on states of {SIZES:?} bytes", names.join(", "));
}

#[test]
fn gzip_tools_read_exactly_the_state() {
    readers_agree("x.json.gz", &GZIP_READERS, &GZIP_CHECKERS);
}

#[test]
fn zstd_tools_read_exactly_the_state() {
    readers_agree("x.json.zst", &ZSTD_READERS, &ZSTD_CHECKERS);
}

/// Readers that stop after the first member, such as those of flate2 and Java, read the
/// whole state.
#[test]
fn the_first_gzip_member_is_the_whole_state() {
    let folder = tempfile::tempdir().expect("a folder");
    for size in SIZES {
        let content_hash = save(folder.path(), size, "x.json.gz");
        let file = File::open(folder.path().join("x.json.gz")).expect("the snapshot");
        let mut decoder = flate2::read::GzDecoder::new(file);
        assert_eq!(hash_of(&mut decoder), (content_hash, size));
    }
}
