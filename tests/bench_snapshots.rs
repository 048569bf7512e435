//! Speed, as ratios within one run: the component in its sandbox against its own
//! code compiled natively, workers against one, Python and other programs, and
//! how it grows. `cargo xtask bench` runs it; `-- --check` fails on a ratio that
//! is missed, `-- --quick` leaves out what takes minutes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use persist_guest::{SaveOptions, memory, snapshots};
use persist_host::{Codec, CompileCache, Engine, LocalFileStorage, MemoryStorage, SnapshotOptions};

const KB: usize = 1000;
const MB: usize = 1000 * KB;

/// One row of the table.
struct Ratio {
    what: String,
    found: f64,
    /// What it has to be at least, or at most.
    goal: Option<Goal>,
    detail: String,
}

#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Ratio {
    fn is_met(&self) -> bool {
        match self.goal {
            None => true,
            Some(Goal::AtLeast(goal)) => self.found >= goal,
            Some(Goal::AtMost(goal)) => self.found <= goal,
        }
    }

    fn row(&self) -> String {
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::AtLeast(goal)) => format!("at least {goal}"),
            Some(Goal::AtMost(goal)) => format!("at most {goal}"),
        };
        let mark = if self.is_met() { "" } else { "MISSED" };
        format!("{:<62} {:>8.2}  {:<14} {:<7} {}", self.what, self.found, goal, mark, self.detail)
    }

    fn json(&self) -> String {
        let (least, most) = match self.goal {
            Some(Goal::AtLeast(goal)) => (goal.to_string(), "null".to_owned()),
            Some(Goal::AtMost(goal)) => ("null".to_owned(), goal.to_string()),
            None => ("null".to_owned(), "null".to_owned()),
        };
        format!(
            r#"{{"what":{:?},"found":{},"at_least":{least},"at_most":{most},"met":{},"detail":{:?}}}"#,
            self.what,
            self.found,
            self.is_met(),
            self.detail
        )
    }
}

/// Everything that was found so far.
#[derive(Default)]
struct Table(Vec<Ratio>);

impl Table {
    fn add(&mut self, what: impl Into<String>, found: f64, goal: impl Into<Option<Goal>>, detail: impl Into<String>) {
        let ratio = Ratio { what: what.into(), found, goal: goal.into(), detail: detail.into() };
        println!("{}", ratio.row());
        self.0.push(ratio);
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn median(mut taken: Vec<f64>) -> f64 {
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}

/// Several ways to do the same, in turn; the median of each, in seconds.
fn in_turn<const N: usize>(rounds: usize, mut ways: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut taken = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (way, taken) in ways.iter_mut().zip(&mut taken) {
            let took = seconds(&mut **way);
            if round > 0 {
                taken.push(took);
            }
        }
    }
    taken.map(median)
}

/// Prose that people wrote: the documentation and comments of the libraries that
/// this build uses, as the toolchain has them.
fn prose(bytes: usize) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map_or_else(|| std::env::home_dir().unwrap().join(".cargo"), PathBuf::from);
    let mut folders = vec![home.join("registry/src")];
    let (mut found, mut size) = (Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md" || extension == "rs") && size < bytes {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let is_prose = |line: &&str| line.starts_with("//!") || line.trim_start().starts_with("///") || path.ends_with("md");
                let text: Vec<&str> = text.lines().filter(is_prose).map(|line| line.trim_start_matches(['/', '!', ' '])).collect();
                for part in text.chunks(12) {
                    let part = part.join("\n");
                    size += part.len();
                    found.push(part);
                }
            }
        }
    }
    assert!(!found.is_empty(), "{}: no text", home.display());
    found
}

