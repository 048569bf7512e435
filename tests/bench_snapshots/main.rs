//! Speed as ratios within one run: the sandboxed component against the same code compiled
//! natively, several workers against one, other programs, and growth with size. `cargo
//! xtask bench` runs it. `-- --check` fails if a goal is missed, `-- --quick` skips parts
//! that take minutes, and `-- python peak` measures only these parts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

mod command;
mod peers;
mod phases;
mod state;
mod timelines;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use persist_guest::{SaveOptions, memory, snapshots};
use persist_host::{Codec, Durability, Engine, LocalFileStorage, MemoryStorage, SnapshotOptions};
use persist_test_support::table::{Goal, Table, in_turn, median, seconds};
use state::{prose, state};

/// The parts, which can be named to measure them alone. The last two take minutes.
const PARTS: [&str; 13] =
    ["phases", "native", "workers", "python", "small", "folder", "cold", "many", "growth", "list", "timelines", "peak", "choices"];
const SLOW: [&str; 2] = ["peak", "choices"];

/// Measures a part and adds the results.
type Measure<'a> = &'a dyn Fn(&mut Table);

const KB: usize = 1000;
const MB: usize = 1000 * KB;

fn options(codec: Codec) -> SnapshotOptions {
    SnapshotOptions::default().codec(Some(codec))
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

/// Measures the sandbox against the same code compiled natively.
fn against_native(table: &mut Table, state: &[u8]) {
    let engine = engine(1);
    for (codec, save_goal, restore_goal) in [(Codec::Gzip, 0.75, 0.65), (Codec::Zstd, 0.75, 0.65)] {
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

/// Measures two workers against one.
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

/// Measures small states, each with a new instance, on one thread.
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

/// Measures a save into a folder with many snapshots against one into an empty folder,
/// without waiting for the disk, which would hide the time for reading the folder.
fn full_folder(table: &mut Table, state: &[u8]) {
    const COUNT: usize = 20_000;
    const SAVES: usize = 200;
    let engine = engine(1);
    let local = |folder: &Path| engine.with_storage(Arc::new(LocalFileStorage::new(folder).durability(Durability::None)));
    let save = |engine: &Engine, number: usize| {
        drop(engine.snapshot(&format!("next-{number}.json.zst"), state, &options(Codec::Zstd)).unwrap());
    };
    let mut rounds = [const { Vec::new() }; 2];
    // Several pairs of folders, since their place on the disk matters more than their
    // contents.
    for _ in 0..7 {
        let (few, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [local(few.path()), local(many.path())];
        save(&folders[1], 0);
        let first = fs::read(many.path().join("next-0.json.zst")).unwrap();
        for number in 0..COUNT {
            fs::write(many.path().join(format!("{number:08}.json.zst")), &first).unwrap();
        }
        for round in 0..=3 {
            // Alternates between the folders, so that a busy disk affects both alike. The
            // times are summed, since only a few of many saves sweep the folder.
            let mut taken = [0.0; 2];
            for number in 0..SAVES {
                for (engine, taken) in folders.iter().zip(&mut taken) {
                    *taken += seconds(|| save(engine, number));
                }
            }
            if round > 0 {
                rounds.iter_mut().zip(taken).for_each(|(rounds, taken)| rounds.push(taken));
            }
        }
    }
    let [to_few, to_many] = rounds.map(median);
    let each = |seconds: f64| seconds / SAVES as f64 * 1e6;
    let detail = format!("{:.0} us, into an empty folder {:.0} us", each(to_many), each(to_few));
    table.add(format!("a save into a folder of {COUNT} snapshots / an empty one"), to_many / to_few, Goal::AtMost(1.2), detail);
}

/// Returns the time per MB to save a state and to restore it in pieces, in ms.
fn per_mb(engine: &Engine, codec: Codec, state: &[u8], rounds: usize) -> [f64; 2] {
    let mut stream = || {
        let mut reader = engine.reader("x").unwrap();
        while reader.next_chunk().unwrap().is_some() {}
    };
    let taken = in_turn(rounds, [&mut || drop(engine.snapshot("x", state, &options(codec)).unwrap()), &mut stream]);
    taken.map(|seconds| seconds / state.len() as f64 * 1e9)
}

/// Measures how the time grows with the size.
fn growth(table: &mut Table, prose: &[String], is_quick: bool) {
    let mut sizes = vec![(10 * KB, 50), (MB, 20), (10 * MB, 5)];
    if !is_quick {
        sizes.extend([(100 * MB, 2), (1 << 30, 1)]);
    }
    let ten_mb = state(prose, 10 * MB);
    let mut ways = Vec::new();
    for workers in [1, 2] {
        for codec in [Codec::Gzip, Codec::Zstd] {
            let engine = engine(workers);
            let base = per_mb(&engine, codec, &ten_mb, 5);
            ways.push((engine, codec, workers, base));
        }
    }
    for (size, rounds) in sizes {
        let state = state(prose, size);
        let goal = (size > 100 * MB).then_some(Goal::AtMost(1.25));
        for (engine, codec, workers, base) in &ways {
            let taken = per_mb(engine, *codec, &state, rounds);
            let by = if *workers == 1 { "one worker" } else { "two workers" };
            for (what, taken, base) in [("save", taken[0], base[0]), ("restore", taken[1], base[1])] {
                let label = format!("{}, {by}, {:.2} MB: {what}, per MB / of 10 MB", name(*codec), size as f64 / 1e6);
                table.add(label, taken / base, goal, format!("{taken:.2} ms per MB"));
            }
        }
    }
}

/// Measures how the time of a listing grows with the number of snapshots.
fn listing(table: &mut Table, is_quick: bool) {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileStorage::new(folder.path()).durability(Durability::None);
    let engine = Engine::builder().storage(local).build().unwrap();
    let mut before = 0;
    for count in [10, 100, 1000, 10_000] {
        if is_quick && count > 1000 {
            continue;
        }
        for number in before..count {
            // Folders of a hundred, as with agents and sessions.
            engine.snapshot(&format!("{:03}/{number}.json.zst", number / 100), b"{}", &options(Codec::Zstd)).unwrap();
        }
        before = count;
        let [list] = in_turn(2, [&mut || assert_eq!(engine.list("").count(), count)]);
        table.add(format!("list of {count} snapshots: us for each"), list / count as f64 * 1e6, None, format!("{:.1} ms", list * 1e3));
    }
}

/// Measures the peak memory of the command for a state that does not fit into it.
fn peak(table: &mut Table, prose: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.json"), state(prose, 1 << 30)).unwrap();
    for key in ["x.json.gz", "x.json.zst"] {
        for (what, arguments) in [("save", ["snapshot", "state.json", key]), ("restore", ["restore", key, "--output=restored"])] {
            let mut child = command::command(folder.path());
            let mut child = child.args(arguments).args(["--workers=2", "--quiet"]).stdout(Stdio::null()).spawn().unwrap();
            let status = format!("/proc/{}/status", child.id());
            let mut peak = 0.0_f64;
            while child.try_wait().unwrap().is_none() {
                // The peak as the kernel counts it, so that sampling cannot miss it.
                let text = fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
                peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            table.add(format!("{key}: {what} of 1 GiB with two workers, peak MiB"), peak, Goal::AtMost(192.0), "");
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_quick = arguments.iter().any(|one| one == "--quick");
    // The named parts, or if there are none, all parts or all quick ones.
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|one| !one.starts_with('-')).collect();
    for name in &named {
        assert!(PARTS.contains(name), "unknown part '{name}': expected one of {}, s3, package", PARTS.join(", "));
    }
    let is_wanted = |part| named.contains(&part) || named.is_empty() && !(is_quick && SLOW.contains(&part));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (prose, source) = prose(8 * MB);
    println!("{cores} processors, {} {}; states of {source}\n", std::env::consts::ARCH, std::env::consts::OS);
    let (ten_kb, ten_mb, hundred_mb) = (state(&prose, 10 * KB), state(&prose, 10 * MB), state(&prose, 100 * MB));
    let mut table = Table::default();
    let measures: [(&str, Measure<'_>); PARTS.len()] = [
        ("phases", &|table| phases::phases(table, &ten_mb)),
        ("native", &|table| against_native(table, &ten_mb)),
        ("workers", &|table| workers(table, if is_quick { &ten_mb } else { &hundred_mb })),
        ("python", &|table| peers::against_python(table, &ten_mb)),
        ("small", &|table| small(table, &ten_kb)),
        ("folder", &|table| full_folder(table, &ten_kb)),
        ("cold", &|table| command::cold(table, &ten_mb)),
        ("many", &command::many),
        ("growth", &|table| growth(table, &prose, is_quick)),
        ("list", &|table| listing(table, is_quick)),
        ("timelines", &|table| timelines::timelines(table, &prose, is_quick)),
        ("peak", &|table| peak(table, &prose)),
        ("choices", &|table| phases::choices(table, &ten_mb)),
    ];
    for (_, measure) in measures.into_iter().filter(|(part, _)| is_wanted(*part)) {
        measure(&mut table);
    }
    table.finish("snapshots", &arguments);
}
