//! Goes through all states that a world can get into, breadth first.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::actors::next;
use crate::safety::violation;
use crate::state::State;
use crate::store::Who;
use crate::turn::Event;
use crate::world::World;

/// What was found.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// The most requests from the beginning to a state.
    pub(crate) depth: usize,
    /// The actors that can finish their work.
    pub(crate) finished: BTreeSet<Who>,
    /// The shortest way to a violation.
    pub(crate) trace: Option<Trace>,
}

/// How a violation comes about, line by line.
pub(crate) struct Trace {
    pub(crate) violation: &'static str,
    pub(crate) lines: Vec<String>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.violation)?;
        self.lines.iter().zip(1..).try_for_each(|(line, number)| write!(f, "\n{number:4}. {line}"))
    }
}

/// Mixes whole words, since most fields of a state are bytes.
#[derive(Default)]
struct Fingerprint {
    word: u64,
    bytes: u32,
    hash: u64,
}

impl Fingerprint {
    fn of(state: &State) -> u64 {
        let mut hasher = Self::default();
        state.hash(&mut hasher);
        hasher.finish()
    }

    fn mix(&mut self) {
        let product = u128::from(self.hash ^ self.word ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        self.hash = (product as u64) ^ ((product >> 64) as u64) ^ self.hash.rotate_left(23);
        (self.word, self.bytes) = (0, 0);
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes == 8 {
            self.mix();
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length of an array, which is always the same.
    }

    fn write_isize(&mut self, variant: isize) {
        self.write_u8(variant as u8);
    }

    fn finish(&self) -> u64 {
        let mut last = Self { ..*self };
        last.mix();
        last.word = 1;
        last.mix();
        last.hash
    }
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed");
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// For each state the one that it was reached from.
type Visited = HashMap<u64, u64, BuildHasherDefault<Ready>>;

/// Goes through all states, or to the first violation.
pub(crate) fn explore(world: &World) -> Explored {
    let start = world.start();
    let mut visited = Visited::default();
    visited.insert(Fingerprint::of(&start), 0);
    let (mut level, mut depth) = (VecDeque::from([(Fingerprint::of(&start), start)]), 0);
    let (mut successors, mut finished) = (Vec::new(), BTreeSet::new());
    while !level.is_empty() {
        let mut deeper = VecDeque::new();
        while let Some((from, state)) = level.pop_front() {
            finished.extend((0..).zip(&state.actors).filter(|(_, actor)| actor.rounds > 0).map(|(who, _)| who));
            if let Some(violation) = violation(world, &state) {
                let lines = lines(world, &path(&visited, from));
                return Explored { states: visited.len(), depth, finished, trace: Some(Trace { violation, lines }) };
            }
            next(world, &state, &mut successors);
            for (_, mut state) in successors.drain(..) {
                world.alike.iter().for_each(|alike| state.sort(alike));
                let fingerprint = Fingerprint::of(&state);
                if let Entry::Vacant(vacant) = visited.entry(fingerprint) {
                    vacant.insert(from);
                    deeper.push_back((fingerprint, state));
                }
            }
        }
        level = deeper;
        depth += 1;
    }
    Explored { states: visited.len(), depth, finished, trace: None }
}

/// Returns the fingerprints of all states on the way to one.
fn path(visited: &Visited, last: u64) -> Vec<u64> {
    let before = |state: &u64| visited.get(state).copied().filter(|before| *before != 0);
    let mut path: Vec<u64> = std::iter::successors(Some(last), before).collect();
    path.reverse();
    path
}

/// Goes the way once more, and tells what happens.
fn lines(world: &World, path: &[u64]) -> Vec<String> {
    let mut state = world.start();
    let mut lines = Vec::new();
    for fingerprint in path.iter().skip(1) {
        let mut successors = Vec::new();
        next(world, &state, &mut successors);
        let sorted = |(event, mut state): (Event, State)| {
            world.alike.iter().for_each(|alike| state.sort(alike));
            (event, state)
        };
        let mut successors = successors.into_iter().map(sorted);
        let (event, after) = successors.find(|(_, state)| Fingerprint::of(state) == *fingerprint).expect("the way exists");
        lines.push(line(world, event));
        state = after;
    }
    lines
}

fn line(world: &World, event: Event) -> String {
    match world.actors.get(usize::from(event.who)) {
        Some(role) => format!("{} {}: {}", role.name(), event.who, event.did),
        None => event.did.to_string(),
    }
}
