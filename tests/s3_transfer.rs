//! Compares the S3 adapter with `aws s3 cp`: 256 MB to the same local server and back, in
//! turn. Run by `cargo xtask bench`, not by the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use persist_host::{ReadOptions, StorageAdapter, WriteOptions};
use persist_test_support::moto::aws;
use persist_test_support::server::{BUCKET, Server};
use persist_test_support::table::{Goal, Table, in_turn};

const SIZE: usize = 256_000_000;
const ROUNDS: usize = 5;

fn upload(server: &Server, from: &Path) {
    let (adapter, mut file) = (server.adapter(), File::open(from).expect("the file"));
    let options = WriteOptions::default().object_size_hint(Some(SIZE as u64));
    let mut writer = adapter.open_write("ours", options).expect("it opens");
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut chunk).expect("it is read");
        if read == 0 {
            break;
        }
        writer.write(&chunk[..read]).expect("it is written");
    }
    writer.commit().expect("it is committed");
}

fn download(server: &Server, to: &Path) {
    let (adapter, mut file) = (server.adapter(), File::create(to).expect("a file"));
    let mut reader = adapter.open_read("ours", ReadOptions::default()).expect("it opens");
    loop {
        let chunk = reader.read(1 << 20).expect("it is read");
        if chunk.is_empty() {
            break;
        }
        file.write_all(&chunk).expect("it is written");
    }
}

fn main() {
    let (server, folder) = (Server::start(), tempfile::tempdir().expect("a folder"));
    let (from, to, copied) = (folder.path().join("from"), folder.path().join("to"), folder.path().join("copied"));
    let content = persist_test_support::command::noise(SIZE);
    fs::write(&from, &content).expect("a file");
    let copy = |from: &str, to: &str| {
        let done = aws(&server.endpoint()).args(["s3", "cp", "--quiet", from, to]).output().expect("aws runs");
        assert!(done.status.success(), "{done:?}");
    };
    let object = format!("s3://{BUCKET}/theirs");
    let (from_text, copied_text) = (from.to_str().expect("a path"), copied.to_str().expect("a path"));
    let [up, their_up, down, their_down] = in_turn(
        ROUNDS,
        [&mut || upload(&server, &from), &mut || copy(from_text, &object), &mut || download(&server, &to), &mut || {
            copy(&object, copied_text)
        }],
    );
    for file in [to, copied] {
        assert!(fs::read(file).expect("the file") == content);
    }
    println!("256 MB to the same server and back, in turn, median of {ROUNDS}");
    let rate = |seconds: f64| SIZE as f64 / 1e6 / seconds;
    let mut table = Table::default();
    for (what, ours, theirs) in [("upload", up, their_up), ("download", down, their_down)] {
        let detail = format!("{:.0} and {:.0} MB/s", rate(ours), rate(theirs));
        table.add(format!("S3: {what} by the adapter / by aws s3 cp, speed"), theirs / ours, Goal::AtLeast(1.0), detail);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    table.finish("s3", &arguments);
}
