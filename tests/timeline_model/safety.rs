//! What must never happen.

use crate::state::{SOURCE, STEPS, State, TARGET, Wrong};
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
    let forked_at = |role: &Role| if let Role::Forker(number) = role { Some(*number) } else { None };
    match world.actors.iter().find_map(forked_at) {
        Some(number) => violation_of_the_fork(world, state, number),
        None => violation_of_the_copy(world, state),
    }
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

/// A copy is complete, or shows that it is not; and nobody writes below its claim.
fn violation_of_the_copy(world: &World, state: &State) -> Option<&'static str> {
    let copy = &state.timelines[TARGET];
    if copy.is_building() {
        let acknowledged = |id: u8| usize::from(state.step(id).home) == TARGET && state.step(id).acknowledged;
        return copy.steps().items().any(acknowledged).then_some("a step was acknowledged in a copy that is not complete");
    }
    let is_copied = |id: &u8| usize::from(state.step(*id).home) == SOURCE;
    let copied = copy.steps().items().filter(is_copied).fold(Set::default(), Set::with);
    if state.numbers_of(copied).minus(Set::up_to(copy.end())).highest().is_some_and(|highest| usize::from(highest) < world.steps.len()) {
        return Some("a part of a copy looks like the whole");
    }
    is_dangling(state, TARGET).then_some("a visible step of the copy refers to one that is not there")
}

/// A fork is whole, or its hint shows that it is not. If somebody begins a timeline in its folder
/// at the same moment, the fork is refused, and what it has copied is a part of that timeline.
fn violation_of_the_fork(world: &World, state: &State, number: u8) -> Option<&'static str> {
    let fork = &state.timelines[TARGET];
    let is_whole = fork.present().highest().unwrap_or(0) >= fork.hint;
    let is_refused = state.steps.iter().any(|step| usize::from(step.home) == TARGET && (1..=number).contains(&step.number));
    if (is_whole || is_refused) && is_dangling(state, TARGET) {
        return Some("a visible step of the fork refers to one that is not there");
    }
    if !is_whole || is_refused {
        return None;
    }
    let is_copied = |id: &u8| usize::from(state.step(*id).home) == SOURCE;
    let copied = fork.steps().items().filter(is_copied).fold(Set::default(), Set::with);
    if state.numbers_of(copied).minus(Set::up_to(fork.end())).highest().is_some_and(|highest| highest < number) {
        return Some("a part of a fork looks like the whole");
    }
    let forkers = world.actors.iter().zip(&state.actors).filter(|(role, _)| matches!(role, Role::Forker(_)));
    let dropped_before = forkers.fold(Set::default(), |dropped, (_, actor)| dropped.union(actor.dropped));
    (!visible(state, TARGET).intersection(dropped_before).is_empty()).then_some("a fork shows a step that had been dropped")
}
