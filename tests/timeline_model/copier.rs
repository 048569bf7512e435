//! Copies a timeline into an empty folder while others write, prune and delete it.

use crate::event::{Did, Reply};
use crate::finding::find;
use crate::state::{Actor, At, SOURCE, State, TARGET};
use crate::store::{Object, Set, Timeline};
use crate::turn::Turn;

/// Makes one request. The highest number to copy is `highest`; `listed` has the numbers that
/// are claimed, and `remove` those that are not copied yet.
pub(crate) fn next(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::Claiming => claim(turn, me),
        At::Copying | At::Finishing => copy(turn, me),
        At::ListingAgain => list_again(turn, me),
        At::Hiding => hide(turn, me),
        _ => find(turn, found),
    }
}

fn target(state: &State, change: impl FnOnce(&mut Timeline)) -> State {
    let mut state = *state;
    change(&mut state.timelines[TARGET]);
    state
}

fn found(turn: &mut Turn<'_>, did: Did, me: Actor, head: Object) {
    let remove = Set::up_to(me.highest);
    // Without a second look at the source, its first listing has to do.
    let hide = if turn.world.rules.carry_hides_over { Set::default() } else { me.hidden };
    let me = Actor { highest: me.highest, hide, remove, ..me.fresh(At::Start) };
    let me = match head {
        Object::Step(_) => then(turn, me),
        Object::Marker(_) => me.fresh(At::Start),
        Object::Nothing | Object::End(_) | Object::Building(_) => me.fresh(At::Done),
    };
    turn.learn(did, me);
}

/// Returns the number to claim before the next step is copied, and 0 if it is claimed.
fn unclaimed(turn: &Turn<'_>, me: Actor) -> u8 {
    let rules = turn.world.rules;
    let next = me.remove.lowest().unwrap_or(0);
    match me {
        _ if me.listed.is_empty() && rules.claim_the_first_of_a_copy => 1,
        _ if next < me.highest && !me.listed.has(next + 1) && rules.claim_the_next_before_copying => next + 1,
        _ => 0,
    }
}

/// What follows a claim, or a step that was copied.
fn then(turn: &Turn<'_>, me: Actor) -> Actor {
    let at = match me {
        me if me.remove.is_empty() => return me.done(),
        me if unclaimed(turn, me) > 0 => At::Claiming,
        me if me.remove.lowest() < Some(me.highest) => At::Copying,
        _ => At::ListingAgain,
    };
    Actor { at, ..me }
}

/// The newest step makes the copy visible, so the hides come before it.
fn hide_or_finish(me: Actor) -> Actor {
    Actor { at: if me.hide.is_empty() { At::Finishing } else { At::Hiding }, ..me }
}

fn claim(turn: &mut Turn<'_>, me: Actor) {
    let number = unclaimed(turn, me);
    if turn.state.timelines[TARGET].get(number) != Object::Nothing {
        return turn.learn(Did::ClaimCopy(number, Reply::Conflict), me.fresh(At::Done));
    }
    let state = target(turn.state, |timeline| timeline.put(number, Object::Building(turn.who)));
    let me = then(turn, Actor { listed: me.listed.with(number), ..me });
    turn.change(Did::ClaimCopy(number, Reply::Taken), me, state);
}

/// Copies the next step, or what is in its place.
fn copy(turn: &mut Turn<'_>, me: Actor) {
    let source = &turn.state.timelines[SOURCE];
    let Some(number) = me.remove.lowest() else { return };
    // What is below an END was deleted.
    let is_gap = source.gaps.has(number) || source.end() < me.highest && number <= source.end();
    let object = if is_gap { Object::Nothing } else { source.get(number) };
    let did = Did::Copy(number, object);
    let there = turn.state.timelines[TARGET].get(number);
    let is_claimed = if me.listed.has(number) { there == Object::Building(turn.who) } else { there == Object::Nothing };
    if !is_claimed && turn.world.rules.replace_only_the_claim {
        return turn.learn(did, me.fresh(At::Done));
    }
    match object {
        Object::Step(_) => {}
        _ if number != me.highest => {}
        // Its remover has claimed a newer number, up to which the copy goes on.
        Object::Marker(_) => return go_on(turn, did, me),
        Object::Nothing if is_gap => return go_on(turn, did, me),
        // The session was deleted.
        Object::Nothing | Object::End(_) | Object::Building(_) => return turn.learn(did, me.fresh(At::Done)),
    }
    let state = target(turn.state, |timeline| {
        timeline.put(number, object);
        timeline.gaps = if is_gap { timeline.gaps.with(number) } else { timeline.gaps };
    });
    let me = Actor { remove: me.remove.without(number), ..me };
    turn.change(did, then(turn, me), state);
}

fn go_on(turn: &mut Turn<'_>, did: Did, me: Actor) {
    let highest = me.highest + 1;
    if turn.world.has_room(highest) {
        let me = Actor { highest, remove: me.remove.with(highest), ..me };
        turn.learn(did, then(turn, me));
    }
}

/// Hides in the copy what the source has hidden or removed since. The END means that the
/// source may have been half deleted while it was copied.
fn list_again(turn: &mut Turn<'_>, me: Actor) {
    let rules = turn.world.rules;
    let source = &turn.state.timelines[SOURCE];
    let is_deleted = source.end() > me.highest || source.gaps.has(me.highest);
    if is_deleted && rules.end_stops_a_copy {
        return turn.learn(Did::ListAgain, me.fresh(At::Done));
    }
    let removed = source.numbers(|object| matches!(object, Object::Marker(_))).union(source.gaps);
    let copied = turn.state.timelines[TARGET].numbers(|object| matches!(object, Object::Step(_)));
    let hidden = source.hidden.intersection(copied.with(me.highest));
    let hide = if rules.carry_hides_over { hidden.union(removed.intersection(copied)) } else { me.hide };
    turn.learn(Did::ListAgain, hide_or_finish(Actor { hide, ..me }));
}

fn hide(turn: &mut Turn<'_>, me: Actor) {
    let Some(number) = me.hide.highest() else { return };
    let state = target(turn.state, |timeline| timeline.hidden = timeline.hidden.with(number));
    let me = hide_or_finish(Actor { hide: me.hide.without(number), ..me });
    turn.change(Did::Hide(number), me, state);
}
