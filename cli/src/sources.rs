//! The snapshots that a command works on: named, found in folders, or listed on stdin.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use persist_model::{ErrorCode, ListEntry, PersistError, Result, SnapshotMetadata};
use persist_paths::StorageLocation;

use crate::filter::Filter;
use crate::host::Host;
use crate::search::{Depth, SPECIAL, find, is_pattern};
pub(crate) use crate::step_names::{check_no_step, step_name};

/// What a command does with each of several snapshots.
pub(crate) struct Task {
    /// The verb for the progress display: `copying`.
    pub doing: &'static str,
    /// The verb for the summary: `copied`.
    pub done: &'static str,
    /// How many snapshots to work on at once.
    pub jobs: usize,
    /// Whether to print a summary.
    pub is_many: bool,
}

/// Which snapshots a command works on.
#[derive(Args)]
pub(crate) struct Sources {
    /// The snapshots: locations, patterns, or - to read locations from stdin, one per
    /// line.
    #[arg(required = true, value_name = "SRC")]
    pub(crate) src: Vec<String>,
    #[command(flatten)]
    pub(crate) how: How,
}

/// How the snapshots are found and processed.
#[derive(Args)]
pub(crate) struct How {
    /// Select all snapshots in folders and their subfolders.
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Each location on stdin ends with a NUL, as printed by 'persist list -0'.
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// How many snapshots to work on at once, from 1 to 64 [default: depends on the
    /// storage].
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    /// The step of a timeline: a number, latest, -2 for the one before the newest, a time,
    /// an age, or a label. The same as SRC@STEP.
    #[arg(long, value_name = "STEP", allow_hyphen_values = true)]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) filter: Filter,
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|jobs| (1..=64).contains(jobs)).ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

/// A snapshot to work on.
pub(crate) struct Source {
    /// Its location as the user wrote it, or would write it.
    pub text: String,
    /// Where it was found, or `None` if it was named.
    pub found: Option<FoundIn>,
}

/// A snapshot found by a search.
pub(crate) struct FoundIn {
    /// Its location.
    pub location: StorageLocation,
    /// Its name relative to the folder that was searched.
    pub name: String,
    /// Its size in bytes.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only a copy needs it"))]
    pub stored_size: u64,
    /// Whether it was found by a pattern, and not by the name of its folder.
    pub is_of_pattern: bool,
}

impl Source {
    /// Returns the location to read it from.
    ///
    /// # Errors
    /// Those of [`Host::locate_followed`].
    pub(crate) fn location(&self, host: &impl Host, how: &How) -> Result<StorageLocation> {
        if let Some(found) = &self.found {
            return Ok(found.location.clone());
        }
        match host.locate_step(&self.text, how.at.as_deref())? {
            Some(step) => Ok(step),
            None => host.locate_followed(&self.text),
        }
    }
}

/// The sources, or the errors of finding them.
pub(crate) type Expanded<'a> = Box<dyn Iterator<Item = Result<Source>> + Send + 'a>;

impl Sources {
    /// Returns the task for these sources.
    pub(crate) fn task(&self, host: &impl Host, doing: &'static str, done: &'static str) -> Task {
        self.how.task(host, &self.src, doing, done)
    }

    /// Checks a snapshot like [`How::check`].
    pub(crate) fn check(&self, source: &Source, metadata: &SnapshotMetadata) -> Result<()> {
        self.how.check(source, metadata)
    }
}

impl How {
    /// Returns the task for these sources; see [`Task`] for `doing` and `done`.
    pub(crate) fn task(&self, host: &impl Host, src: &[String], doing: &'static str, done: &'static str) -> Task {
        let suits = || {
            let first = src.first().filter(|text| *text != "-");
            first.and_then(|text| host.locate_folder(text, false).ok()).map_or(1, |location| host.parallelism(&location))
        };
        let is_many = self.is_many(host, src);
        Task { doing, done, jobs: if is_many { self.jobs.unwrap_or_else(suits) } else { 1 }, is_many }
    }

    /// Checks that a snapshot that was named matches the filter.
    ///
    /// # Errors
    /// `Integrity` if it does not.
    pub(crate) fn check(&self, source: &Source, metadata: &SnapshotMetadata) -> Result<()> {
        if source.found.is_some() { Ok(()) } else { self.filter.check(metadata, &source.text) }
    }

    /// Returns whether a filter was given.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "only a copy asks"))]
    pub(crate) fn has_filter(&self) -> bool {
        !self.filter.is_empty()
    }

    /// Returns whether there may be more than one source.
    pub(crate) fn is_many(&self, host: &impl Host, src: &[String]) -> bool {
        self.recursive || src.len() != 1 || src.iter().any(|text| text == "-" || is_pattern(host, text))
    }

    /// Returns all snapshots that the sources stand for. Files that were found and are
    /// not snapshots are counted in `others`.
    pub(crate) fn expand<'a>(&'a self, host: &'a impl Host, src: &'a [String], others: &'a AtomicU64) -> Expanded<'a> {
        Box::new(src.iter().flat_map(move |text| match text.as_str() {
            "-" => self.listed(host, others),
            text => self.one(host, text.to_owned(), others),
        }))
    }

