//! Runs the commands on the component that this one is composed with.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Parser;
use persist_cli::{
    Access, Command, DiffSource, Differences, Durability, Entries, Failure, FileWriter, Host, IfExists, Objects, Output, OutputOptions,
    Progress, Reader, Search, Timeline, TotalProgress, Writer,
};
use persist_model::{
    Change, DiffKind, ErrorCode, ListFilter, Permissions, PersistError, Policy, Precondition, Result, SnapshotMetadata, SnapshotOptions,
    StepSelector,
};
use persist_paths::key::{check_file_key, folder_above, folders_within, natural_order};
use persist_paths::{LocalPaths, StorageLocation};
use persist_paths::{file_uri_path, is_scheme};

use crate::bindings::{diffs, timelines, wit};
use crate::convert;
use crate::file::{StateFile, file_of};
use crate::folder::{self, Folder, Use};
use crate::listing::{self, Listing, Shown};
use crate::timeline::{Opened, with_timelines};

/// The hash of the component that this one is composed with. Whoever composes them sets it.
const COMPONENT_HASH: &str = match option_env!("PERSIST_COMPONENT_HASH") {
    Some(hash) => hash,
    None => "that it is composed with",
};

/// How many bytes of state are read at a time.
const CHUNK: u32 = 2 << 20;

/// How many changes are asked for at a time.
const PAGE: u32 = 200;

/// Saves the state of an agent and brings it back, byte for byte.
///
/// A location is a path, or file:///path, in the first folder that the host grants
/// access to (for example with 'wasmtime run --dir FOLDER'), or below
/// PERSIST_LOCAL_PATH if that is set.
#[derive(Parser)]
#[command(
    name = "persist",
    version,
    long_version = persist_cli::long_version(COMPONENT_HASH),
    propagate_version = true,
    max_term_width = 100,
    after_long_help = persist_cli::exit_codes()
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputOptions,
}

fn out_of_reach(location: &StorageLocation) -> PersistError {
    PersistError::new(ErrorCode::Unsupported, "only files can be reached from here")
        .at(location)
        .hint("use the persist command that is built for this machine")
}

/// Replaces the advice of an error.
fn advised(mut error: PersistError, advice: &str) -> PersistError {
    error.detail_mut().hint = Some(advice.to_owned());
    error
}

struct Composed {
    /// The value of `PERSIST_LOCAL_PATH`.
    base: Option<PathBuf>,
    folder: Folder,
}

impl Composed {
    /// # Errors
    /// `Unsupported` where the environment names another kind of storage.
    fn new() -> Result<Self> {
        if let Some(kind) = env::var_os("PERSIST_STORAGE").filter(|kind| !kind.is_empty() && kind != "local") {
            let error = PersistError::new(ErrorCode::Unsupported, format!("the storage '{}' can't be reached from here", kind.display()));
            return Err(error.at("PERSIST_STORAGE").hint("use the persist command that is built for this machine"));
        }
        let base = env::var_os("PERSIST_LOCAL_PATH").filter(|base| !base.is_empty()).map(PathBuf::from);
        let folder = Folder::new(base.as_deref());
        Ok(Self { base, folder })
    }

