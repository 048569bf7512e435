//! Deletes a session: claims the next number as the END, then overwrites all steps.

use crate::claiming::{Claim, claim, settle};
use crate::event::Did;
use crate::finding::find;
use crate::state::{Actor, At, State};
use crate::store::{Id, Object};
use crate::turn::Turn;

pub(crate) fn next(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::Claiming | At::ClaimingAgain => claim(turn, me, Claim::End, claimed),
        At::Removing => remove(turn, me),
        At::Finishing => {
            let end = me.highest + 1;
            let state = turn.with(|timeline| timeline.put(end, Object::Nothing));
            turn.change(Did::DeleteEnd(end), me.done(), state);
        }
        _ => {
            find(turn, found);
            settle(turn, claimed);
        }
    }
}

fn found(turn: &mut Turn<'_>, did: Did, me: Actor, head: Object) {
    let remove = me.listed.minus(me.gaps);
    let me = Actor { highest: me.highest, remove, is_late: me.is_late, ..me.fresh(At::Claiming) };
    match head {
        Object::Step(_) if !turn.world.rules.end_before_deleting => {
            let ended = turn.state.ended.union(turn.timeline().steps());
            turn.change(did, Actor { at: At::Removing, ..me }, State { ended, ..*turn.state });
        }
        Object::Step(_) => turn.learn(did, me),
        // A deletion that was not finished.
        Object::End(_) => {
            let highest = me.highest - 1;
            turn.learn(did, Actor { at: At::Removing, highest, remove: remove.without(me.highest), ..me });
        }
        Object::Marker(_) => turn.learn(did, me.fresh(At::Start)),
        Object::Nothing => turn.learn(did, me.fresh(At::Done)),
    }
}

fn claimed(turn: &mut Turn<'_>, did: Did, me: Actor, state: State, _: Option<Id>) {
    turn.change(did, Actor { at: At::Removing, ..me }, state);
}

/// The newest first, so that a copy that has a step has all that it refers to. For all others the
/// order is free; the oldest first is the worst.
fn remove(turn: &mut Turn<'_>, me: Actor) {
    let newest_first = turn.world.is_copied() && turn.world.rules.delete_newest_first;
    let number = if newest_first { me.remove.highest() } else { me.remove.lowest() }.unwrap_or(0);
    let mut state = *turn.state;
    match turn.timeline().get(number) {
        Object::Step(id) => state = turn.with(|timeline| timeline.put(number, Object::Marker(id))),
        Object::Nothing | Object::Marker(_) | Object::End(_) => {}
    }
    let me = Actor { remove: me.remove.without(number), ..me };
    if !me.remove.is_empty() {
        return turn.change(Did::Remove(number, true), me, state);
    }
    let timeline = &mut state.timelines[turn.role().timeline()];
    timeline.cleared = timeline.cleared.max(me.highest);
    let me = if turn.world.rules.end_stays { me.done() } else { Actor { at: At::Finishing, ..me } };
    turn.change(Did::Remove(number, true), me, state);
}
