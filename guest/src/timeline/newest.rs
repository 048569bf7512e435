//! Finds the newest step.
//!
//! Numbers have no holes, so the newest step is one before a number that is missing. The
//! search begins at the **hint**, an object that names a step that was the newest at some
//! time, and reads the next numbers at once. Its cost does not depend on the length of the
//! timeline, and it does not trust listings, which may be late. A gap that it meets leads to
//! the number after it. If the hint is of no use, the timeline is listed.
//!
//! The hint is a witness, too: if the step that it names is missing, the newest steps were
//! lost, and the timeline that is left only looks like a shorter one. So a writer writes it
//! when it ends, and from time to time before.

use persist_model::error::HINT;
use persist_paths::timeline::is_step_size;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};
use crate::hash::hex;
use crate::open::TAIL;
use crate::storage::{ObjectInfo, Precondition, Storage};
use crate::timeline::listing::{AHEAD, Listing};
use crate::timeline::names::Folder;
use crate::timeline::record::Record;
use crate::timeline::step::Step;
use crate::timeline::survey::read_steps;

/// How often a writer writes the hint: after every step whose number is a multiple.
pub(crate) const HINT_EVERY: u64 = 16;

/// How often the search begins again if the timeline is pruned at the same time.
pub(super) const ATTEMPTS: u32 = 10;

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
    /// The number of the object.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Step(step) => step.document.number,
            Self::End { number, .. } | Self::Gap { number } | Self::Damaged { number, .. } => *number,
        }
    }

    /// The storage's clock when it was found.
    pub(crate) fn storage_time(&self) -> Option<u64> {
        match self {
            Self::Step(step) => step.info.storage_time,
            Self::End { storage_time, .. } => *storage_time,
            Self::Nothing | Self::Gap { .. } | Self::Damaged { .. } => None,
        }
    }

    /// The root of the step, or of the end.
    fn root(&self) -> Option<[u8; 32]> {
        match self {
            Self::Step(step) => Some(step.root),
            Self::End { root, .. } => Some(*root),
            Self::Nothing | Self::Gap { .. } | Self::Damaged { .. } => None,
        }
    }
}

