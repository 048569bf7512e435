//! Objects of a timeline: a step's document, its edits and frames with hashes that match, a
//! whole object, and what is beside the steps. Whatever they are, the result is a state with
//! the right hash, or an error about the object, and the timeline goes on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::{about_the_object, whole_state};
use persist_guest::SaveOptions;
use persist_guest::memory::MemoryStorage;
use persist_guest::snapshots::ListFilter;
use persist_guest::timeline::{OnConflict, Timeline};
use persist_test_support::steps::{Object, Run, Step, object, packed, stored};
use sha2::{Digest, Sha256};

const STATE: &[u8] = b"{\"turn\":1,\"messages\":[\"What is the capital of France?\"]}";

/// The most bytes that are read of a state.
const MOST: u64 = 4 << 20;

fn key(number: u64) -> String {
    format!("t/{number:012}.step")
}

/// Two steps, and a third that depends on both.
fn begun() -> (MemoryStorage, Step) {
    let storage = MemoryStorage::default();
    let first = Step::whole(1, None, STATE);
    let Object { bytes, root } = first.object();
    storage.put(&key(1), bytes);
    let second = Step {
        runs: vec![Run::Copy(20, 30), Run::Copy(-50, 40), Run::Literal(4)],
        frames: vec![(b"\0text".to_vec(), 4)],
        dictionaries: vec![vec![(3, 9)]],
        size: 74,
        content_hash: Sha256::digest([&STATE[20..50], &STATE[..40], b"text"].concat()).into(),
        ..Step::copy(&first, root)
    };
    let Object { bytes, root } = second.object();
    storage.put(&key(2), bytes);
    (storage, Step::copy(&second, root))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, size, split], rest)) = bytes.split_first_chunk() else { return };
    let (storage, mut step) = begun();
    let (one, other) = rest.split_at(rest.len().min(usize::from(split)));
    match kind % 6 {
        // The edits, and a frame.
        0 => {
            step.size = u64::from(size) * if kind & 0x80 == 0 { 1 } else { 9973 };
            step.frames = vec![(one.to_vec(), u32::from(kind >> 3))];
            let steps = |content_hash| Step { content_hash, ..step.clone() }.object_with(other).bytes;
            storage.put(&key(3), steps([0; 32]));
            // What is read without comparing the hash is the state.
            if let Ok(state) = whole_state(&Timeline::new(storage.clone(), "t/"), 3, false, MOST) {
                assert_eq!(state.len() as u64, step.size);
                storage.put(&key(3), steps(Sha256::digest(&state).into()));
                assert!(whole_state(&Timeline::new(storage.clone(), "t/"), 3, true, MOST).expect("the hash is right") == state);
            }
        }
        // The text and the edits, stored or as they come.
        1 => drop(storage.put(&key(3), object(&step.data(), &step.table(), &packed(&String::from_utf8_lossy(one), other, stored)).bytes)),
        2 => drop(storage.put(&key(3), object(one, &step.table(), &[&[1, size % 10], other].concat()).bytes)),
        // Whole objects, of any size.
        3 => drop(storage.put(&key(3), rest.to_vec())),
        4 => {
            for (name, bytes) in [("head", one), ("000000000002.hidden", other), ("000000000256.catalogue", rest)] {
                storage.put(&format!("t/{name}"), bytes.to_vec());
            }
        }
        // A table with any rows, and frames.
        _ => drop(storage.put(&key(3), object(one, &other[..other.len().min(400)], &packed(&step.text(), &step.edits(), stored)).bytes)),
    }
    let timeline = Timeline::new(storage.clone(), "t/");
    for number in 1..=4 {
        match whole_state(&timeline, number, true, MOST) {
            Ok(state) => {
                let (metadata, _) = timeline.load(number, MOST).expect("it was read");
                let hash: String = Sha256::digest(&state).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!((metadata.content_hash, metadata.uncompressed_size), (hash, state.len() as u64));
            }
            Err(error) => about_the_object(&error),
        }
    }
    if let Err(error) = timeline.newest() {
        about_the_object(&error);
    }
    if let Ok(mut history) = timeline.history(ListFilter::default(), 20) {
        while history.next(20).is_ok_and(|entries| !entries.is_empty()) {}
    }
    if let Ok(mut checker) = timeline.check(true) {
        loop {
            let checked = checker.next_batch().expect("memory does not fail");
            checked.iter().filter_map(|checked| checked.error.as_ref()).for_each(about_the_object);
            if checked.is_empty() {
                break;
            }
        }
    }
    // Whatever is there, a state can be saved, and is the newest one.
    let mut writer = Timeline::new(storage, "t/");
    match writer.append(b"{}".to_vec(), &SaveOptions::default(), OnConflict::Rebase, None) {
        Ok((number, _)) => assert_eq!(writer.load(number, MOST).expect("it was stored").1, b"{}"),
        Err(error) => about_the_object(&error),
    }
});
