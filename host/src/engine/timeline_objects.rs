//! The objects of a timeline in one storage.

use std::collections::{BTreeMap, BTreeSet};

use persist_model::{ErrorCode, Precondition, Result};
use persist_paths::timeline::{HINT, Name, hidden_name, is_step_size, parse, step_name};

use crate::engine::engine::Engine;
use crate::storage::{ByteRange, ObjectInfo, ReadOptions, StorageReader, StorageWriter, WriteOptions, read_to_end};

/// The most numbers in a row that are looked for although a listing left them out.
const MAX_HOLE: u64 = 100;

/// How much of the end of two steps is compared. It has the document of the step, and with it
/// the hashes of everything else and of all steps before.
const END: u64 = 64 << 10;

/// A folder of a storage.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) engine: &'a Engine,
    pub(super) folder: &'a str,
}

impl Place<'_> {
    pub(super) fn location(&self) -> String {
        self.engine.storage().locate(self.folder)
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    pub(super) fn open(&self, name: &str, range: ByteRange) -> Result<Box<dyn StorageReader>> {
        let key = self.key(name);
        let options = ReadOptions { range, ..ReadOptions::default() };
        self.engine.storage().open_read(&key, options).map_err(|error| error.at(self.engine.storage().locate(&key)))
    }

    /// Reads the end of an object; none if it is missing.
    pub(super) fn end_of(&self, name: &str) -> Result<Option<(u64, Vec<u8>)>> {
        match self.open(name, ByteRange::Suffix(END)) {
            Ok(mut reader) => read_to_end(&mut *reader).map(|bytes| Some((reader.info().size, bytes))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object. Returns false if it is there and must not be replaced.
    pub(super) fn write(&self, name: &str, options: WriteOptions, fill: impl FnOnce(&mut dyn StorageWriter) -> Result<()>) -> Result<bool> {
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

    /// Writes the hint. Returns false if there is one that must not be replaced.
    pub(super) fn write_hint(&self, hint: &[u8], precondition: Precondition) -> Result<bool> {
        let content_type = Some("application/json".to_owned());
        let options = WriteOptions { precondition, object_size_hint: Some(hint.len() as u64), content_type, ..WriteOptions::default() };
        self.write(HINT, options, |writer| writer.write(hint))
    }

    /// Removes these objects, the newest step first.
    pub(super) fn remove(&self, objects: &Objects) -> Result<()> {
        let storage = self.engine.storage();
        let numbers = objects.numbers.keys().rev().map(|number| step_name(*number));
        let hidden = objects.hidden.iter().map(|number| hidden_name(*number));
        let others = objects.labels.iter().chain(&objects.catalogues).cloned();
        for name in numbers.chain(hidden).chain(others) {
            match storage.delete_object(&self.key(&name), Precondition::None) {
                Err(error) if error.code() == ErrorCode::NotFound => {}
                deleted => deleted.map_err(|error| error.at(storage.locate(&self.key(&name))))?,
            }
        }
        Ok(())
    }

    /// Removes the hint, if it is one of these.
    pub(super) fn remove_hint(&self, hints: &[Vec<u8>]) -> Result<()> {
        let storage = self.engine.storage();
        let delete = |precondition| match storage.delete_object(&self.key(HINT), precondition) {
            // It was replaced.
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::PreconditionFailed) => Ok(()),
            deleted => deleted.map_err(|error| error.at(storage.locate(&self.key(HINT)))),
        };
        let mut reader = match self.open(HINT, ByteRange::All) {
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(()),
            reader => reader?,
        };
        if !hints.contains(&read_to_end(&mut *reader)?) {
            return Ok(());
        }
        match reader.info().etag.clone().filter(|_| storage.capabilities().if_match) {
            Some(etag) => match delete(Precondition::IfMatch(etag)) {
                Err(error) if error.code() == ErrorCode::Unsupported => delete(Precondition::None),
                deleted => deleted,
            },
            None => delete(Precondition::None),
        }
    }
}

/// The objects of a timeline in one storage.
#[derive(Default)]
pub(super) struct Objects {
    /// Steps, and what has taken their place, by number.
    pub(super) numbers: BTreeMap<u64, ObjectInfo>,
    /// The numbers of hidden steps.
    pub(super) hidden: BTreeSet<u64>,
    /// The names of labels.
    pub(super) labels: BTreeSet<String>,
    pub(super) catalogues: BTreeSet<String>,
}

/// Whether an object belongs to a step up to this number.
pub(super) fn is_of(name: &str, newest: u64) -> bool {
    match parse(name) {
        Some(Name::Step(number) | Name::Hidden(number) | Name::Label(number) | Name::Catalogue(number)) => number <= newest,
        Some(Name::Hint) | None => false,
    }
}

impl Objects {
    pub(super) fn list(place: Place<'_>) -> Result<Self> {
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
    pub(super) fn last(&self) -> u64 {
        self.numbers.keys().next_back().copied().unwrap_or(0)
    }

    /// The numbers between two.
    pub(super) fn between(&self, after: u64, before: u64) -> impl Iterator<Item = u64> {
        self.numbers.range(after.saturating_add(1)..).map(|(number, _)| *number).take_while(move |number| *number < before)
    }

    pub(super) fn has_step(&self, number: u64) -> bool {
        self.numbers.get(&number).is_some_and(|info| is_step_size(info.size))
    }

    /// Looks for numbers between two that the listing left out. In a gap there are none, so only
    /// the last of many are looked for.
    pub(super) fn fill(&mut self, place: Place<'_>, after: u64, newest: u64) -> Result<()> {
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
