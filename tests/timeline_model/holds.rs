//! With all rules, nothing gets lost, whoever acts and whatever goes wrong.
//!
//! Each test takes up to ten seconds and 400 MB; `cargo xtask soak` explores larger worlds for
//! five minutes, one after the other, each with up to 28 million states and 1.6 GB.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use persist_test_support::command::in_soak;

use crate::explore::explore;
use crate::world::Policy::{KeepLabelled, KeepLast};
use crate::world::Role::{
    Cataloguer, Collector, CollectorOfTheCopy, Copier, Deleter, DeleterOfTheCopy, Forker, Historian, Reader, WriterOfTheCopy,
};
use crate::world::{Role, World};

const EMPTY: &[&[u8]] = &[];
const TWO: &[&[u8]] = &[&[], &[1]];
const THREE: &[&[u8]] = &[&[], &[1], &[2, 1]];
const NO_REFS: &[&[u8]] = &[&[], &[], &[]];
/// The second refers to nothing, and the fourth skips the third.
const MIXED: &[&[u8]] = &[&[], &[], &[2], &[2]];

/// Serialises the worlds, since the memory is for one of them.
static TURN: Mutex<()> = Mutex::new(());

/// Explores a world in which every role can finish its work.
fn holds(world: World) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let world = world.without_names();
    let found = explore(&world);
    let World { actors, faults, weeks, holes, .. } = &world;
    let names: Vec<&str> = actors.iter().map(|role| role.name()).collect();
    println!("{names:?}, {faults} lost replies, {weeks} weeks, holes: {holes}: {} states, up to {} requests", found.states, found.depth);
    assert!(found.trace.is_none(), "{:?}", found.trace);
    let finished: BTreeSet<&str> = found.finished.iter().map(|who| names[usize::from(*who)]).collect();
    assert_eq!(finished, names.into_iter().collect(), "all can finish");
}

#[test]
fn writers_of_a_new_timeline() {
    holds(World { numbers: in_soak(4, 5), faults: 2, holes: true, ..World::new(EMPTY, &[Role::BUSY_WRITER, Role::WRITER, Role::WRITER]) });
}

#[test]
fn writers_and_a_pruner() {
    holds(World {
        faults: in_soak(1, 2),
        holes: true,
        ..World::new(THREE, &[Role::WRITER, Role::WRITER, Role::restating_pruner(KeepLast(1))])
    });
}

#[test]
fn a_writer_and_two_pruners() {
    let policies = [
        [Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLabelled)],
        [Role::hiding_pruner(KeepLast(2)), Role::restating_pruner(KeepLabelled)],
        [Role::pruner(KeepLast(1)), Role::hiding_pruner(KeepLabelled)],
        [Role::restating_pruner(KeepLast(1)), Role::restating_pruner(KeepLast(1))],
    ];
    for [one, other] in policies {
        for steps in [THREE, MIXED] {
            let actors = [in_soak(Role::WRITER, Role::BUSY_WRITER), one, other];
            holds(World { faults: 1, holes: true, labelled: &[2], ..World::new(steps, &actors) });
        }
    }
}

#[test]
fn writers_and_two_pruners() {
    let actors = [Role::WRITER, Role::LABELLING_WRITER, Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLabelled)];
    holds(World { numbers: in_soak(5, 6), labelled: &[1], holes: true, ..World::new(THREE, &actors) });
}

#[test]
fn a_deleter_and_others() {
    holds(World {
        faults: 1,
        holes: true,
        ..World::new(TWO, &[in_soak(Role::WRITER, Role::BUSY_WRITER), Role::restating_pruner(KeepLast(1)), Deleter])
    });
    holds(World { faults: 1, numbers: 5, ..World::new(TWO, &[Role::WRITER, Deleter, Deleter]) });
}

#[test]
fn writers_and_pruners_that_were_paused_for_days() {
    let actors = [Role::BUSY_WRITER, Role::WRITER, Role::restating_pruner(KeepLast(1)), Collector];
    holds(World { weeks: 1, faults: in_soak(0, 1), ..World::new(THREE, &actors) });
    let actors = [in_soak(Role::WRITER, Role::BUSY_WRITER), Role::pruner(KeepLast(1)), Role::restating_pruner(KeepLast(1)), Collector];
    holds(World { weeks: 1, numbers: 6, ..World::new(THREE, &actors) });
}

#[test]
fn a_deletion_that_was_paused_for_days() {
    let actors = [Role::WRITER, Role::restating_pruner(KeepLast(1)), Deleter, Collector];
    holds(World { weeks: 2, faults: in_soak(0, 1), numbers: 5, ..World::new(TWO, &actors) });
    holds(World { weeks: 1, numbers: 5, ..World::new(TWO, &[Role::WRITER, Deleter, Collector, Collector]) });
}

