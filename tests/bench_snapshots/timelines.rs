//! Timelines: how much they store, against other ways to keep every step, and how long a step
//! takes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use persist_host::timeline::{OnConflict, StepSelector};
use persist_host::{Codec, Durability, Engine, LocalFileStorage, MemoryStorage, StorageAdapter, Timeline};
use persist_test_support::edits::{deltas, edited};
use persist_test_support::other_host::{self, Objects, start};
use persist_test_support::table::{Goal, Table, in_turn, median, seconds};

use crate::{engine, options};

fn timeline(engine: &Engine) -> Timeline {
    engine.timeline("agent/session").unwrap()
}

fn append(timeline: &mut Timeline, state: &[u8]) {
    timeline.append(state, &options(Codec::Zstd), OnConflict::Fail).unwrap();
}

/// Returns the state of a checkpointer: fields that change at the front, and all messages so
/// far, separated by commas.
fn checkpoint(step: usize, messages: &str) -> Vec<u8> {
    let mut json = format!(
        r#"{{"v":4,"ts":"2026-11-27T12:{:02}:{:02}.{:06}+00:00","id":"1f0cb{:03x}-{:04x}-6{:03x}-8000-{:012x}""#,
        step / 60 % 60,
        step % 60,
        step * 7919 % 1_000_000,
        step % 4096,
        step * 31 % 65_536,
        step * 17 % 4096,
        (step as u64).wrapping_mul(0x9e37_79b9_7f4a) % (1 << 48),
    );
    for channel in ["__start__", "messages", "branch:to:agent"] {
        write!(json, r#","{channel}":"{step:032}.0.{:016}""#, step * 4099 % 1_000_000_007).unwrap();
    }
    write!(json, r#","channel_values":{{"messages":[{messages}]}}}}"#).unwrap();
    json.into_bytes()
}

/// Adds messages of people until there are this many bytes.
fn converse<'a>(messages: &mut String, prose: &mut impl Iterator<Item = &'a String>, bytes: usize) {
    while messages.len() < bytes {
        let separator = if messages.is_empty() { "" } else { "," };
        let id = (messages.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = serde_json::to_string(prose.next().unwrap()).unwrap();
        write!(messages, r#"{separator}{{"id":"msg_{id:016x}","role":"user","content":{text}}}"#).unwrap();
    }
}

/// Returns the states of some steps whose messages grow from one size to another.
fn growing(prose: &[String], steps: usize, first: usize, last: usize) -> impl Iterator<Item = Vec<u8>> {
    let (mut messages, mut text) = (String::new(), prose.iter().cycle());
    (0..steps).map(move |step| {
        converse(&mut messages, &mut text, first + (last - first) * step / (steps - 1));
        checkpoint(step, &messages)
    })
}

/// What was stored, in bytes.
struct Stored {
    raw: u64,
    total: u64,
    /// The size of each step.
    steps: Vec<u64>,
    /// The bytes of each step that are not compressed state.
    overheads: Vec<u64>,
}

fn middle(sizes: &[u64]) -> f64 {
    median(sizes.iter().map(|size| *size as f64).collect())
}

/// Appends states to a new timeline.
fn store(codec: Codec, states: impl Iterator<Item = Vec<u8>>) -> Stored {
    let storage = MemoryStorage::new();
    let engine = engine(1).with_storage(Arc::new(storage.clone()));
    let (mut timeline, mut raw) = (timeline(&engine), 0);
    let (mut steps, mut overheads) = (Vec::new(), Vec::new());
    for state in states {
        raw += state.len() as u64;
        let appended = timeline.append(&state, &options(codec), OnConflict::Fail).unwrap().metadata;
        steps.push(appended.stored_size);
        overheads.push(appended.stored_size - appended.compressed_size);
    }
    timeline.finish().unwrap();
    let total = storage.list_objects("", None, u32::MAX).unwrap().iter().map(|info| info.size).sum();
    Stored { raw, total, steps, overheads }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Measures how much is stored of every step of an agent.
fn space(table: &mut Table, prose: &[String], is_quick: bool) {
    for (codec, goal) in [(Codec::Zstd, 0.8), (Codec::Gzip, 0.88)] {
        let stored = store(codec, growing(prose, 600, 2000, 375_000));
        let detail = format!("{} of states", megabytes(stored.raw));
        table.add(format!("{}: 600 checkpoints, MB stored", crate::name(codec)), stored.total as f64 / 1e6, Goal::AtMost(goal), detail);
        let detail = format!("a median of {:.0} bytes in all", middle(&stored.steps));
        let what = format!("{}: a step besides its new state, median bytes", crate::name(codec));
        table.add(what, middle(&stored.overheads), Goal::AtMost(500.0), detail);
    }
    for (first, last) in [(5_000_000, 6_000_000), (150_000, 6_000_000)] {
        let stored = store(Codec::Zstd, growing(prose, 40, first, last));
        let detail = format!("{} of {}", megabytes(stored.total), megabytes(stored.raw));
        let what = format!("40 states of {} to {}", megabytes(first as u64), megabytes(last as u64));
        table.add(format!("{what}: raw / stored"), stored.raw as f64 / stored.total as f64, Goal::AtLeast(60.0), detail);
        if is_quick {
            continue;
        }
        let gzipped: u64 = growing(prose, 40, first, last).map(|state| gzip(&state)).sum();
        let detail = format!("{} as .json.gz", megabytes(gzipped));
        table.add(format!("{what}: each with gzip / stored"), gzipped as f64 / stored.total as f64, Goal::AtLeast(15.0), detail);
    }
    edits(table, prose, if is_quick { 100 } else { 1000 });
}

/// Returns the size of a state compressed by gzip at its usual level.
fn gzip(state: &[u8]) -> u64 {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(state).unwrap();
    encoder.finish().unwrap().len() as u64
}

/// Measures edits of 1 to 2,000 bytes all over a state of 1 MB against the deltas of
/// `zstd --patch-from`.
fn edits(table: &mut Table, prose: &[String], count: usize) {
    let mut text = prose.iter().cycle();
    let mut messages = String::new();
    converse(&mut messages, &mut text, 1_000_000);
    let states = edited(messages.into_bytes(), count, |_, length| {
        let mut fresh = String::new();
        converse(&mut fresh, &mut text, length);
        fresh.into_bytes().into_iter().take(length).collect()
    });
    let deltas = deltas(&states);
    let stored = store(Codec::Zstd, states.into_iter());
    let total = stored.total - stored.steps[0];
    let detail = format!("{} and {}", megabytes(total), megabytes(deltas));
    table.add(format!("{count} edits of 1 MB: stored / zstd --patch-from"), total as f64 / deltas as f64, Goal::AtMost(3.0), detail);
}

fn local(engine: &Engine, folder: &Path) -> Engine {
    engine.with_storage(Arc::new(LocalFileStorage::new(folder).durability(Durability::None)))
}

/// Measures how long a step takes, against a whole snapshot of the same state.
fn appending(table: &mut Table, prose: &[String]) {
    for workers in [1, 2] {
        let engine = engine(workers);
        let mut timeline = timeline(&engine);
        let states: Vec<Vec<u8>> = growing(prose, 24, 6_000_000, 6_050_000).collect();
        append(&mut timeline, &states[0]);
        let mut taken = [const { Vec::new() }; 2];
        for state in &states[1..] {
            taken[0].push(seconds(|| append(&mut timeline, state)));
            taken[1].push(seconds(|| drop(engine.snapshot("whole.json.gz", state, &options(Codec::Gzip)).unwrap())));
        }
        let [step, whole] = taken.map(median);
        let by = if workers == 1 { "one worker" } else { "two workers" };
        let detail = format!("{:.1} ms for a step, {:.1} for a .json.gz", step * 1e3, whole * 1e3);
        table.add(format!("append to 6 MB, {by}: .json.gz / step"), whole / step, Goal::AtLeast(5.0), detail);
    }
    with_own_hash(table, prose);
    let folder = tempfile::tempdir().unwrap();
    let engine = local(&engine(1), folder.path());
    let mut timeline = timeline(&engine);
    let mut taken = Vec::new();
    for state in growing(prose, 200, 400_000, 440_000) {
        taken.push(seconds(|| append(&mut timeline, &state)));
    }
    let detail = format!("the slowest {:.2} ms", taken.iter().copied().fold(0.0, f64::max) * 1e3);
    table.add("append to 400 KB without fsync, ms", median(taken) * 1e3, Goal::AtMost(2.0), detail);
}

/// Measures a host that does not hash the state for the component.
fn with_own_hash(table: &mut Table, prose: &[String]) {
    let engine = engine(1);
    let (mut store, persist) = start(&Objects::default());
    let timelines = persist.persist_snapshot_timelines();
    let timeline = timelines.timeline().call_constructor(&mut store, "agent/session/").unwrap();
    let mut taken = [const { Vec::new() }; 2];
    for (number, state) in growing(prose, 24, 6_000_000, 6_050_000).enumerate() {
        let append = seconds(|| {
            let fail = other_host::timelines::OnConflict::Fail;
            timelines.timeline().call_append(&mut store, timeline, &state, &other_host::options(), fail, None).unwrap().unwrap();
        });
        let whole = seconds(|| drop(engine.snapshot("whole.json.gz", &state, &options(Codec::Gzip)).unwrap()));
        // The first step is whole.
        if number > 0 {
            taken[0].push(append);
            taken[1].push(whole);
        }
    }
    let [step, whole] = taken.map(median);
    let detail = format!("{:.1} ms for a step, {:.1} for a .json.gz", step * 1e3, whole * 1e3);
    table.add("append to 6 MB, hashed in the component: .json.gz / step", whole / step, Goal::AtLeast(3.0), detail);
}

/// Measures loading the newest step of a long timeline against that of a short one. Both
/// states are of the same size.
fn loading(table: &mut Table, prose: &[String], is_quick: bool) {
    let long = if is_quick { 1000 } else { 10_000 };
    let engine = engine(1);
    let folders = [100, long].map(|steps| {
        let folder = tempfile::tempdir().unwrap();
        let engine = local(&engine, folder.path());
        let mut timeline = timeline(&engine);
        // Like an agent that forgets: its state grows to 300 KB and begins anew.
        let states: Vec<Vec<u8>> = growing(prose, 100, 3000, 300_000).collect();
        for step in 0..steps {
            append(&mut timeline, &states[step % 100]);
        }
        folder
    });
    let [short, long_one] = folders.each_ref().map(|folder| local(&engine, folder.path()));
    let load = |engine: &Engine| drop(timeline(engine).load(&StepSelector::Newest).unwrap());
    let [few, many] = in_turn(15, [&mut || load(&short), &mut || load(&long_one)]);
    let detail = format!("{:.1} ms, of 100 {:.1}", many * 1e3, few * 1e3);
    table.add(format!("load the newest of {long} steps / of 100"), many / few, Goal::AtMost(1.5), detail);
}

pub(crate) fn timelines(table: &mut Table, prose: &[String], is_quick: bool) {
    space(table, prose, is_quick);
    appending(table, prose);
    loading(table, prose, is_quick);
}
