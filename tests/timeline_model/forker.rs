//! Forks a timeline: copies it up to a certain step.

use crate::copying;
use crate::event::Did;
use crate::state::{Actor, At, SOURCE};
use crate::store::Object;
use crate::turn::Turn;
use crate::world::Role;

pub(crate) fn next(turn: &mut Turn<'_>) {
    match turn.me().at {
        At::Start => look(turn),
        _ => copying::next(turn),
    }
}

/// Reads the step, for the hint. If it is gone, the fork is refused.
fn look(turn: &mut Turn<'_>) {
    let Role::Forker(number) = turn.role() else { unreachable!("only a forker forks") };
    let source = &turn.state.timelines[SOURCE];
    let object = if source.gaps.has(number) { Object::Nothing } else { source.get(number) };
    let is_visible = matches!(object, Object::Step(_)) && !source.hidden.has(number) && source.end() < number;
    let at = if is_visible { At::ListingSource } else { At::Done };
    turn.learn(Did::Read(number, object), Actor { highest: number, ..turn.me().fresh(at) });
}
