//! What must never happen.

use crate::state::{Actor, At, SOURCE, STEPS, State, TARGET, Wrong};
use crate::store::{Object, Set, Timeline};
use crate::world::{Policy, Role, World};

/// Returns what is wrong in a state: something that must not be there, or an answer that was
/// not true.
pub(crate) fn violation(world: &World, state: &State) -> Option<&'static str> {
    if let Some(wrong) = state.wrong {
        return Some(told(wrong));
    }
    if is_dangling(state, SOURCE) {
        return Some("a visible step refers to one that is gone");
    }
    if is_lost(state) {
        return Some("an acknowledged state is lost that no policy dropped");
    }
    if is_last_dropped(world, state) {
        return Some("one of the newest states was dropped that all policies keep");
    }
    let visible = visible(state, SOURCE);
    if !visible.intersection(state.gone).is_empty() {
        return Some("a dropped step is still visible after the prune");
    }
    if visible.items().any(|id| state.ended.has(id) || state.ended.has(state.step(id).state)) {
        return Some("a deleted step is visible");
    }
    if state.timelines.iter().any(has_left_steps) {
        return Some("a deletion has left a step");
    }
    if world.is_copied() { violation_of_the_copy(world, state) } else { None }
}

fn told(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::ConflictOfAStoredStep => "a writer reports a conflict for a step that it has stored",
        Wrong::NothingWasSaved => "a writer reports a step as saved that is not stored",
        Wrong::OlderForNewest => "a reader takes an older step for the newest",
        Wrong::TwoOfANumber => "two acknowledged steps have the same number",
        Wrong::DroppedInHistory => "the history shows a dropped step",
    }
}

/// Returns the steps that users can see: neither hidden nor below an END.
fn visible(state: &State, timeline: usize) -> Set {
    let timeline = &state.timelines[timeline];
    let steps = timeline.steps();
    let unseen = timeline.hidden.union(Set::up_to(timeline.end()));
    steps.minus(state.with_numbers(steps, unseen))
}

fn is_dangling(state: &State, timeline: usize) -> bool {
    let objects = &state.timelines[timeline];
    let is_there = |id: u8| objects.get(state.step(id).number) == Object::Step(id);
    let refs = |id: u8| state.step(id).refs.minus(state.lost);
    visible(state, timeline).items().any(|id| !refs(id).items().all(is_there))
}

/// Whether the newest step with an acknowledged state is neither there nor was dropped.
fn is_lost(state: &State) -> bool {
    let excused = state.dropped.union(state.ended).union(state.lost);
    let visible = visible(state, SOURCE).union(visible(state, TARGET));
    let acknowledged = || (0..STEPS as u8).filter(|id| state.step(*id).acknowledged);
    let is_newest = |id: &u8| !acknowledged().any(|newer| newer > *id && state.step(newer).state == state.step(*id).state);
    acknowledged().filter(is_newest).any(|id| !excused.has(id) && !visible.has(id))
}

/// Whether one of the newest states was dropped, as many as all policies keep.
fn is_last_dropped(world: &World, state: &State) -> bool {
    let kept = |role: &Role| match role {
        Role::Pruner { policy: Policy::KeepLast(count), .. } => Some(usize::from(*count)),
        Role::Pruner { policy: Policy::KeepLabelled, .. } => Some(0),
        _ => None,
    };
    let Some(count) = world.actors.iter().filter_map(kept).min() else { return false };
    let is_here = |id: &u8| state.step(*id).number > 0 && usize::from(state.step(*id).home) == SOURCE;
    let newest_first = || (0..STEPS as u8).rev().filter(is_here);
    let newest_with = |first: u8| newest_first().find(|id| state.step(*id).state == first);
    let newest_states = newest_first().filter(|id| state.step(*id).state == *id).take(count);
    newest_states.filter_map(newest_with).any(|id| state.dropped.has(id) && !state.ended.has(id))
}

