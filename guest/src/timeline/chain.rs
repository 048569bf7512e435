//! A step with all steps that it depends on.

use crate::error::{Error, ErrorCode, Result};
use crate::open::TAIL;
use crate::storage::{ByteRange, MAX_READ_MANY, Part, Storage};
use crate::timeline::document::{Base, Link};
use crate::timeline::names::Folder;
use crate::timeline::step::Step;

/// Objects of up to this size are read as a whole, since a state usually needs all of them.
const WHOLE: u64 = 1 << 20;

/// How many bytes of state may be made from one literal byte. More are a sign of a
/// timeline that was made to take long.
const MAX_REPETITION: u64 = 64;

/// A state of up to this size may repeat itself more often.
const ANY_REPETITION: u64 = 1 << 20;

/// A step, its base, the base of that, and so on.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) steps: Vec<Step>,
}

/// Whether a state of this size may be made from so many literal bytes, in all steps
/// together.
pub(crate) fn may_repeat(size: u64, literals: u64) -> bool {
    size <= ANY_REPETITION.saturating_add(literals.saturating_mul(MAX_REPETITION))
}

/// Reads parts of objects, in as few calls as the limit allows.
pub(crate) fn read_parts<S: Storage>(storage: &S, requests: &[(String, ByteRange)]) -> Result<Vec<Part>> {
    let mut parts = Vec::with_capacity(requests.len());
    let mut rest = requests;
    while !rest.is_empty() {
        let mut bytes = 0_u64;
        let fits = rest.iter().take(1000).take_while(|(_, range)| {
            bytes = bytes.saturating_add(length(*range));
            bytes <= MAX_READ_MANY
        });
        let (now, later) = rest.split_at(fits.count().max(1));
        parts.extend(storage.read_many(now)?);
        rest = later;
    }
    Ok(parts)
}

fn length(range: ByteRange) -> u64 {
    match range {
        ByteRange::All => u64::MAX,
        ByteRange::Span { length, .. } | ByteRange::Suffix(length) => length,
    }
}

impl Chain {
    /// Reads all that a step depends on.
    pub(crate) fn of_step<S: Storage>(storage: &S, folder: &Folder, step: Step) -> Result<Self> {
        let request = |link: &Link| {
            let size = link.kib.saturating_mul(1024);
            (folder.step(link.number), ByteRange::Suffix(if size <= WHOLE { size.max(TAIL) } else { TAIL }))
        };
        let requests: Vec<_> = step.document.links.iter().map(request).collect();
        let parts = read_parts(storage, &requests)?;
        let parse = |(link, part): (&Link, Part)| part.and_then(|(info, tail)| Step::parse(storage, info, tail, link.number));
        let links = step.document.links.iter().zip(parts).map(parse).collect();
        Self::of_steps(folder, step, links)
    }

    /// Returns a step with what it depends on: its links, in their order.
    pub(crate) fn of_steps(folder: &Folder, step: Step, found: Vec<Result<Step>>) -> Result<Self> {
        check_links(folder, &step, &mut found.iter().map(|step| step.as_ref().map_err(Clone::clone)))?;
        Ok(Self { steps: std::iter::once(step).chain(found.into_iter().flatten()).collect() })
    }

    /// The size of the state in bytes.
    pub(crate) fn state_size(&self) -> u64 {
        self.steps.first().map_or(0, |step| step.document.edits.state_size())
    }

    /// How many literal bytes all steps have together.
    pub(crate) fn literals(&self) -> u64 {
        self.steps.iter().map(|step| step.document.edits.literals()).fold(0, u64::saturating_add)
    }
}

/// Checks what a step depends on: its links, in their order.
pub(crate) fn check_links<'a>(folder: &Folder, step: &'a Step, found: &mut dyn Iterator<Item = Result<&'a Step>>) -> Result<()> {
    let number = step.document.number;
    let (mut above, mut literals) = (step, step.document.edits.literals());
    for (link, step) in step.document.links.iter().zip(found) {
        let step = step.map_err(|error| missing(error, number, link.number).at(&folder.step(link.number)))?;
        if !above.document.base.is_some_and(|base| is_base(base, step)) {
            let message = format!("step {} is not the one that step {number} was made from", link.number);
            return Err(Error::integrity(message).at(&step.info.key));
        }
        literals = literals.saturating_add(step.document.edits.literals());
        above = step;
    }
    if above.document.base.is_some() {
        return Err(Error::format(format!("step {number} does not list all steps that it depends on")).at(&folder.step(number)));
    }
    if !may_repeat(step.document.edits.state_size(), literals) {
        let message = format!("step {number} repeats the same few bytes too many times");
        return Err(Error::new(ErrorCode::LimitExceeded, message).at(&folder.step(number)));
    }
    Ok(())
}

/// Whether this is the step that was meant as a base.
fn is_base(base: Base, step: &Step) -> bool {
    base.number == step.document.number && base.root == step.root && base.size == step.document.edits.state_size()
}

fn missing(error: Error, step: u64, link: u64) -> Error {
    match error.code {
        ErrorCode::NotFound => Error::integrity(format!("step {link}, which step {step} depends on, is missing")),
        _ => error,
    }
}
