//! Drops the steps that a policy does not keep: reads them, claims the next number if it
//! removes the head or what the head refers to, hides, and removes.

use crate::claiming::{Claim, claim, settle};
use crate::event::Did;
use crate::finding::find;
use crate::state::{Actor, At, State, Step};
use crate::store::{Id, Object, Set};
use crate::turn::Turn;
use crate::world::{Policy, Role};

pub(crate) fn next(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::Reading => read(turn, me),
        At::Claiming | At::ClaimingAgain => claim(turn, me, Claim::Step(restating(turn.state, me)), claimed),
        At::Hiding => hide(turn, me),
        At::Removing => remove(turn, me),
        _ => {
            find(turn, found);
            settle(turn, claimed);
        }
    }
}

fn options(turn: &Turn<'_>) -> (Policy, bool, bool) {
    let Role::Pruner { policy, restates, hides_all_first } = turn.role() else { unreachable!("only a pruner prunes") };
    (policy, restates, hides_all_first)
}

fn found(turn: &mut Turn<'_>, did: Did, me: Actor, head: Object) {
    let below_end = if turn.world.rules.ignore_what_is_below_an_end { Set::up_to(turn.timeline().end()) } else { Set::default() };
    let me = Actor { listed: Set::default(), gaps: Set::default(), read: me.read.minus(below_end), ..me };
    match head {
        // There is nothing to prune.
        Object::Nothing | Object::End(_) => turn.learn(did, me.fresh(At::Done)),
        Object::Step(_) | Object::Marker(_) => turn.learn(did, Actor { at: At::Reading, ..me }),
    }
}

/// Reads the document of the next step, which tells what the step refers to; the newest
/// first.
fn read(turn: &mut Turn<'_>, me: Actor) {
    let number = me.read.highest().unwrap_or(me.highest);
    let object = turn.timeline().get(number);
    let did = Did::Read(number, object);
    let me = Actor { read: me.read.without(number), ..me };
    if me.is_late && turn.world.rules.list_again_after_a_day {
        return turn.learn(did, me.fresh(At::Start));
    }
    let me = match object {
        Object::Step(id) => Actor { steps: me.steps.with(id), ..me },
        // What the head referred to is not known, and a newer step may refer to it.
        _ if number == me.highest && turn.world.rules.list_again_at_a_marker => return turn.learn(did, me.fresh(At::Start)),
        _ => me,
    };
    if me.read.is_empty() { decide(turn, did, me) } else { turn.learn(did, me) }
}

/// The step that holds the newest kept state once more, and refers to nothing.
fn restating(state: &State, me: Actor) -> Step {
    let restated = *state.step(me.restated - 1);
    Step { state: restated.state, labelled: restated.labelled, ..Step::new(usize::from(restated.home)) }
}

/// What the policy decides on: the visible steps, without those that a newer one restates.
fn candidates(turn: &Turn<'_>, me: Actor) -> Set {
    let visible = me.steps.minus(turn.state.with_numbers(me.steps, me.hidden));
    let is_restated = |id: &u8| visible.items().any(|newer| newer > *id && turn.state.step(newer).state == turn.state.step(*id).state);
    let restated = visible.items().filter(is_restated).fold(Set::default(), Set::with);
    if turn.world.rules.count_a_restated_state_once { visible.minus(restated) } else { visible }
}

fn decide(turn: &mut Turn<'_>, did: Did, me: Actor) {
    let (policy, restates, _) = options(turn);
    let kept = policy.kept(turn.state, candidates(turn, me));
    let head = turn.state.with_numbers(me.steps, Set::default().with(me.highest));
    let frees_something = !turn.state.closure(head).minus(kept).is_empty();
    match kept.highest() {
        Some(newest) if restates && frees_something => {
            let me = Actor { restated: newest + 1, ..me };
            if turn.world.rules.claim_before_removing {
                turn.learn(did, Actor { at: At::Claiming, ..me });
            } else {
                drop_all_but(turn, did, me, *turn.state, kept.without(newest), Set::default());
            }
        }
        _ => {
            let head = if turn.world.rules.keep_the_highest { head } else { Set::default() };
            drop_all_but(turn, did, me, *turn.state, kept, head);
        }
    }
}

fn claimed(turn: &mut Turn<'_>, did: Did, me: Actor, state: State, _: Option<Id>) {
    if me.dropped.is_empty() {
        let kept = options(turn).0.kept(&state, candidates(turn, me)).without(me.restated - 1);
        drop_all_but(turn, did, me, state, kept, Set::default());
    } else {
        turn.change(did, me.done(), state);
    }
}

/// Keeps `kept` and `head`, and all that these refer to, which is hidden if it is not in
/// `kept`.
fn drop_all_but(turn: &mut Turn<'_>, did: Did, me: Actor, state: State, kept: Set, head: Set) {
    let needed = state.closure(kept.union(head));
    let remove = me.steps.minus(needed);
    let not_yet_hidden = me.steps.minus(state.with_numbers(me.steps, me.hidden));
    let (_, _, hides_all_first) = options(turn);
    let hide = if !turn.world.rules.hide_what_must_stay {
        Set::default()
    } else if hides_all_first && turn.world.rules.hide_all_or_remove_newest_first {
        needed.minus(kept).union(remove).intersection(not_yet_hidden)
    } else {
        needed.minus(kept).intersection(not_yet_hidden)
    };
    let dropped = me.steps.minus(kept);
    go_on(turn, did, Actor { hide, remove, dropped, ..me }, state);
}

/// Goes to what is left to do.
fn go_on(turn: &mut Turn<'_>, did: Did, me: Actor, mut state: State) {
    if !me.hide.is_empty() {
        return turn.change(did, Actor { at: At::Hiding, ..me }, state);
    }
    if !me.remove.is_empty() {
        return turn.change(did, Actor { at: At::Removing, ..me }, state);
    }
    state.gone = state.gone.union(me.dropped);
    let claims_last = me.restated > 0 && !turn.world.rules.claim_before_removing;
    turn.change(did, if claims_last { Actor { at: At::Claiming, ..me } } else { me.done() }, state);
}

/// The policy dropped a step, unless its state is restated.
fn dropped(state: State, me: Actor, id: Id) -> State {
    if id + 1 == me.restated { state } else { State { dropped: state.dropped.with(id), ..state } }
}

fn hide(turn: &mut Turn<'_>, me: Actor) {
    let Some(id) = me.hide.highest() else { return };
    let number = turn.state.step(id).number;
    let state = turn.with(|timeline| timeline.hidden = timeline.hidden.with(number));
    go_on(turn, Did::Hide(number), Actor { hide: me.hide.without(id), ..me }, dropped(state, me, id));
}

/// Newest first; or in any order, here the worst, if all were hidden first.
fn remove(turn: &mut Turn<'_>, me: Actor) {
    let rules = turn.world.rules;
    let (_, _, hides_all_first) = options(turn);
    let newest_first = rules.hide_all_or_remove_newest_first && !hides_all_first;
    let Some(id) = (if newest_first { me.remove.highest() } else { me.remove.lowest() }) else { return };
    let number = turn.state.step(id).number;
    let object = if rules.overwrite_by_a_marker { Object::Marker(id) } else { Object::Nothing };
    let state = turn.with(|timeline| timeline.put(number, object));
    let did = Did::Remove(number, rules.overwrite_by_a_marker);
    go_on(turn, did, Actor { remove: me.remove.without(id), ..me }, dropped(state, me, id));
}
