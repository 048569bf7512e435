//! Replaces old markers by a gap object: writes the gap, then deletes the markers.

use crate::event::Did;
use crate::state::{Actor, At, State};
use crate::store::{Object, Set};
use crate::turn::Turn;

pub(crate) fn next(turn: &mut Turn<'_>) {
    let me = turn.me();
    let rules = turn.world.rules;
    let first = |gap_is_next: bool| if gap_is_next { At::WritingGap } else { At::Removing };
    match me.at {
        At::Start => {
            let remove = collectable(turn);
            if !remove.is_empty() {
                turn.learn(Did::List(0, 0), Actor { at: first(rules.gap_before_markers_go), remove, dropped: remove, ..me });
            }
        }
        At::WritingGap => {
            let state = turn.with(|timeline| timeline.gaps = timeline.gaps.union(me.dropped));
            let me = Actor { at: At::Removing, ..me };
            go_on(turn, Did::WriteGap(me.dropped), me, state);
        }
        At::Removing => {
            let Some(number) = me.remove.lowest() else { return };
            let state = turn.with(|timeline| timeline.put(number, Object::Nothing));
            go_on(turn, Did::DeleteMarker(number), Actor { remove: me.remove.without(number), ..me }, state);
        }
        At::DroppingGap => {
            let state = turn.with(|timeline| timeline.gaps = timeline.gaps.minus(me.dropped));
            turn.change(Did::DropGap, me.fresh(At::Start), state);
        }
        _ => {}
    }
}

fn go_on(turn: &mut Turn<'_>, did: Did, me: Actor, state: State) {
    let rules = turn.world.rules;
    let is_written = state.timelines[turn.role().timeline()].gaps.intersection(me.dropped) == me.dropped;
    let me = match me {
        me if !me.remove.is_empty() => me,
        me if !is_written => Actor { at: At::WritingGap, ..me },
        me if !rules.gaps_stay => Actor { at: At::DroppingGap, ..me },
        me => Actor { at: At::Start, ..me.done() },
    };
    turn.change(did, me, state);
}

/// Old markers, and an old END that has nothing below it any more.
fn collectable(turn: &Turn<'_>) -> Set {
    let rules = turn.world.rules;
    let timeline = turn.timeline();
    let old = if rules.gaps_of_old_markers_only { timeline.old } else { Set(u8::MAX) };
    let markers = timeline.numbers(|object| matches!(object, Object::Marker(_)));
    let ends = timeline.numbers(|object| matches!(object, Object::End(_)));
    let is_alone = |end: &u8| {
        let below = Set::up_to(end - 1).intersection(timeline.present());
        !rules.end_goes_last || below.minus(markers).is_empty()
    };
    let ends = ends.items().filter(is_alone).fold(Set::default(), Set::with);
    markers.union(ends).intersection(old)
}
