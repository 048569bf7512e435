//! The rules of the protocol, each of which can be taken out.

/// Defines [`Rules`], all of which hold by default, with their names.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident,)*) => {
        /// The rules that writers, pruners and the others follow.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Rules {
            $($(#[$doc])* pub(crate) $rule: bool,)*
        }

        impl Rules {
            /// The whole protocol.
            pub(crate) const ALL: Self = Self { $($rule: true,)* };

            /// The names of all rules.
            pub(crate) const NAMES: &[&str] = &[$(stringify!($rule),)*];

            /// Returns the protocol without the rule of this name.
            pub(crate) fn without(name: &str) -> Self {
                let mut rules = Self::ALL;
                match name {
                    $(stringify!($rule) => rules.$rule = false,)*
                    _ => panic!("there is no rule '{name}'"),
                }
                rules
            }
        }
    };
}

rules! {
    /// A claim is a PUT that fails if the number is taken.
    claim_with_if_absent,
    /// A step refers only to step *n* - 1 and to what that one refers to.
    refer_to_the_last_step_or_its_links,
    /// A pruner that removes the head, or what it refers to, first claims the next number.
    claim_before_removing,
    /// A pruner keeps the highest number and what it refers to, even if the policy doesn't.
    keep_the_highest,
    /// A pruner that finds a marker at the highest number lists again.
    list_again_at_a_marker,
    /// A step is removed by overwriting it with a marker, never by deleting it.
    overwrite_by_a_marker,
    /// Steps are removed from the newest to the oldest, or are all hidden first.
    hide_all_or_remove_newest_first,
    /// A dropped step that a kept one refers to is hidden.
    hide_what_must_stay,
    /// A policy counts a restated state once: the older step with it is dropped.
    count_a_restated_state_once,
    /// Every number that a listing lacks, and the one after the highest, is read.
    probe_gaps_and_the_next_number,
    /// A lost reply to a claim is followed by a GET.
    look_after_a_lost_reply,
    /// A claim that was sent twice and met a conflict is followed by a GET, too.
    look_after_a_repeated_claim,
    /// A marker says which step it replaced.
    markers_carry_the_root,
    /// The gaps are listed after the steps.
    list_gaps_after_steps,
    /// Whoever needs over a day to find the head, or to read the steps, lists again.
    list_again_after_a_day,
    /// Only markers older than 7 days become a gap.
    gaps_of_old_markers_only,
    /// A gap is written before its markers go.
    gap_before_markers_go,
    /// A gap stays for ever.
    gaps_stay,
    /// A writer whose claim is a day late reads the gaps before it acknowledges.
    late_writers_read_the_gaps,
    /// A pruner whose claim is a day late does so, too.
    late_pruners_read_the_gaps,
    /// A deleter whose claim is a day late does so, too.
    late_deleters_read_the_gaps,
    /// They do so even if the number before their claim has an object.
    number_before_proves_nothing,
    /// A deleter first claims the next number as the END.
    end_before_deleting,
    /// A deleter that loses the race for the END removes nothing.
    conflict_stops_a_deletion,
    /// The END stays for 7 days, and then becomes a part of a gap.
    end_stays,
    /// The END becomes a part of a gap only when all that is below it is gone.
    end_goes_last,
    /// Nothing below an END counts: a pruner neither keeps nor restates it.
    ignore_what_is_below_an_end,
    /// What is copied does not replace anything.
    copy_if_absent,
    /// The hint of a copy or fork, which names its newest step, comes first.
    hint_before_a_copy,
    /// The hint of an earlier copy is replaced in the end.
    hint_after_a_copy,
    /// The hint is removed again if another timeline has begun in the folder.
    remove_the_hint_after_a_conflict,
    /// It stays if what has begun is another copy of the same timeline.
    keep_the_hint_of_another_copy,
    /// A copy goes on from what is there only if the source has it, too.
    continue_only_the_same,
    /// A timeline that was deleted since an earlier copy is not copied onto that.
    keep_what_was_copied,
    /// A copy asks for each number that the listing of its source lacks.
    fill_what_a_listing_lacks,
    /// A copy begins again if a number has gone into a gap since it was listed.
    begin_again_at_a_gap,
    /// A copy takes no step and no END that was not listed: it is in a gap.
    copy_only_what_was_listed,
    /// All but the newest step is copied from the oldest on.
    copy_from_the_oldest,
    /// The newest step is copied last.
    copy_the_newest_last,
    /// If the newest step is gone by then, a copy begins again, and a fork is refused.
    copy_the_newest_only_as_a_step,
    /// What is hidden is hidden in a copy, too, before it is copied.
    hide_in_a_copy,
    /// A timeline whose newest object is a marker is not whole: readers say so.
    report_a_removed_newest,
    /// A deletion removes the newest step first.
    delete_newest_first,
    /// The search lists from the hint on: the first missing number may be in a gap.
    list_from_the_hint,
    /// A head below the hint is an error.
    hint_is_a_witness,
    /// A catalogue holds only for steps that a listing has, too.
    listing_refutes_the_catalogue,
}
