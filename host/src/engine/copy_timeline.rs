//! Copies a timeline, object by object.
//!
//! Steps never change, so a copy has the same numbers and the same bytes, and copying again
//! adds the steps that have come since. A step refers only to earlier ones, and pruning removes
//! a step before what it refers to. So objects are copied from the oldest to the newest, and
//! whatever is there at any moment is a timeline, as it was at some time. The hint comes first:
//! it names the newest step, so that the beginning of a first copy is not taken for all of it.
//!
//! Only what comes after the last object of an earlier copy is copied. That object shows
//! whether it is a copy of the same timeline: the root of a step covers all steps before it.

use std::collections::{BTreeMap, BTreeSet};

use persist_model::{ErrorCode, PersistError, Precondition, Result, StepSelector};
use persist_paths::timeline::{END_SIZE, GAP_SIZE, HINT, Name, hidden_name, is_step_size, parse, step_name};

use crate::engine::engine::Engine;
use crate::engine::timeline::Timeline;
use crate::storage::{ByteRange, ObjectInfo, ReadOptions, StorageReader, StorageWriter, WriteOptions, copy_through, read_to_end};

/// The most numbers in a row that are looked for although a listing left them out.
const MAX_HOLE: u64 = 100;

/// How often copying begins again if the newest step is pruned meanwhile.
const ATTEMPTS: u32 = 10;

/// How much of the end of two steps is compared. It has the document of the step, and with it
/// the hashes of everything else and of all steps before.
const END: u64 = 64 << 10;

/// The result of copying a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTimeline {
    /// The number of the newest step.
    pub newest: u64,
    /// How many steps were copied; 0 if all were there.
    pub steps: u64,
    /// The size in bytes of what was copied.
    pub bytes: u64,
}

/// A folder of a storage.
#[derive(Clone, Copy)]
struct Place<'a> {
    engine: &'a Engine,
    folder: &'a str,
}

