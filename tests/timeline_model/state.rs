//! The state of the whole world: two timelines, all steps that ever were, and the actors.

use crate::store::{Id, Object, Set, Timeline, Who};

/// How many steps there can be.
pub(crate) const STEPS: usize = 8;

/// How many actors there can be.
pub(crate) const ACTORS: usize = 7;

/// A timeline, and the target of a copy.
pub(crate) const SOURCE: usize = 0;
pub(crate) const TARGET: usize = 1;

/// The author of a step whose author no longer matters.
pub(crate) const NOBODY: Who = 255;

/// A step. It never changes, but for what only the checker knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    /// 0 if there is no such step.
    pub(crate) number: u8,
    pub(crate) refs: Set,
    /// The first step with this state: another one if it restates a state.
    pub(crate) state: Id,
    pub(crate) labelled: bool,
    /// Who waits to hear that it was written.
    pub(crate) author: Who,
    /// The timeline in which it was made.
    pub(crate) home: u8,
    /// Its author was told that it is saved.
    pub(crate) acknowledged: bool,
}

impl Step {
    /// Returns a step with a state of its own that refers to nothing.
    pub(crate) fn new(home: usize) -> Self {
        Self { home: home as u8, state: NOBODY, author: NOBODY, ..Self::default() }
    }
}

/// Where an actor is in its program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum At {
    #[default]
    Start,
    Listing,
    ListingGaps,
    Probing,
    Reading,
    Claiming,
    /// Claims again what it may have claimed already.
    ClaimingAgain,
    /// The reply to a claim was lost.
    Unsure,
    CheckingGaps,
    Withdrawing,
    Hinting,
    Copying,
    ListingSource,
    ListingTarget,
    Filling,
    GivingUp,
    Hiding,
    Removing,
    WritingGap,
    DroppingGap,
    Finishing,
    Done,
}

/// An actor's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Actor {
    pub(crate) at: At,
    /// The highest number that it found, and claims: one more.
    pub(crate) highest: u8,
    /// The numbers that it need not look at any more.
    pub(crate) listed: Set,
    /// The numbers that it saw as steps, and has yet to read.
    pub(crate) read: Set,
    /// The gaps that it saw.
    pub(crate) gaps: Set,
    /// The hidden numbers that it saw.
    pub(crate) hidden: Set,
    /// The steps that it has read.
    pub(crate) steps: Set,
    /// What the step that it claims with refers to.
    pub(crate) refs: Set,
    /// The step that it restates, plus 1.
    pub(crate) restated: u8,
    /// What it has yet to hide and to remove: steps of a pruner, numbers of the others.
    pub(crate) hide: Set,
    pub(crate) remove: Set,
    /// All that a prune drops.
    pub(crate) dropped: Set,
    /// The head hint that it read.
    pub(crate) hint: u8,
    /// A reader may not return less; a copy had so many numbers when it was begun.
    pub(crate) floor: u8,
    /// Over a day has passed since it found the head.
    pub(crate) is_late: bool,
    /// A claim that may still arrive: its number, and what the step refers to.
    pub(crate) in_flight: u8,
    pub(crate) in_flight_refs: Set,
    /// How often it has done its work.
    pub(crate) rounds: u8,
}

impl Actor {
    /// Returns an actor that has nothing in mind.
    pub(crate) fn fresh(self, at: At) -> Self {
        Self { at, rounds: self.rounds, in_flight: self.in_flight, in_flight_refs: self.in_flight_refs, ..Self::default() }
    }

    /// Returns an actor that has done its work.
    pub(crate) fn done(self) -> Self {
        Self { rounds: 1, ..self.fresh(At::Done) }
    }

    pub(crate) fn is_working(&self) -> bool {
        !matches!(self.at, At::Start | At::Done)
    }
}

