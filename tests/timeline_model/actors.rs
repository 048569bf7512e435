//! All that can happen next in a state.

use crate::claiming::{Claim, arrive};
use crate::event::Did;
use crate::state::{Actor, At, NOBODY, SOURCE, State, Step, TARGET};
use crate::store::{Object, Set};
use crate::turn::{Event, Turn};
use crate::world::{Role, World};
use crate::{collector, copier, deleter, forker, pruner, reader, writer};

/// Collects all states that can come next.
pub(crate) fn next(world: &World, state: &State, next: &mut Vec<(Event, State)>) {
    for (role, who) in world.actors.iter().zip(0..) {
        let mut turn = Turn { world, state, who, next: &mut *next };
        match role {
            Role::Writer { .. } | Role::WriterOfTheCopy => writer::next(&mut turn),
            Role::Pruner { .. } => pruner::next(&mut turn),
            Role::Deleter | Role::DeleterOfTheCopy => deleter::next(&mut turn),
            Role::Collector | Role::CollectorOfTheCopy => collector::next(&mut turn),
            Role::Copier => copier::next(&mut turn),
            Role::Forker(_) => forker::next(&mut turn),
            Role::Reader | Role::Cataloguer | Role::Historian => reader::next(&mut turn),
        }
        arrive_late(&mut turn);
    }
    if state.weeks > 0 {
        let mut later = *state;
        later.pass_a_week();
        next.push((Event { who: NOBODY, did: Did::PassAWeek }, later));
    }
    if state.losses > 0 && !state.actors.iter().any(Actor::is_working) {
        lose(world, state, next);
    }
}

/// A request arrives that its sender has given up waiting for.
fn arrive_late(turn: &mut Turn<'_>) {
    let me = turn.me();
    let number = me.in_flight;
    if number == 0 {
        return;
    }
    let arrived = Actor { in_flight: 0, in_flight_refs: Set::default(), ..me };
    if turn.timeline().get(number) != Object::Nothing {
        return turn.learn(Did::Arrive(number), arrived);
    }
    let waits = matches!(me.at, At::Unsure | At::ClaimingAgain | At::CheckingGaps) && me.highest + 1 == number;
    let claim = match turn.role() {
        Role::Deleter | Role::DeleterOfTheCopy => Claim::End,
        _ if me.restated > 0 && waits => {
            let restated = turn.state.step(me.restated - 1);
            Claim::Step(Step { state: restated.state, labelled: restated.labelled, ..Step::new(SOURCE) })
        }
        role => Claim::Step(Step { refs: me.in_flight_refs, ..Step::new(role.timeline()) }),
    };
    let who = if waits { turn.who } else { NOBODY };
    let state = arrive(turn.state, turn.role().timeline(), who, number, claim);
    turn.change(Did::Arrive(number), arrived, state);
}

/// The storage loses its newest step, to which the hint points; or that of a copy. An actor that has found the
/// head before cannot notice, so nobody is at work.
fn lose(world: &World, state: &State, next: &mut Vec<(Event, State)>) {
    let place = if world.is_copied() { TARGET } else { SOURCE };
    let timeline = &state.timelines[place];
    let Some(number) = timeline.present().highest().filter(|number| place == TARGET || *number == timeline.hint) else { return };
    let Object::Step(id) = timeline.get(number) else { return };
    let lost = if place == SOURCE { state.lost.with(id) } else { state.lost };
    let mut state = State { losses: state.losses - 1, lost, ..*state };
    state.timelines[place].put(number, Object::Nothing);
    next.push((Event { who: NOBODY, did: Did::Lose(number) }, state));
}
