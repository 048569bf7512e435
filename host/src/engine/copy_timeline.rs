//! Copies a timeline, object by object.
//!
//! Steps never change, so a copy has the same numbers and the same bytes, and copying again
//! adds the steps that have come since. A step refers only to earlier ones, and pruning removes
//! a step before what it refers to. So objects are copied from the oldest to the newest, and
//! whatever is there at any moment is a timeline, as it was at some time. The hint comes first:
//! it names the newest step, so that the beginning of a first copy is not taken for all of it. If
//! somebody has begun another timeline there, the hint is removed again: by it, that timeline would
//! have lost its end.
//!
//! Only what comes after the last object of an earlier copy is copied. That object shows
//! whether it is a copy of the same timeline: the root of a step covers all steps before it.
//!
//! A fork is a copy that ends with a certain step. If that is removed meanwhile, so may be what it
//! refers to, and the fork is refused. Otherwise all of that was there when the step was copied,
//! which is last.

use persist_model::{ErrorCode, PersistError, Precondition, Result, StepSelector};
use persist_paths::timeline::{END_SIZE, HINT, Name, hidden_name, is_step_size, parse, step_name};

use crate::engine::compare_timelines::{check_target, damaged, different, is_same};
use crate::engine::engine::Engine;
use crate::engine::timeline::Timeline;
use crate::engine::timeline_objects::{Objects, Place, is_of};
use crate::storage::{ByteRange, ObjectInfo, StorageWriter, WriteOptions, copy_through};

/// How often copying begins again if the newest step is pruned meanwhile.
const ATTEMPTS: u32 = 10;

/// The size in bytes from which on an object is copied inside a storage that can do that. A
/// smaller one takes fewer requests if it is read and written.
const INSIDE: u64 = 8 << 20;

/// The result of copying a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopiedTimeline {
    /// The number of the newest step.
    pub newest: u64,
    /// How many steps were copied; 0 if all were there.
    pub steps: u64,
    /// The size in bytes of what was copied.
    pub bytes: u64,
}

/// A copy that is being made.
struct Copying<'a, P> {
    from: Place<'a>,
    to: Place<'a>,
    progress: P,
    steps: u64,
    bytes: u64,
    /// The hints that name the steps that were the newest.
    hints: Vec<Vec<u8>>,
    /// Whether nothing was in the target before.
    is_first: Option<bool>,
    /// Whether it ends with a certain step, which must not be hidden.
    is_fork: bool,
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

impl<'a, P: FnMut(u64)> Copying<'a, P> {
    fn new(from: &'a Timeline, to: &'a Timeline, progress: P) -> Self {
        let place = |timeline: &'a Timeline| Place { engine: timeline.engine(), folder: timeline.folder() };
        Self { from: place(from), to: place(to), progress, steps: 0, bytes: 0, hints: Vec::new(), is_first: None, is_fork: false }
    }

