//! Claiming the next number: a PUT with if-absent. After a lost reply a GET tells who has
//! the number. A claim that is a day late counts only if its number is in no gap.

use crate::event::{Did, Reply};
use crate::state::{Actor, At, NOBODY, State, Step, Wrong};
use crate::store::{Id, Object, Set};
use crate::turn::Turn;
use crate::world::Role;

/// What a number is claimed with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    Step(Step),
    End,
}

/// What an actor does with a number that is its own, in a state in which it knows this.
pub(crate) type Claimed = fn(&mut Turn<'_>, Did, Actor, State, Option<Id>);

/// Sends the claim. If its reply is lost, `me` remembers what was sent.
pub(crate) fn claim(turn: &mut Turn<'_>, me: Actor, claim: Claim, claimed: Claimed) {
    let number = me.highest + 1;
    if !turn.world.has_room(number) {
        return;
    }
    let told = |reply| match claim {
        Claim::Step(step) => Did::ClaimStep(number, turn.state.numbers_of(step.refs), reply),
        Claim::End => Did::ClaimEnd(number, reply),
    };
    let rules = turn.world.rules;
    if turn.timeline().get(number) != Object::Nothing && rules.claim_with_if_absent {
        // It may be the request that was sent before.
        let is_repeated = me.at == At::ClaimingAgain && rules.look_after_a_repeated_claim;
        return match is_repeated {
            true => turn.learn(told(Reply::Conflict), Actor { at: At::Unsure, ..me }),
            false => conflict(turn, told(Reply::Conflict), me, *turn.state),
        };
    }
    let arrived = arrive(turn.state, turn.role().timeline(), turn.who, number, claim);
    acknowledge(turn, told(Reply::Taken), me, arrived, claimed);
    if turn.state.faults > 0 && me.in_flight == 0 {
        let faults = turn.state.faults - 1;
        let unsure = Actor { at: At::Unsure, ..me };
        turn.change(told(Reply::Lost), unsure, State { faults, ..arrived });
        let Claim::Step(Step { refs, .. }) = claim else {
            return turn.change(told(Reply::Late), Actor { in_flight: number, ..unsure }, State { faults, ..*turn.state });
        };
        turn.change(told(Reply::Late), Actor { in_flight: number, in_flight_refs: refs, ..unsure }, State { faults, ..*turn.state });
    }
}

/// The storage carries out a claim whose number is free.
pub(crate) fn arrive(state: &State, timeline: usize, who: u8, number: u8, claim: Claim) -> State {
    let mut state = *state;
    match claim {
        Claim::Step(step) => {
            state.create(Step { number, author: who, ..step });
        }
        Claim::End => {
            let objects = &mut state.timelines[timeline];
            objects.put(number, Object::End(who));
            if !objects.gaps.has(number) {
                let is_own = |id: &u8| usize::from(state.steps[usize::from(*id)].home) == timeline;
                let ended = objects.steps().items().filter(is_own).fold(Set::default(), Set::with);
                state.ended = state.ended.union(ended);
            }
        }
    }
    state
}

/// Makes one request of those that follow a claim.
pub(crate) fn settle(turn: &mut Turn<'_>, claimed: Claimed) {
    let me = turn.me();
    let number = me.highest + 1;
    match me.at {
        At::Unsure => look(turn, me, number, claimed),
        At::CheckingGaps => {
            let gaps = turn.timeline().gaps;
            if gaps.has(number) {
                turn.learn(Did::ReadGaps(gaps), Actor { at: At::Withdrawing, ..me });
            } else {
                tell(turn, Did::ReadGaps(gaps), me, *turn.state, claimed);
            }
        }
        At::Withdrawing => {
            let mut state = turn.with(|timeline| timeline.put(number, Object::Nothing));
            // Nobody has seen a step that is in a gap, so its place can be used again.
            if let Object::Step(id) = turn.timeline().get(number) {
                state.forget(id);
            }
            conflict(turn, Did::Withdraw(number), me, state);
        }
        _ => {}
    }
}

/// Looks who has the number. A free number is claimed again with the same bytes.
fn look(turn: &mut Turn<'_>, me: Actor, number: u8, claimed: Claimed) {
    let rules = turn.world.rules;
    let object = turn.timeline().get(number);
    let did = Did::Look(number, object);
    let is_own = match object {
        Object::Step(id) => own(turn.state, turn.who, number) == Some(id),
        Object::Marker(id) => !rules.markers_carry_the_root || own(turn.state, turn.who, number) == Some(id),
        Object::End(who) => who == turn.who,
        Object::Nothing => false,
    };
    if is_own || !rules.look_after_a_lost_reply {
        acknowledge(turn, did, me, *turn.state, claimed);
    } else if object == Object::Nothing {
        turn.learn(did, Actor { at: At::ClaimingAgain, ..me });
    } else {
        conflict(turn, did, me, *turn.state);
    }
}

/// The actor knows that the number is its own, unless over a day has passed.
fn acknowledge(turn: &mut Turn<'_>, did: Did, me: Actor, state: State, claimed: Claimed) {
    let rules = turn.world.rules;
    let reads_gaps = match turn.role() {
        Role::Pruner { .. } => rules.late_pruners_read_the_gaps,
        Role::Deleter | Role::DeleterOfTheCopy => rules.late_deleters_read_the_gaps,
        _ => rules.late_writers_read_the_gaps,
    };
    let has_neighbour = turn.timeline().get(me.highest) != Object::Nothing;
    if me.is_late && reads_gaps && (rules.number_before_proves_nothing || !has_neighbour) {
        return turn.change(did, Actor { at: At::CheckingGaps, ..me }, state);
    }
    tell(turn, did, me, state, claimed);
}

fn tell(turn: &mut Turn<'_>, did: Did, me: Actor, mut state: State, claimed: Claimed) {
    let id = own(&state, turn.who, me.highest + 1);
    if let Some(id) = id {
        state.acknowledge(id);
    } else if !is_deleter(turn) {
        state.wrong = Some(Wrong::NothingWasSaved);
    }
    claimed(turn, did, me, state, id);
}

/// Another actor has the number: this one begins again, but for a deleter.
fn conflict(turn: &mut Turn<'_>, did: Did, me: Actor, mut state: State) {
    if let Some(id) = own(&state, turn.who, me.highest + 1) {
        if state.timelines[turn.role().timeline()].steps().has(id) {
            state.wrong = Some(Wrong::ConflictOfAStoredStep);
        }
        state.steps[usize::from(id)].author = NOBODY;
    }
    if !is_deleter(turn) {
        turn.change(did, me.fresh(At::Start), state);
    } else if turn.world.rules.conflict_stops_a_deletion {
        turn.change(did, me.fresh(At::Done), state);
    } else {
        turn.change(did, Actor { at: At::Removing, ..me }, state);
    }
}

fn is_deleter(turn: &Turn<'_>) -> bool {
    matches!(turn.role(), Role::Deleter | Role::DeleterOfTheCopy)
}

/// Returns the step that an actor has put at a number.
fn own(state: &State, who: u8, number: u8) -> Option<Id> {
    state.steps.iter().position(|step| step.number == number && step.author == who).map(|id| id as Id)
}
