//! Forks: timelines that go on from any step of another, while that one is changed.

use std::sync::Arc;
use std::thread;

use persist_host::timeline::{OnConflict, Policy, StepSelector};
use persist_host::{CopiedTimeline, Engine, ErrorCode, MemoryStorage, Result, Timeline};
use persist_test_support::command::in_soak;

use crate::helpers::{Kind, Place, Random, TIMELINE, append, load, on, policy, shown};

const FORK: &str = "runs/two";

fn memory() -> Engine {
    on(Arc::new(MemoryStorage::new()))
}

fn timeline(engine: &Engine, folder: &str) -> Timeline {
    engine.timeline(folder).expect("a folder")
}

fn appended(engine: &Engine, ids: std::ops::RangeInclusive<u64>) {
    let mut timeline = timeline(engine, TIMELINE);
    for id in ids {
        append(&mut timeline, id, OnConflict::Fail).expect("it is appended");
    }
}

fn fork(engine: &Engine, at: u64) -> Result<CopiedTimeline> {
    timeline(engine, TIMELINE).fork(&StepSelector::Number(at), engine, FORK, |_| ())
}

fn is_clean(timeline: &Timeline) {
    timeline.check(true).expect("a check").for_each(|checked| assert_eq!(checked.expect("it is checked").error, None));
}

#[test]
fn a_fork_goes_on_by_itself() {
    let engine = memory();
    appended(&engine, 1..=300);
    timeline(&engine, TIMELINE).set_label(7, "good", Some("yes")).expect("it is labelled");
    timeline(&engine, TIMELINE).set_label(200, "late", Some("yes")).expect("it is labelled");
    let forked = fork(&engine, 100).expect("it is forked");
    assert_eq!((forked.steps, forked.newest), (100, 100));
    let mut two = timeline(&engine, FORK);
    is_clean(&two);
    assert_eq!(append(&mut two, 1000, OnConflict::Fail).expect("it is appended"), 101);
    // The source does not matter any more.
    timeline(&engine, TIMELINE).delete().expect("it is deleted");
    let there = shown(&timeline(&engine, FORK));
    assert_eq!(there.len(), 101);
    for (number, id) in there {
        assert_eq!((load(&timeline(&engine, FORK), number), id), (id, if number == 101 { 1000 } else { number }));
    }
    let label = |name: &str| timeline(&engine, FORK).find(&StepSelector::Label(name.to_owned(), None)).map(|step| step.number);
    assert_eq!(label("good").expect("the label was copied"), 7);
    assert_eq!(label("late").expect_err("that step was not").code(), ErrorCode::NotFound);
    is_clean(&timeline(&engine, FORK));
}

#[test]
fn what_can_not_be_forked_is_refused() {
    let engine = memory();
    appended(&engine, 1..=10);
    assert_eq!(fork(&engine, 11).expect_err("there is no such step").code(), ErrorCode::NotFound);
    let itself = timeline(&engine, TIMELINE).fork(&StepSelector::Newest, &engine, TIMELINE, |_| ());
    assert_eq!(itself.expect_err("that is itself").code(), ErrorCode::InvalidArgument);
    timeline(&engine, TIMELINE).prune(&Policy::default().last(1), false).expect("it is pruned");
    assert_eq!(fork(&engine, 3).expect_err("it was removed").code(), ErrorCode::NotFound);
    assert!(engine.keys(FORK).next().is_none(), "nothing is left of a fork that was refused");
    let newest = timeline(&engine, TIMELINE).find(&StepSelector::Newest).expect("a step").number;
    fork(&engine, newest).expect("it is forked");
    append(&mut timeline(&engine, FORK), 20, OnConflict::Fail).expect("it is appended");
    assert_eq!(fork(&engine, newest).expect_err("it goes on").code(), ErrorCode::AlreadyExists);
}

#[test]
fn a_fork_that_was_broken_off_is_not_taken_for_a_whole_one_and_is_finished() {
    let engine = memory();
    appended(&engine, 1..=40);
    fork(&engine, 30).expect("it is forked");
    for number in (1..=30).rev() {
        let key = format!("{FORK}/{number:012}.step");
        engine.storage().delete_object(&key, persist_host::Precondition::None).expect("it was there");
        if number % 7 == 0 {
            let found = timeline(&engine, FORK).find(&StepSelector::Newest);
            assert_eq!(found.expect_err("it is not whole").code(), ErrorCode::Integrity, "{number}");
            let forked = fork(&engine, 30).expect("it is finished");
            assert_eq!(forked.steps, 31 - number);
            is_clean(&timeline(&engine, FORK));
            for again in (number..=30).rev() {
                let key = format!("{FORK}/{again:012}.step");
                engine.storage().delete_object(&key, persist_host::Precondition::None).expect("it was there");
            }
        }
    }
}

/// Forks while others append and prune: the fork is whole, or it is refused.
fn forks_beside_others(kind: Kind, runs: u64) {
    let (mut whole, mut refused) = (0, 0);
    for run in 1..=runs {
        let place = Place::new(kind);
        let engine = on(place.kind.storage(&place.at));
        appended(&engine, 1..=30);
        let mut random = Random(run.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let at = 1 + random.below(30);
        let (prunes, appends) = (random.below(3), random.below(8));
        let forked = thread::scope(|scope| {
            let (engine, pruner) = (&engine, &engine);
            scope.spawn(move || {
                let mut timeline = timeline(engine, TIMELINE);
                for id in 31..=30 + appends {
                    let _ = append(&mut timeline, id, OnConflict::Rebase);
                }
            });
            scope.spawn(move || {
                for last in 0..prunes {
                    let _ = match last {
                        0 => timeline(pruner, TIMELINE).prune(&policy(), false),
                        _ => timeline(pruner, TIMELINE).prune(&Policy::default().last(1), false),
                    };
                }
            });
            fork(engine, at)
        });
        match forked {
            Ok(forked) => {
                whole += 1;
                assert_eq!(forked.newest, at);
                let two = timeline(&engine, FORK);
                is_clean(&two);
                let there = shown(&two);
                assert_eq!(there.keys().next_back(), Some(&at), "run {run}");
                assert!(there.iter().all(|(number, id)| load(&two, *number) == *id && number == id), "run {run}: {there:?}");
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error.code(), ErrorCode::NotFound | ErrorCode::Conflict), "run {run}: {error:?}");
                // What there is of it is not taken for a timeline.
                let found = timeline(&engine, FORK).find(&StepSelector::Newest);
                let code = found.expect_err("the fork was refused").code();
                assert!(matches!(code, ErrorCode::NotFound | ErrorCode::Integrity), "run {run}: {code:?}");
            }
        }
    }
    println!("{kind:?}: {whole} whole, {refused} refused");
    assert!(whole > 0);
}

#[test]
fn forks_beside_others_in_a_folder() {
    forks_beside_others(Kind::Folder, in_soak(20, 200));
}

#[test]
fn forks_beside_others_in_a_bucket() {
    forks_beside_others(Kind::Bucket, in_soak(2, 20));
}
