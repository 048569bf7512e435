//! What a copy and a fork have in common: they copy a timeline up to one of its steps into
//! another folder, while others write, prune and delete it.

use crate::event::Did;
use crate::state::{Actor, At, SOURCE, State, TARGET};
use crate::store::{Object, Set, Timeline};
use crate::turn::Turn;

/// Makes one request. The step to copy last is `highest`. Of the source, `listed` has the
/// numbers that a listing has, `steps` the steps, `gaps` what is in a gap, and `read` the ends.
/// The target had numbers up to `floor`. `remove` has the numbers that are not copied yet, and `hide` those of them that are hidden. `hint` is `highest` if the hint of the target
/// is its own. `dropped` has the steps that must not be in the copy.
pub(crate) fn next(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::ListingSource => list_source(turn, me),
        At::ListingTarget => list_target(turn, me),
        At::Filling => fill(turn, me),
        At::Hinting => hint(turn, me),
        At::Hiding => hide(turn, me),
        At::Copying => copy(turn, me),
        At::GivingUp => give_up(turn, me),
        _ => {}
    }
}

fn target(state: &State, change: impl FnOnce(&mut Timeline)) -> State {
    let mut state = *state;
    change(&mut state.timelines[TARGET]);
    state
}

fn with_step(steps: Set, object: Object) -> Set {
    if let Object::Step(id) = object { steps.with(id) } else { steps }
}

/// Any one object can be missing in the listing.
fn list_source(turn: &mut Turn<'_>, me: Actor) {
    let source = turn.state.timelines[SOURCE];
    let present = source.numbers(|object| object != Object::Nothing).intersection(Set::up_to(me.highest));
    let holes = if turn.world.holes { present } else { Set::default() };
    let ends = source.numbers(|object| matches!(object, Object::End(_)));
    for hole in std::iter::once(0).chain(holes.items()) {
        let listed = present.without(hole);
        let steps = listed.items().fold(Set::default(), |steps, number| with_step(steps, source.get(number)));
        let me = Actor { at: At::ListingTarget, listed, steps, read: ends, dropped: turn.state.gone, ..me };
        let me = Actor { gaps: source.gaps, hidden: source.hidden, ..me };
        turn.learn(Did::List(hole, 0), me);
    }
}

/// Whether the target has what the source has at a number, or what that has replaced. None if
/// the source no longer tells.
fn is_same(state: &State, number: u8) -> Option<bool> {
    let [source, target] = &state.timelines;
    match (source.get(number), target.get(number)) {
        (Object::Nothing, Object::Nothing) if source.gaps.has(number) && target.gaps.has(number) => Some(true),
        (Object::Nothing, _) | (_, Object::Nothing) => None,
        (Object::Marker(removed), Object::Step(copied)) => Some(removed == copied),
        (theirs, ours) => Some(theirs == ours),
    }
}

/// What is there has to be an earlier copy.
fn list_target(turn: &mut Turn<'_>, me: Actor) {
    let rules = turn.world.rules;
    let there = turn.state.timelines[TARGET];
    let last = there.present().union(there.gaps).highest().unwrap_or(0);
    let is_other = last > me.highest || is_same(turn.state, last) != Some(true);
    let has_ended = me.read.highest().unwrap_or(0) > last && !there.steps().is_empty();
    let did = Did::ListTarget(last);
    if last > 0 && (is_other && rules.continue_only_the_same || has_ended && rules.keep_what_was_copied) {
        return turn.learn(did, Actor { highest: me.highest, ..me.fresh(At::GivingUp) });
    }
    let remove = Set::up_to(me.highest).minus(Set::up_to(last));
    let hide = if rules.hide_in_a_copy { me.hidden.intersection(remove) } else { Set::default() };
    let dropped = turn.state.with_numbers(me.dropped, remove);
    let me = Actor { floor: last, remove, hide, hidden: Set::default(), dropped, ..me };
    turn.learn(did, fill_or_hint(turn, me));
}

/// The numbers that the listing lacks, although they are in no gap.
fn unlisted(turn: &Turn<'_>, me: Actor) -> Set {
    let missing = me.remove.minus(me.listed).minus(me.gaps);
    if turn.world.rules.fill_what_a_listing_lacks { missing } else { Set::default() }
}

fn fill_or_hint(turn: &Turn<'_>, me: Actor) -> Actor {
    match me {
        me if !unlisted(turn, me).is_empty() => Actor { at: At::Filling, ..me },
        me if me.floor == 0 && turn.world.rules.hint_before_a_copy => Actor { at: At::Hinting, ..me },
        me => then(turn, me),
    }
}

fn fill(turn: &mut Turn<'_>, me: Actor) {
    let Some(number) = unlisted(turn, me).lowest() else { return };
    let object = turn.state.timelines[SOURCE].get(number);
    let me = match object {
        // It has gone into a gap since the listing.
        Object::Nothing => Actor { gaps: me.gaps.with(number), ..me },
        object => Actor { listed: me.listed.with(number), steps: with_step(me.steps, object), ..me },
    };
    turn.learn(Did::Probe(number, object), fill_or_hint(turn, me));
}