impl Place<'_> {
    fn location(&self) -> String {
        self.engine.storage().locate(self.folder)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    fn open(&self, name: &str, range: ByteRange) -> Result<Box<dyn StorageReader>> {
        let key = self.key(name);
        let options = ReadOptions { range, ..ReadOptions::default() };
        self.engine.storage().open_read(&key, options).map_err(|error| error.at(self.engine.storage().locate(&key)))
    }

    /// Reads the end of an object; none if it is missing.
    fn end_of(&self, name: &str) -> Result<Option<(u64, Vec<u8>)>> {
        match self.open(name, ByteRange::Suffix(END)) {
            Ok(mut reader) => read_to_end(&mut *reader).map(|bytes| Some((reader.info().size, bytes))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object. Returns false if it is there and must not be replaced.
    fn write(&self, name: &str, options: WriteOptions, fill: impl FnOnce(&mut dyn StorageWriter) -> Result<()>) -> Result<bool> {
        let key = self.key(name);
        let written = self.engine.storage().open_write(&key, options).and_then(|mut writer| {
            fill(&mut *writer)?;
            writer.commit()
        });
        match written {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::AlreadyExists => Ok(false),
            Err(error) => Err(error.at(self.engine.storage().locate(&key))),
        }
    }

    /// Writes the hint. One of an earlier copy, or of one that was broken off, may stay.
    fn write_hint(&self, hint: &[u8], precondition: Precondition) -> Result<()> {
        let content_type = Some("application/json".to_owned());
        let options = WriteOptions { precondition, object_size_hint: Some(hint.len() as u64), content_type, ..WriteOptions::default() };
        self.write(HINT, options, |writer| writer.write(hint)).map(drop)
    }
}

/// The objects of a timeline in one storage.
#[derive(Default)]
struct Objects {
    /// Steps, and what has taken their place, by number.
    numbers: BTreeMap<u64, ObjectInfo>,
    /// The numbers of hidden steps.
    hidden: BTreeSet<u64>,
    /// The names of labels.
    labels: BTreeSet<String>,
    catalogues: BTreeSet<String>,
}

impl Objects {
    fn list(place: Place<'_>) -> Result<Self> {
        let mut objects = Self::default();
        for info in place.engine.objects(place.folder) {
            let info = match info {
                // A name that is no key is not the name of a step either.
                Err(error) if error.code() == ErrorCode::InvalidKey => continue,
                info => info?,
            };
            let Some(name) = info.key.strip_prefix(place.folder).map(str::to_owned) else { continue };
            match parse(&name) {
                Some(Name::Step(number)) => drop(objects.numbers.insert(number, info)),
                Some(Name::Hidden(number)) => drop(objects.hidden.insert(number)),
                Some(Name::Label(_)) => drop(objects.labels.insert(name)),
                Some(Name::Catalogue(_)) => drop(objects.catalogues.insert(name)),
                Some(Name::Hint) | None => {}
            }
        }
        Ok(objects)
    }

    /// The highest number; 0 if there is none.
    fn last(&self) -> u64 {
        self.numbers.keys().next_back().copied().unwrap_or(0)
    }

    /// The numbers between two.
    fn between(&self, after: u64, before: u64) -> impl Iterator<Item = u64> {
        self.numbers.range(after.saturating_add(1)..).map(|(number, _)| *number).take_while(move |number| *number < before)
    }

    fn has_step(&self, number: u64) -> bool {
        self.numbers.get(&number).is_some_and(|info| is_step_size(info.size))
    }

    /// Looks for numbers between two that the listing left out. In a gap there are none, so only
    /// the last of many are looked for.
    fn fill(&mut self, place: Place<'_>, after: u64, newest: u64) -> Result<()> {
        let end = newest.saturating_add(1);
        let listed: Vec<u64> = self.between(after, end).chain([end]).collect();
        let mut next = after.saturating_add(1);
        for number in listed {
            for missing in next.max(number.saturating_sub(MAX_HOLE))..number {
                match place.engine.storage().stat(&place.key(&step_name(missing))) {
                    Ok(info) => drop(self.numbers.insert(missing, info)),
                    Err(error) if error.code() == ErrorCode::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            next = number.saturating_add(1);
        }
        Ok(())
    }
}

/// A copy that is being made.
struct Copying<'a, P> {
    from: Place<'a>,
    to: Place<'a>,
    progress: P,
    steps: u64,
    bytes: u64,
}

/// What became of an object.
enum Taken {
    Copied {
        is_step: bool,
    },
    /// Another is in its place.
    There,
    /// It is gone from the source.
    Gone,
}

impl<P: FnMut(u64)> Copying<'_, P> {
    /// Copies an object, if the source still has one that is acceptable.
    fn object(&mut self, name: &str, precondition: Precondition, accept: impl FnOnce(&ObjectInfo) -> bool) -> Result<Taken> {
        let mut reader = match self.from.open(name, ByteRange::All) {
            Ok(reader) => reader,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(Taken::Gone),
            Err(error) => return Err(error),
        };
        let info = reader.info().clone();
        if !accept(&info) {
            return Ok(Taken::Gone);
        }
        let (size, is_step) = (info.size, is_step_size(info.size));
        let options = WriteOptions {
            precondition,
            object_size_hint: Some(size),
            content_type: info.content_type,
            attributes: info.attributes,
            ..WriteOptions::default()
        };
        if !self.to.write(name, options, |writer| copy_through(writer, &mut *reader, size))? {
            return Ok(Taken::There);
        }
        self.bytes += size;
        (self.progress)(self.bytes);
        Ok(Taken::Copied { is_step })
    }

    /// Copies a step, or what has taken its place. Returns false if it is gone.
    fn numbered(&mut self, number: u64, source: &Objects, is_newest: bool) -> Result<bool> {
        if source.hidden.contains(&number) {
            // Never shown in between.
            self.object(&hidden_name(number), Precondition::None, |_| true)?;
        }
        match self.object(&step_name(number), Precondition::IfAbsent, |info| !is_newest || is_step_size(info.size))? {
            Taken::Copied { is_step } => {
                self.steps += u64::from(is_step);
                Ok(true)
            }
            Taken::Gone => Ok(false),
            Taken::There => {
                let error = PersistError::new(ErrorCode::Conflict, "another writer is using the destination timeline");
                Err(error.at(self.to.location()).hint("copy to another folder"))
            }
        }
    }

    /// Copies labels that are missing or different.
    fn labels(&mut self, source: &Objects, target: &Objects) -> Result<()> {
        for name in &source.labels {
            if !target.labels.contains(name) || self.from.end_of(name)? != self.to.end_of(name)? {
                self.object(name, Precondition::None, |_| true)?;
            }
        }
        Ok(())
    }

    /// Copies everything up to the step `newest`, which the hint names. Returns false if the
    /// source has changed so much that this has to begin again.
    fn up_to(&mut self, newest: u64, hint: &[u8], to: &Timeline) -> Result<bool> {
        let mut source = Objects::list(self.from)?;
        let target = Objects::list(self.to)?;
        let last = target.last();
        check_target(self.from, self.to, (&source, &target), newest, to)?;
        source.fill(self.from, last, newest)?;
        if last == 0 {
            self.to.write_hint(hint, Precondition::IfAbsent)?;
        }
        for number in source.between(last, newest) {
            // A marker that became part of a gap since: the gap has to be seen.
            if !self.numbered(number, &source, false)? {
                return Ok(false);
            }
        }
        self.labels(&source, &target)?;
        if last < newest && !self.numbered(newest, &source, true)? {
            return Ok(false);
        }
        for name in source.catalogues.difference(&target.catalogues) {
            self.object(name, Precondition::IfAbsent, |_| true)?;
        }
        if last > 0 && last < newest {
            self.to.write_hint(hint, Precondition::None)?;
        }
        Ok(true)
    }
}

/// Checks that what is at the target is an earlier copy of the source, or nothing.
fn check_target(from: Place<'_>, to: Place<'_>, (source, target): (&Objects, &Objects), newest: u64, timeline: &Timeline) -> Result<()> {
    let last = target.last();
    let refused = |what: &str| {
        let error = PersistError::new(ErrorCode::AlreadyExists, what.to_owned()).at(to.location());
        Err(error.hint("copy to another folder"))
    };
    if last == 0 {
        return Ok(());
    }
    if last > newest {
        return refused("the timeline here has later steps than the one to copy");
    }
    let name = step_name(last);
    let (Some(theirs), Some(ours)) = (from.end_of(&name)?, to.end_of(&name)?) else {
        return refused("the copy here ends with a step that was pruned from the timeline long ago");
    };
    if theirs != ours {
        // What has taken the place of a step has its root.
        let is_same = target.has_step(last) && !is_step_size(theirs.0) && {
            let root = timeline.find(&StepSelector::Number(last))?.metadata.root;
            !root.is_empty() && theirs.0 != GAP_SIZE && String::from_utf8_lossy(&theirs.1).contains(&format!("\"{root}\""))
        };
        if !is_same {
            return refused(&format!("there is another timeline here: number {last} is not the same"));
        }
    }
    let has_ended = source.numbers.range(last.saturating_add(1)..).any(|(_, info)| info.size == END_SIZE);
    if has_ended && target.numbers.keys().any(|number| target.has_step(*number)) {
        return refused("the timeline has been deleted since it was copied, and has begun again");
    }
    Ok(())
}

impl Timeline {
    /// Copies the timeline, byte for byte and with the numbers of its steps, to a folder of
    /// another engine's storage, and reads the whole copy to check it. If an earlier copy is
    /// there, only what has come since is copied; steps that were pruned since stay in the
    /// copy. `progress` is called now and then with the number of bytes copied so far.
    ///
    /// # Errors
    /// `NotFound` if there are no steps; `AlreadyExists` if the folder has another timeline,
    /// or a copy that has later steps or is too old; `Conflict` if somebody appends to the
    /// copy; `Integrity` if a step is damaged, here or there; and any error of the storages.
    /// Copying again continues.
    pub fn copy(&self, target: &Engine, folder: &str, progress: impl FnMut(u64)) -> Result<CopiedTimeline> {
        let to = target.timeline(folder)?;
        to.check_conditions()?;
        let from = Place { engine: self.engine(), folder: self.folder() };
        let mut copying = Copying { from, to: Place { engine: target, folder: to.folder() }, progress, steps: 0, bytes: 0 };
        for _ in 0..ATTEMPTS {
            let (newest, hint) = self.newest_hint()?;
            if !copying.up_to(newest, &hint, &to)? {
                continue;
            }
            for checked in to.check(true)? {
                if let Some(error) = checked?.error {
                    return Err(error.hint("check the source with 'persist check'; if it is undamaged, copy it to another folder"));
                }
            }
            return Ok(CopiedTimeline { newest, steps: copying.steps, bytes: copying.bytes });
        }
        Err(PersistError::new(ErrorCode::Conflict, "pruning kept changing the timeline").at(self.location()).hint("copy again"))
    }
}
