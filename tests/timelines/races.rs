//! Many writers of one timeline: each number has one winner, and nothing is lost.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use persist_host::timeline::{OnConflict, Policy, StepSelector};
use persist_test_support::command::in_soak;

use crate::helpers::{Kind, Place, Random, append, assert_kept, id_of, policy, shown};
use crate::processes::{ENDLESS, Process, Role, together};

/// All append at once, and the timeline has exactly what they appended.
fn all_append(kind: Kind, role: Role) {
    let (processes, each) = in_soak((4, 10), (16, 50));
    let place = Place::new(kind);
    let began = Instant::now();
    let racers: Vec<Process> = (1..=processes).map(|name| Process::start(kind, &place.at, role, name, each)).collect();
    let appended = together(racers.into_iter().map(Process::end));
    let seconds = began.elapsed().as_secs_f64();
    assert!(appended.keys().copied().eq(1..=processes * each), "no number is left out: {appended:?}");
    assert_eq!(place.checked(), appended);
    println!("{kind:?}, {role:?}: {processes} processes appended {} steps in {seconds:.1} s, none lost", appended.len());
}

#[test]
fn processes_that_rebase_in_a_folder_lose_nothing() {
    all_append(Kind::Folder, Role::Rebase);
}

#[test]
fn processes_that_rebase_in_a_bucket_lose_nothing() {
    all_append(Kind::Bucket, Role::Rebase);
}

#[test]
fn processes_that_fail_in_a_folder_have_one_winner_a_number() {
    all_append(Kind::Folder, Role::Fail);
}

#[test]
fn processes_that_fail_in_a_bucket_have_one_winner_a_number() {
    all_append(Kind::Bucket, Role::Fail);
}

/// The same in one process, with a handle in each thread.
fn threads_append(kind: Kind) {
    let (threads, each) = in_soak((4, 10), (16, 50));
    let place = Place::new(kind);
    let append_all = |name: u64| {
        let mut timeline = place.timeline();
        let append = |turn| {
            let id = name << 32 | turn;
            (append(&mut timeline, id, OnConflict::Rebase).expect("it is appended"), id)
        };
        (1..=each).map(append).collect()
    };
    let append_all = &append_all;
    let appended = std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=threads).map(|name| scope.spawn(move || append_all(name))).collect();
        together(writers.into_iter().map(|writer| writer.join().expect("it ends")))
    });
    assert!(appended.keys().copied().eq(1..=threads * each), "{appended:?}");
    assert_eq!(place.checked(), appended);
}

#[test]
fn threads_with_a_handle_each_lose_nothing_in_a_folder() {
    threads_append(Kind::Folder);
}

#[test]
fn threads_with_a_handle_each_lose_nothing_in_a_bucket() {
    threads_append(Kind::Bucket);
}

/// Writers race beside two pruners, and all are killed from time to time.
fn prune_beside_writers(kind: Kind) {
    // To list thousands of objects takes the server of the tests a minute.
    let (writers, each, kills, kills_for_a_look) = in_soak((4, 15, 12, 1), (16, 50, 100, 10));
    let place = Place::new(kind);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let role = |place: u64| match place {
        _ if place >= writers => Role::Prune,
        _ if place % 4 == 3 => Role::Fail,
        _ => Role::Rebase,
    };
    let mut names = 0;
    let mut start = |at: u64| {
        names += 1;
        let count = if role(at) == Role::Prune { ENDLESS } else { each };
        Process::start(kind, &place.at, role(at), names, count)
    };
    let mut running: Vec<Process> = (0..writers + 2).map(&mut start).collect();
    running.iter_mut().for_each(|process| process.wait_for("ready"));
    let mut ended = Vec::new();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(20 + random.below(120)));
        let victim = random.below(writers + 2);
        let killed = std::mem::replace(&mut running[usize::try_from(victim).unwrap()], start(victim));
        ended.push(killed.kill());
        // A reader never sees anything that can't be loaded.
        if kill % kills_for_a_look == 0 {
            shown(&place.timeline());
        }
    }
    running.iter_mut().for_each(|process| process.wait_for("ready"));
    ended.extend(running.into_iter().map(Process::kill));
    let appended = together(ended);
    assert!(!appended.is_empty());
    let before = place.checked();
    assert_kept(&before, &appended);
    place.timeline().prune(&policy(), false).expect("it is pruned");
    let after = place.checked();
    let ids: BTreeSet<u64> = after.values().copied().collect();
    assert_eq!(ids.len(), after.len(), "a state is there twice: {after:?}");
    // A killed writer may have appended one more, of which it did not tell.
    for (number, id) in &appended {
        assert!(!crate::helpers::is_kept(*id) || ids.contains(id), "step {number} is lost");
    }
    println!("{kind:?}: {} steps, {kills} kills, {} shown at the end", appended.len(), after.len());
}

#[test]
fn pruning_beside_writers_in_a_folder_loses_nothing() {
    prune_beside_writers(Kind::Folder);
}

#[test]
fn pruning_beside_writers_in_a_bucket_loses_nothing() {
    prune_beside_writers(Kind::Bucket);
}

/// Beside a pruner that keeps only the newest step, that is always the one appended last.
fn stay_newest(kind: Kind) {
    let count = match kind {
        Kind::Folder => in_soak(300, 3000),
        Kind::Bucket => in_soak(30, 200),
    };
    let place = Place::new(kind);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let only_newest = Policy::default().last(1);
            while !is_done.load(Ordering::Relaxed) {
                match place.timeline().prune(&only_newest, false) {
                    Ok(_) => {}
                    Err(error) => assert!(error.retryable(), "{error}"),
                }
            }
        });
        let appending = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut timeline = place.timeline();
            for id in 1..=count {
                append(&mut timeline, id, OnConflict::Rebase).expect("it is appended");
                let newest = place.timeline().load(&StepSelector::Newest).expect("it is loaded");
                assert_eq!(id_of(&newest), id, "an older state is the newest");
            }
        }));
        is_done.store(true, Ordering::Relaxed);
        appending.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
    });
}

#[test]
fn the_newest_in_a_folder_is_the_last_appended() {
    stay_newest(Kind::Folder);
}

#[test]
fn the_newest_in_a_bucket_is_the_last_appended() {
    stay_newest(Kind::Bucket);
}