/// An agent's state of about so many bytes: a conversation as JSON.
fn state(prose: &[String], bytes: usize) -> Vec<u8> {
    let mut json = String::with_capacity(bytes + 4096);
    json.push_str("{\"messages\":[");
    let mut number = 0_u64;
    'all: loop {
        for text in prose {
            if json.len() >= bytes {
                break 'all;
            }
            let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let role = ["user", "assistant", "tool"][(number % 3) as usize];
            let separator = if number == 0 { "" } else { "," };
            write!(json, "{separator}{{\"id\":\"msg_{id:016x}\",\"role\":\"{role}\",\"tokens\":{},\"content\":", id % 4096).unwrap();
            json.push_str(&serde_json::to_string(text).unwrap());
            json.push('}');
            number += 1;
        }
    }
    json.push_str("]}");
    json.into_bytes()
}

fn options(codec: Codec) -> SnapshotOptions {
    SnapshotOptions { codec: Some(codec), ..SnapshotOptions::default() }
}

fn engine(workers: usize) -> Engine {
    Engine::builder().storage(MemoryStorage::new()).workers(workers).build().expect("an engine")
}

fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Gzip => "gzip",
        Codec::Zstd => "zstd",
    }
}

fn rate(bytes: usize, seconds: f64) -> String {
    format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds)
}

/// In the sandbox, against the same code compiled natively.
fn against_native(table: &mut Table, state: &[u8]) {
    let engine = engine(1);
    for (codec, save_goal, restore_goal) in [(Codec::Gzip, 0.55, 0.50), (Codec::Zstd, 0.50, 0.45)] {
        let native = memory::MemoryStorage::default();
        let inner = match codec {
            Codec::Gzip => persist_guest::codec::Codec::Gzip,
            Codec::Zstd => persist_guest::codec::Codec::Zstd,
        };
        let save = || SaveOptions { codec: Some(inner), ..SaveOptions::default() };
        let [sandboxed, plain] = in_turn(
            5,
            [&mut || drop(engine.snapshot("x", state, &options(codec)).unwrap()), &mut || {
                drop(snapshots::save(&native, "x", state, save()).unwrap());
            }],
        );
        let detail = format!("{} in the sandbox, {} natively", rate(state.len(), sandboxed), rate(state.len(), plain));
        table.add(format!("{}: save in the sandbox / natively", name(codec)), plain / sandboxed, Goal::AtLeast(save_goal), detail);
        let [sandboxed, plain] =
            in_turn(9, [&mut || drop(engine.restore("x").unwrap()), &mut || drop(snapshots::restore(&native, "x").unwrap())]);
        let detail = format!("{} in the sandbox, {} natively", rate(state.len(), sandboxed), rate(state.len(), plain));
        table.add(format!("{}: restore in the sandbox / natively", name(codec)), plain / sandboxed, Goal::AtLeast(restore_goal), detail);
    }
}

/// Two workers, against one.
fn workers(table: &mut Table, state: &[u8]) {
    let (one, two) = (engine(1), engine(2));
    for codec in [Codec::Gzip, Codec::Zstd] {
        let goals = if codec == Codec::Gzip { (Some(Goal::AtLeast(1.7)), Some(Goal::AtLeast(1.5))) } else { (None, None) };
        let [alone, both] = in_turn(
            3,
            [&mut || drop(one.snapshot("x", state, &options(codec)).unwrap()), &mut || {
                drop(two.snapshot("x", state, &options(codec)).unwrap());
            }],
        );
        let detail = format!("{} with one, {} with two", rate(state.len(), alone), rate(state.len(), both));
        table.add(format!("{}: save with two workers / one", name(codec)), alone / both, goals.0, detail);
        let [alone, both] = in_turn(5, [&mut || drop(one.restore("x").unwrap()), &mut || drop(two.restore("x").unwrap())]);
        let detail = format!("{} with one, {} with two", rate(state.len(), alone), rate(state.len(), both));
        table.add(format!("{}: restore with two workers / one", name(codec)), alone / both, goals.1, detail);
    }
}

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

/// A process of Python that saves and restores when it is asked to.
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

    /// How long it takes, as it says itself.
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

