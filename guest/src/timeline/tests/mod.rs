//! Histories: random edits, and the checkpoints of an agent.

use persist_test_support::edits::{deltas, edited};
use proptest::prelude::*;

use super::chain::Chain;
use super::names::Folder;
use super::{OnConflict, Timeline};
use crate::SaveOptions;
use crate::error::ErrorCode;
use crate::memory::MemoryStorage;
use crate::storage::{Precondition, Storage as _};

mod damage;
mod format;
mod limits;
mod meanwhile;
mod mistakes;
mod pruning;
mod reading;

const PREFIX: &str = "agent/session/";

fn options() -> SaveOptions {
    SaveOptions { agent_id: "agent".to_owned(), session_id: "session".to_owned(), ..SaveOptions::default() }
}

fn timeline(storage: &MemoryStorage) -> Timeline<MemoryStorage> {
    Timeline::new(storage.clone(), PREFIX)
}

fn append(timeline: &mut Timeline<MemoryStorage>, state: &[u8]) {
    timeline.append(state.to_vec(), &options(), OnConflict::Fail, None).unwrap();
}

fn chain(storage: &MemoryStorage, number: u64) -> Chain {
    let folder = Folder::new(PREFIX);
    let (_, step) = super::survey::read_steps(storage, &folder, &[number]).unwrap().remove(0);
    Chain::of_step(storage, &folder, step.unwrap()).unwrap()
}

/// Appends states one by one, each by a writer that goes on from the last or has just read
/// the head.
fn written(states: &[Vec<u8>], rereads: bool) -> MemoryStorage {
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    for state in states {
        if rereads {
            writer = timeline(&storage);
        }
        append(&mut writer, state);
    }
    writer.finish().unwrap();
    storage
}

fn check(storage: &MemoryStorage, states: &[Vec<u8>]) {
    for (index, state) in states.iter().enumerate() {
        let (metadata, loaded) = timeline(storage).load(index as u64 + 1, u64::MAX).unwrap();
        assert!(loaded == *state, "step {}", index + 1);
        assert_eq!(metadata.snapshot_index, index as u64 + 1);
        assert!(chain(storage, index as u64 + 1).steps.len() <= 65);
    }
}

/// The sizes of all objects, the steps first.
fn sizes(storage: &MemoryStorage) -> Vec<u64> {
    let size = |key: &String| storage.get(key).unwrap().len() as u64;
    let (steps, others): (Vec<String>, Vec<String>) = storage.keys().into_iter().partition(|key| key.ends_with(".step"));
    steps.iter().chain(&others).map(size).collect()
}

prop_compose! {
    fn history()(
        first in prop::collection::vec(0..6_u8, 0..4000),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..200_usize, prop::collection::vec(0..6_u8, 0..300)), 1..120),
    ) -> Vec<Vec<u8>> {
        let mut states = vec![first];
        for (at, removed, inserted) in edits {
            let mut state = states.last().unwrap().clone();
            let at = at.index(state.len() + 1);
            let end = state.len().min(at + removed);
            state.splice(at..end, inserted);
            states.push(state);
        }
        states
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_step_of_a_random_history_comes_back(states in history(), rereads: bool) {
        check(&written(&states, rereads), &states);
    }
}

/// English text that does not repeat as a whole.
fn prose(random: &mut u64, words: usize) -> String {
    const WORDS: &str = "the of and to in is that for it as with was on be by at this are from or an have not which one you were all there \
        would their we him been has when who will no more if out so up said what its about than into them can only other time new some could \
        these two may first then do any like my now over such our man me even most made after also did many off before must well back through \
        years where much your way down should because long each just state people too mr how little good world make very year still see own work";
    let words_list: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    for _ in 0..words {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words_list[(*random >> 40) as usize % words_list.len()]);
        text.push(' ');
    }
    text
}