/// What must never happen, and is noticed when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    ConflictOfAStoredStep,
    NothingWasSaved,
    OlderForNewest,
    TwoOfANumber,
    DroppedInHistory,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) timelines: [Timeline; 2],
    pub(crate) steps: [Step; STEPS],
    pub(crate) actors: [Actor; ACTORS],
    /// How many replies can still get lost.
    pub(crate) faults: u8,
    /// How often 7 days can still pass.
    pub(crate) weeks: u8,
    /// How many newest objects the storage can still lose.
    pub(crate) losses: u8,
    /// Steps that a policy dropped, and those whose prune is done.
    pub(crate) dropped: Set,
    pub(crate) gone: Set,
    /// Steps of a session that was deleted.
    pub(crate) ended: Set,
    /// Steps that the storage lost.
    pub(crate) lost: Set,
    pub(crate) wrong: Option<Wrong>,
}

impl State {
    /// Returns all that steps refer to, and the steps.
    pub(crate) fn closure(&self, steps: Set) -> Set {
        steps.items().fold(steps, |all, id| all.union(self.steps[usize::from(id)].refs))
    }

    pub(crate) fn step(&self, id: Id) -> &Step {
        &self.steps[usize::from(id)]
    }

    pub(crate) fn numbers_of(&self, steps: Set) -> Set {
        steps.items().fold(Set::default(), |numbers, id| numbers.with(self.step(id).number))
    }

    /// Returns the steps with these numbers among `steps`.
    pub(crate) fn with_numbers(&self, steps: Set, numbers: Set) -> Set {
        steps.items().filter(|id| numbers.has(self.step(*id).number)).fold(Set::default(), Set::with)
    }

    /// A new step becomes the object of its number, which has to be free.
    pub(crate) fn create(&mut self, step: Step) -> Id {
        let id = self.steps.iter().position(|step| step.number == 0).expect("the model has room for more steps");
        let state = if step.state == NOBODY { id as Id } else { step.state };
        self.steps[id] = Step { state, ..step };
        self.timelines[usize::from(step.home)].put(step.number, Object::Step(id as Id));
        id as Id
    }

    /// A step was never there.
    pub(crate) fn forget(&mut self, id: Id) {
        self.steps[usize::from(id)] = Step::default();
        for set in [&mut self.dropped, &mut self.gone, &mut self.ended] {
            *set = set.without(id);
        }
    }

    /// The author of a step is told that it is saved.
    pub(crate) fn acknowledge(&mut self, id: Id) {
        let step = *self.step(id);
        let is_same = |other: &Step| other.acknowledged && other.number == step.number && other.home == step.home;
        if self.steps.iter().any(is_same) {
            self.wrong = Some(Wrong::TwoOfANumber);
        }
        let step = &mut self.steps[usize::from(id)];
        (step.acknowledged, step.author) = (true, NOBODY);
    }

    /// Seven days pass.
    pub(crate) fn pass_a_week(&mut self) {
        self.weeks -= 1;
        for timeline in &mut self.timelines {
            timeline.old = timeline.numbers(|object| matches!(object, Object::Marker(_) | Object::End(_)));
        }
        for actor in self.actors.iter_mut().filter(|actor| actor.is_working()) {
            actor.is_late = true;
        }
    }

    /// Orders actors that do the same, since it does not matter which of them is where.
    pub(crate) fn sort(&mut self, alike: &[Who]) {
        let mut sorted = alike.to_vec();
        sorted.sort_by_key(|who| self.actors[usize::from(*who)]);
        if sorted == alike {
            return;
        }
        let before = self.actors;
        for (to, from) in alike.iter().zip(&sorted) {
            self.actors[usize::from(*to)] = before[usize::from(*from)];
        }
        let renamed = |who: Who| sorted.iter().position(|other| *other == who).map_or(who, |place| alike[place]);
        for step in &mut self.steps {
            step.author = renamed(step.author);
        }
        for timeline in &mut self.timelines {
            timeline.rename(renamed);
        }
    }
}
