//! What is appended keeps to the limits of readers, whatever the states are.

use std::cell::RefCell;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::codec::Codec;
use crate::timeline::Appender;
use crate::timeline::append::{Content, Encoded, Head, Known};
use crate::timeline::edits::{EditList, Run};
use crate::timeline::frames::encode;

/// States of many records, of which some change in each step, never the same ones.
fn states_with_changes(records: usize, changes: usize, steps: usize) -> Vec<Vec<u8>> {
    let mut random = 5_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 40
    };
    let mut state: Vec<u8> =
        (0..records).flat_map(|number| format!(r#"{{"id":{number:06},"seen":{:08}}},"#, next()).into_bytes()).collect();
    let size = state.len() / records;
    let mut states = Vec::new();
    for step in 0..steps {
        states.push(state.clone());
        for change in 0..changes {
            let record = (change * (records / changes) + step * 7 + next() as usize % 3) % records;
            state[(record + 1) * size - 4] = b'0' + (next() % 10) as u8;
        }
    }
    states
}

#[test]
fn states_that_change_in_many_places_come_back() {
    for (records, changes, steps) in [(30_000, 300, 70), (10_000, 2000, 30)] {
        let states = states_with_changes(records, changes, steps);
        let storage = written(&states, false);
        let stored: u64 = sizes(&storage).iter().sum();
        println!("{changes} changes in {} bytes: {stored} stored of {}", states[0].len(), steps * states[0].len());
        for (index, state) in states.iter().enumerate().filter(|(index, _)| index % 10 == 9 || *index + 1 == steps) {
            let loaded = timeline(&storage).load(index as u64 + 1, u64::MAX);
            assert!(loaded.as_ref().is_ok_and(|(_, loaded)| loaded == state), "{changes} step {}: {:?}", index + 1, loaded.err());
        }
    }
}

#[test]
fn a_large_state_that_repeats_few_bytes_comes_back() {
    let mut random = 3;
    let block = chat(&mut random, 512 << 10).into_bytes();
    let storage = MemoryStorage::default();
    let writer = Rc::new(RefCell::new(timeline(&storage)));
    append(&mut writer.borrow_mut(), &block.repeat(2));
    let state = block.repeat(140);
    let mut appender = Appender::open(writer.clone(), options(), OnConflict::Fail).unwrap();
    for part in state.chunks(1 << 20) {
        appender.write(part).unwrap();
    }
    appender.commit(None).unwrap();
    let loaded = timeline(&storage).load(2, u64::MAX);
    assert!(loaded.as_ref().is_ok_and(|(_, loaded)| *loaded == state), "{:?}", loaded.err());
}

#[test]
fn steps_of_gzip_come_back() {
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    let states = checkpoints(20);
    for state in &states {
        writer.append(state.clone(), &SaveOptions { codec: Some(Codec::Gzip), ..options() }, OnConflict::Fail, None).unwrap();
    }
    check(&storage, &states);
}

#[test]
fn a_step_never_has_too_many_links() {
    // Changes that are too many for one edit list, and too few for too many pieces: so the
    // steps can't be merged, until they have to be.
    let mut states = states_with_changes(30_000, 170, 100);
    let mut random = 9;
    for state in &mut states {
        // Some more at the end.
        state.extend(prose(&mut random, 3).into_bytes());
    }
    let storage = written(&states, false);
    for number in 90..=100_u64 {
        assert!(timeline(&storage).load(number, u64::MAX).is_ok_and(|(_, state)| state == states[number as usize - 1]), "step {number}");
    }
}

#[test]
fn long_metadata_and_many_changes_fit_into_a_step() {
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    // Neither can be compressed much, and both together do not fit.
    let description: String = (0..47_000).map(|_| char::from(b'#' + next(91) as u8)).filter(|letter| *letter != '\\').collect();
    let mut state: Vec<u8> = (0..1_000_000).map(|_| next(256) as u8).collect();
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    let mut states = Vec::new();
    for _ in 0..3 {
        states.push(state.clone());
        writer.append(state.clone(), &SaveOptions { description: Some(description.clone()), ..options() }, OnConflict::Fail, None).unwrap();
        for _ in 0..5500 {
            let at = next(state.len());
            state[at] = next(256) as u8;
        }
    }
    check(&storage, &states);
}

#[test]
fn a_document_has_room_for_all_frames() {
    let storage = written(&[b"{}".to_vec()], false);
    let mut document = chain(&storage, 1).steps.remove(0).document;
    document.dictionaries = vec![Vec::new(); crate::MAX_BLOCKS as usize];
    let payload = document.to_payload().unwrap();
    let parsed = crate::timeline::document::StepDocument::parse(&payload, document.dictionaries.len()).unwrap();
    assert_eq!(parsed.dictionaries.len(), document.dictionaries.len());
}

#[test]
fn every_step_is_larger_than_what_may_take_its_place() {
    let mut smallest = u64::MAX;
    for agent_id in ["", "a", "default_agent"] {
        for session_id in ["", "s", "default_session"] {
            for timestamp in ["2026-01-01T00:00:00.000000Z", "2026-01-31T12:00:00Z"] {
                for content_type in ["", "application/json", "text/plain"] {
                    let storage = MemoryStorage::default();
                    let mut writer = timeline(&storage);
                    for (index, state) in [&b""[..], b"1", b""].into_iter().enumerate() {
                        let options = SaveOptions {
                            agent_id: agent_id.to_owned(),
                            session_id: session_id.to_owned(),
                            timestamp: Some(timestamp.to_owned()),
                            content_type: Some(content_type.to_owned()),
                            ..SaveOptions::default()
                        };
                        writer.append(state.to_vec(), &options, OnConflict::Fail, None).unwrap();
                        smallest = smallest.min(storage.get(&format!("{PREFIX}{:012}.step", index + 1)).unwrap().len() as u64);
                        assert_eq!(timeline(&storage).load(index as u64 + 1, 10).unwrap().1, state);
                    }
                }
            }
        }
    }
    assert!(smallest > persist_paths::timeline::GAP_SIZE, "{smallest}");
}

/// Stores a step that makes a state of the one before in a way that no writer would.
fn forge(storage: &MemoryStorage, known: &Known, edits: EditList, state: &[u8]) -> Known {
    let frames = encode(&edits, state, None, Codec::Zstd, 3).unwrap();
    let (mut object, older) = (frames.data.clone(), known.steps());
    let encoded = Encoded { edits, frames, older: older.clone(), codec: Codec::Zstd, hash: Sha256::digest(state).into() };
    let length = object.len() as u64;
    let (end, step) = known.end_of(&Folder::new(PREFIX), &options(), None, encoded, length).unwrap();
    object.extend(end);
    storage.put(&step.info.key, object);
    Known::Head(Head::new(Chain { steps: std::iter::once(step).chain(older).collect() }, Content::Bytes(state.to_vec())))
}

#[test]
fn a_state_that_repeats_scattered_bytes_is_put_together_once() {
    const SIZE: usize = 4000;
    let storage = MemoryStorage::default();
    let mut state: Vec<u8> = prose(&mut 7, SIZE).into_bytes().into_iter().take(SIZE).collect();
    let whole = EditList::literal(SIZE as u64);
    let mut known = forge(&storage, &Known::Start { number: 1, parent: None }, whole, &state);
    // Each step puts every byte in another place.
    for _ in 0..60 {
        let mut edits = EditList::default();
        let from: Vec<usize> = (0..SIZE).map(|at| at * 7 % SIZE).collect();
        from.iter().for_each(|start| edits.push(Run::Copy { start: *start as u64, length: 1 }));
        state = from.iter().map(|at| state[*at]).collect();
        known = forge(&storage, &known, edits, &state);
    }
    // A byte of this one by one would be a way through 61 steps.
    let copies = (1 << 20) / SIZE;
    let mut edits = EditList::default();
    (0..copies).for_each(|_| edits.push(Run::Copy { start: 0, length: SIZE as u64 }));
    let state = state.repeat(copies);
    forge(&storage, &known, edits, &state);
    let (_, loaded) = timeline(&storage).load(62, u64::MAX).unwrap();
    assert!(loaded == state);
}