/// Reads the hint: a number, and the root of what has it. A damaged one is as good as none.
pub(crate) fn read_hint<S: Storage>(storage: &S, folder: &Folder) -> Result<Option<(u64, String)>> {
    match Record::read(storage, &folder.hint()) {
        Ok((Record::Head { number, root }, _)) => Ok(Some((number, root))),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Integrity | ErrorCode::InvalidFormat) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the hint, unless it names a later step already.
pub(crate) fn write_hint<S: Storage>(storage: &S, folder: &Folder, number: u64, root: &[u8; 32]) -> Result<()> {
    if read_hint(storage, folder)?.is_some_and(|(known, _)| known >= number) {
        return Ok(());
    }
    Record::Head { number, root: hex(root) }.write(storage, &folder.hint(), Precondition::None).map(drop)
}

/// Writes the hint anew, so that it has the present time.
pub(crate) fn refresh_hint<S: Storage>(storage: &S, folder: &Folder) -> Result<Newest> {
    let newest = find_newest_listed(storage, folder)?;
    if let Some(root) = newest.root() {
        Record::Head { number: newest.number(), root: hex(&root) }.write(storage, &folder.hint(), Precondition::None)?;
    }
    Ok(newest)
}

/// Returns the number of the newest step, and the bytes of a hint that names it.
pub(crate) fn newest_hint<S: Storage>(storage: &S, folder: &Folder) -> Result<(u64, Vec<u8>)> {
    match find_newest(storage, folder)? {
        Newest::Step(step) => {
            let number = step.document.number;
            Ok((number, Record::Head { number, root: hex(&step.root) }.to_bytes()))
        }
        Newest::Damaged { error, .. } => Err(error),
        Newest::End { .. } => Err(Error::new(ErrorCode::NotFound, "the timeline was deleted").at(folder.prefix())),
        Newest::Nothing | Newest::Gap { .. } => Err(Error::new(ErrorCode::NotFound, "the timeline has no steps").at(folder.prefix())),
    }
}

/// What a search has found last.
enum Top {
    Object(ObjectInfo, Vec<u8>),
    /// The last number of a gap.
    Gap,
}

/// Finds the newest step.
pub(crate) fn find_newest<S: Storage>(storage: &S, folder: &Folder) -> Result<Newest> {
    find(storage, folder, false)
}

/// Finds the newest step like [`find_newest`], also where so many steps were lost after an old hint
/// that a search from there ends before them: for what takes a listing anyway.
pub(crate) fn find_newest_listed<S: Storage>(storage: &S, folder: &Folder) -> Result<Newest> {
    find(storage, folder, true)
}

fn find<S: Storage>(storage: &S, folder: &Folder, is_listed: bool) -> Result<Newest> {
    for _ in 0..ATTEMPTS {
        match find_once(storage, folder, is_listed)? {
            // What removes the newest step has claimed the next number before: look again.
            Newest::Damaged { error, .. } if error.code == ErrorCode::Conflict => {}
            found => return Ok(found),
        }
    }
    match find_once(storage, folder, is_listed)? {
        Newest::Damaged { number, error } if error.code == ErrorCode::Conflict => {
            let error = Error::integrity(format!("step {number} was removed, and the step after it is missing"));
            Ok(Newest::Damaged { number, error: error.at(&folder.step(number)) })
        }
        found => Ok(found),
    }
}

fn find_once<S: Storage>(storage: &S, folder: &Folder, is_listed: bool) -> Result<Newest> {
    let hint = read_hint(storage, folder)?;
    let (from, root) = hint.as_ref().map_or((1, None), |(number, root)| (*number, Some(root.as_str())));
    match search_from(storage, folder, from, root)? {
        Some(found) if hint.is_some() && !is_listed => return Ok(found),
        Some(found) => return beyond(storage, folder, found),
        None => {}
    }
    // A new timeline; or one whose first steps, or whose hint, are gone.
    let listing = Listing::read(storage, folder, 1)?;
    let last = listing.steps.numbers().next_back().max(listing.gaps.iter().map(|gap| gap.last).max());
    if let Some((hint, _)) = hint
        && last.is_none_or(|last| last < hint)
    {
        let error = Error::integrity(format!("step {hint}, which was the newest, is missing: the end of the timeline was lost"))
            .with(HINT, "if this is an interrupted copy or fork, run it again; otherwise 'persist check' says which steps remain");
        return Ok(Newest::Damaged { number: hint, error: error.at(&folder.step(hint)) });
    }
    let Some(last) = last else { return Ok(Newest::Nothing) };
    match search_from(storage, folder, last, None)? {
        Some(newest) => Ok(newest),
        None if listing.is_in_gap(last) => Ok(Newest::Gap { number: last }),
        None => {
            let error = Error::new(ErrorCode::Conflict, "the timeline is being changed: its newest step was listed, but is now gone");
            Ok(Newest::Damaged { number: last, error: error.at(folder.prefix()) })
        }
    }
}

/// Looks for steps after those that a search has found: only a listing shows that the ones in
/// between were lost. What is no step is not part of the timeline.
fn beyond<S: Storage>(storage: &S, folder: &Folder, found: Newest) -> Result<Newest> {
    let listing = Listing::read(storage, folder, found.number().saturating_add(1))?;
    let listed: Vec<u64> = listing.steps.numbers().rev().take_while(|number| *number > found.number()).collect();
    for numbers in listed.chunks(1 + AHEAD as usize) {
        for (number, step) in read_steps(storage, folder, numbers)? {
            let is_object = step.is_ok() || listing.end == number || listing.is_in_gap(number);
            if is_object && let Some(newest) = search_from(storage, folder, number, None)? {
                return Ok(newest);
            }
        }
    }
    Ok(found)
}

/// Finds the newest step from a number on. Returns `None` if that number is missing, or has
/// another root than this: the hint may be one that was written late, and point into a gap.
fn search_from<S: Storage>(storage: &S, folder: &Folder, from: u64, root: Option<&str>) -> Result<Option<Newest>> {
    let mut top: Option<(u64, Top)> = None;
    let mut first = from.max(1);
    'batches: loop {
        let keys: Vec<String> = (first..=first + AHEAD).map(|number| folder.step(number)).collect();
        let ends = storage.read_ends(&keys.iter().map(String::as_str).collect::<Vec<_>>(), TAIL)?;
        let mut highest = 0;
        for (number, end) in (first..).zip(ends) {
            let (info, tail) = match end {
                Ok(end) => end,
                // A number before a later one is lost, which is for a check to say.
                Err(error) if error.code == ErrorCode::NotFound && number > from => continue,
                Err(error) if error.code == ErrorCode::NotFound => return Ok(None),
                Err(error) => return Err(error.at(&folder.step(number))),
            };
            let record = if is_step_size(info.size) { None } else { Record::parse(&tail).ok() };
            if let Some(Record::Gap { first: begin, last }) = record
                && begin == number
                && last >= number
            {
                top = Some((last, Top::Gap));
                first = last + 1;
                continue 'batches;
            }
            if number == from
                && root.is_some_and(|root| root_in(storage, info.clone(), tail.clone(), number).is_some_and(|found| found != root))
            {
                return Ok(None);
            }
            top = Some((number, Top::Object(info, tail)));
            highest = number;
        }
        if highest < first + AHEAD {
            break;
        }
        first += AHEAD + 1;
    }
    Ok(top.map(|(number, top)| match top {
        Top::Gap => Newest::Gap { number },
        Top::Object(info, tail) => match parse(storage, folder, number, info, tail) {
            Ok(newest) => newest,
            Err(error) => Newest::Damaged { number, error },
        },
    }))
}