/// Onto a disk, durably, against what people write in Python.
fn against_python(table: &mut Table, state: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    fs::write(&file, state).unwrap();
    let mut python = Python::start(folder.path(), &file);
    let engine = Engine::builder().storage(LocalFileStorage::new(folder.path())).build().unwrap();
    let mut taken = [const { Vec::new() }; 6];
    for _ in 0..7 {
        taken[0].push(python.ask("save"));
        taken[1].push(seconds(|| drop(engine.snapshot("x.json.gz", state, &options(Codec::Gzip)).unwrap())));
        taken[2].push(seconds(|| drop(engine.snapshot("x.json.zst", state, &options(Codec::Zstd)).unwrap())));
        taken[3].push(python.ask("restore"));
        taken[4].push(seconds(|| drop(engine.restore("x.json.gz").unwrap())));
        taken[5].push(seconds(|| drop(engine.restore("x.json.zst").unwrap())));
    }
    let [save, save_gz, save_zst, restore, restore_gz, restore_zst] = taken.map(median);
    let stored = |key: &str| state.len() as f64 / engine.metadata(key).unwrap().stored_size as f64;
    let ratio = format!("{:.2}x smaller, {:.2}x", stored("x.json.gz"), state.len() as f64 / python.stored as f64);
    table.add(".json.gz: save / Python's gzip + sha256 + fsync + rename", save / save_gz, Goal::AtLeast(1.8), ratio);
    table.add(".json.zst: save / the same", save / save_zst, Goal::AtLeast(4.0), format!("{:.2}x smaller", stored("x.json.zst")));
    table.add(".json.gz: restore / Python's gunzip + sha256", restore / restore_gz, Goal::AtLeast(1.2), rate(state.len(), restore_gz));
    table.add(".json.zst: restore / the same", restore / restore_zst, Goal::AtLeast(2.0), rate(state.len(), restore_zst));
    for (program, arguments) in [("pigz", ["-6", "-p2", "-kfc"]), ("zstd", ["-3", "-T2", "-kcq"])] {
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
        table.add(format!("{}: save, durable / {program} to nowhere", name(codec)), theirs / ours, None, rate(state.len(), theirs));
    }
}

/// Small states, a fresh instance each, on one thread.
fn small(table: &mut Table, state: &[u8]) {
    let engine = engine(1);
    for (codec, goal) in [(Codec::Zstd, 2500.0), (Codec::Gzip, 1500.0)] {
        let count = 2000;
        let [all] = in_turn(3, [&mut || (0..count).for_each(|_| drop(engine.snapshot("x", state, &options(codec)).unwrap()))]);
        let detail = format!("{} bytes each, {:.0} us", state.len(), all / f64::from(count) * 1e6);
        table.add(format!("{}: small snapshots a second", name(codec)), f64::from(count) / all, Goal::AtLeast(goal), detail);
    }
    let [all] = in_turn(3, [&mut || (0..2000).for_each(|_| drop(engine.metadata("x").unwrap()))]);
    table.add("metadata reads a second", 2000.0 / all, None, "");
}

/// Whole processes: how long until the command has done something.
fn cold(table: &mut Table, state: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let run = |arguments: &[&str], cache: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_persist"));
        command.args(arguments).current_dir(folder.path()).env("XDG_CACHE_HOME", cache);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
    };
    fs::write(folder.path().join("state.json"), state).unwrap();
    run(&["snapshot", "state.json", "x.json.gz"], &cache);
    let [version, show] = in_turn(20, [&mut || run(&["--version"], &cache), &mut || run(&["show", "x.json.gz"], &cache)]);
    let detail = format!("{:.1} ms, --version {:.1} ms", show * 1e3, version * 1e3);
    table.add("persist show, warm: ms more than --version", (show - version) * 1e3, Goal::AtMost(15.0), detail);
    let mut number = 0;
    let mut first = || {
        number += 1;
        let cache = folder.path().join(format!("cache-{number}"));
        run(&["show", "x.json.gz"], &cache);
    };
    let [first] = in_turn(3, [&mut first]);
    table.add("the first run ever: s", first, Goal::AtMost(1.0), "compiles the component");
    let [build] = in_turn(
        5,
        [&mut || {
            let builder = Engine::builder().compile_cache(CompileCache::Folder(cache.join("persist")));
            drop(builder.build().unwrap());
        }],
    );
    table.add("an engine, warm: ms", build * 1e3, None, "");
}

