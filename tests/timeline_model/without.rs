//! Without any one of the rules something gets lost, and the check finds it.

use crate::explore::explore;
use crate::rules::Rules;
use crate::world::Policy::{KeepLabelled, KeepLast};
use crate::world::Role::{Cataloguer, Collector, Copier, Deleter, Forker, Historian, Reader, WriterOfTheCopy};
use crate::world::{Role, World};

/// Steps by what they refer to.
const NO_REFS: &[&[u8]] = &[&[], &[], &[]];
const TWO: &[&[u8]] = &[&[], &[1]];
const THREE: &[&[u8]] = &[&[], &[1], &[2, 1]];

/// A world in which 7 days can pass.
fn for_days(actors: &[Role]) -> World {
    World { weeks: 1, ..World::new(THREE, actors) }
}

/// A world in which a writer finds the head, and sleeps while others take the next number
/// and remove it again.
fn while_a_writer_is_late() -> World {
    for_days(&[Role::WRITER, Role::BUSY_WRITER, Role::restating_pruner(KeepLast(1)), Collector])
}

/// The rule is needed in each of these worlds, and with it all is well.
fn needed(rule: &str, worlds: impl IntoIterator<Item = World>) {
    for world in worlds {
        let with = explore(&world);
        assert!(with.trace.is_none(), "with {rule}: {:?}", with.trace);
        let without = explore(&World { rules: Rules::without(rule), ..world });
        let trace = without.trace.unwrap_or_else(|| panic!("nothing is lost without {rule}, in {} states", without.states));
        println!("without {rule}, {trace:?}\n");
    }
}

/// Makes one test for each rule, named after it.
macro_rules! without {
    ($($rule:ident: $worlds:expr;)*) => {
        $(#[test]
        fn $rule() {
            needed(stringify!($rule), $worlds);
        })*

        #[test]
        fn every_rule_has_a_test() {
            assert_eq!(Rules::NAMES, [$(stringify!($rule)),*]);
        }
    };
}

