//! Finding the newest step, the history, labels, and damage.

use super::*;
use crate::snapshots::ListFilter;
use crate::timeline::record::Record;
use crate::timeline::{Checked, Entry};

pub(super) fn history(timeline: &Timeline<MemoryStorage>) -> Vec<Entry> {
    let mut history = timeline.history(ListFilter::default(), 20).unwrap();
    let mut entries = Vec::new();
    loop {
        let more = history.next(1000).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

/// Checks a timeline. Returns what was found, except what is right.
pub(super) fn wrong(timeline: &Timeline<MemoryStorage>, read_data: bool) -> Vec<Checked> {
    let mut checker = timeline.check(read_data).unwrap();
    let mut found = Vec::new();
    loop {
        let more = checker.next_batch().unwrap();
        if more.is_empty() {
            return found;
        }
        found.extend(more.into_iter().filter(|checked| checked.error.is_some()));
    }
}

/// The numbers of the steps that a check finds damaged.
pub(super) fn damaged(timeline: &Timeline<MemoryStorage>, read_data: bool) -> Vec<u64> {
    wrong(timeline, read_data).into_iter().filter_map(|checked| checked.number).collect()
}

fn state(number: usize) -> Vec<u8> {
    format!("{{\"number\": {number}, \"text\": \"{}\"}}", prose(&mut (number as u64 + 1), 30)).into_bytes()
}

#[test]
fn the_newest_is_found_at_every_length() {
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    assert_eq!(writer.newest().unwrap(), None);
    assert_eq!(writer.open_newest(true).err().unwrap().code, ErrorCode::NotFound);
    for number in 1..=70_u64 {
        append(&mut writer, &state(number as usize));
        let before = storage.reads().len();
        assert_eq!(timeline(&storage).newest().unwrap(), Some(number));
        assert!(storage.reads().len() - before <= 18, "at most the hint and seventeen numbers");
        // Without the hint, too.
        let hint = format!("{PREFIX}head");
        if let Some(bytes) = storage.get(&hint) {
            storage.delete(&hint, Precondition::None).unwrap();
            assert_eq!(timeline(&storage).newest().unwrap(), Some(number));
            storage.put(&hint, vec![0; 192]);
            assert_eq!(timeline(&storage).newest().unwrap(), Some(number));
            storage.put(&hint, bytes);
        }
        let found = history(&timeline(&storage));
        let numbers: Vec<u64> = found.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (1..=number).rev().collect::<Vec<_>>());
        assert!(found.iter().all(|entry| entry.metadata.as_ref().unwrap().snapshot_index == entry.number));
    }
}

#[test]
fn a_timeline_that_has_lost_its_end_says_so() {
    let storage = written(&(0..40).map(state).collect::<Vec<_>>(), false);
    for number in 30..=40 {
        storage.delete(&format!("{PREFIX}{number:012}.step"), Precondition::None).unwrap();
    }
    let reader = timeline(&storage);
    let error = reader.open_newest(true).err().unwrap();
    assert_eq!(error.code, ErrorCode::Integrity);
    assert!(error.message.contains("step 40, which was the newest, is missing"), "{error}");
    assert!(damaged(&reader, false).contains(&40));
    assert_eq!(reader.load(29, u64::MAX).unwrap().1, state(28));
    // A state can be saved all the same, and depends on none of those before it.
    let mut writer = timeline(&storage);
    append(&mut writer, b"{}");
    assert_eq!(timeline(&storage).open_newest(true).unwrap().number(), 41);
    assert_eq!(reader.load(41, u64::MAX).unwrap().1, b"{}");
}

/// As a copy leaves it that was broken off after its newest step was pruned.
#[test]
fn a_timeline_that_ends_with_a_removed_step_says_so() {
    let storage = written(&(0..3).map(state).collect::<Vec<_>>(), false);
    let root = chain(&storage, 3).steps[0].root;
    let marker = Record::Removed { number: 3, root: crate::hash::hex(&root), id: uuid::Uuid::nil().to_string() };
    marker.write(&storage, &format!("{PREFIX}{:012}.step", 3), Precondition::None).unwrap();
    let reader = timeline(&storage);
    let newest = reader.open_newest(true).err().unwrap();
    let log = reader.history(ListFilter::default(), 20).err().unwrap();
    for error in [newest, log] {
        assert_eq!(error.code, ErrorCode::Integrity);
        assert_eq!(error.message, "step 3 was removed, and the step after it is missing");
    }
    assert!(damaged(&reader, false).contains(&3));
    assert_eq!(reader.load(2, u64::MAX).unwrap().1, state(1));
    // With a step after it, it is whole.
    let mut repaired = timeline(&storage.copied());
    repaired.repair(true).unwrap();
    assert_eq!(repaired.open_newest(true).unwrap().read_to_end(u64::MAX).unwrap(), state(1));
    assert!(wrong(&repaired, true).is_empty());
    append(&mut timeline(&storage), &state(3));
    let numbers: Vec<u64> = history(&timeline(&storage)).iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [4, 2, 1]);
}

