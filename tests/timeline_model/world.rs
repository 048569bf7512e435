//! A world to explore: who acts, on what, and what can go wrong.

use crate::rules::Rules;
use crate::state::{SOURCE, State, Step, TARGET};
use crate::store::{HIGHEST, Id, Set, Who};

/// What a prune keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    KeepLast(u8),
    KeepLabelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Appends this many steps, and rebases after a conflict.
    Writer { appends: u8, labelled: bool },
    /// Appends a step to the target of the copy.
    WriterOfTheCopy,
    /// Prunes once. If it restates, it claims a number whenever it can remove more by that.
    Pruner { policy: Policy, restates: bool, hides_all_first: bool },
    /// Deletes the session once.
    Deleter,
    /// Deletes the target of the copy once.
    DeleterOfTheCopy,
    /// Replaces old markers by gaps.
    Collector,
    /// Replaces old markers in the target of the copy.
    CollectorOfTheCopy,
    /// Copies the timeline once, into an empty folder or onto an earlier copy.
    Copier,
    /// Forks the timeline once, at the step with this number.
    Forker(u8),
    /// Looks for the newest step.
    Reader,
    /// Writes the catalogue once.
    Cataloguer,
    /// Reads the history once, with the catalogue.
    Historian,
}

/// Who acts on what.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) actors: Vec<Role>,
    /// The steps that are there at the beginning: what each refers to, by number.
    pub(crate) steps: &'static [&'static [u8]],
    /// Which of these are labelled.
    pub(crate) labelled: &'static [u8],
    /// The highest number that can be claimed.
    pub(crate) numbers: u8,
    /// How many replies to claims get lost or requests arrive late, at most.
    pub(crate) faults: u8,
    /// How often 7 days pass, at most.
    pub(crate) weeks: u8,
    /// How often the storage loses the newest object, at most.
    pub(crate) losses: u8,
    /// Whether listings have holes. Not for days: a marker that is old is in every listing.
    pub(crate) holes: bool,
    /// Whether there is a head hint.
    pub(crate) hints: bool,
    /// How far the hint is behind at the beginning.
    pub(crate) hint_lags: u8,
    /// How many of the steps an earlier copy has.
    pub(crate) copied: u8,
    /// Groups of actors that are taken for one another. A trace may mix them up.
    pub(crate) alike: Vec<Vec<Who>>,
}

impl Role {
    pub(crate) const WRITER: Self = Self::Writer { appends: 1, labelled: false };
    pub(crate) const BUSY_WRITER: Self = Self::Writer { appends: 2, labelled: false };
    pub(crate) const LABELLING_WRITER: Self = Self::Writer { appends: 1, labelled: true };

    /// A pruner that claims nothing, and hides what it cannot remove.
    pub(crate) const fn pruner(policy: Policy) -> Self {
        Self::Pruner { policy, restates: false, hides_all_first: false }
    }

    /// A pruner that claims a number to remove more.
    pub(crate) const fn restating_pruner(policy: Policy) -> Self {
        Self::Pruner { policy, restates: true, hides_all_first: false }
    }

    /// A pruner that also hides all that it will remove, and then removes the oldest first.
    pub(crate) const fn hiding_pruner(policy: Policy) -> Self {
        Self::Pruner { policy, restates: true, hides_all_first: true }
    }

    /// The timeline that the actor works on.
    pub(crate) fn timeline(self) -> usize {
        if matches!(self, Self::WriterOfTheCopy | Self::DeleterOfTheCopy | Self::CollectorOfTheCopy) { TARGET } else { SOURCE }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Writer { .. } => "writer",
            Self::WriterOfTheCopy => "writer of the copy",
            Self::Pruner { .. } => "pruner",
            Self::Deleter => "deleter",
            Self::DeleterOfTheCopy => "deleter of the copy",
            Self::CollectorOfTheCopy => "collector of the copy",
            Self::Collector => "collector",
            Self::Copier => "copier",
            Self::Forker(_) => "forker",
            Self::Reader => "reader",
            Self::Cataloguer => "cataloguer",
            Self::Historian => "historian",
        }
    }
}

impl Policy {
    /// Returns what the policy keeps of these steps.
    pub(crate) fn kept(self, state: &State, steps: Set) -> Set {
        let newest_first = steps.items().rev();
        let kept: Vec<Id> = match self {
            Self::KeepLast(count) => newest_first.take(usize::from(count)).collect(),
            Self::KeepLabelled => newest_first.filter(|id| state.step(*id).labelled).collect(),
        };
        Set::of(&kept)
    }
}

impl World {
    /// Returns a world of actors on a few steps, with nothing that can go wrong but that
    /// any actor pauses anywhere, for ever.
    pub(crate) fn new(steps: &'static [&'static [u8]], actors: &[Role]) -> Self {
        let numbers = steps.len() as u8 + 2;
        Self {
            rules: Rules::ALL,
            actors: actors.to_vec(),
            steps,
            labelled: &[],
            numbers,
            faults: 0,
            weeks: 0,
            losses: 0,
            holes: false,
            hints: false,
            hint_lags: 0,
            copied: 0,
            alike: Vec::new(),
        }
    }

    /// Whether a number can be claimed, or the world ends below it.
    pub(crate) fn has_room(&self, number: u8) -> bool {
        number <= self.numbers.min(HIGHEST)
    }

    /// Whether the timeline is copied or forked.
    pub(crate) fn is_copied(&self) -> bool {
        self.actors.iter().any(|role| matches!(role, Role::Copier | Role::Forker(_)))
    }

    /// Takes actors of one role for one another, which leaves fewer states.
    pub(crate) fn without_names(self) -> Self {
        let group = |role: &Role| (0..).zip(&self.actors).filter(|(_, other)| *other == role).map(|(who, _)| who).collect();
        let mut alike: Vec<Vec<Who>> = self.actors.iter().map(group).collect();
        alike.retain(|group| group.len() > 1);
        alike.dedup();
        Self { alike, ..self }
    }

    pub(crate) fn start(&self) -> State {
        let mut state = State { faults: self.faults, weeks: self.weeks, losses: self.losses, ..State::default() };
        for (refs, number) in self.steps.iter().zip(1..) {
            let refs = state.with_numbers(Set(u8::MAX), Set::of(refs));
            let labelled = self.labelled.contains(&number);
            let id = state.create(Step { number, refs, labelled, ..Step::new(SOURCE) });
            state.acknowledge(id);
        }
        for number in 1..=self.copied {
            let object = state.timelines[SOURCE].get(number);
            state.timelines[TARGET].put(number, object);
        }
        state.timelines[TARGET].hint = self.copied;
        if self.hints {
            state.timelines[SOURCE].hint = self.steps.len() as u8 - self.hint_lags;
        }
        state
    }
}
