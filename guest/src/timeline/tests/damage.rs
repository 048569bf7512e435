//! Objects that are lost, replaced or not what they seem: a check names them, and nothing else is
//! hidden or lost because of them.

use persist_model::Policy;

use super::*;
use crate::snapshots::ListFilter;
use crate::timeline::catalogue::{read_catalogue, write_catalogue};
use crate::timeline::record::Record;

fn state(number: usize) -> Vec<u8> {
    format!("{{\"number\": {number}, \"text\": \"{}\"}}", prose(&mut (number as u64 + 1), 30)).into_bytes()
}

fn states(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(state).collect()
}

fn key(number: u64) -> String {
    format!("{PREFIX}{number:012}.step")
}

fn remove(storage: &MemoryStorage, key: &str) {
    storage.delete(key, Precondition::None).unwrap();
}

/// The numbers that the history shows, and those of entries that can't be read.
fn shown(storage: &MemoryStorage) -> (Vec<u64>, Vec<u64>) {
    let entries = reading::history(&timeline(storage));
    let (whole, damaged): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.metadata.is_ok());
    let numbers = |entries: Vec<crate::timeline::Entry>| entries.into_iter().map(|entry| entry.number).collect();
    (numbers(whole), numbers(damaged))
}

fn prune(storage: &MemoryStorage, policy: &Policy) {
    let now = persist_model::time::parse("2036-01-01T00:00:00Z").unwrap();
    timeline(storage).prune(policy, now, false).unwrap();
}

/// The numbers of the steps that can't be loaded.
fn hurt(storage: &MemoryStorage, numbers: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    numbers.filter(|number| timeline(storage).load(*number, u64::MAX).is_err()).collect()
}

#[test]
fn a_step_cut_to_the_size_of_a_record_is_damage() {
    for size in [192, 200, 208] {
        for number in [1_u64, 15, 31, 59, 60] {
            let storage = written(&states(60), false);
            let mut bytes = storage.get(&key(number)).unwrap();
            bytes.truncate(size);
            storage.put(&key(number), bytes);
            let expected = hurt(&storage, 1..=60);
            assert!(expected.contains(&number));
            let mut found = reading::damaged(&timeline(&storage), true);
            found.sort_unstable();
            assert_eq!(found, expected, "{size} bytes of step {number}");
            // No other step is taken for deleted.
            if number < 60 {
                let (whole, _) = shown(&storage);
                let others: Vec<u64> = (1..=60).rev().filter(|other| *other != number).collect();
                assert_eq!(whole, others, "{size} bytes of step {number}");
            }
            append(&mut timeline(&storage), &state(60));
            assert_eq!(timeline(&storage).open_newest(true).unwrap().number(), 61);
            assert!(shown(&storage).0.len() >= 60, "{size} bytes of step {number}");
        }
    }
}

#[test]
fn without_a_hint_the_newest_step_is_found_beyond_lost_ones() {
    let storage = written(&states(40), false);
    remove(&storage, &format!("{PREFIX}head"));
    (3..=22).for_each(|number| remove(&storage, &key(number)));
    assert_eq!(timeline(&storage).newest().unwrap(), Some(40));
    let found = reading::damaged(&timeline(&storage), false);
    assert_eq!(found, hurt(&storage, 1..=40));
    assert!((3..=22).all(|number| found.contains(&number)));
    append(&mut timeline(&storage), &state(40));
    assert_eq!(timeline(&storage).newest().unwrap(), Some(41));
    let (_, damaged) = shown(&storage);
    assert!((3..=22).all(|number| damaged.contains(&number)));
}