/// Returns the root of the step with this number, of a step that was removed, or of an end;
/// `None` if there is no such object, or it is damaged.
pub(crate) fn root_of<S: Storage>(storage: &S, folder: &Folder, number: u64) -> Result<Option<String>> {
    let end = storage.read_ends(&[&folder.step(number)], TAIL)?.into_iter().next();
    let (info, tail) = match end.unwrap_or_else(|| Err(Error::short_read(0, 1))) {
        Ok(end) => end,
        Err(error) if error.code == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(root_in(storage, info, tail, number))
}

/// The root that an object has, or had before it was removed; `None` if it is damaged.
fn root_in<S: Storage>(storage: &S, info: ObjectInfo, tail: Vec<u8>, number: u64) -> Option<String> {
    if is_step_size(info.size) {
        return Step::parse(storage, info, tail, number).ok().map(|step| hex(&step.root));
    }
    match Record::parse(&tail) {
        Ok(Record::Removed { number: removed, root, .. }) if removed == number => Some(root),
        Ok(Record::End { number: end, .. }) if end == number => Some(hex(&Sha256::digest(&tail))),
        _ => None,
    }
}

/// Reads the object with the highest number.
fn parse<S: Storage>(storage: &S, folder: &Folder, number: u64, info: ObjectInfo, tail: Vec<u8>) -> Result<Newest> {
    if is_step_size(info.size) {
        return Step::parse(storage, info, tail, number).map(Box::new).map(Newest::Step);
    }
    match Record::parse(&tail).map_err(|error| error.at(&info.key))? {
        Record::End { number: named, .. } if named == number => {
            Ok(Newest::End { number, root: Sha256::digest(&tail).into(), storage_time: info.storage_time })
        }
        _ => Err(Error::new(ErrorCode::Conflict, "the step was removed just now").at(&folder.step(number))),
    }
}
