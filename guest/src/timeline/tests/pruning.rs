//! Pruning and deleting.

use std::time::Duration;

use persist_model::{Outcome, Policy, PruneReport};
use time::OffsetDateTime;

use super::*;
use crate::timeline::newest;
use crate::timeline::record::Record;

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn keep_last(last: u32) -> Policy {
    Policy::default().last(last)
}

pub(super) fn prune(storage: &MemoryStorage, policy: &Policy) -> PruneReport {
    let plan = timeline(storage).prune(policy, now(), true).unwrap();
    let report = timeline(storage).prune(policy, now(), false).unwrap();
    assert_eq!(
        (&plan.steps, plan.restated_as, plan.freed),
        (&report.steps, report.restated_as, report.freed),
        "a dry run says what happens"
    );
    assert!(plan.left.abs_diff(report.left) < 512, "{} {}", plan.left, report.left);
    report
}

fn now() -> OffsetDateTime {
    persist_model::time::parse("2036-01-01T00:00:00Z").unwrap()
}

fn numbers(storage: &MemoryStorage) -> Vec<u64> {
    reading::history(&timeline(storage)).into_iter().map(|entry| entry.number).collect()
}

fn is_clean(storage: &MemoryStorage) {
    let wrong = reading::wrong(&timeline(storage), true);
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn total(storage: &MemoryStorage) -> u64 {
    sizes(storage).iter().sum()
}

#[test]
fn one_kept_state_takes_little_more_than_a_snapshot() {
    let states = checkpoints(100);
    let storage = written(&states, false);
    let last = states.last().unwrap();
    let report = prune(&storage, &keep_last(1));
    assert_eq!(report.restated_as, Some(301));
    let entries = reading::history(&timeline(&storage));
    assert_eq!(entries.iter().map(|entry| (entry.number, entry.restates)).collect::<Vec<_>>(), [(301, Some(300))]);
    let (metadata, state) = timeline(&storage).load(301, u64::MAX).unwrap();
    assert!(state == *last && metadata.snapshot_index == 300);
    crate::snapshots::save(&storage, "plain.json.zst", last, options()).unwrap();
    let plain = storage.get("plain.json.zst").unwrap().len() as u64;
    storage.delete("plain.json.zst", Precondition::None).unwrap();
    // The markers go after a week.
    storage.advance(WEEK + Duration::from_secs(1));
    prune(&storage, &keep_last(1));
    println!("{} bytes are left, a snapshot has {plain}", total(&storage));
    assert!(total(&storage) * 2 <= plain * 3, "{} of {plain}", total(&storage));
    assert_eq!(storage.keys().len(), 3, "a gap, the step and the hint: {:?}", storage.keys());
    is_clean(&storage);
    // It goes on.
    append(&mut timeline(&storage), b"{\"more\": 1}");
    assert_eq!(numbers(&storage), [302, 301]);
    assert_eq!(timeline(&storage).load(3, 100).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn steps_that_are_needed_are_hidden_and_others_are_removed() {
    let states: Vec<Vec<u8>> = checkpoints(40);
    let storage = written(&states, false);
    for number in [10, 50, 90] {
        timeline(&storage).label(number, "good", Some("yes")).unwrap();
    }
    let policy = Policy::default().last(3).labels(vec![("good".to_owned(), None)]);
    let before = total(&storage);
    let report = prune(&storage, &policy);
    let kept: Vec<u64> = report.steps.iter().filter(|step| matches!(step.outcome, Outcome::Kept(_))).map(|step| step.number).collect();
    assert_eq!(kept, [120, 119, 118, 90, 50, 10]);
    let shown = numbers(&storage);
    let expected: Vec<u64> =
        report.restated_as.into_iter().chain(kept.into_iter().filter(|number| report.restated_as.is_none() || *number != 120)).collect();
    assert_eq!(shown, expected);
    assert!(report.steps.iter().any(|step| step.outcome == Outcome::Hidden));
    assert_eq!(total(&storage), report.left, "{report:?}");
    assert!(total(&storage) < before);
    for number in shown {
        let (metadata, state) = timeline(&storage).load(number, u64::MAX).unwrap();
        assert!(state == states[metadata.snapshot_index as usize - 1], "{number}");
    }
    for number in 1..=117 {
        if ![10, 50, 90].contains(&number) {
            assert_eq!(timeline(&storage).load(number, u64::MAX).unwrap_err().code, ErrorCode::NotFound, "{number}");
        }
    }
    is_clean(&storage);
    // A second time there is nothing to do.
    let objects = storage.keys();
    let again = prune(&storage, &policy);
    assert_eq!((again.freed, again.restated_as), (0, None));
    assert_eq!(storage.keys(), objects);
}

#[test]
fn an_empty_policy_is_refused() {
    let storage = written(&[b"{}".to_vec()], false);
    assert_eq!(timeline(&storage).prune(&Policy::default(), now(), false).unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(numbers(&storage), [1]);
}

#[test]
fn the_newest_step_is_kept_whatever_the_policy_says() {
    let storage = written(&(0..10).map(|number| vec![b'a' + number; 2000]).collect::<Vec<_>>(), false);
    timeline(&storage).label(4, "good", Some("yes")).unwrap();
    let report = prune(&storage, &Policy::default().labels(vec![("good".to_owned(), None)]));
    assert_eq!(report.steps[0].outcome, Outcome::Kept(vec!["newest".to_owned()]));
    assert_eq!(report.steps[6].outcome, Outcome::Kept(vec!["label good".to_owned()]));
    let newest = timeline(&storage).open_newest(true).unwrap().read_to_end(u64::MAX).unwrap();
    assert_eq!(newest, vec![b'j'; 2000]);
    is_clean(&storage);
}

#[test]
fn a_writer_that_sleeps_through_a_prune_fails_or_rebases() {
    let states = checkpoints(20);
    for (on_conflict, sleeps) in
        [(OnConflict::Fail, false), (OnConflict::Rebase, false), (OnConflict::Fail, true), (OnConflict::Rebase, true)]
    {
        let storage = written(&states[..30], false);
        let mut sleeper = timeline(&storage);
        append(&mut sleeper, &states[30]);
        prune(&storage, &keep_last(1));
        let mut other = timeline(&storage);
        for state in &states[31..40] {
            append(&mut other, state);
        }
        prune(&storage, &keep_last(1));
        if sleeps {
            // Until the markers are gone, and with them everything that the sleeper knows.
            storage.advance(WEEK * 2);
            prune(&storage, &keep_last(1));
            assert_eq!(storage.get(&format!("{PREFIX}000000000001.step")).unwrap().len(), 208, "a gap");
        }
        let outcome = sleeper.append(b"{\"late\": 1}".to_vec(), &options(), on_conflict, None);
        match on_conflict {
            OnConflict::Fail => assert_eq!(outcome.unwrap_err().code, ErrorCode::AlreadyExists),
            OnConflict::Rebase => drop(outcome.unwrap()),
        }
        is_clean(&storage);
        let newest = timeline(&storage).open_newest(true).unwrap().read_to_end(u64::MAX).unwrap();
        assert!(newest == if on_conflict == OnConflict::Rebase { b"{\"late\": 1}".to_vec() } else { states[39].clone() });
    }
}

/// One host keeps the objects in a storage with a clock, and another one in a storage without.
#[test]
fn a_writer_without_a_clock_notices_that_it_slept() {
    for on_conflict in [OnConflict::Fail, OnConflict::Rebase] {
        let storage = MemoryStorage::default();
        let mut sleeper = timeline(&storage.without_clock());
        append(&mut sleeper, &noise(0));
        for number in 1..6 {
            append(&mut timeline(&storage), &noise(number));
        }
        prune(&storage, &keep_last(1));
        storage.advance(WEEK * 2);
        prune(&storage, &keep_last(1));
        assert_eq!(storage.keys().iter().filter(|key| key.ends_with(".step")).count(), 2, "a gap and a step");
        let outcome = sleeper.append(b"late".to_vec(), &options(), on_conflict, None);
        match on_conflict {
            OnConflict::Fail => {
                assert_eq!(outcome.unwrap_err().code, ErrorCode::AlreadyExists);
                assert_eq!(numbers(&storage), [6]);
            }
            OnConflict::Rebase => assert_eq!(outcome.unwrap().0, 7),
        }
        is_clean(&storage);
    }
}

#[test]
fn a_deleted_timeline_is_gone_and_may_begin_again() {
    let storage = written(&checkpoints(10), false);
    let mut writer = timeline(&storage);
    append(&mut writer, b"{}");
    assert_eq!(timeline(&storage).delete().unwrap(), 31);
    assert_eq!(timeline(&storage).newest().unwrap(), None);
    assert_eq!(numbers(&storage), Vec::<u64>::new());
    assert!(storage.keys().iter().all(|key| storage.get(key).unwrap().len() <= 200), "nothing of the states is left");
    let error = timeline(&storage).open_newest(true).err().unwrap();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotFound, "the timeline was deleted"));
    // A writer that knew it finds out.
    assert_eq!(writer.append(b"{}".to_vec(), &options(), OnConflict::Fail, None).unwrap_err().code, ErrorCode::AlreadyExists);
    // A second deletion has nothing to do, and finishes one that was broken off.
    assert_eq!(timeline(&storage).delete().unwrap(), 0);
    append(&mut timeline(&storage), b"{\"new\": 1}");
    assert_eq!(numbers(&storage), [33]);
    assert_eq!(timeline(&storage).delete().unwrap(), 1);
    // After a week, one object says that these numbers were used.
    storage.advance(WEEK + Duration::from_secs(60));
    timeline(&storage).prune(&keep_last(1), now(), false).unwrap();
    assert_eq!(storage.keys(), [format!("{PREFIX}000000000001.step"), format!("{PREFIX}head")]);
    assert_eq!(timeline(&storage).newest().unwrap(), None);
    append(&mut timeline(&storage), b"{\"newer\": 1}");
    assert_eq!(numbers(&storage), [35]);
    is_clean(&storage);
}

#[test]
fn a_repair_goes_on_from_the_newest_whole_step() {
    let states = checkpoints(10);
    let storage = written(&states, false);
    storage.put(&format!("{PREFIX}{:012}.step", 30), b"damaged".to_vec());
    storage.put(&format!("{PREFIX}{:012}.step", 29), b"damaged".to_vec());
    assert!(timeline(&storage).open_newest(true).is_err());
    assert!(timeline(&storage).repair(false).is_err(), "nothing is forgotten unless it is asked for");
    timeline(&storage).repair(true).unwrap();
    let newest = timeline(&storage).open_newest(true).unwrap().read_to_end(u64::MAX).unwrap();
    assert!(newest == states[27]);
    let entries = reading::history(&timeline(&storage));
    assert_eq!((entries[0].number, entries[0].restates, entries[1].number), (31, Some(28), 28));
    is_clean(&storage);
}

pub(super) fn noise(number: u64) -> Vec<u8> {
    let mut random = number + 1;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    (0..3000).map(|_| next()).collect()
}

/// Thirty steps, of which the third and the newest are left, and a writer that knows the
/// third as the newest.
fn with_a_sleeper() -> (MemoryStorage, Timeline<MemoryStorage>) {
    let storage = written(&(0..2).map(noise).collect::<Vec<_>>(), false);
    let mut sleeper = timeline(&storage);
    append(&mut sleeper, &noise(2));
    timeline(&storage).label(3, "good", Some("yes")).unwrap();
    let mut other = timeline(&storage);
    for number in 3..30 {
        append(&mut other, &noise(number));
    }
    other.finish().unwrap();
    let policy = Policy::default().last(1).labels(vec![("good".to_owned(), None)]);
    prune(&storage, &policy);
    storage.advance(WEEK * 2);
    prune(&storage, &policy);
    assert_eq!(numbers(&storage), [31, 3]);
    (storage, sleeper)
}

#[test]
fn a_number_before_a_gap_proves_nothing() {
    let (storage, mut sleeper) = with_a_sleeper();
    let outcome = sleeper.append(b"late".to_vec(), &options(), OnConflict::Fail, None);
    assert_eq!(outcome.unwrap_err().code, ErrorCode::AlreadyExists);
    assert_eq!(numbers(&storage), [31, 3]);
    is_clean(&storage);
}

#[test]
fn a_hint_in_a_gap_hides_nothing() {
    let (storage, _) = with_a_sleeper();
    for number in [4, 10, 29] {
        let hint = Record::Head { number, root: "0".repeat(64) };
        storage.put(&format!("{PREFIX}head"), hint.to_bytes());
        for limit in [1, 5, 20] {
            let mut history = timeline(&storage).history(crate::snapshots::ListFilter::default(), limit).unwrap();
            let numbers: Vec<u64> = history.next(100).unwrap().into_iter().map(|entry| entry.number).collect();
            assert_eq!(numbers, [31, 3], "{number} {limit}");
        }
        assert_eq!(timeline(&storage).newest().unwrap(), Some(31), "{number}");
    }
}

#[test]
fn a_step_in_a_gap_is_no_step() {
    // A writer that has slept may end before it withdraws its step.
    let (storage, _) = with_a_sleeper();
    let late = storage.get(&format!("{PREFIX}{:012}.step", 3)).unwrap();
    for number in [4, 5, 17, 29] {
        let record = storage.get(&format!("{PREFIX}{number:012}.step"));
        if record.is_none() {
            storage.put(&format!("{PREFIX}{number:012}.step"), late.clone());
        }
        assert_eq!(numbers(&storage), [31, 3], "{number}");
        assert_eq!(timeline(&storage).newest().unwrap(), Some(31), "{number}");
    }
}

#[test]
fn the_hint_never_goes_back() {
    let (storage, mut sleeper) = with_a_sleeper();
    let hint = storage.get(&format!("{PREFIX}head")).unwrap();
    sleeper.finish().unwrap();
    assert_eq!(storage.get(&format!("{PREFIX}head")).unwrap(), hint);
    assert_eq!(timeline(&storage).newest().unwrap(), Some(31));
    // Even if it did: by a write that was late.
    for number in [1, 3, 4, 12, 29] {
        for root in ["0".repeat(64), "f".repeat(64)] {
            let record = crate::timeline::record::Record::Head { number, root };
            storage.put(&format!("{PREFIX}head"), record.to_bytes());
            assert_eq!(timeline(&storage).newest().unwrap(), Some(31), "{number}");
        }
    }
}

#[test]
fn a_pruning_that_was_broken_off_counts_a_repeated_state_once() {
    let states = checkpoints(20);
    let storage = written(&states, false);
    let count = states.len() as u64;
    let newest = timeline(&storage).newest_step().unwrap();
    assert_eq!(timeline(&storage).restate_step(&newest, count).unwrap(), count + 1);
    prune(&storage, &keep_last(2));
    let left: Vec<u64> = reading::history(&timeline(&storage)).iter().map(|entry| entry.number).collect();
    assert_eq!(left, [count + 1, count - 1]);
    is_clean(&storage);
}

#[test]
fn a_deletion_that_was_broken_off_shows_nothing_and_can_be_finished() {
    let states = checkpoints(10);
    let storage = written(&states, false);
    let whole = storage.clone();
    let before: Vec<(String, Vec<u8>)> = whole.keys().into_iter().map(|key| (key.clone(), whole.get(&key).unwrap())).collect();
    timeline(&storage).delete().unwrap();
    // The removals did not happen; the end is there.
    for (key, bytes) in &before {
        storage.put(key, bytes.clone());
    }
    assert_eq!(timeline(&storage).newest().unwrap(), None);
    assert_eq!(numbers(&storage), Vec::<u64>::new());
    // The hint that was written with the end.
    newest::refresh_hint(&storage, &Folder::new(PREFIX)).unwrap();
    assert_eq!(timeline(&storage).load(2, u64::MAX).unwrap_err().message, "the timeline was deleted");
    let again = storage.copied();
    assert_eq!(timeline(&again).delete().unwrap(), 30);
    storage.advance(WEEK * 2);
    timeline(&storage).prune(&keep_last(1), now(), false).unwrap();
    assert!(storage.keys().iter().all(|key| storage.get(key).unwrap().len() <= 208), "pruning finishes it, too");
    assert_eq!(numbers(&storage), Vec::<u64>::new());
    append(&mut timeline(&storage), b"{\"new\": 1}");
    assert_eq!(numbers(&storage), [32]);
    assert_eq!(timeline(&storage).delete().unwrap(), 1);
    assert!(storage.keys().iter().all(|key| storage.get(key).unwrap().len() <= 208));
}

#[test]
fn steps_that_are_named_are_removed() {
    let states = checkpoints(10);
    let storage = written(&states, false);
    let last = states.len() as u64;
    // Missing ones are ignored, and the newest stays.
    assert_eq!(timeline(&storage).remove(&[3, 4, last, last + 7, 0]).unwrap(), 2);
    let left: Vec<u64> = (1..=last).rev().filter(|number| ![3, 4].contains(number)).collect();
    assert_eq!(numbers(&storage), left);
    for number in left {
        assert!(timeline(&storage).load(number, u64::MAX).unwrap().1 == states[number as usize - 1]);
    }
    assert_eq!(timeline(&storage).load(3, u64::MAX).unwrap_err().code, ErrorCode::NotFound);
    is_clean(&storage);
    assert_eq!(timeline(&MemoryStorage::default()).remove(&[1]).unwrap(), 0);
}
