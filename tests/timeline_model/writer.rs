//! Appends steps: finds the head, and claims the next number with the step itself.

use crate::claiming::{Claim, claim, settle};
use crate::event::Did;
use crate::finding::find;
use crate::state::{Actor, At, State, Step};
use crate::store::{Id, Object, Set};
use crate::turn::Turn;
use crate::world::Role;

pub(crate) fn next(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::Claiming => {
            for refs in possible_refs(turn, me) {
                claim(turn, Actor { refs, ..me }, Claim::Step(step(turn, refs)), claimed);
            }
        }
        At::ClaimingAgain => claim(turn, me, Claim::Step(step(turn, me.refs)), claimed),
        At::Hinting => {
            let state = turn.with(|timeline| {
                if timeline.hint < me.highest {
                    (timeline.hint, timeline.hint_by) = (me.highest, 0);
                }
            });
            let me = then(turn, me);
            turn.change(Did::WriteHint(turn.me().highest), me, state);
        }
        _ => {
            find(turn, found);
            settle(turn, claimed);
        }
    }
}

fn appends(turn: &Turn<'_>) -> (u8, bool) {
    if let Role::Writer { appends, labelled } = turn.role() { (appends, labelled) } else { (1, false) }
}

fn step(turn: &Turn<'_>, refs: Set) -> Step {
    Step { refs, labelled: appends(turn).1, ..Step::new(turn.role().timeline()) }
}

fn found(turn: &mut Turn<'_>, did: Did, me: Actor, head: Object) {
    // A step of a new session refers to nothing of the deleted one.
    let steps = match head {
        Object::Step(id) => Set::default().with(id),
        Object::Nothing | Object::End(_) => Set::default(),
        // The marker has a newer step above it.
        Object::Marker(_) => return turn.learn(did, me.fresh(At::Start)),
    };
    // All that a writer may have read before, for one that is not careful.
    let all = if turn.world.rules.refer_to_the_last_step_or_its_links { Set::default() } else { turn.timeline().steps() };
    turn.learn(did, Actor { highest: me.highest, steps, dropped: all, is_late: me.is_late, ..me.fresh(At::Claiming) });
}

/// A step has no base, or its base is the head or a link of the head. It refers to its base
/// and to all that the base refers to.
fn possible_refs(turn: &Turn<'_>, me: Actor) -> Vec<Set> {
    let bases = turn.state.closure(me.steps).union(me.dropped);
    let chain = |base| turn.state.closure(Set::default().with(base));
    let mut all: Vec<Set> = std::iter::once(Set::default()).chain(bases.items().map(chain)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn claimed(turn: &mut Turn<'_>, did: Did, me: Actor, state: State, id: Option<Id>) {
    let me = Actor { highest: me.highest + 1, steps: id.map_or(Set::default(), |id| Set::default().with(id)), ..me.fresh(At::Hinting) };
    let me = Actor { rounds: me.rounds + 1, ..me };
    let me = if turn.world.hints { me } else { then(turn, me) };
    turn.change(did, me, state);
}

/// What a writer does after a step: the next one, without looking for the head.
fn then(turn: &Turn<'_>, me: Actor) -> Actor {
    if me.rounds < appends(turn).0 { Actor { at: At::Claiming, ..me } } else { me.fresh(At::Done) }
}