    fn paths(&self) -> LocalPaths<'_> {
        LocalPaths::below(self.base.as_deref())
    }

    /// Returns the key of a location.
    fn key(&self, location: &StorageLocation, usage: Use) -> Result<String> {
        match location {
            StorageLocation::Local { root, key } => {
                check_file_key(key)?;
                self.folder.key(&root.join(key), usage)
            }
            elsewhere => Err(out_of_reach(elsewhere)),
        }
    }

    /// Returns the location of a folder.
    fn folder(&self, text: &str, has_to_exist: bool) -> Result<StorageLocation> {
        let found = |path: &Path, found: Result<StorageLocation>| {
            found.map_err(|error| match error.code() {
                ErrorCode::NotFound => advised(error, self.missing_advice(path)),
                _ => error,
            })
        };
        match text.split_once("://") {
            Some(("file", rest)) => {
                let path = file_uri_path(text, rest)?;
                found(&path, self.paths().whole_folder(&path, has_to_exist))
            }
            Some((scheme, _)) if is_scheme(scheme) => StorageLocation::parse(text),
            _ => found(Path::new(text), self.paths().folder(Path::new(text), has_to_exist)),
        }
    }

    /// Returns how the keys of a location are shown.
    fn shown(&self, place: &StorageLocation, usage: Use) -> Result<Shown> {
        let StorageLocation::Local { root, .. } = place else { return Err(out_of_reach(place)) };
        Ok(Shown { hidden: self.folder.prefix(root, usage)?, root: root.clone() })
    }

    /// Lists a location, in the byte order of the keys.
    fn listing(&self, place: &StorageLocation, filter: &ListFilter) -> Result<Listing> {
        Ok(Listing::new(self.shown(place, Use::Read)?, place.key(), filter.clone()))
    }

    /// Adds a location to the error of a call into the component.
    fn at<T>(&self, location: &StorageLocation, done: Result<T, wit::Error>) -> Result<T> {
        done.map_err(|error| convert::error(error).at(location))
    }

    /// Returns metadata with the key of the location, as the native command does.
    fn described(&self, location: &StorageLocation, done: Result<wit::Metadata, wit::Error>) -> Result<SnapshotMetadata> {
        let metadata = self.at(location, done)?;
        Ok(SnapshotMetadata::from(metadata).key(location.key()))
    }
}

struct Saver {
    saver: wit::Saver,
    location: StorageLocation,
}

impl Writer for Saver {
    fn write(&mut self, state: &[u8]) -> Result<()> {
        self.saver.write(state).map_err(|error| convert::error(error).at(&self.location))
    }

    fn commit(self: Box<Self>) -> Result<SnapshotMetadata> {
        let metadata = wit::Saver::commit(self.saver).map_err(|error| convert::error(error).at(&self.location))?;
        Ok(SnapshotMetadata::from(metadata).key(self.location.key()))
    }
}

struct Restorer {
    restorer: wit::Restorer,
    metadata: SnapshotMetadata,
    location: StorageLocation,
}

impl Reader for Restorer {
    fn metadata(&self) -> &SnapshotMetadata {
        &self.metadata
    }

    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let chunk = self.restorer.read(CHUNK).map_err(|error| convert::error(error).at(&self.location))?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

struct Compared {
    diff: diffs::Diff,
    found: VecDeque<Change>,
    ended: bool,
}

impl Differences for Compared {
    fn kind(&self) -> DiffKind {
        self.diff.kind().into()
    }

