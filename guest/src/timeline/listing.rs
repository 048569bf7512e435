//! What a listing of a timeline says.

use std::collections::BTreeSet;

use crate::error::{ErrorCode, Result};
use crate::storage::{ByteRange, ObjectInfo, Storage};
use crate::timeline::chain::read_parts;
use crate::timeline::names::{Folder, Name};
use crate::timeline::numbered::Numbered;
use crate::timeline::record;

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
    /// Steps, markers and the end.
    pub(crate) steps: Numbered<ObjectInfo>,
    pub(crate) hidden: BTreeSet<u64>,
    /// The keys of later labels.
    pub(crate) labels: Numbered<Vec<String>>,
    pub(crate) catalogues: BTreeSet<u64>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) hint: bool,
    /// The size of all objects.
    pub(crate) size: u64,
}

/// Whether this is not a step, but a small object in its place.
pub(crate) fn is_marker(info: &ObjectInfo) -> bool {
    info.size == record::SIZE
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
                return Ok(listing);
            }
        }
    }

    fn add(&mut self, folder: &Folder, info: ObjectInfo) {
        let Some(name) = folder.parse(&info.key) else { return };
        self.size += info.size;
        match name {
            Name::Step(number) => self.steps.insert(number, info),
            Name::Hidden(number) => drop(self.hidden.insert(number)),
            Name::Label(number) => self.labels.or_default(number).push(info.key),
            Name::Catalogue(number) => drop(self.catalogues.insert(number)),
            Name::Gap(first, last) => self.gaps.push(Gap { first, last }),
            Name::Hint => self.hint = true,
        }
    }

    /// Whether a number is in a gap.
    pub(crate) fn is_in_gap(&self, number: u64) -> bool {
        self.gaps.iter().any(|gap| (gap.first..=gap.last).contains(&number))
    }

    /// Asks for every number up to `newest` that was not listed, since a listing has holes
    /// while others write. Returns those that are missing, and in no gap.
    pub(crate) fn fill<S: Storage>(&mut self, storage: &S, folder: &Folder, from: u64, newest: u64) -> Result<Vec<u64>> {
        let missing: Vec<u64> = (from..=newest).filter(|number| !self.steps.contains(*number) && !self.is_in_gap(*number)).collect();
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