/// Whether nothing is copied yet.
fn is_begun(me: Actor) -> bool {
    me.remove != Set::up_to(me.highest).minus(Set::up_to(me.floor))
}

/// The hint names the step that comes last, so nobody takes a part for the whole. At first it
/// does not replace another one.
fn hint(turn: &mut Turn<'_>, me: Actor) {
    let is_written = is_begun(me) || turn.state.timelines[TARGET].hint == 0;
    let state = target(turn.state, |timeline| {
        if is_written {
            (timeline.hint, timeline.hint_by) = (me.highest, turn.who + 1);
        }
    });
    let me = Actor { hint: if is_written { me.highest } else { 0 }, ..me };
    turn.change(Did::WriteHint(me.highest), go_on(turn, me), state);
}

/// Returns the number to copy next.
fn following(turn: &Turn<'_>, me: Actor) -> u8 {
    let rules = turn.world.rules;
    let before = me.remove.without(me.highest);
    let next = if rules.copy_from_the_oldest { before.lowest() } else { before.highest() };
    match next {
        Some(next) if rules.copy_the_newest_last || !me.remove.has(me.highest) => next,
        _ => me.highest,
    }
}

fn then(turn: &Turn<'_>, me: Actor) -> Actor {
    let is_hinting = me.remove.is_empty() && is_begun(me) && me.hint != me.highest && turn.world.rules.hint_after_a_copy;
    if is_hinting { Actor { at: At::Hinting, ..me } } else { go_on(turn, me) }
}

fn go_on(turn: &Turn<'_>, me: Actor) -> Actor {
    if me.remove.is_empty() {
        return Actor { highest: me.highest, dropped: me.dropped, ..me.done() };
    }
    let at = if me.hide.has(following(turn, me)) { At::Hiding } else { At::Copying };
    Actor { at, ..me }
}

/// A hidden step is never shown in between.
fn hide(turn: &mut Turn<'_>, me: Actor) {
    let number = following(turn, me);
    let state = target(turn.state, |timeline| timeline.hidden = timeline.hidden.with(number));
    let me = go_on(turn, Actor { hide: me.hide.without(number), ..me });
    turn.change(Did::Hide(number), me, state);
}

/// Copies a step, or what is in its place.
fn copy(turn: &mut Turn<'_>, me: Actor) {
    let rules = turn.world.rules;
    let number = following(turn, me);
    let source = &turn.state.timelines[SOURCE];
    let is_listed = me.listed.has(number);
    let object = if is_listed { source.get(number) } else { Object::Nothing };
    let did = Did::Copy(number, object);
    // Gone, or it has gone into a gap since the listing: the gap has to be seen.
    let is_gone = match object {
        // Another step is in a gap, and its writer is about to remove it.
        Object::Step(id) => !me.steps.has(id) && rules.copy_only_what_was_listed,
        Object::End(_) if !me.read.has(number) => rules.copy_only_what_was_listed,
        _ if number == me.highest => rules.copy_the_newest_only_as_a_step,
        object => is_listed && object == Object::Nothing && rules.begin_again_at_a_gap,
    };
    if is_gone {
        return turn.learn(did, me.fresh(At::Start));
    }
    if turn.state.timelines[TARGET].get(number) != Object::Nothing && rules.copy_if_absent {
        // Another writer is using the folder.
        return turn.learn(did, Actor { highest: me.highest, ..me.fresh(At::GivingUp) });
    }
    let state = target(turn.state, |timeline| {
        timeline.put(number, object);
        timeline.gaps = if me.gaps.has(number) { timeline.gaps.with(number) } else { timeline.gaps };
    });
    let me = Actor { remove: me.remove.without(number), ..me };
    turn.change(did, then(turn, me), state);
}

/// Another timeline has begun in the folder, and by the hint, which may be the same as that of
/// another copy, it would have lost its end. Another copy of the same timeline needs the hint.
fn give_up(turn: &mut Turn<'_>, me: Actor) {
    let rules = turn.world.rules;
    let there = turn.state.timelines[TARGET];
    let last = there.present().union(there.gaps).highest().unwrap_or(0);
    let is_own = there.hint_by == turn.who + 1 || there.hint == me.highest;
    let is_other = is_same(turn.state, last.min(me.highest)) == Some(false) || !rules.keep_the_hint_of_another_copy;
    let done = me.fresh(At::Done);
    if is_own && is_other && rules.remove_the_hint_after_a_conflict {
        let state = target(turn.state, |timeline| (timeline.hint, timeline.hint_by) = (0, 0));
        turn.change(Did::RemoveHint, done, state);
    } else {
        turn.learn(Did::ListTarget(last), done);
    }
}
