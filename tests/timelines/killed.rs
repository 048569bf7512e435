//! `kill -9` at random moments of an append and of a pruning: what was appended loads, and
//! nothing half done is visible.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use persist_host::timeline::{OnConflict, StepSelector};
use persist_test_support::command::in_soak;

use crate::helpers::{Kind, Place, Random, append, assert_kept, load, policy, shown};
use crate::processes::{ENDLESS, Process, Role, together};

fn kill_appends(kind: Kind) {
    let kills = in_soak(12, 200);
    let place = Place::new(kind);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut appended = BTreeMap::new();
    for name in 1..=kills {
        let mut process = Process::start(kind, &place.at, Role::Rebase, name, ENDLESS);
        process.wait_for(if random.below(2) == 0 { "ready" } else { "appended" });
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        appended = together([appended, process.kill()]);
        let timeline = place.timeline();
        if let Some((last, id)) = appended.last_key_value() {
            assert_eq!(load(&timeline, *last), *id);
            // The newest may be one that was stored before its writer could tell.
            let newest = timeline.find(&StepSelector::Newest).expect("it is there");
            assert!(newest.number >= *last && newest.number <= last + name, "{} after {last}", newest.number);
        }
    }
    let all = place.checked();
    assert!(all.keys().copied().eq(1..=all.len() as u64), "no number is left out: {all:?}");
    for (number, id) in &appended {
        assert_eq!(all.get(number), Some(id), "step {number}");
    }
    let untold = all.len() - appended.len();
    assert!(untold as u64 <= kills, "each process has at most one step of which it did not tell");
    println!("{kind:?}: {kills} kills in appends, {} steps, {untold} of them untold", all.len());
}

#[test]
fn a_killed_append_in_a_folder_leaves_a_whole_step_or_none() {
    kill_appends(Kind::Folder);
}

#[test]
fn a_killed_append_in_a_bucket_leaves_a_whole_step_or_none() {
    kill_appends(Kind::Bucket);
}

fn kill_prunes(kind: Kind) {
    let kills = in_soak(12, 200);
    let place = Place::new(kind);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut timeline = place.timeline();
    let (mut appended, mut id) = (BTreeMap::new(), 0);
    let mut more = |appended: &mut BTreeMap<u64, u64>, count: u64| {
        for _ in 0..count {
            id += 1;
            let number = append(&mut timeline, id, OnConflict::Rebase).expect("it is appended");
            assert_eq!(appended.insert(number, id), None);
        }
    };
    let mut rounds = 0;
    for name in 1..=kills {
        more(&mut appended, 6 + random.below(8));
        let mut process = Process::start(kind, &place.at, Role::Prune, name, ENDLESS);
        process.wait_for("ready");
        if random.below(2) == 0 {
            more(&mut appended, random.below(6));
        }
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        rounds += u64::from(process.has_said("pruned"));
        process.kill();
        let reader = place.timeline();
        let now = shown(&reader);
        assert_kept(&now, &appended);
        for (number, id) in now.iter().rev().take(4) {
            assert_eq!(load(&reader, *number), *id, "step {number}");
        }
    }
    let before = place.checked();
    assert_kept(&before, &appended);
    place.timeline().prune(&policy(), false).expect("the next pruning finishes it");
    let after = place.checked();
    assert_kept(&after, &appended);
    let ids: BTreeSet<u64> = after.values().copied().collect();
    assert_eq!(ids.len(), after.len(), "a state is there twice: {after:?}");
    println!(
        "{kind:?}: {kills} kills in prunings, {} of them before the first was done, {} of {} steps shown",
        kills - rounds,
        after.len(),
        appended.len()
    );
}

#[test]
fn a_killed_pruning_in_a_folder_takes_nothing_that_is_kept() {
    kill_prunes(Kind::Folder);
}

#[test]
fn a_killed_pruning_in_a_bucket_takes_nothing_that_is_kept() {
    kill_prunes(Kind::Bucket);
}