/// How time grows with size, and with the number of snapshots.
fn growth(table: &mut Table, prose: &[String], is_quick: bool) {
    let engine = engine(2);
    let per_mb = |size: usize, rounds: usize| {
        let state = state(prose, size);
        let [save, restore] = in_turn(
            rounds,
            [&mut || drop(engine.snapshot("x", &state, &options(Codec::Zstd)).unwrap()), &mut || drop(engine.restore("x").unwrap())],
        );
        (save / state.len() as f64 * 1e9, restore / state.len() as f64 * 1e9)
    };
    let sizes: &[(usize, usize)] = if is_quick {
        &[(10 * KB, 50), (MB, 20), (10 * MB, 5)]
    } else {
        &[(10 * KB, 50), (MB, 20), (10 * MB, 5), (100 * MB, 2), (1 << 30, 1)]
    };
    let base = per_mb(10 * MB, 5);
    for &(size, rounds) in sizes {
        let (save, restore) = per_mb(size, rounds);
        let goal = (size > 100 * MB).then_some(Goal::AtMost(1.25));
        let label = format!("zstd, {:.2} MB: time per MB / that of 10 MB", size as f64 / 1e6);
        table.add(format!("{label}, save"), save / base.0, goal, format!("{save:.2} ms per MB"));
        table.add(format!("{label}, restore"), restore / base.1, goal, format!("{restore:.2} ms per MB"));
    }
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileStorage::new(folder.path()).durability(persist_host::Durability::None);
    let engine = Engine::builder().storage(local).build().unwrap();
    let mut before = 0;
    for count in [10, 100, 1000, 10_000] {
        if is_quick && count > 1000 {
            continue;
        }
        for number in before..count {
            // Folders of a hundred, as agents and sessions make them.
            engine.snapshot(&format!("{:03}/{number}.json.zst", number / 100), b"{}", &options(Codec::Zstd)).unwrap();
        }
        before = count;
        let [list] = in_turn(2, [&mut || assert_eq!(engine.list("").count(), count)]);
        table.add(format!("list of {count} snapshots: us for each"), list / count as f64 * 1e6, None, format!("{:.1} ms", list * 1e3));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (is_check, is_quick) = (arguments.iter().any(|one| one == "--check"), arguments.iter().any(|one| one == "--quick"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} processors, {} {}\n", std::env::consts::ARCH, std::env::consts::OS);
    let prose = prose(8 * MB);
    let (ten_kb, ten_mb, hundred_mb) = (state(&prose, 10 * KB), state(&prose, 10 * MB), state(&prose, 100 * MB));
    let mut table = Table::default();
    against_native(&mut table, &ten_mb);
    workers(&mut table, if is_quick { &ten_mb } else { &hundred_mb });
    against_python(&mut table, &ten_mb);
    small(&mut table, &ten_kb);
    cold(&mut table, &ten_mb);
    growth(&mut table, &prose, is_quick);

    let rows: Vec<String> = table.0.iter().map(Ratio::json).collect();
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench_snapshots.json");
    fs::write(&json, format!("[\n{}\n]\n", rows.join(",\n"))).unwrap();
    let missed = table.0.iter().filter(|ratio| !ratio.is_met()).count();
    println!("\n{missed} of {} goals missed; as JSON: {}", table.0.iter().filter(|ratio| ratio.goal.is_some()).count(), json.display());
    assert!(!is_check || missed == 0, "{missed} goals were missed");
}