without! {
    claim_with_if_absent: [World::new(THREE, &[Role::WRITER, Role::WRITER])];
    refer_to_the_last_step_or_its_links: [World::new(NO_REFS, &[Role::WRITER, Role::pruner(KeepLast(1))])];
    claim_before_removing: [
        World::new(THREE, &[Role::restating_pruner(KeepLast(1))]),
        World { labelled: &[2], ..World::new(THREE, &[Role::WRITER, Role::restating_pruner(KeepLabelled)]) },
    ];
    keep_the_highest: [World { labelled: &[1], ..World::new(THREE, &[Role::WRITER, Role::pruner(KeepLabelled)]) }];
    list_again_at_a_marker: [{
        // The writer's step skips the head. One pruner removes the head, and the other one no
        // longer learns what the head referred to.
        let actors = [Role::WRITER, Role::pruner(KeepLast(1)), Role::pruner(KeepLabelled)];
        World { labelled: &[1], ..World::new(&[&[], &[], &[2], &[3, 2]], &actors) }
    }];
    overwrite_by_a_marker: [World::new(THREE, &[Role::WRITER, Role::WRITER, Role::restating_pruner(KeepLast(1))])];
    hide_all_or_remove_newest_first: [World::new(&[&[], &[1], &[]], &[Role::pruner(KeepLast(1))])];
    hide_what_must_stay: [World::new(THREE, &[Role::pruner(KeepLast(1))])];
    count_a_restated_state_once: [World::new(THREE, &[Role::restating_pruner(KeepLast(2)), Role::pruner(KeepLast(2))])];
    probe_gaps_and_the_next_number: [
        World { holes: true, labelled: &[2], ..World::new(&[&[], &[1], &[]], &[Role::pruner(KeepLabelled)]) },
        World { holes: true, ..World::new(THREE, &[Deleter]) },
        World { holes: true, ..World::new(THREE, &[Reader]) },
    ];
    look_after_a_lost_reply: [World { faults: 1, ..World::new(THREE, &[Role::WRITER, Role::WRITER]) }];
    look_after_a_repeated_claim: [World { faults: 1, ..World::new(THREE, &[Role::WRITER]) }];
    markers_carry_the_root: [{
        let actors = [Role::WRITER, Role::WRITER, Role::restating_pruner(KeepLast(1))];
        World { faults: 1, ..World::new(THREE, &actors) }
    }];
    list_gaps_after_steps: [for_days(&[Role::WRITER, Deleter, Collector])];
    list_again_after_a_day: [
        World { steps: TWO, numbers: 4, ..for_days(&[Role::WRITER, Role::restating_pruner(KeepLast(1)), Deleter, Collector]) },
    ];
    gaps_of_old_markers_only: [while_a_writer_is_late()];
    gap_before_markers_go: [while_a_writer_is_late()];
    gaps_stay: [while_a_writer_is_late()];
    late_writers_read_the_gaps: [while_a_writer_is_late()];
    late_pruners_read_the_gaps: [
        for_days(&[Role::BUSY_WRITER, Role::restating_pruner(KeepLast(1)), Role::pruner(KeepLast(1)), Collector]),
    ];
    late_deleters_read_the_gaps: [for_days(&[Role::BUSY_WRITER, Deleter, Role::pruner(KeepLast(1)), Collector])];
    number_before_proves_nothing: [
        World { labelled: &[3], ..for_days(&[Role::WRITER, Role::BUSY_WRITER, Role::pruner(KeepLabelled), Collector]) },
    ];
    end_before_deleting: [World::new(THREE, &[Role::WRITER, Deleter])];
    conflict_stops_a_deletion: [World::new(THREE, &[Role::WRITER, Deleter])];
    end_stays: [World::new(THREE, &[Role::WRITER, Deleter])];
    end_goes_last: [for_days(&[Deleter, Collector])];
    ignore_what_is_below_an_end: [
        World { labelled: &[1], numbers: 5, ..World::new(TWO, &[Role::WRITER, Role::restating_pruner(KeepLabelled), Deleter]) },
    ];
    copy_if_absent: [World { hints: true, ..World::new(TWO, &[Copier, WriterOfTheCopy]) }];
    hint_before_a_copy: [World::new(THREE, &[Copier]), World::new(THREE, &[Forker(2)])];
    hint_after_a_copy: [World { copied: 1, losses: 1, ..World::new(THREE, &[Copier]) }];
    remove_the_hint_after_a_conflict: [
        World { hints: true, ..World::new(THREE, &[Copier, WriterOfTheCopy]) },
        World { hints: true, ..World::new(THREE, &[Forker(3), WriterOfTheCopy]) },
    ];
    keep_the_hint_of_another_copy: [World::new(THREE, &[Copier, Copier])];
    continue_only_the_same: [World { hints: true, ..World::new(TWO, &[Copier, WriterOfTheCopy]) }];
    keep_what_was_copied: [World { copied: 2, numbers: 5, ..World::new(TWO, &[Role::WRITER, Deleter, Copier]) }];
    fill_what_a_listing_lacks: [World { holes: true, ..World::new(THREE, &[Copier]) }];
    begin_again_at_a_gap: [for_days(&[Role::restating_pruner(KeepLast(1)), Copier, Collector])];
    copy_only_what_was_listed: [
        World { steps: TWO, numbers: 4, ..for_days(&[Role::WRITER, Role::WRITER, Role::restating_pruner(KeepLast(1)), Collector, Forker(3)]) }
            .without_names(),
    ];
    copy_from_the_oldest: [World::new(&[&[], &[1], &[], &[3]], &[Forker(3), Role::pruner(KeepLast(2))])];
    copy_the_newest_last: [
        World::new(THREE, &[Copier, Role::restating_pruner(KeepLast(1))]),
        World::new(THREE, &[Forker(2), Role::restating_pruner(KeepLast(1))]),
    ];
    copy_the_newest_only_as_a_step: [
        World::new(THREE, &[Copier, Role::restating_pruner(KeepLast(1))]),
        World::new(THREE, &[Forker(2), Role::restating_pruner(KeepLast(1))]),
    ];
    hide_in_a_copy: [World::new(THREE, &[Copier, Role::pruner(KeepLast(1))]), World::new(THREE, &[Forker(3), Role::pruner(KeepLast(1))])];
    report_a_removed_newest: [World::new(THREE, &[Copier, Role::restating_pruner(KeepLast(1))])];
    delete_newest_first: [World::new(THREE, &[Copier, Deleter]), World::new(THREE, &[Forker(2), Deleter])];
    list_from_the_hint: [{
        let actors = [Role::WRITER, Role::pruner(KeepLabelled), Collector];
        World { hints: true, hint_lags: 2, labelled: &[1], steps: NO_REFS, ..for_days(&actors) }
    }];
    hint_is_a_witness: [
        World { hints: true, losses: 1, ..World::new(THREE, &[Reader]) },
        World { hints: true, losses: 1, ..World::new(THREE, &[Role::WRITER]) },
    ];
    listing_refutes_the_catalogue: [World::new(THREE, &[Cataloguer, Historian, Role::pruner(KeepLast(1))])];
}
