//! Forks a timeline at one of its steps, into an empty folder, while others write, prune and
//! delete it.

use crate::event::Did;
use crate::state::{Actor, At, SOURCE, State, TARGET};
use crate::store::{Object, Set, Timeline};
use crate::turn::Turn;
use crate::world::Role;

/// Makes one request. The step to fork at is `highest`; `remove` has the numbers that are not
/// copied yet, and `hide` those of them that are hidden. `dropped` has the steps that were
/// dropped before.
pub(crate) fn next(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::Start => look(turn, me),
        At::Listing => list(turn, me),
        At::Hinting => hint(turn, me),
        At::Hiding => hide(turn, me),
        At::Copying => copy(turn, me),
        _ => {}
    }
}

fn target(state: &State, change: impl FnOnce(&mut Timeline)) -> State {
    let mut state = *state;
    change(&mut state.timelines[TARGET]);
    state
}

/// Reads the step, for the hint. If it is gone, the fork is refused.
fn look(turn: &mut Turn<'_>, me: Actor) {
    let Role::Forker(number) = turn.role() else { unreachable!("only a forker forks") };
    let source = &turn.state.timelines[SOURCE];
    let object = if source.gaps.has(number) { Object::Nothing } else { source.get(number) };
    let is_visible = matches!(object, Object::Step(_)) && !source.hidden.has(number) && source.end() < number;
    let at = if is_visible { At::Listing } else { At::Done };
    turn.learn(Did::Read(number, object), Actor { highest: number, dropped: turn.state.gone, ..me.fresh(at) });
}

fn list(turn: &mut Turn<'_>, me: Actor) {
    if !turn.state.timelines[TARGET].present().is_empty() {
        return turn.learn(Did::List(0, 0), me.fresh(At::Done));
    }
    let remove = Set::up_to(me.highest);
    let hidden = turn.state.timelines[SOURCE].hidden.intersection(remove);
    let hide = if turn.world.rules.hide_in_a_fork { hidden } else { Set::default() };
    let me = Actor { hide, remove, ..me };
    let me = if turn.world.rules.hint_before_a_fork { Actor { at: At::Hinting, ..me } } else { then(turn, me) };
    turn.learn(Did::List(0, 0), me);
}

/// The hint names the step that comes last, so nobody takes a part for the whole.
fn hint(turn: &mut Turn<'_>, me: Actor) {
    let is_absent = turn.state.timelines[TARGET].hint == 0;
    let state = if is_absent { target(turn.state, |timeline| timeline.hint = me.highest) } else { *turn.state };
    turn.change(Did::WriteHint(me.highest), then(turn, me), state);
}

/// Returns the number to copy next.
fn following(turn: &Turn<'_>, me: Actor) -> u8 {
    let rules = turn.world.rules;
    let before = me.remove.without(me.highest);
    let next = if rules.fork_from_the_oldest { before.lowest() } else { before.highest() };
    match next {
        Some(next) if rules.fork_the_step_itself_last || !me.remove.has(me.highest) => next,
        _ => me.highest,
    }
}

fn then(turn: &Turn<'_>, me: Actor) -> Actor {
    if me.remove.is_empty() {
        return Actor { dropped: me.dropped, ..me.done() };
    }
    let at = if me.hide.has(following(turn, me)) { At::Hiding } else { At::Copying };
    Actor { at, ..me }
}

/// A hidden step is never shown in between.
fn hide(turn: &mut Turn<'_>, me: Actor) {
    let number = following(turn, me);
    let state = target(turn.state, |timeline| timeline.hidden = timeline.hidden.with(number));
    let me = then(turn, Actor { hide: me.hide.without(number), ..me });
    turn.change(Did::Hide(number), me, state);
}

/// Copies a step, or what is in its place.
fn copy(turn: &mut Turn<'_>, me: Actor) {
    let number = following(turn, me);
    let source = &turn.state.timelines[SOURCE];
    let is_gap = source.gaps.has(number);
    let object = if is_gap { Object::Nothing } else { source.get(number) };
    let did = Did::Copy(number, object);
    if turn.state.timelines[TARGET].get(number) != Object::Nothing {
        // Another writer is using the folder.
        return turn.learn(did, me.fresh(At::Done));
    }
    if number == me.highest && !matches!(object, Object::Step(_)) && turn.world.rules.refuse_a_fork_of_a_removed_step {
        return turn.learn(did, me.fresh(At::Start));
    }
    let state = target(turn.state, |timeline| {
        timeline.put(number, object);
        timeline.gaps = if is_gap { timeline.gaps.with(number) } else { timeline.gaps };
    });
    let me = Actor { remove: me.remove.without(number), ..me };
    turn.change(did, then(turn, me), state);
}