fn has_left_steps(timeline: &Timeline) -> bool {
    let steps = timeline.numbers(|object| matches!(object, Object::Step(_)));
    !steps.minus(timeline.gaps).intersection(Set::up_to(timeline.cleared)).is_empty()
}

/// The actors that copy or fork the timeline.
fn copiers<'a>(world: &'a World, state: &'a State) -> impl Iterator<Item = &'a Actor> {
    let is_copier = |role: &Role| matches!(role, Role::Copier | Role::Forker(_));
    state.actors.iter().zip(&world.actors).filter(move |(_, role)| is_copier(role)).map(|(actor, _)| actor)
}

/// Whether readers are told that the copy is not whole.
fn is_told(world: &World, copy: &Timeline) -> bool {
    let newest = copy.present().union(copy.gaps).highest().unwrap_or(0);
    newest < copy.hint || matches!(copy.get(newest), Object::Marker(_)) && world.rules.report_a_removed_newest
}

/// The number that the newest step of a copy or fork has at least, if readers are not told that it is not
/// whole.
fn wanted(world: &World, state: &State) -> u8 {
    let initial = if world.copied > 0 { world.copied } else { world.steps.len() as u8 };
    let wanted = |role: &Role| match role {
        Role::Copier => Some(initial),
        Role::Forker(number) => Some(*number),
        _ => None,
    };
    let finished = copiers(world, state).filter(|actor| actor.rounds > 0).map(|actor| actor.highest).max();
    finished.or_else(|| world.actors.iter().filter_map(wanted).min()).unwrap_or(0)
}

/// What is in the target is a whole timeline, or readers are told that it is not. Nothing in it is
/// mixed with what somebody else has begun there.
fn violation_of_the_copy(world: &World, state: &State) -> Option<&'static str> {
    let copy = &state.timelines[TARGET];
    let of = |home: usize| copy.steps().items().filter(move |id| usize::from(state.step(*id).home) == home).fold(Set::default(), Set::with);
    let (copied, own) = (state.numbers_of(of(SOURCE)), state.numbers_of(of(TARGET)));
    if own.lowest().is_some_and(|own| copied.highest().is_some_and(|copied| own < copied)) {
        return Some("two timelines are mixed");
    }
    let ends = copy.numbers(|object| matches!(object, Object::End(who) if world.actors[usize::from(who)] == Role::Deleter));
    if ends.highest().is_some_and(|end| !copied.intersection(Set::up_to(end.min(world.copied))).is_empty()) {
        return Some("an earlier copy was deleted with its source");
    }
    if is_told(world, copy) {
        let is_author_done = copy.hint_by > 0 && state.actors[usize::from(copy.hint_by) - 1].at == At::Done;
        let is_left = is_author_done && !copiers(world, state).any(Actor::is_working);
        return match world.losses {
            0 if is_left && !own.is_empty() => Some("a timeline seems to have lost its end, because a copy has left its hint"),
            0 if copiers(world, state).all(|actor| actor.rounds > 0) => Some("a finished copy is not whole"),
            _ => None,
        };
    }
    if is_dangling(state, TARGET) {
        return Some("a visible step of the copy refers to one that is not there");
    }
    let present = copy.present().union(copy.gaps);
    if present != Set::up_to(present.highest().unwrap_or(0)) {
        return Some("a number is missing in the copy");
    }
    let newest = present.highest().unwrap_or(0);
    let is_whole = match copy.get(newest) {
        Object::Step(id) => usize::from(state.step(id).home) == TARGET || newest >= wanted(world, state),
        Object::Marker(_) => false,
        Object::End(_) | Object::Nothing => true,
    };
    if !is_whole {
        return Some("a part of a copy looks like the whole");
    }
    let finished = copiers(world, state).filter(|actor| actor.rounds > 0);
    let dropped_before = finished.fold(Set::default(), |dropped, actor| dropped.union(actor.dropped));
    (!visible(state, TARGET).intersection(dropped_before).is_empty()).then_some("a copy shows a step that had been dropped")
}
