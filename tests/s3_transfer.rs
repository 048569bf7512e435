//! The adapter alone against `aws s3 cp`: 256 MB to the same local server and
//! back, in turn. Run by `cargo xtask bench`, not by the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use persist_host::{ReadOptions, StorageAdapter, WriteOptions};
use support::moto::aws;
use support::server::{BUCKET, Server};

const SIZE: usize = 256_000_000;
const ROUNDS: usize = 5;

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn upload(server: &Server, from: &Path) {
    let (adapter, mut file) = (server.adapter(), File::open(from).expect("the file"));
    let options = WriteOptions { size_hint: Some(SIZE as u64), ..WriteOptions::default() };
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
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let content = support::noise(SIZE);
    fs::write(&from, &content).expect("a file");
    let copy = |from: &str, to: &str| {
        let done = aws(&server.endpoint()).args(["s3", "cp", "--quiet", from, to]).output().expect("aws runs");
        assert!(done.status.success(), "{done:?}");
    };
    let object = format!("s3://{BUCKET}/theirs");
    let (from_text, to_text) = (from.to_str().expect("a path"), to.to_str().expect("a path"));
    let check = || assert!(fs::read(&to).expect("the file") == content);
    let mut seconds = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        seconds[0].push(timed(|| upload(&server, &from)));
        seconds[1].push(timed(|| copy(from_text, &object)));
        seconds[2].push(timed(|| download(&server, &to)));
        check();
        seconds[3].push(timed(|| copy(&object, to_text)));
        check();
    }
    let [up, their_up, down, their_down] = seconds.map(median);
    let rate = |seconds: f64| SIZE as f64 / 1e6 / seconds;
    println!("256 MB, median of {ROUNDS}, the same server, in turn; a ratio is time of the adapter / time of aws s3 cp");
    println!("up    {up:.2} s ({:.0} MB/s), aws s3 cp {their_up:.2} s, ratio {:.2}", rate(up), up / their_up);
    println!("down  {down:.2} s ({:.0} MB/s), aws s3 cp {their_down:.2} s, ratio {:.2}", rate(down), down / their_down);
}