#[test]
fn an_object_far_above_the_newest_step_is_not_part_of_the_timeline() {
    for stray in [30, 1_000_000, 999_999_999_999] {
        for has_hint in [true, false] {
            let storage = written(&states(2), false);
            if !has_hint {
                remove(&storage, &format!("{PREFIX}head"));
            }
            storage.put(&key(stray), Vec::new());
            assert_eq!(timeline(&storage).newest().unwrap(), Some(2), "{stray}");
            assert_eq!(shown(&storage), (vec![2, 1], vec![]), "{stray}");
            let wrong = reading::wrong(&timeline(&storage), true);
            assert_eq!(wrong.iter().map(|wrong| wrong.key.clone()).collect::<Vec<_>>(), [key(stray)]);
            append(&mut timeline(&storage), &state(2));
            prune(&storage, &Policy::default().last(1));
            assert!(timeline(&storage).newest().unwrap().is_some_and(|newest| newest <= 4));
            assert!(timeline(&storage).delete().unwrap() > 0);
        }
    }
}

#[test]
fn pruning_does_not_trust_what_a_catalogue_says_of_links() {
    let storage = written(&states(300), false);
    let folder = Folder::new(PREFIX);
    let mut rows = read_catalogue(&storage, &folder, 256).unwrap();
    rows.iter_mut().for_each(|row| row.links.clear());
    write_catalogue(&storage, &folder, 256, &rows).unwrap();
    let wrong = reading::wrong(&timeline(&storage), false);
    assert_eq!(wrong.iter().map(|wrong| wrong.key.as_str()).collect::<Vec<_>>(), [folder.catalogue(256)]);
    assert!(wrong[0].error.as_ref().unwrap().message.contains("does not match the steps"));
    for number in [100, 200] {
        timeline(&storage).label(number, "keep", Some("yes")).unwrap();
    }
    prune(&storage, &Policy::default().last(3).labels(vec![("keep".to_owned(), None)]));
    for number in [100_u64, 200, 300] {
        assert_eq!(timeline(&storage).load(number, u64::MAX).unwrap().1, state(number as usize - 1));
    }
    timeline(&storage).repair(false).unwrap();
    assert!(reading::wrong(&timeline(&storage), true).is_empty());
}

#[test]
fn a_step_in_the_place_of_another_is_named() {
    // Each state has a step of its own, so nobody depends on the one that is replaced.
    let states: Vec<Vec<u8>> = (0..6).map(pruning::noise).collect();
    for number in 1..=6_u64 {
        let (storage, other) = (written(&states, false), written(&states, false));
        storage.put(&key(number), other.get(&key(number)).unwrap());
        let hurt = hurt(&storage, 1..=6);
        let wrong = reading::wrong(&timeline(&storage), false);
        let found: Vec<u64> = wrong.iter().filter_map(|wrong| wrong.number).collect();
        assert_eq!(found, hurt, "only what can't be restored: {wrong:?}");
        // The object is named with the one before it, or with the one after it.
        let named = |number: u64| wrong.iter().any(|wrong| wrong.number.is_none() && wrong.key == key(number));
        assert!(number == 1 || named(number), "{wrong:?}");
        assert!(number == 6 || named(number + 1), "{wrong:?}");
        let hint = wrong.iter().any(|wrong| wrong.key.ends_with("/head"));
        assert_eq!(hint, number == 6, "the hint has the root of the newest step: {wrong:?}");
        // Steps that can be restored are not forgotten.
        timeline(&storage).repair(true).unwrap();
        let left: Vec<u64> = reading::history(&timeline(&storage)).iter().map(|entry| entry.number).filter(|number| *number <= 6).collect();
        assert_eq!(left, (1..=6).rev().filter(|number| !hurt.contains(number)).collect::<Vec<_>>());
    }
}