    fn next_change(&mut self) -> Result<Option<Change>> {
        if self.found.is_empty() && !self.ended {
            self.found.extend(self.diff.next(PAGE).map_err(convert::error)?.into_iter().map(Change::from));
            self.ended = self.found.is_empty();
        }
        Ok(self.found.pop_front())
    }

    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>> {
        let bytes = self.diff.read(CHUNK).map_err(convert::error)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

impl Host for Composed {
    fn locate(&self, text: &str) -> Result<StorageLocation> {
        match text.split_once("://") {
            Some(("file", rest)) => self.paths().locate_whole(&file_uri_path(text, rest)?),
            Some((scheme, _)) if is_scheme(scheme) => StorageLocation::parse(text),
            _ => self.paths().locate(Path::new(text)),
        }
    }

    fn locate_followed(&self, text: &str) -> Result<StorageLocation> {
        self.paths().followed(self.locate(text)?)
    }

    fn written(&self, location: &StorageLocation) -> Result<String> {
        Ok(self.paths().written(location))
    }

    fn locate_folder(&self, text: &str, has_to_exist: bool) -> Result<StorageLocation> {
        self.folder(text, has_to_exist)
    }

    fn locate_folder_to_write(&self, text: &str) -> Result<StorageLocation> {
        self.paths().folder_to_write(self.folder(text, false)?)
    }

    fn locate_to_write(&self, text: &str) -> Result<StorageLocation> {
        self.paths().to_write(self.locate(text)?)
    }

    fn missing_advice(&self, state: &Path) -> &'static str {
        if folder::is_given(state) { "check the path" } else { folder::GRANT }
    }

    fn is_same_file(&self, state: &Path, location: &StorageLocation) -> bool {
        let StorageLocation::Local { root, key } = location else { return false };
        let Ok(StorageLocation::Local { root: folder, key: name }) = file_of(state, StorageLocation::from_path_followed) else {
            return false;
        };
        Folder::identity(&folder.join(name)).is_some_and(|state| Folder::identity(&root.join(key)) == Some(state))
    }

    fn parts(&self, mut state: Box<dyn Read + Send>) -> Box<dyn FnMut() -> Result<io::Result<Vec<u8>>>> {
        Box::new(move || {
            let mut part = Vec::new();
            Ok((&mut state).take(CHUNK.into()).read_to_end(&mut part).map(|_| part))
        })
    }

    /// Ignores durability: the storage always syncs, as far as the host can, and has no
    /// option against it. Ignores permissions: WASI has none.
    fn writer(
        &self,
        location: &StorageLocation,
        options: SnapshotOptions,
        _: Durability,
        _: Option<Permissions>,
    ) -> Result<Box<dyn Writer>> {
        let saver = self.at(location, wit::open_saver(&self.key(location, Use::Write)?, &options.into()))?;
        Ok(Box::new(Saver { saver, location: location.clone() }))
    }

    fn reader(&self, location: &StorageLocation, _: &Path) -> Result<Box<dyn Reader>> {
        // Reading reaches the end only if the whole state is the one that was saved.
        let options = wit::RestoreOptions { check_content_hash: true };
        let restorer = self.at(location, wit::open_restorer(&self.key(location, Use::Read)?, options))?;
        let metadata = self.described(location, Ok(restorer.metadata()))?;
        Ok(Box::new(Restorer { restorer, metadata, location: location.clone() }))
    }

    fn step_reader(&self, folder: &StorageLocation, step: &StepSelector, _: &Path) -> Result<(StorageLocation, Box<dyn Reader>)> {
        let restorer = Opened::new(self.shown(folder, Use::Read)?, folder.key()).restorer(step)?;
        let metadata = restorer.metadata();
        let location = folder.clone().with_key(&self.shown(folder, Use::Read)?.key(&metadata.key));
        let metadata = self.described(&location, Ok(metadata))?;
        Ok((location.clone(), Box::new(Restorer { restorer, metadata, location })))
    }

    fn timeline(&self, folder: &StorageLocation, access: Access) -> Result<Box<dyn Timeline>> {
        let usage = if matches!(access, Access::Read) { Use::Read } else { Use::Write };
        Ok(Box::new(Opened::new(self.shown(folder, usage)?, folder.key())))
    }

    fn apply_policy(&self, policy: &Policy, snapshots: &[SnapshotMetadata]) -> Result<Vec<Vec<String>>> {
        let candidates: Vec<timelines::Candidate> = snapshots.iter().map(timelines::Candidate::from).collect();
        timelines::apply_policy(&policy.into(), &candidates).map_err(convert::error)
    }

    fn metadata(&self, location: &StorageLocation) -> Result<SnapshotMetadata> {
        self.described(location, wit::get_metadata(&self.key(location, Use::Read)?))
    }

    fn verify(&self, location: &StorageLocation, _: Progress<'_>) -> Result<SnapshotMetadata> {
        self.described(location, wit::verify(&self.key(location, Use::Read)?))
    }

    fn diff(&self, before: DiffSource, after: DiffSource) -> Result<Box<dyn Differences>> {
        let source = |source: DiffSource| {
            Ok(match source {
                DiffSource::Stored(location) => diffs::Source::Stored(self.key(&location, Use::Read)?),
                DiffSource::Object(location) => diffs::Source::Object(self.key(&location, Use::Read)?),
                DiffSource::Bytes(bytes) => diffs::Source::Bytes(bytes),
            })
        };
        let diff = diffs::open_diff(&source(before)?, &source(after)?).map_err(convert::error)?;
        Ok(Box::new(Compared { diff, found: VecDeque::new(), ended: false }))
    }

    fn exists(&self, location: &StorageLocation) -> Result<bool> {
        match self.key(location, Use::Read) {
            Ok(key) => self.at(location, wit::exists(&key)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, location: &StorageLocation, precondition: Precondition, _: Durability) -> Result<()> {
        self.at(location, wit::delete(&self.key(location, Use::Read)?, &precondition.into()))
    }

    fn objects(&self, place: &StorageLocation) -> Result<Objects> {
        Ok(Box::new(listing::Objects::new(self.shown(place, Use::Read)?, place.key())))
    }

    fn delete_many(&self, place: &StorageLocation, keys: &[String], durability: Durability) -> Result<Vec<(String, PersistError)>> {
        let delete = |key: &String| match self.delete(&place.clone().with_key(key), Precondition::None, durability) {
            Err(error) if error.code() != ErrorCode::NotFound => Some((key.clone(), error)),
            _ => None,
        };
        Ok(keys.iter().filter_map(delete).collect())
    }

    fn remove_empty_folders(&self, place: &StorageLocation, keys: &[String], and_itself: bool) {
        let StorageLocation::Local { root, key: folder } = place else { return };
        let within = if and_itself { folder_above(folder) } else { folder };
        // A folder that is not empty stays.
        for path in folders_within(within, keys) {
            let _ = fs::remove_dir(root.join(path));
        }
        // This fails if it is the folder that the host grants access to, which can't be removed.
        if and_itself && folder.is_empty() && self.base.is_none() {
            let _ = fs::remove_dir(root);
        }
    }

    fn list(&self, place: &StorageLocation, search: &Search) -> Result<Entries<'static>> {
        let shown = self.shown(place, Use::Read)?;
        let listing = self.listing(place, &search.filter)?;
        // The component lists keys in byte order.
        let mut entries = with_timelines(listing.collect(), &shown, &search.filter);
        entries.sort_by(|a, b| match (a, b) {
            (Ok(a), Ok(b)) => natural_order(a.key(), b.key()),
            (a, b) => a.is_err().cmp(&b.is_err()),
        });
        Ok(Box::new(entries.into_iter()))
    }

    fn create_file(&self, path: &Path, _: Option<u64>, if_exists: IfExists, _: &StorageLocation) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(StateFile::create(path, if_exists)?))
    }

    /// Shows no progress: a component can't report any while it works.
    fn progress(&self, _: &Output, _: &'static str, _: Option<u64>) -> Progress<'static> {
        Box::new(|_| {})
    }

    fn total_progress(&self, _: &Output, _: &'static str) -> TotalProgress {
        Box::new(|_| {})
    }
}

pub(crate) fn main() {
    let arguments: Vec<OsString> = env::args_os().collect();
    let exit_code = match persist_cli::parse::<Cli>(&arguments) {
        Err(exit_code) => exit_code,
        Ok(cli) => {
            let output = Output::new(&cli.output);
            let done = Composed::new().map_err(Failure::from).and_then(|host| cli.command.run(&host, &output));
            done.map_or_else(|failure| failure.report(&output), |()| 0)
        }
    };
    let _ = io::stdout().flush();
    if exit_code != 0 {
        wasip2::cli::exit::exit_with_code(exit_code);
    }
}