/// States like those of a checkpointer: fields that change at the front, messages that are
/// appended; three checkpoints a turn.
fn checkpoints(turns: usize) -> Vec<Vec<u8>> {
    let mut random = 7_u64;
    let (mut messages, mut states) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        for (phase, writer) in ["__start__", "agent", "tools"].into_iter().enumerate() {
            if phase != 1 || turn % 3 > 0 {
                let role = ["human", "ai", "tool"][phase];
                let words = 30 + (turn * 7 + phase * 13) % 90;
                messages.push(format!(
                    r#"{{"type":"{role}","id":"{:016x}-{:04x}","content":"{}","additional_kwargs":{{}},"response_metadata":{{"model":"m-1","tokens":{}}}}}"#,
                    random.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64),
                    turn,
                    prose(&mut random, words),
                    words * 2
                ));
            }
            let step = turn * 3 + phase;
            states.push(
                format!(
                    r#"{{"v":4,"ts":"2026-11-27T12:{:02}:{:02}.{:06}+00:00","id":"1f0cb{:03x}-{:04x}-6{:03x}-8000-{:012x}","channel_versions":{{"__start__":"{:032}.0.{:016}","messages":"{:032}.0.{:016}","branch:to:agent":"{:032}.0.{:016}"}},"versions_seen":{{"__input__":{{}},"{writer}":{{"messages":"{:032}.0.{:016}"}}}},"channel_values":{{"messages":[{}]}}}}"#,
                    step / 60 % 60, step % 60, (step * 7919) % 1_000_000, step % 4096, (step * 31) % 65536, (step * 17) % 4096,
                    (step as u64).wrapping_mul(0x9e37_79b9_7f4a) % (1 << 48), step, step * 4099 % 1_000_000_007, step + 1, step * 7919 % 1_000_000_007,
                    step + 1, step * 104_729 % 1_000_000_007, step, step * 7919 % 999_983, messages.join(",")
                )
                .into_bytes(),
            );
        }
    }
    states
}

#[test]
fn checkpoints_take_a_fraction_of_their_size() {
    let states = checkpoints(200);
    let storage = written(&states, false);
    let sizes = sizes(&storage);
    let (raw, total): (u64, u64) = (states.iter().map(|state| state.len() as u64).sum(), sizes.iter().sum());
    let mut sorted = sizes.clone();
    sorted.sort_unstable();
    println!(
        "{} steps, the last of {} bytes, {raw} raw: {total} stored, median {}, largest {}",
        states.len(),
        states.last().unwrap().len(),
        sorted[sorted.len() / 2],
        sorted.last().unwrap()
    );
    let overhead = |number: usize| {
        let step = &chain(&storage, number as u64).steps[0];
        step.info.size - step.document.document.compressed_size
    };
    let mut overheads: Vec<u64> = (1..=states.len()).map(overhead).collect();
    overheads.sort_unstable();
    let median = overheads[overheads.len() / 2];
    println!("median overhead {median} bytes, largest {}", overheads.last().unwrap());
    assert!(median <= 500, "{median}");
    let chain = chain(&storage, states.len() as u64);
    println!("{} objects for the last, {} bytes", chain.steps.len(), chain.steps.iter().map(|step| step.info.size).sum::<u64>());
    check(&storage, &states);
    assert!(total < 800_000, "{total}");
}

/// Appends states, and returns their sizes and those of all objects.
fn stored(states: impl Iterator<Item = Vec<u8>>) -> (u64, Vec<u64>) {
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    let (mut raw, mut last) = (0, Vec::new());
    for state in states {
        raw += state.len() as u64;
        append(&mut writer, &state);
        last = state;
    }
    assert!(timeline(&storage).open_newest(true).unwrap().read_to_end(u64::MAX).unwrap() == last);
    (raw, sizes(&storage))
}