    /// Whether the storage can copy the objects itself.
    fn is_inside(&self) -> bool {
        let (from, to) = (self.from.engine.storage(), self.to.engine.storage());
        to.capabilities().copy_range && from.identity().is_some() && from.identity() == to.identity()
    }

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
        let (key, etag) = (self.from.key(name), info.etag.as_deref());
        let is_inside = size >= INSIDE && self.is_inside();
        let fill = |writer: &mut dyn StorageWriter| {
            if is_inside { writer.copy_range(&key, 0, size, etag) } else { copy_through(writer, &mut *reader, size) }
        };
        match self.to.write(name, options, fill) {
            // It was replaced since it was opened.
            Err(error) if is_inside && matches!(error.code(), ErrorCode::PreconditionFailed | ErrorCode::NotFound) => {
                return Ok(Taken::Gone);
            }
            written => {
                if !written? {
                    return Ok(Taken::There);
                }
            }
        }
        self.bytes += size;
        (self.progress)(self.bytes);
        Ok(Taken::Copied { is_step })
    }

    /// Copies a step, or what has taken its place. Returns false if it is gone.
    fn numbered(&mut self, number: u64, source: &Objects, newest: u64, to: &Timeline) -> Result<bool> {
        if source.hidden.contains(&number) {
            // Never shown in between.
            self.object(&hidden_name(number), Precondition::None, |_| true)?;
        }
        let listed = source.numbers.get(&number);
        let accept = |info: &ObjectInfo| match info.size {
            END_SIZE => number < newest && listed.is_some_and(|listed| listed.size == END_SIZE),
            // Steps never change: another one is in a gap, and its writer is about to remove it.
            size if is_step_size(size) => {
                listed.is_some_and(|listed| is_step_size(listed.size) && (listed.etag.is_none() || listed.etag == info.etag))
            }
            _ => number < newest,
        };
        match self.object(&step_name(number), Precondition::IfAbsent, accept)? {
            Taken::Copied { is_step } => {
                self.steps += u64::from(is_step);
                Ok(true)
            }
            Taken::Gone => Ok(false),
            Taken::There => {
                let error = PersistError::new(ErrorCode::Conflict, "another writer is using the destination timeline");
                Err(self.give_up(error.at(self.to.location()).hint("copy to another folder"), newest, to))
            }
        }
    }

    /// Removes the hint again if another timeline is in the target. Another copy of the same
    /// timeline needs the hint. Returns the error of the whole copy.
    fn give_up(&self, error: PersistError, newest: u64, to: &Timeline) -> PersistError {
        let removed = Objects::list(self.to).and_then(|target| match is_same(self.from, self.to, target.last().min(newest), to)? {
            Some(false) => self.to.remove_hint(&self.hints),
            Some(true) | None => Ok(()),
        });
        match removed {
            Ok(()) => error,
            Err(left) => {
                let what =
                    format!("{error}; the object 'head' of the copy, which names a step that does not exist, could not be deleted: {left}");
                PersistError::new(left.code(), what).at(self.to.key(HINT)).hint("delete this object, and copy to another folder")
            }
        }
    }

    /// Reads the whole copy. What is damaged only there is copied again. If it is damaged in the
    /// source, a first copy is removed again.
    fn check(&mut self, newest: u64, to: &Timeline) -> Result<()> {
        let mut found = damaged(to)?;
        if !found.is_empty() && self.replace(&found)? {
            found = damaged(to)?;
        }
        let Some((name, mut error)) = found.into_iter().next() else { return Ok(()) };
        if self.from.end_of(&name)?.is_none() {
            return Err(error);
        }
        error.detail_mut().location = Some(self.from.engine.storage().locate(&self.from.key(&name)));
        error.detail_mut().hint = Some("damaged steps are not copied: 'persist check' shows which steps are intact".to_owned());
        Err(self.withdraw(error, newest))
    }

    /// Copies these objects of the copy again if the source has others in their place. Returns
    /// whether anything was copied.
    fn replace(&mut self, damaged: &[(String, PersistError)]) -> Result<bool> {
        let mut is_replaced = false;
        for (name, _) in damaged {
            if name == HINT {
                // That of the source may name a step that is not here.
                let hint = self.hints.last().map_or(&[][..], Vec::as_slice);
                is_replaced |= self.to.write_hint(hint, Precondition::None)?;
                continue;
            }
            let is_step = matches!(parse(name), Some(Name::Step(_)));
            let Some(precondition) = different(self.from, self.to, name)? else { continue };
            let accept = |info: &ObjectInfo| !is_step || is_step_size(info.size);
            if matches!(self.object(name, precondition, accept)?, Taken::Copied { .. }) {
                self.steps += u64::from(is_step);
                is_replaced = true;
            }
        }
        Ok(is_replaced)
    }

    /// Removes a first copy that can never be whole. Returns the error of the whole copy.
    fn withdraw(&self, error: PersistError, newest: u64) -> PersistError {
        let is_final = matches!(error.code(), ErrorCode::NotFound | ErrorCode::Integrity | ErrorCode::InvalidFormat);
        if !is_final || self.is_first != Some(true) {
            return error;
        }
        let removed = Objects::list(self.to).and_then(|target| {
            // Otherwise somebody has gone on from it.
            if target.last() > newest {
                return Ok(());
            }
            self.to.remove(&target)?;
            self.to.remove_hint(&self.hints)
        });
        match removed {
            Ok(()) => error,
            Err(left) => {
                error.hint(format!("the copy at {} is incomplete and could not be removed ({left}): delete it", self.to.location()))
            }
        }
    }

    /// Copies labels that are missing or different.
    fn labels(&mut self, source: &Objects, target: &Objects, newest: u64) -> Result<()> {
        for name in source.labels.iter().filter(|name| is_of(name, newest)) {
            if !target.labels.contains(name) || self.from.end_of(name)? != self.to.end_of(name)? {
                self.object(name, Precondition::None, |_| true)?;
            }
        }
        Ok(())
    }

    /// Copies everything up to the step `newest`, which the hint names. Returns false if the
    /// source has changed so much that this has to begin again.
    fn up_to(&mut self, newest: u64, hint: &[u8], to: &Timeline) -> Result<bool> {
        self.hints.push(hint.to_vec());
        let mut source = Objects::list(self.from)?;
        let target = Objects::list(self.to)?;
        let last = target.last();
        self.is_first.get_or_insert(last == 0);
        if let Err(error) = check_target(self.from, self.to, (&source, &target), newest, to) {
            return Err(self.give_up(error, newest, to));
        }
        if self.is_fork && source.hidden.contains(&newest) {
            // It was removed since.
            return Ok(false);
        }
        source.fill(self.from, last, newest)?;
        let is_hinted = last == 0 && self.to.write_hint(hint, Precondition::IfAbsent)?;
        for number in source.between(last, newest) {
            // A marker that became part of a gap since: the gap has to be seen.
            if !self.numbered(number, &source, newest, to)? {
                return Ok(false);
            }
        }
        self.labels(&source, &target, newest)?;
        if last < newest && !self.numbered(newest, &source, newest, to)? {
            return Ok(false);
        }
        for name in source.catalogues.difference(&target.catalogues).filter(|name| is_of(name, newest)) {
            self.object(name, Precondition::IfAbsent, |_| true)?;
        }
        if last < newest && !is_hinted {
            self.to.write_hint(hint, Precondition::None)?;
        }
        Ok(true)
    }
}

