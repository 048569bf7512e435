//! Any sequence of states, by any writers, comes back as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_guest::SaveOptions;
use persist_guest::codec::Codec;
use persist_guest::memory::MemoryStorage;
use persist_guest::timeline::{OnConflict, Timeline};
use persist_model::Policy;

/// The most bytes of a state, and of steps.
const MOST: usize = 100_000;
const STEPS: usize = 80;

fuzz_target!(|bytes: &[u8]| {
    let storage = MemoryStorage::default();
    let mut writers = [0, 1].map(|_| Timeline::new(storage.clone(), "t/"));
    let (mut state, mut states, mut rest) = (Vec::new(), Vec::new(), bytes);
    while let Some((&[kind, low, high, length, inserted], after)) = rest.split_first_chunk()
        && states.len() < STEPS
    {
        // Takes bytes away, and puts others in their place: new ones, or some of the state.
        let (new, after) = after.split_at(after.len().min(usize::from(inserted & 0x3f)));
        rest = after;
        let place = usize::from(u16::from_le_bytes([low, high]));
        let at = place.min(state.len());
        let end = (at + usize::from(length) * if kind & 1 == 0 { 1 } else { 64 }).min(state.len());
        let moved: Vec<u8> = if kind & 2 == 0 { new.repeat(usize::from(kind >> 4) + 1) } else { state[at / 2..end].to_vec() };
        state.splice(at..end, moved);
        state.truncate(MOST);
        if kind & 4 != 0 {
            continue;
        }
        let codec = if kind & 0x10 == 0 { Codec::Zstd } else { Codec::Gzip };
        let options = SaveOptions { codec: Some(codec), ..SaveOptions::default() };
        let writer = &mut writers[usize::from(kind >> 3 & 1)];
        let (number, _) = writer.append(state.clone(), &options, OnConflict::Rebase, None).expect("it is appended");
        states.push(state.clone());
        assert_eq!(number, states.len() as u64);
    }
    let reader = Timeline::new(storage.clone(), "t/");
    for (number, state) in (1..).zip(&states) {
        assert!(reader.load(number, u64::MAX).expect("it is loaded").1 == *state, "step {number}");
    }
    let Some(last) = states.last() else { return };
    let policy = Policy::default().last(2);
    let now = persist_model::time::parse("2036-01-01T00:00:00Z").expect("a time");
    writers[0].prune(&policy, now, false).expect("it is pruned");
    assert!(reader.open_newest(true).and_then(|mut newest| newest.read_to_end(u64::MAX)).expect("it is loaded") == *last);
    if states.len() > 1 {
        let before = states.len() as u64 - 1;
        assert!(reader.load(before, u64::MAX).expect("it is kept").1 == states[states.len() - 2]);
    }
    let mut checker = reader.check(true).expect("it is checked");
    loop {
        let checked = checker.next_batch().expect("memory does not fail");
        assert!(checked.iter().all(|checked| checked.error.is_none()), "{checked:?}");
        if checked.is_empty() {
            break;
        }
    }
});
