//! What a listing of a timeline says.

use std::collections::BTreeSet;

use persist_paths::timeline::{END_SIZE, GAP_SIZE, is_step_size};

use crate::error::{ErrorCode, Result};
use crate::storage::{ByteRange, ObjectInfo, Storage};
use crate::timeline::chain::read_parts;
use crate::timeline::names::{Folder, Name};
use crate::timeline::numbered::Numbered;
use crate::timeline::record::Record;

/// How many objects are listed at a time.
const PAGE: u32 = 1000;

/// Numbers that were removed, and whose markers may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The objects of a timeline, from a number on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Steps, markers, ends, and the first numbers of gaps.
    pub(crate) steps: Numbered<ObjectInfo>,
    pub(crate) hidden: BTreeSet<u64>,
    /// The keys of later labels.
    pub(crate) labels: Numbered<Vec<String>>,
    pub(crate) catalogues: BTreeSet<u64>,
    pub(crate) gaps: Vec<Gap>,
    /// The number of the last end: what comes before it was deleted. 0 if there is none.
    pub(crate) end: u64,
    pub(crate) hint: bool,
    /// The size of all objects.
    pub(crate) size: u64,
}

/// Whether this is not a step, but what has taken its place.
pub(crate) fn is_marker(info: &ObjectInfo) -> bool {
    !is_step_size(info.size)
}

impl Listing {
    /// Lists everything that belongs to the step `from` and to later ones.
    pub(crate) fn read<S: Storage>(storage: &S, folder: &Folder, from: u64) -> Result<Self> {
        let mut listing = Self::default();
        let mut after = (from > 1).then(|| folder.before(from));
        loop {
            let page = storage.list_objects(folder.prefix(), after.as_deref(), PAGE)?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|info| info.key.clone());
            for info in page {
                listing.add(folder, info);
            }
            if is_last {
                listing.read_gaps(storage, folder)?;
                return Ok(listing);
            }
        }
    }

    /// Reads the gaps. What was written into a gap by a writer that has slept is no step.
    fn read_gaps<S: Storage>(&mut self, storage: &S, folder: &Folder) -> Result<()> {
        let records = self.steps.iter().filter(|(_, info)| info.size == GAP_SIZE);
        let requests: Vec<_> = records.map(|(number, _)| (folder.step(number), ByteRange::Suffix(GAP_SIZE))).collect();
        for ((key, _), part) in requests.iter().zip(read_parts(storage, &requests)?) {
            match part.and_then(|(_, bytes)| Record::parse(&bytes)) {
                Ok(Record::Gap { first, last }) if folder.step(first) == *key => self.gaps.push(Gap { first, last }),
                // It was joined with another, or is damaged, which a check says.
                Err(error) if !error.is_damage() => return Err(error),
                _ => {}
            }
        }
        for gap in self.gaps.clone() {
            self.steps.retain(|number| number <= gap.first || number > gap.last);
        }
        // Of a timeline that was deleted, nothing is left, even if the deletion was broken off.
        if let Some((end, _)) = self.steps.iter().rev().find(|(_, info)| info.size == END_SIZE) {
            self.end = end;
        }
        Ok(())
    }

    fn add(&mut self, folder: &Folder, info: ObjectInfo) {
        let Some(name) = folder.parse(&info.key) else { return };
        self.size += info.size;
        match name {
            Name::Step(number) => self.steps.insert(number, info),
            Name::Hidden(number) => drop(self.hidden.insert(number)),
            Name::Label(number) => self.labels.or_default(number).push(info.key),
            Name::Catalogue(number) => drop(self.catalogues.insert(number)),
            Name::Hint => self.hint = true,
        }
    }

    /// Whether a number is in a gap.
    pub(crate) fn is_in_gap(&self, number: u64) -> bool {
        self.gaps.iter().any(|gap| (gap.first..=gap.last).contains(&number))
    }

    /// The steps that are there, and were neither removed nor deleted.
    pub(crate) fn there(&self) -> impl DoubleEndedIterator<Item = (u64, &ObjectInfo)> + Clone {
        self.steps.iter().filter(|(number, info)| *number > self.end && !is_marker(info))
    }

    /// Asks for every number up to `newest` that was not listed, since a listing has holes
    /// while others write. Returns those that are missing, and in no gap.
    pub(crate) fn fill<S: Storage>(&mut self, storage: &S, folder: &Folder, from: u64, newest: u64) -> Result<Vec<u64>> {
        let missing: Vec<u64> =
            (from.max(self.end + 1)..=newest).filter(|number| !self.steps.contains(*number) && !self.is_in_gap(*number)).collect();
        let mut lost = Vec::new();
        for numbers in missing.chunks(1000) {
            let requests: Vec<_> = numbers.iter().map(|number| (folder.step(*number), ByteRange::Suffix(1))).collect();
            for (number, part) in numbers.iter().zip(read_parts(storage, &requests)?) {
                match part {
                    Ok((info, _)) => self.steps.insert(*number, info),
                    Err(error) if error.code == ErrorCode::NotFound => lost.push(*number),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(lost)
    }
}