/// Chat messages of about this many bytes.
fn chat(random: &mut u64, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        let words = 40 + (*random >> 50) as usize % 80;
        text.push_str(&format!(r#",{{"role":"assistant","content":"{}"}}"#, prose(random, words)));
    }
    text
}

#[test]
fn large_states_that_grow_take_a_fraction_of_their_size() {
    for (first, last) in [(5_000_000, 6_000_000), (150_000, 6_000_000)] {
        let mut random = 11;
        let mut text = chat(&mut random, first);
        let grow = (last - first) / 39;
        let mut step = 0;
        let states = std::iter::from_fn(|| {
            (step < 40).then(|| {
                if step > 0 {
                    let more = chat(&mut random, grow);
                    text.push_str(&more);
                }
                step += 1;
                format!(r#"{{"step":{step},"ts":"2026-11-27T12:00:{step:02}Z","messages":[{}]}}"#, &text[1..]).into_bytes()
            })
        });
        let (raw, sizes) = stored(states);
        let total: u64 = sizes.iter().sum();
        println!("from {first} to {last}: {raw} raw, {total} stored: 1/{}", raw / total);
        assert!(raw > 60 * total, "{sizes:?}");
    }
}

#[test]
fn few_changes_of_a_huge_state_take_little() {
    let mut random = 13;
    let text = chat(&mut random, 8_000_000).into_bytes();
    let mut changed = text.clone();
    for place in 0..20_usize {
        let at = place * 390_000 + 1234;
        let new = chat(&mut random, 4000).into_bytes();
        changed.splice(at..at + 4000, new);
    }
    let (_, sizes) = stored([text, changed].into_iter());
    println!("1 % in 20 places of a state that is stored in {}: {}", sizes[0], sizes[1]);
    assert!(sizes[1] * 50 < sizes[0], "{sizes:?}");
}

#[test]
fn random_edits_take_little_more_than_deltas() {
    let state = chat(&mut 17, 1_000_000).into_bytes();
    let states = edited(state, 250, |mut seed, length| prose(&mut seed, length).into_bytes().into_iter().take(length).collect());
    let deltas = deltas(&states);
    let (_, sizes) = stored(states.into_iter());
    let total: u64 = sizes.iter().skip(1).sum();
    println!("250 random edits: {total} stored, {deltas} as deltas of zstd, the first {}", sizes[0]);
    assert!(total < 3 * deltas, "{total} {deltas}");
}

#[test]
fn writers_that_race_lose_nothing() {
    let storage = MemoryStorage::default();
    let mut writers: Vec<Timeline<MemoryStorage>> = (0..4).map(|_| timeline(&storage)).collect();
    let mut random = 3_u64;
    let mut states = Vec::new();
    for turn in 0..80_usize {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let writer = (random >> 33) as usize % writers.len();
        let state = format!("{{\"turn\": {turn}, \"by\": {writer}, \"text\": \"{}\"}}", prose(&mut random, 50)).into_bytes();
        // One whose head is not the newest is told so.
        if turn % 5 == 4 {
            let outcome = writers[writer].append(state.clone(), &options(), OnConflict::Fail, None);
            if let Err(error) = &outcome {
                assert_eq!(error.code, ErrorCode::AlreadyExists);
                continue;
            }
        } else {
            let (_, metadata) = writers[writer].append(state.clone(), &options(), OnConflict::Rebase, None).unwrap();
            assert_eq!(metadata.key, format!("{PREFIX}{:012}.step", states.len() + 1));
        }
        states.push(state);
    }
    assert!(states.len() > 64 && states.len() < 80);
    check(&storage, &states);
    assert_eq!(writers[0].newest().unwrap().unwrap(), states.len() as u64);
    let ids: std::collections::BTreeSet<String> =
        reading::history(&writers[0]).into_iter().map(|entry| entry.metadata.unwrap().snapshot_id).collect();
    assert_eq!(ids.len(), states.len());
}

#[test]
fn a_damaged_object_hurts_those_that_depend_on_it_and_no_others() {
    let states: Vec<Vec<u8>> = checkpoints(34).into_iter().take(100).collect();
    let storage = written(&states, false);
    let key = |number: u64| format!("{PREFIX}{number:012}.step");
    let mut random = 5_u64;
    for damaged in 1..=100_u64 {
        let whole = storage.get(&key(damaged)).unwrap();
        // Each is deleted, and flipped twice.
        for way in 0..3 {
            let mut flipped = whole.clone();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bit = (random >> 20) as usize % (whole.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            if way == 0 {
                storage.delete(&key(damaged), Precondition::None).unwrap();
            } else {
                storage.put(&key(damaged), flipped);
            }
            let timeline = timeline(&storage);
            let mut hurt = Vec::new();
            for number in 1..=100_u64 {
                match timeline.load(number, u64::MAX) {
                    Ok((_, state)) => assert!(state == states[number as usize - 1], "{damaged} {number} {bit}"),
                    Err(_) => hurt.push(number),
                }
            }
            assert!(hurt.contains(&damaged));
            assert_eq!(reading::damaged(&timeline, true), hurt, "{damaged} {way} {bit}");
            // The newest is never replaced by an older one.
            let newest = timeline.open_newest(true).and_then(|mut reader| reader.read_to_end(u64::MAX));
            assert_eq!(newest.is_err(), hurt.contains(&100), "{damaged} {way}");
        }
        storage.put(&key(damaged), whole);
    }
    assert_eq!(reading::damaged(&timeline(&storage), true), Vec::<u64>::new());
}

#[test]
fn a_step_is_not_a_snapshot_and_a_snapshot_is_not_a_step() {
    let storage = written(&[b"{}".to_vec()], false);
    let step = format!("{PREFIX}000000000001.step");
    // By its key, a step is read like a snapshot.
    assert_eq!(crate::snapshots::restore(&storage, &step).unwrap(), b"{}");
    assert_eq!(crate::snapshots::metadata(&storage, &step).unwrap().kind, "step");
    assert_eq!(crate::snapshots::verify(&storage, &step).unwrap().snapshot_index, 1);
    let renamed = storage.get(&step).unwrap();
    for key in ["x.json.gz", "x.json.zst"] {
        storage.put(key, renamed.clone());
        let error = crate::snapshots::restore(&storage, key).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::WrongKind, "the object is of kind 'step', not a snapshot"));
        crate::snapshots::save(&storage, key, b"{}", options()).unwrap();
        storage.put(&step, storage.get(key).unwrap());
        let error = Timeline::new(storage.clone(), PREFIX).load(1, u64::MAX).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::WrongKind, "the object is of kind 'snapshot', not a step"));
    }
}