impl Timeline {
    /// Copies the timeline, byte for byte and with the numbers of its steps, to a folder of
    /// another engine's storage, and reads the whole copy to check it. If an earlier copy is
    /// there, only what has come since is copied, and what is damaged there; steps that were
    /// pruned since stay in the copy. `progress` is called now and then with the number of bytes
    /// copied so far.
    ///
    /// # Errors
    /// `NotFound` if there are no steps; `AlreadyExists` if the folder has another timeline,
    /// or a copy that has later steps or is too old; `Conflict` if somebody appends to the
    /// copy; `Integrity` if a step is damaged, here or there; and any error of the storages.
    /// Copying again continues.
    pub fn copy(&self, target: &Engine, folder: &str, progress: impl FnMut(u64)) -> Result<CopiedTimeline> {
        let to = target.timeline(folder)?;
        to.check_conditions()?;
        let mut copying = Copying::new(self, &to, progress);
        for _ in 0..ATTEMPTS {
            let (newest, hint) = self.newest_hint()?;
            if !copying.up_to(newest, &hint, &to)? {
                continue;
            }
            copying.check(newest, &to)?;
            return Ok(CopiedTimeline { newest, steps: copying.steps, bytes: copying.bytes });
        }
        Err(PersistError::new(ErrorCode::Conflict, "pruning kept changing the timeline").at(self.location()).hint("copy again"))
    }

    /// Copies the steps up to one of them to another folder, where they go on by themselves: a
    /// fork. They keep their numbers and their bytes. A storage that can copies large objects
    /// itself. Forking again finishes a fork that was broken off.
    ///
    /// # Errors
    /// `NotFound` if there is no such step, or it is pruned meanwhile; `Configuration` for the
    /// folder of the timeline itself; `AlreadyExists` if the folder has another timeline; and
    /// any error of the storages.
    pub fn fork(&self, at: &StepSelector, target: &Engine, folder: &str, progress: impl FnMut(u64)) -> Result<CopiedTimeline> {
        let to = target.timeline(folder)?;
        to.check_conditions()?;
        if to.location() == self.location() {
            let error = PersistError::new(ErrorCode::InvalidArgument, "a timeline can't be forked onto itself").at(to.location());
            return Err(error.hint("give another folder"));
        }
        let number = self.find(at)?.number;
        let mut copying = Copying { is_fork: true, ..Copying::new(self, &to, progress) };
        for _ in 0..ATTEMPTS {
            // Fails if the step was removed.
            let hint = self.hint(number).map_err(|error| copying.withdraw(error, number))?;
            if !copying.up_to(number, &hint, &to)? {
                continue;
            }
            copying.check(number, &to)?;
            return Ok(CopiedTimeline { newest: number, steps: copying.steps, bytes: copying.bytes });
        }
        Err(PersistError::new(ErrorCode::Conflict, "pruning kept changing the timeline").at(self.location()).hint("fork again"))
    }
}
