//! Looks for the newest step; writes the catalogue; reads the history with it.

use crate::event::Did;
use crate::finding::find;
use crate::state::{Actor, At, State, Wrong};
use crate::store::{Object, Set};
use crate::turn::Turn;
use crate::world::Role;

pub(crate) fn next(turn: &mut Turn<'_>) {
    match turn.role() {
        Role::Cataloguer => write_catalogue(turn),
        Role::Historian => read_history(turn),
        _ => find(turn, found),
    }
}

fn found(turn: &mut Turn<'_>, did: Did, me: Actor, head: Object) {
    let mut state = *turn.state;
    let is_older = me.highest < me.floor && matches!(head, Object::Step(_) | Object::Nothing);
    if is_older {
        state.wrong = Some(Wrong::OlderForNewest);
    }
    let me = if matches!(head, Object::Marker(_)) { me.fresh(At::Start) } else { me.done() };
    turn.change(did, me, state);
}

fn visible(turn: &Turn<'_>) -> Set {
    let timeline = turn.timeline();
    let steps = timeline.steps();
    let unseen = timeline.hidden.union(Set::up_to(timeline.end()));
    steps.minus(turn.state.with_numbers(steps, unseen))
}

fn write_catalogue(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::Start => {
            let steps = visible(turn);
            turn.learn(Did::ListVisible(turn.state.numbers_of(steps)), Actor { at: At::Finishing, steps, ..me });
        }
        At::Finishing => {
            let state = turn.with(|timeline| timeline.catalogue = me.steps);
            turn.change(Did::WriteCatalogue(turn.state.numbers_of(me.steps)), me.done(), state);
        }
        _ => {}
    }
}

/// Steps never change, so a catalogue spares reading those that the listing has. What was
/// dropped before this history was asked for must not be in it.
fn read_history(turn: &mut Turn<'_>) {
    let me = turn.me();
    match me.at {
        At::Start => {
            let steps = turn.timeline().catalogue;
            let me = Actor { at: At::Listing, steps, dropped: turn.state.gone.union(turn.state.ended), ..me };
            turn.learn(Did::ReadCatalogue(turn.state.numbers_of(steps)), me);
        }
        At::Listing => {
            let listed = visible(turn);
            let is_refuted = turn.world.rules.listing_refutes_the_catalogue;
            let steps = if is_refuted { listed } else { listed.union(me.steps) };
            let is_wrong = !steps.intersection(me.dropped).is_empty();
            let wrong = if is_wrong { Some(Wrong::DroppedInHistory) } else { turn.state.wrong };
            turn.change(Did::Tell(turn.state.numbers_of(steps)), me.done(), State { wrong, ..*turn.state });
        }
        _ => {}
    }
}
