//! Finds the newest step.
//!
//! Numbers have no holes, so the newest step is one before a number that is missing. The
//! search begins at the **hint**, an object that names a step that was the
//! newest at some time, and reads the next numbers at once. Its cost does not depend on the
//! length of the timeline, and it does not trust listings, which may be late.
//!
//! The hint is a witness, too: if the step that it names is missing, the newest steps were
//! lost, and the timeline that is left only looks like a shorter one. So a writer writes it
//! when it ends, and from time to time before.

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};
use crate::open::TAIL;
use crate::storage::{ObjectInfo, Precondition, Storage};
use crate::timeline::listing::Listing;
use crate::timeline::names::Folder;
use crate::timeline::record::{self, Record};
use crate::timeline::step::Step;

/// How often a writer writes the hint: after every step whose number is a multiple.
pub(crate) const HINT_EVERY: u64 = 16;

/// How many numbers are read at once.
const AHEAD: u64 = HINT_EVERY;

/// The object with the highest number.
#[derive(Clone, Debug)]
pub(crate) enum Newest {
    /// There is none.
    Nothing,
    /// A step.
    Step(Box<Step>),
    /// The timeline was deleted. The next step has this root as its parent.
    End { number: u64, root: [u8; 32], storage_time: Option<u64> },
    /// All that is left of a timeline that was deleted long ago.
    Gap { number: u64 },
    /// The object with this number is damaged, or lost. The next step has to do without it.
    Damaged { number: u64, error: Error },
}

impl Newest {
    /// The number that the next step takes.
    pub(crate) fn next(&self) -> u64 {
        match self {
            Self::Nothing => 1,
            Self::Step(step) => step.document.number + 1,
            Self::End { number, .. } | Self::Gap { number } | Self::Damaged { number, .. } => number + 1,
        }
    }
}

/// Reads the hint. A damaged one is as good as none.
pub(crate) fn read_hint<S: Storage>(storage: &S, folder: &Folder) -> Result<Option<u64>> {
    match Record::read(storage, &folder.hint()) {
        Ok((Record::Head { number }, _)) => Ok(Some(number)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Integrity | ErrorCode::InvalidFormat) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the hint.
pub(crate) fn write_hint<S: Storage>(storage: &S, folder: &Folder, number: u64) -> Result<()> {
    Record::Head { number }.write(storage, &folder.hint(), Precondition::None).map(drop)
}

/// Finds the newest step.
pub(crate) fn find_newest<S: Storage>(storage: &S, folder: &Folder) -> Result<Newest> {
    let hint = read_hint(storage, folder)?;
    if let Some(found) = search_from(storage, folder, hint.unwrap_or(1))? {
        return Ok(found);
    }
    // A new timeline; or one whose first steps, or whose hint, are gone.
    let listing = Listing::read(storage, folder, 1)?;
    let newest = listing.steps.numbers().next_back();
    let gap = listing.gaps.iter().map(|gap| gap.last).max();
    if let Some(hint) = hint
        && newest.max(gap).is_none_or(|newest| newest < hint)
    {
        let error = Error::integrity(format!("step {hint} is missing, which was the newest: the end of the timeline was lost"));
        return Ok(Newest::Damaged { number: hint, error: error.at(&folder.step(hint)) });
    }
    match newest.max(gap) {
        None => Ok(Newest::Nothing),
        Some(number) if newest.is_some_and(|newest| newest == number) => {
            search_from(storage, folder, number)?.ok_or_else(|| changing(folder))
        }
        Some(number) => Ok(Newest::Gap { number }),
    }
}

fn changing(folder: &Folder) -> Error {
    let error = Error::new(ErrorCode::Conflict, "the timeline is being changed: its newest step was listed and is gone");
    Error { retryable: true, ..error }.at(folder.prefix())
}

/// Finds the newest step from a number on; `None` if that number is missing.
pub(crate) fn search_from<S: Storage>(storage: &S, folder: &Folder, from: u64) -> Result<Option<Newest>> {
    let mut newest: Option<(u64, ObjectInfo, Vec<u8>)> = None;
    let mut first = from.max(1);
    loop {
        let keys: Vec<String> = (first..=first + AHEAD).map(|number| folder.step(number)).collect();
        let ends = storage.read_ends(&keys.iter().map(String::as_str).collect::<Vec<_>>(), TAIL)?;
        let mut last = 0;
        for (number, end) in (first..).zip(ends) {
            match end {
                Ok((info, tail)) => {
                    newest = Some((number, info, tail));
                    last = number;
                }
                // A number before a later one is lost, which is for a check to say.
                Err(error) if error.code == ErrorCode::NotFound => {}
                Err(error) => return Err(error.at(&folder.step(number))),
            }
        }
        if last < first + AHEAD {
            break;
        }
        first += AHEAD + 1;
    }
    Ok(newest.map(|(number, info, tail)| match parse(storage, folder, number, info, tail) {
        Ok(newest) => newest,
        Err(error) => Newest::Damaged { number, error },
    }))
}

/// Reads the object with the highest number.
fn parse<S: Storage>(storage: &S, folder: &Folder, number: u64, info: ObjectInfo, tail: Vec<u8>) -> Result<Newest> {
    if info.size != record::SIZE {
        return Step::parse(storage, info, tail, number).map(Box::new).map(Newest::Step);
    }
    match Record::parse(&tail).map_err(|error| error.at(&info.key))? {
        Record::End { number: named, .. } if named == number => {
            Ok(Newest::End { number, root: Sha256::digest(&tail).into(), storage_time: info.storage_time })
        }
        // Whoever removes the newest step has claimed the next number before.
        _ => Err(Error::integrity(format!("step {number} was removed, and the step after it is missing")).at(&folder.step(number))),
    }
}