#[test]
fn a_damaged_gap_is_named_and_stays() {
    let storage = written(&states(40), false);
    let policy = Policy::default().last(1);
    prune(&storage, &policy);
    storage.advance(std::time::Duration::from_secs(14 * 24 * 60 * 60));
    prune(&storage, &policy);
    let gap = storage.keys().into_iter().find(|key| storage.get(key).unwrap().len() == 208).unwrap();
    let mut bytes = storage.get(&gap).unwrap();
    bytes[50] ^= 1;
    storage.put(&gap, bytes.clone());
    let wrong = reading::wrong(&timeline(&storage), false);
    assert!(wrong.iter().any(|wrong| wrong.key == gap), "{wrong:?}");
    append(&mut timeline(&storage), &state(40));
    prune(&storage, &policy);
    assert_eq!(storage.get(&gap), Some(bytes));
}

#[test]
fn a_record_with_another_name_is_named() {
    let storage = written(&states(3), false);
    timeline(&storage).label(1, "a", Some("b")).unwrap();
    timeline(&storage).label(1, "c", Some("d")).unwrap();
    let folder = Folder::new(PREFIX);
    let hidden = Record::Hidden { number: 2 }.to_bytes();
    storage.put(&folder.label(1, "a"), storage.get(&folder.label(1, "c")).unwrap());
    storage.put(&folder.hidden(1), hidden);
    let mut keys: Vec<String> = reading::wrong(&timeline(&storage), false).into_iter().map(|wrong| wrong.key).collect();
    keys.sort();
    let mut expected = [folder.label(1, "a"), folder.hidden(1)];
    expected.sort();
    assert_eq!(keys, expected);
}

#[test]
fn no_record_has_a_number_that_no_step_can_have() {
    let number = |number| Record::Hidden { number };
    for record in [Record::Gap { first: 1, last: u64::MAX }, Record::Gap { first: 3, last: 2 }, number(0), number(1_000_000_000_000)] {
        let error = Record::parse(&record.to_bytes()).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidFormat, "{record:?}");
    }
    let storage = MemoryStorage::default();
    storage.put(&key(1), Record::Gap { first: 1, last: u64::MAX }.to_bytes());
    append(&mut timeline(&storage), &state(1));
    assert_eq!(timeline(&storage).newest().unwrap(), Some(2));
}

#[test]
fn lost_steps_are_damage_and_not_mistakes_of_the_caller() {
    let storage = written(&states(20), false);
    for number in [7, 20] {
        remove(&storage, &key(number));
        let error = timeline(&storage).open(number, true).err().unwrap();
        assert_eq!(error.code, ErrorCode::Integrity, "{number}: {error}");
    }
    assert_eq!(timeline(&storage).open(21, true).err().unwrap().code, ErrorCode::NotFound);
    let storage = written(&states(20), false);
    remove(&storage, &key(7));
    let mut history = timeline(&storage).history(ListFilter::default(), 20).unwrap();
    let entries = history.next(100).unwrap();
    let error = entries.iter().find(|entry| entry.number == 7).unwrap().metadata.as_ref().unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Integrity, "step 7 is missing, but later steps exist"));
}

#[test]
fn a_check_keeps_what_later_steps_may_refer_to_and_no_more() {
    let storage = written(&states(400), false);
    let timeline = timeline(&storage);
    let mut checker = timeline.check(true).unwrap();
    let mut count = 0;
    loop {
        let found = checker.next_batch().unwrap();
        if found.is_empty() {
            break;
        }
        count += found.iter().filter(|checked| checked.number.is_some()).count();
        assert!(checker.kept() <= 65, "{}", checker.kept());
    }
    assert_eq!(count, 400);
}

#[test]
fn repeating_a_step_reads_no_state_but_its_own() {
    let storage = written(&states(40), false);
    let mut writer = timeline(&storage);
    let step = chain(&storage, 40).steps.remove(0);
    let before: u64 = storage.reads().iter().sum();
    assert_eq!(writer.restate_step(&step, 40).unwrap(), 41);
    let read: u64 = storage.reads().iter().sum::<u64>() - before;
    let all: u64 = sizes(&storage).iter().sum();
    assert!(read < 2 * all, "{read} of {all}");
    assert_eq!(timeline(&storage).load(41, u64::MAX).unwrap().1, state(39));
}
