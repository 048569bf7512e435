//! Copies a timeline, object by object.
//!
//! Steps never change, so a copy has the same numbers and the same bytes, and copying again
//! adds the steps that have come since. A step refers only to earlier ones, so they are copied
//! from the oldest to the newest: what is there at any moment is a timeline, as it was at some
//! time. The hint is read before anything else, so that it names a step that is copied, and
//! written first, so that the beginning of a first copy is not taken for all of it. What is pruned while it is copied is pruned in the copy, too, before the newest step
//! makes it one that others append to.

use std::collections::{BTreeMap, BTreeSet};

use persist_model::{ErrorCode, PersistError, Precondition, Result, Step, StepSelector};
use persist_paths::timeline::{GAP_SIZE, HINT, Name, is_step_size, parse, step_name};

use crate::engine::engine::Engine;
use crate::engine::timeline::Timeline;
use crate::storage::{ByteRange, ObjectInfo, ReadOptions, StorageAdapter, WriteOptions, copy_through, read_to_end};

/// How many objects are listed at a time.
const PAGE: u32 = 1000;

/// The most numbers in a row that are looked for although a listing left them out.
const MAX_HOLE: u64 = 1000;

/// How often copying begins again if the newest step is pruned meanwhile.
const ATTEMPTS: u32 = 10;

/// How much of the end of two steps is compared. It has the document of the step, and with it
/// the hashes of everything else and of all steps before.
const END: u64 = 64 << 10;

/// The result of copying a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTimeline {
    /// The newest step, as it is in the source.
    pub newest: Step,
    /// How many steps were copied; 0 if all were there.
    pub steps: u64,
    /// The size in bytes of what was copied.
    pub bytes: u64,
}

/// The objects of a timeline in one storage.
struct Objects<'a> {
    storage: &'a dyn StorageAdapter,
    folder: &'a str,
    /// Steps, and what has taken their place, by number.
    numbers: BTreeMap<u64, ObjectInfo>,
    /// The names of what says something about a step.
    beside: BTreeSet<String>,
    catalogues: BTreeSet<String>,
}

