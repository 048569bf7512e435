//! What a listing of a timeline says.

use persist_paths::timeline::{END_SIZE, GAP_SIZE, is_step_size};

use crate::error::{Error, ErrorCode, Result};
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
    pub(crate) hidden: Numbered<()>,
    /// The keys of later labels.
    pub(crate) labels: Numbered<Vec<String>>,
    pub(crate) catalogues: Numbered<()>,
    pub(crate) gaps: Vec<Gap>,
    /// Objects of the size of an end or a gap that are neither. They may have been steps.
    broken: Numbered<()>,
    /// The number of the last end: what comes before it was deleted. 0 if there is none.
    pub(crate) end: u64,
    pub(crate) hint: bool,
    /// The size of all objects.
    pub(crate) size: u64,
}

/// The most numbers in a row that a search looks over because they are missing.
pub(crate) const AHEAD: u64 = 16;

/// The most numbers that are asked for because a listing does not have them.
const MAX_MISSING: usize = 100_000;

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
                listing.read_records(storage, folder)?;
                return Ok(listing);
            }
        }
    }

    /// Reads the gaps and the ends. What was written into a gap by a writer that has slept is
    /// no step. Of a timeline that was deleted, nothing is left, even if the deletion was
    /// broken off.
    fn read_records<S: Storage>(&mut self, storage: &S, folder: &Folder) -> Result<()> {
        let records = self.steps.iter().filter(|(_, info)| matches!(info.size, GAP_SIZE | END_SIZE));
        let (numbers, requests): (Vec<u64>, Vec<_>) =
            records.map(|(number, _)| (number, (folder.step(number), ByteRange::Suffix(GAP_SIZE)))).unzip();
        for (number, part) in numbers.into_iter().zip(read_parts(storage, &requests)?) {
            match part.and_then(|(_, bytes)| Record::parse(&bytes)) {
                Ok(Record::Gap { first, last }) if first == number => self.gaps.push(Gap { first, last }),
                Ok(Record::End { number: end, .. }) if end == number => self.end = self.end.max(end),
                // It was replaced since, or joined with another gap.
                Ok(Record::Removed { number: removed, .. }) if removed == number => {}
                Err(error) if error.code == ErrorCode::NotFound => {}
                Err(error) if !error.is_damage() => return Err(error),
                _ => self.broken.insert(number, ()),
            }
        }
        for gap in self.gaps.clone() {
            self.steps.retain(|number| number <= gap.first || number > gap.last);
        }
        Ok(())
    }

    /// Whether an object is not a step, but what has taken its place.
    pub(crate) fn is_marker(&self, number: u64, info: &ObjectInfo) -> bool {
        !is_step_size(info.size) && !self.broken.contains(number)
    }

    /// The last number of the gap that begins with a number; the number itself if there is none.
    pub(crate) fn end_of_gap(&self, number: u64) -> u64 {
        self.gaps.iter().find(|gap| gap.first == number).map_or(number, |gap| gap.last)
    }

    /// Whether there is no longer hole from `first` to `last` than a search looks over.
    pub(crate) fn is_whole(&self, first: u64, last: u64) -> bool {
        let mut top = first;
        self.steps.range(first..=last).all(|(number, _)| {
            let is_near = number <= top.saturating_add(AHEAD + 1);
            top = self.end_of_gap(number);
            is_near
        })
    }

    /// Forgets the steps above a number.
    pub(crate) fn forget_above(&mut self, number: u64) {
        self.steps.retain(|listed| listed <= number);
    }

    fn add(&mut self, folder: &Folder, info: ObjectInfo) {
        let Some(name) = folder.parse(&info.key) else { return };
        self.size += info.size;
        match name {
            Name::Step(number) => self.steps.insert(number, info),
            Name::Hidden(number) => self.hidden.insert(number, ()),
            Name::Label(number) => self.labels.or_default(number).push(info.key),
            Name::Catalogue(number) => self.catalogues.insert(number, ()),
            Name::Hint => self.hint = true,
        }
    }

    /// The gap that a number is in.
    pub(crate) fn gap_of(&self, number: u64) -> Option<Gap> {
        self.gaps.iter().find(|gap| (gap.first..=gap.last).contains(&number)).copied()
    }

    /// Whether a number is in a gap.
    pub(crate) fn is_in_gap(&self, number: u64) -> bool {
        self.gap_of(number).is_some()
    }

    /// The highest number that was listed, or is in a gap; 0 if there is none.
    pub(crate) fn highest(&self) -> u64 {
        let gaps = self.gaps.iter().map(|gap| gap.last);
        gaps.chain(self.steps.numbers().next_back()).max().unwrap_or(0)
    }

    /// The steps before the end, which a deletion that was broken off has left.
    pub(crate) fn left_by_deletion(&self) -> Vec<u64> {
        let before = self.steps.iter().filter(|(number, info)| *number < self.end && !self.is_marker(*number, info));
        before.map(|(number, _)| number).collect()
    }

    /// The steps that are there, and were neither removed nor deleted.
    pub(crate) fn there(&self) -> impl DoubleEndedIterator<Item = (u64, &ObjectInfo)> + Clone {
        self.steps.iter().filter(|(number, info)| *number > self.end && !self.is_marker(*number, info))
    }

    /// Asks for every number up to `newest` that was not listed, since a listing has holes
    /// while others write. Returns those that are missing, and in no gap.
    pub(crate) fn fill<S: Storage>(&mut self, storage: &S, folder: &Folder, from: u64, newest: u64) -> Result<Vec<u64>> {
        let (mut missing, mut number) = (Vec::new(), from.max(self.end + 1));
        while number <= newest {
            if let Some(gap) = self.gap_of(number) {
                number = gap.last;
            } else if !self.steps.contains(number) {
                missing.push(number);
            }
            if missing.len() > MAX_MISSING {
                let error = Error::integrity(format!("more than {MAX_MISSING} steps before step {newest} are missing"));
                return Err(error.at(folder.prefix()));
            }
            number += 1;
        }
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