    fn one<'a>(&'a self, host: &'a impl Host, text: String, others: &'a AtomicU64) -> Expanded<'a> {
        let only = |source: Result<Source>| -> Expanded<'a> { Box::new(std::iter::once(source)) };
        if let Err(error) = check_means_something(&text) {
            return only(Err(error));
        }
        let depth = if self.recursive { Depth::Below } else { Depth::Level };
        let is_pattern = is_pattern(host, &text);
        if !self.recursive && !is_pattern {
            return only(self.named(host, text));
        }
        if self.at.is_some() {
            let error = PersistError::new(ErrorCode::InvalidArgument, "--at selects a step of one timeline, and this may select several");
            return only(Err(error.at(text.escape_debug()).hint("leave out --recursive, and name the timeline")));
        }
        let may_be_object = !is_pattern && !text.ends_with('/');
        let found = match find(host, &text, &self.filter, true, depth) {
            // A file, or nothing: the command finds out when it uses the location.
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidArgument) && may_be_object => {
                return only(self.named(host, text));
            }
            Err(error) => return only(Err(error)),
            Ok(mut found) => {
                let is_local = matches!(found.place, StorageLocation::Local { .. });
                if found.is_empty() && !is_local && may_be_object {
                    // In a bucket, a name with nothing below it may be an object.
                    let is_object = || host.locate(&text).and_then(|location| host.exists(&location)).unwrap_or(false);
                    if self.filter.is_empty() || is_object() {
                        return only(self.named(host, text));
                    }
                }
                if found.is_empty() && self.filter.is_empty() && (is_pattern || !is_local) {
                    let error = PersistError::new(ErrorCode::NotFound, "there is no such snapshot").at(text.escape_debug());
                    return only(Err(error.hint("check the location, for example with 'persist list'")));
                }
                found
            }
        };
        let (place, hidden) = (found.place, found.hidden);
        Box::new(found.entries.filter_map(move |entry| match entry {
            Ok(ListEntry::Snapshot(metadata)) => {
                let location = place.clone().with_key(&metadata.key);
                let name = metadata.key.get(hidden..).unwrap_or(&metadata.key).to_owned();
                let stored_size = metadata.stored_size;
                let found = |text| Source {
                    text,
                    found: Some(FoundIn { location: location.clone(), name, stored_size, is_of_pattern: is_pattern }),
                };
                Some(host.written(&location).map(found))
            }
            Ok(ListEntry::Unreadable { error, .. }) if error.code() == ErrorCode::NotASnapshot => {
                others.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(ListEntry::Unreadable { error, .. }) | Err(error) => Some(Err(error)),
        }))
    }

    /// Returns a source that was named, unless it is a folder. A timeline is one, so with a
    /// step it may be named.
    fn named(&self, host: &impl Host, text: String) -> Result<Source> {
        if self.at.is_none() && is_folder(host, &text) {
            return Err(PersistError::new(ErrorCode::InvalidArgument, "this is a folder, not a snapshot")
                .at(text.escape_debug())
                .hint("add --recursive to select all snapshots in it, or @latest if it is a timeline"));
        }
        Ok(Source { text, found: None })
    }

    /// Returns the snapshots that stdin lists. Each line is taken literally, never as a
    /// pattern.
    fn listed<'a>(&'a self, host: &'a impl Host, others: &'a AtomicU64) -> Expanded<'a> {
        Box::new(self.lines().flat_map(move |line| -> Expanded<'a> {
            match line {
                Ok(text) if self.recursive && !text.contains(SPECIAL) => self.one(host, text, others),
                Ok(text) => Box::new(std::iter::once(self.named(host, text))),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        }))
    }

    /// Returns the non-empty lines of stdin, up to the first error.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Result<String>> + Send + use<> {
        let end = if self.null { b'\0' } else { b'\n' };
        let (mut stdin, mut has_ended) = (BufReader::new(io::stdin()), false);
        std::iter::from_fn(move || {
            while !has_ended {
                let line = next_line(&mut stdin, end);
                has_ended = !matches!(line, Ok(Some(_)));
                match line.transpose()? {
                    Ok(line) if line.is_empty() => {}
                    line => return Some(line),
                }
            }
            None
        })
    }
}

/// The maximum length of a line on stdin in bytes, enough for any path or key.
const MAX_LINE: u64 = 16 << 10;

fn next_line(list: &mut impl BufRead, end: u8) -> Result<Option<String>> {
    let failed = |message: String| PersistError::new(ErrorCode::InvalidArgument, message).at("stdin");
    let mut line = Vec::new();
    let read = list.take(MAX_LINE + 1).read_until(end, &mut line).map_err(|error| failed(format!("could not read the list: {error}")))?;
    if read as u64 > MAX_LINE {
        return Err(failed("the list has a line longer than 16,384 bytes".to_owned())
            .hint("write one location per line, or, with -0, end each one with a NUL"));
    }
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&end) {
        line.pop();
    }
    if end == b'\n' && line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| failed("the list has a line that is not UTF-8".to_owned()))
}

/// Refuses a location that would select a whole storage by accident, such as an unset
/// shell variable.
pub(crate) fn check_means_something(text: &str) -> Result<()> {
    let path = text.split_once("://").map_or(text, |(_, path)| path);
    if !path.trim_matches('/').is_empty() {
        return Ok(());
    }
    let problem = if text.is_empty() { "the location is not valid: it is empty" } else { "this location refers to the whole storage" };
    Err(PersistError::new(ErrorCode::InvalidArgument, problem)
        .at(text.escape_debug())
        .hint("check the variable that it comes from; to select everything, write ."))
}

/// Returns whether an argument names a step of a timeline that exists. Others may be names of
/// snapshots.
pub(crate) fn is_step(host: &impl Host, text: &str) -> Result<bool> {
    match host.locate_step(text, None) {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
        step => step.map(|step| step.is_some()),
    }
}

/// Returns whether an argument names a folder: one that exists, or by a trailing slash.
pub(crate) fn is_folder(host: &impl Host, text: &str) -> bool {
    let is_there = || matches!(host.locate_folder(text, true), Ok(StorageLocation::Local { .. }));
    text.ends_with('/') || matches!(text, "." | "..") || is_there()
}