impl<'a> Objects<'a> {
    fn list(storage: &'a dyn StorageAdapter, folder: &'a str) -> Result<Self> {
        let mut objects = Self { storage, folder, numbers: BTreeMap::new(), beside: BTreeSet::new(), catalogues: BTreeSet::new() };
        let mut after: Option<String> = None;
        loop {
            let page = storage.list_objects(folder, after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(objects) };
            after = Some(last.key.clone());
            for info in page {
                let Some(name) = info.key.strip_prefix(folder).map(str::to_owned) else { continue };
                match parse(&name) {
                    Some(Name::Step(number)) => drop(objects.numbers.insert(number, info)),
                    Some(Name::Hidden(_) | Name::Label(_)) => drop(objects.beside.insert(name)),
                    Some(Name::Catalogue(_)) => drop(objects.catalogues.insert(name)),
                    Some(Name::Hint) | None => {}
                }
            }
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// Returns whether there is a step with this number.
    fn has_step(&self, number: u64) -> bool {
        self.numbers.get(&number).is_some_and(|info| is_step_size(info.size))
    }

    /// Returns the last number before `number` that has an object.
    fn before(&self, number: u64) -> Option<(u64, &ObjectInfo)> {
        self.numbers.range(..number).next_back().map(|(number, info)| (*number, info))
    }

    /// Returns whether the number was used here, as far as a listing says. What follows a gap
    /// without an object is in it.
    fn has_used(&self, number: u64) -> bool {
        let is_in_gap = || self.before(number).is_some_and(|(_, info)| info.size == GAP_SIZE) && self.highest() > number;
        self.numbers.contains_key(&number) || is_in_gap()
    }

    fn highest(&self) -> u64 {
        self.numbers.keys().next_back().copied().unwrap_or(0)
    }

    /// Looks for numbers up to `newest` that the listing left out.
    fn fill(&mut self, newest: u64) -> Result<()> {
        let mut missing = Vec::new();
        let mut next = 1;
        for number in self.numbers.range(..=newest).map(|(number, _)| *number).chain([newest + 1]) {
            let is_gap = next > 1 && self.numbers.get(&(next - 1)).is_some_and(|info| info.size == GAP_SIZE);
            if !is_gap && number - next <= MAX_HOLE {
                missing.extend(next..number);
            }
            next = number + 1;
        }
        for number in missing {
            match self.storage.stat(&self.key(&step_name(number))) {
                Ok(info) => drop(self.numbers.insert(number, info)),
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn end_of(&self, number: u64) -> Result<(u64, Vec<u8>)> {
        let options = ReadOptions { range: ByteRange::Suffix(END), ..ReadOptions::default() };
        let mut reader = self.storage.open_read(&self.key(&step_name(number)), options)?;
        let bytes = read_to_end(&mut *reader)?;
        Ok((reader.info().size, bytes))
    }
}

/// A copy that is being made.
struct Copying<'a, P> {
    from: (&'a dyn StorageAdapter, &'a str),
    to: (&'a dyn StorageAdapter, &'a str),
    progress: P,
    steps: u64,
    bytes: u64,
}

impl<P: FnMut(u64)> Copying<'_, P> {
    /// Copies an object. Returns whether it was copied; not if it is there and must not be
    /// replaced.
    fn object(&mut self, name: &str, precondition: Precondition) -> Result<bool> {
        let ((from, from_folder), (to, to_folder)) = (self.from, self.to);
        let from_key = format!("{from_folder}{name}");
        let mut reader = from.open_read(&from_key, ReadOptions::default()).map_err(|error| error.at(from.locate(&from_key)))?;
        let info = reader.info().clone();
        let key = format!("{to_folder}{name}");
        let options = WriteOptions {
            precondition,
            object_size_hint: Some(info.size),
            content_type: info.content_type,
            attributes: info.attributes,
            ..WriteOptions::default()
        };
        let copied = to.open_write(&key, options).and_then(|mut writer| {
            copy_through(&mut *writer, &mut *reader, info.size)?;
            writer.commit()
        });
        self.note(&key, info.size, copied)
    }

    /// Reads the hint of the source.
    fn read_hint(&self) -> Result<Option<Vec<u8>>> {
        let (from, folder) = self.from;
        let options = ReadOptions { range: ByteRange::Span { offset: 0, length: END }, ..ReadOptions::default() };
        match from.open_read(&format!("{folder}{HINT}"), options) {
            Ok(mut reader) => read_to_end(&mut *reader).map(Some),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the hint.
    fn hint(&mut self, hint: &[u8], precondition: Precondition) -> Result<bool> {
        let (to, folder) = self.to;
        let key = format!("{folder}{HINT}");
        let content_type = Some("application/json".to_owned());
        let options = WriteOptions { precondition, object_size_hint: Some(hint.len() as u64), content_type, ..WriteOptions::default() };
        let written = to.open_write(&key, options).and_then(|mut writer| {
            writer.write(hint)?;
            writer.commit()
        });
        self.note(&key, hint.len() as u64, written)
    }

    /// Notes what became of a write.
    fn note(&mut self, key: &str, size: u64, written: Result<ObjectInfo>) -> Result<bool> {
        match written {
            Ok(_) => {
                self.bytes += size;
                (self.progress)(self.bytes);
                Ok(true)
            }
            Err(error) if error.code() == ErrorCode::AlreadyExists => Ok(false),
            Err(error) => Err(error.at(self.to.0.locate(key))),
        }
    }

    fn new_object(&mut self, name: &str) -> Result<bool> {
        self.object(name, Precondition::IfAbsent)
    }

    /// Copies everything up to the step `newest`. Returns false if that is no step any more.
    fn up_to(&mut self, newest: u64, hint: Option<&[u8]>) -> Result<bool> {
        let mut source = Objects::list(self.from.0, self.from.1)?;
        source.fill(newest)?;
        let target = Objects::list(self.to.0, self.to.1)?;
        check_target(&source, &target, newest)?;
        if let Some(hint) = hint {
            self.hint(hint, Precondition::IfAbsent)?;
        }
        let wanted: Vec<u64> =
            source.numbers.range(..newest).map(|(number, _)| *number).filter(|number| !target.has_used(*number)).collect();
        let mut copied = Vec::new();
        for number in wanted {
            if !self.new_object(&step_name(number))? {
                return Err(in_use(&target));
            }
            self.steps += u64::from(source.has_step(number));
            copied.push(number);
        }
        let mut now = Objects::list(self.from.0, self.from.1)?;
        now.fill(newest)?;
        // The newest first, as in pruning: a step goes before what it refers to.
        for number in copied.into_iter().rev().filter(|number| source.has_step(*number) && !now.has_step(*number)) {
            self.object(&step_name(number), Precondition::None)?;
            self.steps -= 1;
        }
        for name in &now.beside {
            // A label may have changed.
            self.object(name, Precondition::None)?;
        }
        if !now.has_step(newest) {
            return Ok(false);
        }
        if !target.has_step(newest) {
            if !self.new_object(&step_name(newest))? {
                return Err(in_use(&target));
            }
            self.steps += 1;
        }
        for name in now.catalogues.difference(&target.catalogues) {
            self.new_object(name)?;
        }
        if let Some(hint) = hint {
            self.hint(hint, Precondition::None)?;
        }
        Ok(true)
    }
}

/// Checks that what is at the target is an earlier copy, or nothing.
fn check_target(source: &Objects<'_>, target: &Objects<'_>, newest: u64) -> Result<()> {
    let location = || target.storage.locate(target.folder);
    if target.highest() > newest {
        return Err(PersistError::new(ErrorCode::AlreadyExists, "the timeline here has later steps than the one to copy")
            .at(location())
            .hint("copy to another folder"));
    }
    let common = target.numbers.keys().rev().find(|number| target.has_step(**number) && source.has_step(**number));
    if let Some(common) = common
        && source.end_of(*common)? != target.end_of(*common)?
    {
        let error =
            PersistError::new(ErrorCode::AlreadyExists, format!("there is another timeline here: its step {common} is not the same"));
        return Err(error.at(location()).hint("copy to another folder"));
    }
    // A gap can't be copied if the copy still has what was in its first place.
    let next_of = |number: u64| source.numbers.range(number + 1..).next().map_or(newest, |(next, _)| *next);
    let mut gaps = source.numbers.iter().filter(|(_, info)| info.size == GAP_SIZE);
    if gaps.any(|(number, _)| target.has_step(*number) && next_of(*number) > target.highest() + 1) {
        return Err(PersistError::new(ErrorCode::AlreadyExists, "the copy here is older than what was pruned from the timeline since")
            .at(location())
            .hint("copy to another folder, or delete this copy first"));
    }
    Ok(())
}

fn in_use(target: &Objects<'_>) -> PersistError {
    PersistError::new(ErrorCode::Conflict, "another writer is using the timeline that is copied to")
        .at(target.storage.locate(target.folder))
}

impl Timeline {
    /// Copies the timeline, byte for byte and with the numbers of its steps, to a folder of
    /// another engine's storage, and reads the whole copy to check it. If an earlier copy is
    /// there, only what has come since is copied; steps that were pruned since stay in the
    /// copy. `progress` is called now and then with the number of bytes copied so far.
    ///
    /// # Errors
    /// `NotFound` if there are no steps; `AlreadyExists` if the folder has another timeline,
    /// or later steps; `Conflict` if somebody appends to the copy; `Integrity` if a step is
    /// damaged, which is in the copy, too; and any error of the storages. Copying again
    /// continues.
    pub fn copy(&self, target: &Engine, folder: &str, progress: impl FnMut(u64)) -> Result<CopiedTimeline> {
        let to = target.timeline(folder)?;
        to.check_conditions()?;
        let mut copying = Copying {
            from: (&**self.engine().storage(), self.folder()),
            to: (&**target.storage(), to.folder()),
            progress,
            steps: 0,
            bytes: 0,
        };
        for _ in 0..ATTEMPTS {
            let hint = copying.read_hint()?;
            let newest = self.find(&StepSelector::Newest)?;
            if !copying.up_to(newest.number, hint.as_deref())? {
                continue;
            }
            for checked in to.check(true)? {
                if let Some(error) = checked?.error {
                    return Err(error.hint("the copy is complete and has the damage of its source: see 'persist check'"));
                }
            }
            return Ok(CopiedTimeline { newest, steps: copying.steps, bytes: copying.bytes });
        }
        Err(PersistError::new(ErrorCode::Conflict, "the timeline is being pruned all the time").at(self.location()))
    }
}
