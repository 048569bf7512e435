//! Comparison with what people would use instead.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use persist_host::{Codec, Engine, LocalFileStorage};
use persist_test_support::table::{Goal, Table, in_turn, median, seconds};

use crate::{name, options, rate};

const PYTHON: &str = r#"
import gzip, hashlib, os, sys, time
state = open(sys.argv[1], "rb").read()
def save():
    packed = gzip.compress(state, 6)
    hashlib.sha256(state).hexdigest()
    with open("peer.tmp", "wb") as file:
        file.write(packed); file.flush(); os.fsync(file.fileno())
    os.rename("peer.tmp", "peer.json.gz")
    return len(packed)
def restore():
    data = gzip.decompress(open("peer.json.gz", "rb").read())
    hashlib.sha256(data).hexdigest()
print("ready", save(), flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    save() if line.startswith("save") else restore()
    print(time.perf_counter() - began, flush=True)
"#;

/// A Python process that saves and restores on request.
struct Python {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    stored: usize,
}

impl Python {
    fn start(folder: &Path, state: &Path) -> Self {
        use std::io::BufRead;
        let mut child = Command::new("python3")
            .args(["-c", PYTHON])
            .arg(state)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        let stored = ready.strip_prefix("ready ").expect("it is ready").parse().unwrap();
        Self { child, lines, stored }
    }

    /// Returns how long a request took, as measured by the process.
    fn ask(&mut self, what: &str) -> f64 {
        use std::io::Write;
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
        self.lines.next().unwrap().unwrap().parse().unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The goals on a number of processors: how much faster than Python to save and to
/// restore, with gzip and with zstd.
struct Goals {
    save: [f64; 2],
    restore: [f64; 2],
}

/// Measures durable saves to a disk against typical Python code, which uses one
/// processor: on one processor, as in many containers, and on two.
pub(crate) fn against_python(table: &mut Table, state: &[u8]) {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let allowed: Vec<usize> = (0..CpuSet::count()).filter(|number| all.is_set(*number).unwrap_or(false)).collect();
    for (count, goals) in [(1, Goals { save: [1.4, 2.5], restore: [1.2, 1.8] }), (2, Goals { save: [2.5, 5.0], restore: [2.5, 3.0] })] {
        let mut some = CpuSet::new();
        allowed.iter().take(count).for_each(|number| some.set(*number).unwrap());
        // Threads and processes started from here on inherit it.
        sched_setaffinity(Pid::from_raw(0), &some).unwrap();
        on_processors(table, state, if count == 1 { "one processor" } else { "two processors" }, &goals);
    }
    sched_setaffinity(Pid::from_raw(0), &all).unwrap();
}

fn on_processors(table: &mut Table, state: &[u8], on: &str, goals: &Goals) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    fs::write(&file, state).unwrap();
    let mut python = Python::start(folder.path(), &file);
    let engine = Engine::builder().storage(LocalFileStorage::new(folder.path())).build().unwrap();
    // The lowest level that compresses at least as well as Python's level 6.
    let as_small = options(Codec::Gzip).level(Some(7));
    let mut taken = [const { Vec::new() }; 7];
    for _ in 0..7 {
        taken[0].push(python.ask("save"));
        taken[1].push(seconds(|| drop(engine.snapshot("x.json.gz", state, &options(Codec::Gzip)).unwrap())));
        taken[2].push(seconds(|| drop(engine.snapshot("x.json.zst", state, &options(Codec::Zstd)).unwrap())));
        taken[3].push(python.ask("restore"));
        taken[4].push(seconds(|| drop(engine.restore("x.json.gz").unwrap())));
        taken[5].push(seconds(|| drop(engine.restore("x.json.zst").unwrap())));
        taken[6].push(seconds(|| drop(engine.snapshot("7.json.gz", state, &as_small).unwrap())));
    }
    let [save, save_gz, save_zst, restore, restore_gz, restore_zst, save_7] = taken.map(median);
    let stored = |key: &str| engine.metadata(key).unwrap().stored_size as f64;
    let speed = |seconds: f64| format!("{}, Python {}", rate(state.len(), seconds), rate(state.len(), save));
    let smaller = |key: &str| {
        let theirs = python.stored as f64;
        format!("{:.3}x smaller, Python's {:.3}x", state.len() as f64 / stored(key), state.len() as f64 / theirs)
    };
    for (what, key, took, goal, ratio) in [
        (".json.gz", "x.json.gz", save_gz, Some(Goal::AtLeast(goals.save[0])), None),
        (".json.gz of level 7", "7.json.gz", save_7, None, Some(Goal::AtLeast(1.0))),
        (".json.zst", "x.json.zst", save_zst, Some(Goal::AtLeast(goals.save[1])), Some(Goal::AtLeast(1.0))),
    ] {
        table.add(format!("{on}, {what}: save / Python's gzip + sha256 + fsync + rename"), save / took, goal, speed(took));
        table.add(format!("{on}, {what}: how much smaller than Python's"), python.stored as f64 / stored(key), ratio, smaller(key));
    }
    for (what, took, goal) in [(".json.gz", restore_gz, goals.restore[0]), (".json.zst", restore_zst, goals.restore[1])] {
        let detail = format!("{}, Python {}", rate(state.len(), took), rate(state.len(), restore));
        table.add(format!("{on}, {what}: restore / Python's gunzip + sha256"), restore / took, Goal::AtLeast(goal), detail);
    }
    for (program, arguments) in [("pigz", ["-6", "-k", "-fc"]), ("zstd", ["-3", "-T0", "-kcq"])] {
        let mut run = || {
            let done = Command::new(program).args(arguments).arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(done.unwrap().success());
        };
        if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("{program} is not installed");
            continue;
        }
        let codec = if program == "pigz" { Codec::Gzip } else { Codec::Zstd };
        let [theirs, ours] = in_turn(5, [&mut run, &mut || drop(engine.snapshot("y", state, &options(codec)).unwrap())]);
        table.add(format!("{on}, {}: save, durable / {program} to nowhere", name(codec)), theirs / ours, None, rate(state.len(), theirs));
    }
}