#[test]
fn a_state_is_saved_although_the_newest_step_is_damaged() {
    let storage = written(&(0..20).map(state).collect::<Vec<_>>(), false);
    let key = format!("{PREFIX}{:012}.step", 20);
    let mut bytes = storage.get(&key).unwrap();
    let last = bytes.len() - 70;
    bytes[last] ^= 1;
    storage.put(&key, bytes);
    assert_eq!(timeline(&storage).open_newest(true).err().unwrap().code, ErrorCode::Integrity);
    append(&mut timeline(&storage), &state(20));
    assert_eq!(timeline(&storage).open_newest(true).unwrap().read_to_end(u64::MAX).unwrap(), state(20));
    assert_eq!(damaged(&timeline(&storage), true), [20]);
    assert_eq!(chain(&storage, 21).steps.len(), 1);
}

#[test]
fn a_long_history_is_read_from_catalogues() {
    let storage = written(&(0..600).map(state).collect::<Vec<_>>(), false);
    let keys = storage.keys();
    assert_eq!(keys.iter().filter(|key| key.ends_with(".catalogue")).count(), 2);
    let catalogues: usize = keys.iter().filter(|key| key.ends_with(".catalogue")).map(|key| storage.get(key).unwrap().len()).sum();
    println!("{} bytes a step in catalogues", catalogues / 512);
    assert!(catalogues / 512 < 160);
    let before = storage.reads().len();
    let found = history(&timeline(&storage));
    let reads = storage.reads().len() - before;
    assert_eq!(found.len(), 600);
    assert!(reads <= 1 + 2 + 88 + 1, "{reads}");
    let plain: Vec<String> = found.iter().map(|entry| format!("{:?}", entry.metadata.as_ref().unwrap())).collect();
    // They say what the steps say, and without them, or with damaged ones, it is the same.
    for damage in [false, true] {
        for key in keys.iter().filter(|key| key.ends_with(".catalogue")) {
            if damage {
                storage.put(key, b"not a catalogue".to_vec());
            } else {
                storage.delete(key, Precondition::None).unwrap();
            }
        }
        let again: Vec<String> =
            history(&timeline(&storage)).iter().map(|entry| format!("{:?}", entry.metadata.as_ref().unwrap())).collect();
        assert_eq!(again, plain);
    }
    assert_eq!(wrong(&timeline(&storage), false).len(), 2);
    assert_eq!(timeline(&storage).repair(false).unwrap(), 3);
    assert_eq!(wrong(&timeline(&storage), true).len(), 0);
}

#[test]
fn writers_that_open_the_timeline_each_time_write_catalogues() {
    let storage = written(&(0..257).map(state).collect::<Vec<_>>(), true);
    assert!(storage.keys().contains(&format!("{PREFIX}{:012}.catalogue", 256)));
    assert_eq!(history(&timeline(&storage)).len(), 257);
}

#[test]
fn labels_that_were_set_later_are_shown_and_found() {
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    for number in 0..5 {
        let labels = vec![("kind".to_owned(), "auto".to_owned())];
        writer.append(state(number), &SaveOptions { labels, ..options() }, OnConflict::Fail, None).unwrap();
    }
    let step = storage.get(&format!("{PREFIX}{:012}.step", 3)).unwrap();
    writer.label(3, "good", Some("yes")).unwrap();
    writer.label(3, "kind", None).unwrap();
    writer.label(4, "kind", Some("hand")).unwrap();
    assert_eq!(writer.label(9, "good", None).unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(storage.get(&format!("{PREFIX}{:012}.step", 3)).unwrap(), step, "a step never changes");
    let found = |name: &str, value: &str| {
        let filter = ListFilter { labels: vec![(name.to_owned(), value.to_owned())], ..ListFilter::default() };
        let entries = timeline(&storage).history(filter, 20).unwrap().next(100).unwrap();
        entries.iter().map(|entry| entry.number).collect::<Vec<_>>()
    };
    assert_eq!(found("good", "yes"), [3]);
    assert_eq!(found("kind", "auto"), [5, 2, 1]);
    assert_eq!(found("kind", "hand"), [4]);
}

#[test]
fn every_bit_of_a_step_counts() {
    let storage = written(&[state(1), state(2), state(3)], false);
    for number in 1..=3 {
        let key = format!("{PREFIX}{number:012}.step");
        let whole = storage.get(&key).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            storage.put(&key, flipped);
            assert!(timeline(&storage).load(3, u64::MAX).is_err() || number < 3, "bit {bit}");
            assert!(damaged(&timeline(&storage), true).contains(&number), "bit {bit} of step {number}");
        }
        for end in 0..whole.len() {
            storage.put(&key, whole[..end].to_vec());
            assert!(timeline(&storage).load(number, u64::MAX).is_err());
        }
        storage.put(&key, whole);
    }
}
