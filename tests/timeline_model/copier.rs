//! Copies a timeline up to its newest step, into an empty folder or onto an earlier copy.

use crate::copying;
use crate::event::Did;
use crate::finding::find;
use crate::state::{Actor, At};
use crate::store::Object;
use crate::turn::Turn;

pub(crate) fn next(turn: &mut Turn<'_>) {
    find(turn, found);
    copying::next(turn);
}

fn found(turn: &mut Turn<'_>, did: Did, me: Actor, head: Object) {
    let me = match head {
        Object::Step(_) => Actor { highest: me.highest, ..me.fresh(At::ListingSource) },
        Object::Marker(_) => me.fresh(At::Start),
        Object::Nothing | Object::End(_) => me.fresh(At::Done),
    };
    turn.learn(did, me);
}
