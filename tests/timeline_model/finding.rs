//! Finding the head: hint, LIST, a GET for each number that the listing lacks, and GETs of
//! the next numbers until one is missing.

use crate::event::Did;
use crate::state::{Actor, At};
use crate::store::{HIGHEST, Object, Set};
use crate::turn::Turn;
use crate::world::Role;

/// Called with the object of the highest number; `Nothing` if there are no steps, or if
/// the highest number is in a gap.
pub(crate) type Found = fn(&mut Turn<'_>, Did, Actor, Object);

/// Makes one request of those that find the head.
pub(crate) fn find(turn: &mut Turn<'_>, found: Found) {
    let gaps_come_first = turn.world.weeks > 0 && !turn.world.rules.list_gaps_after_steps;
    match turn.me().at {
        At::Start if turn.world.hints => {
            let hint = turn.timeline().hint;
            let me = Actor { at: At::Listing, hint, floor: floor(turn), ..turn.me() };
            turn.learn(Did::ReadHint(hint), me);
        }
        At::Start if gaps_come_first => list_gaps(turn, At::Listing),
        At::Start | At::Listing => list(turn, found),
        At::ListingGaps => list_gaps(turn, At::Probing),
        At::Probing => probe(turn, found),
        _ => {}
    }
}

/// The highest number that a reader has to return if it begins now.
fn floor(turn: &Turn<'_>) -> u8 {
    let timeline = turn.timeline();
    let acknowledged = |id: &u8| turn.state.step(*id).acknowledged;
    let newest = timeline.steps().items().filter(acknowledged).map(|id| turn.state.step(id).number).max();
    let is_reader = turn.role() == Role::Reader;
    if is_reader { newest.unwrap_or(0).max(timeline.hint) } else { 0 }
}

/// Any one object can be missing in a listing: the storage was late, or the object was
/// being replaced.
fn list(turn: &mut Turn<'_>, found: Found) {
    let timeline = *turn.timeline();
    let present = timeline.numbers(|object| object != Object::Nothing);
    let needs_all = !matches!(turn.role(), Role::Writer { .. } | Role::WriterOfTheCopy | Role::Reader);
    let floor = if turn.world.hints { turn.me().floor } else { floor(turn) };
    let holes = if turn.world.holes { present } else { Set::default() };
    let sidecars = if turn.world.holes { timeline.hidden } else { Set::default() };
    let holes = holes.items().map(|hole| (hole, 0)).chain(sidecars.items().map(|sidecar| (0, sidecar)));
    let rules = turn.world.rules;
    let lists_gaps = turn.world.weeks > 0 && rules.list_gaps_after_steps && rules.list_from_the_hint;
    for (hole, sidecar) in std::iter::once((0, 0)).chain(holes) {
        let listed = present.minus(Set::default().with(hole));
        // From the one before the hint, or from the beginning if there is nothing.
        let before = Set::up_to(turn.me().hint.saturating_sub(2));
        let listed = if rules.list_from_the_hint { listed } else { up_to_a_missing(listed, turn.me().hint) };
        let skipped = if needs_all || listed.minus(before).is_empty() { Set::default() } else { before };
        let me = turn.me();
        let me = Actor {
            at: if lists_gaps { At::ListingGaps } else { At::Probing },
            highest: listed.union(me.gaps).highest().unwrap_or(0),
            hidden: timeline.hidden.without(sidecar),
            read: unread(turn, listed).minus(me.gaps),
            listed: listed.union(skipped).union(me.gaps),
            is_late: false,
            floor,
            ..me
        };
        if rules.probe_gaps_and_the_next_number {
            turn.learn(Did::List(hole, sidecar), me);
        } else {
            found_head(turn, Did::List(hole, sidecar), me, found);
        }
    }
}

/// What a search finds that goes from number to number.
fn up_to_a_missing(present: Set, hint: u8) -> Set {
    let end = (hint.max(1)..HIGHEST).find(|number| !present.has(*number));
    present.intersection(Set::up_to(end.unwrap_or(HIGHEST)))
}

/// A gap is written before its markers go, so what the listing of the steps lacks is in a gap
/// by now. An object in a gap does not count: it was written too late.
fn list_gaps(turn: &mut Turn<'_>, at: At) {
    let gaps = turn.timeline().gaps;
    let me = turn.me();
    let listed = me.listed.union(gaps);
    let me = Actor { at, listed, gaps, read: me.read.minus(gaps), highest: listed.highest().unwrap_or(0), ..me };
    turn.learn(Did::ReadGaps(gaps), me);
}

/// A listing tells steps from markers, by their sizes.
fn unread(turn: &Turn<'_>, listed: Set) -> Set {
    turn.timeline().numbers(|object| matches!(object, Object::Step(_))).intersection(listed)
}

fn probe(turn: &mut Turn<'_>, found: Found) {
    let me = turn.me();
    let gap = Set::up_to(me.highest).minus(me.listed).lowest();
    let number = gap.unwrap_or(me.highest + 1);
    let object = turn.timeline().get(number);
    let did = Did::Probe(number, object);
    match object {
        // It has gone into a gap since the listing.
        Object::Nothing if gap.is_some() => turn.learn(did, me.fresh(At::Start)),
        Object::Nothing => found_head(turn, did, me, found),
        _ => {
            let read = me.read.union(unread(turn, Set::default().with(number)));
            turn.learn(did, Actor { listed: me.listed.with(number), highest: me.highest.max(number), read, ..me });
        }
    }
}

/// A head below the hint is an error, since a timeline that has lost its newest object looks
/// like a shorter one.
fn found_head(turn: &mut Turn<'_>, did: Did, me: Actor, found: Found) {
    let rules = turn.world.rules;
    let object = turn.timeline().get(me.highest);
    if me.is_late && rules.list_again_after_a_day {
        return turn.learn(did, me.fresh(At::Start));
    }
    if rules.hint_is_a_witness && me.highest < me.hint {
        return turn.learn(did, me.fresh(At::Done));
    }
    if me.highest == 0 || me.gaps.has(me.highest) {
        return found(turn, did, me, Object::Nothing);
    }
    match object {
        // It has gone into a gap since the listing.
        Object::Nothing => turn.learn(did, me.fresh(At::Start)),
        // It has, and was then written by someone who is too late.
        Object::Step(_) if !me.read.has(me.highest) => turn.learn(did, me.fresh(At::Start)),
        object => found(turn, did, me, object),
    }
}
