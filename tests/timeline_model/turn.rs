//! One turn of one actor: what it may do next.

use crate::event::Did;
use crate::state::{Actor, State};
use crate::store::{Timeline, Who};
use crate::world::{Role, World};

/// Something that an actor did, or that happened to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) who: Who,
    pub(crate) did: Did,
}

/// What an actor sees when it acts, and where it puts what can come of it.
pub(crate) struct Turn<'a> {
    pub(crate) world: &'a World,
    pub(crate) state: &'a State,
    pub(crate) who: Who,
    pub(crate) next: &'a mut Vec<(Event, State)>,
}

impl Turn<'_> {
    pub(crate) fn me(&self) -> Actor {
        self.state.actors[usize::from(self.who)]
    }

    pub(crate) fn role(&self) -> Role {
        self.world.actors[usize::from(self.who)]
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        &self.state.timelines[self.role().timeline()]
    }

    /// The actor does something that changes only what it knows.
    pub(crate) fn learn(&mut self, did: Did, me: Actor) {
        self.change(did, me, *self.state);
    }

    /// The actor does something that changes the storage.
    pub(crate) fn change(&mut self, did: Did, me: Actor, mut state: State) {
        state.actors[usize::from(self.who)] = me;
        self.next.push((Event { who: self.who, did }, state));
    }

    /// Returns the state with the actor's timeline changed.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Timeline)) -> State {
        let mut state = *self.state;
        change(&mut state.timelines[self.role().timeline()]);
        state
    }
}