#[test]
fn a_copy_and_changes_of_its_source() {
    for pruner in [Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLast(2)), Role::pruner(KeepLabelled)] {
        for copied in [0, 2] {
            holds(World {
                holes: true,
                faults: in_soak(0, 1),
                labelled: &[2],
                copied,
                ..World::new(THREE, &[Role::WRITER, pruner, Copier])
            });
        }
    }
    let pruners = [Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLabelled)];
    for copied in [0, 1] {
        holds(World { holes: true, copied, ..World::new(in_soak(TWO, THREE), &[Role::WRITER, pruners[0], Deleter, Copier]) });
        let few: &[Role] = &[Role::WRITER, Deleter, Copier, Collector];
        let many: &[Role] = &[Role::WRITER, pruners[0], Deleter, Copier, Collector];
        holds(World { weeks: 1, copied, ..World::new(TWO, in_soak(few, many)) });
    }
    holds(World { labelled: &[1], ..World::new(MIXED, &[Role::WRITER, pruners[0], pruners[1], Copier]) });
}

#[test]
fn a_copy_and_others_in_its_target() {
    let pruner = Role::restating_pruner(KeepLast(1));
    holds(World { hints: true, ..World::new(THREE, &[pruner, Copier, WriterOfTheCopy, DeleterOfTheCopy]) });
    holds(World { hints: true, ..World::new(TWO, &[Role::WRITER, pruner, Copier, Copier]) });
    // If two copies with different newest steps meet this writer, the hint of one of them may stay.
    holds(World { hints: true, ..World::new(THREE, &[Copier, Copier, WriterOfTheCopy]) });
    holds(World { weeks: 1, hints: true, numbers: 6, ..World::new(TWO, &[Copier, WriterOfTheCopy, DeleterOfTheCopy, CollectorOfTheCopy]) });
}

#[test]
fn a_copy_of_a_storage_that_loses_its_newest_step() {
    for copied in [0, 1, 3] {
        holds(World { losses: 2, copied, ..World::new(THREE, &[Role::WRITER, Role::restating_pruner(KeepLast(1)), Copier]) });
    }
}

#[test]
fn a_fork_and_changes_of_its_source() {
    for pruner in [Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLast(2)), Role::pruner(KeepLabelled)] {
        for number in [1, 2, 3] {
            holds(World {
                holes: true,
                faults: in_soak(0, 1),
                labelled: &[2],
                ..World::new(THREE, &[Role::WRITER, pruner, Forker(number)])
            });
        }
    }
    let pruners = [Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLabelled)];
    holds(World { labelled: &[1], ..World::new(MIXED, &[Role::WRITER, pruners[0], pruners[1], Forker(3)]) });
    holds(World { holes: true, ..World::new(in_soak(TWO, THREE), &[Role::WRITER, pruners[0], Deleter, Forker(2)]) });
    holds(World { weeks: 1, ..World::new(TWO, &[Role::WRITER, pruners[0], Deleter, Forker(2), Collector]) });
}

#[test]
fn a_fork_and_others_in_its_folder() {
    let actors = [Role::restating_pruner(KeepLast(1)), Forker(2), WriterOfTheCopy, DeleterOfTheCopy];
    holds(World { hints: true, ..World::new(THREE, &actors) });
    holds(World { hints: true, ..World::new(THREE, &[Role::restating_pruner(KeepLast(1)), Forker(2), Forker(2), WriterOfTheCopy]) });
    holds(World { hints: true, ..World::new(THREE, &[Role::restating_pruner(KeepLast(1)), Forker(2), Forker(3), Copier]) });
}

#[test]
fn a_reader_of_a_storage_that_loses_the_newest_step() {
    let actors = [Role::WRITER, Role::restating_pruner(KeepLast(1)), Deleter, Reader];
    let world = World::new(in_soak(TWO, THREE), &actors);
    holds(World { faults: in_soak(0, 1), holes: true, hints: true, losses: 1, ..world });
}

#[test]
fn a_hint_that_lags_into_a_gap() {
    let actors = [Role::WRITER, Role::WRITER, Role::pruner(KeepLabelled), Collector, Reader];
    holds(World { hints: true, hint_lags: 2, weeks: 1, numbers: 4, labelled: &[1], ..World::new(NO_REFS, &actors) });
}

#[test]
fn a_catalogue_and_changes_of_its_timeline() {
    let actors = [Role::WRITER, Role::restating_pruner(KeepLast(1)), Deleter, Cataloguer, Historian];
    holds(World { numbers: in_soak(4, 5), ..World::new(TWO, &actors) });
}

#[test]
fn all_at_once() {
    let few: &[Role] = &[Role::WRITER, Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLabelled), Deleter, Copier];
    let many: &[Role] = &[Role::WRITER, Role::WRITER, Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLabelled), Deleter, Copier];
    holds(World { numbers: 4, labelled: &[1], ..World::new(TWO, in_soak(few, many)) });
}
