//! Bulk deletion of what is found below folders and by patterns.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use persist_model::error::may_be_another_kind;
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::StorageLocation;
use persist_paths::key::split;
use persist_paths::timeline::{self, Name};
use serde_json::json;

use crate::choices::Durability;
use crate::host::{Access, Done, Host, Keys};
use crate::output::{Failure, Output, printable, worse};
use crate::search::{Depth, SPECIAL, find_keys, is_pattern, is_there};
use crate::sources::{Source, Sources, check_means_something, is_folder};
use crate::timelines::unlisted;

/// What to delete, and how.
#[derive(Args)]
pub(crate) struct Deleting {
    /// Delete without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Delete whatever is there without reading it first, even if it is not a snapshot.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print what would be deleted, and delete nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Whether to wait until the deletion of local files would survive a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    pub(crate) durability: Durability,
    #[command(flatten)]
    pub(crate) sources: Sources,
}

/// Asks on the terminal, and returns whether the answer is yes.
pub(crate) fn confirmed(what: &str) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(PersistError::new(ErrorCode::InvalidArgument, "nothing was deleted: there is no terminal to ask on")
            .hint("give --yes to delete without asking, or --dry-run to see what would be deleted"));
    }
    eprint!("Delete {what}? [y/N] ");
    let mut answer = String::new();
    io::stderr()
        .flush()
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| PersistError::new(ErrorCode::Io, format!("could not read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Checks that a location has a snapshot, whole or damaged, or nothing. For a symlink,
/// this is the location that it leads to.
pub(crate) fn check_is_snapshot(host: &impl Host, location: &StorageLocation, sources: &Sources, source: &Source) -> Result<()> {
    let mut error = match host.metadata(location) {
        Ok(metadata) => return sources.check(source, &metadata),
        Err(error) => error,
    };
    match error.code() {
        _ if may_be_another_kind(&error) => {
            error.detail_mut().hint = Some("it was not deleted: check what it is, or give --force to delete it".to_owned());
            Err(error)
        }
        // Damaged, so it cannot be told whether a filter would match.
        ErrorCode::Integrity
        | ErrorCode::InvalidFormat
        | ErrorCode::UnsupportedFormat
        | ErrorCode::LimitExceeded
        | ErrorCode::NoKey
        | ErrorCode::Untrusted
            if sources.how.filter.is_empty() =>
        {
            Ok(())
        }
        // A dangling link can be deleted; if nothing is there, deleting reports it.
        ErrorCode::NotFound => Ok(()),
        ErrorCode::NotASnapshot | ErrorCode::WrongKind => {
            error.detail_mut().hint = Some("it was not deleted: check the path, or give --force to delete it".to_owned());
            Err(error)
        }
        ErrorCode::AccessDenied => {
            error.detail_mut().hint = Some("check the permissions, or give --force to delete it without reading it".to_owned());
            Err(error)
        }
        _ => Err(error),
    }
}

pub(crate) fn nothing_there(text: &str) -> PersistError {
    PersistError::new(ErrorCode::NotFound, "there is nothing to delete").at(text.escape_debug()).hint("check the path")
}

/// The keys to delete below one folder, whose location is `place`.
struct Batch {
    place: StorageLocation,
    keys: BTreeSet<String>,
    /// Whether the folder itself was named, and may be removed too.
    is_named: bool,
}

/// How many objects are deleted at a time: the maximum of one S3 request.
const BATCH: usize = 1000;

/// What was found in folders and by patterns.
#[derive(Default)]
struct Finding {
    /// The batches by the location of their folder.
    batches: BTreeMap<String, Batch>,
    /// The locations of all objects.
    seen: HashSet<String>,
    /// The folders of timelines, which are deleted as a whole, by their location.
    timelines: BTreeMap<String, StorageLocation>,
    others: u64,
    exit_code: u8,
}

impl Finding {
    fn add(&mut self, folder: StorageLocation, key: String, is_named: bool) {
        // What belongs to a timeline goes with it.
        if let Some(name) = timeline::parse(split(&key).1).filter(|name| *name != Name::Hint) {
            if let (Name::Step(_), Some((prefix, _))) = (name, timeline::step_of(&key)) {
                let place = folder.with_key(prefix);
                self.timelines.insert(place.to_string(), place);
            }
            return;
        }
        if !self.seen.insert(folder.clone().with_key(&key).to_string()) {
            return;
        }
        let batch = self.batches.entry(folder.to_string()).or_insert_with(|| Batch { place: folder, keys: BTreeSet::new(), is_named });
        batch.keys.insert(key);
    }

    /// Adds the timelines that no listing shows: those of which a deletion that was broken off has
    /// left steps, and those that have lost all their steps.
    fn add_unlisted(&mut self, deleting: &Deleting, host: &impl Host) -> Result<()> {
        for text in deleting.sources.src.iter().filter(|text| *text != "-" && !is_pattern(host, text)) {
            let Ok(place) = host.locate_folder(text, true) else { continue };
            let found = unlisted(host, &place)?;
            // Their hints are no other files.
            self.others = self.others.saturating_sub(found.lost.len() as u64);
            for folder in found.unfinished.into_iter().chain(found.lost) {
                self.timelines.insert(folder.to_string(), folder);
            }
        }
        Ok(())
    }

    /// Reports an error; the other objects are still deleted.
    fn failed(&mut self, error: PersistError, output: &Output) -> Result<(), Failure> {
        if error.code() == ErrorCode::Cancelled {
            return Err(error.into());
        }
        output.error(&error);
        self.exit_code = worse(self.exit_code, error.exit_code());
        Ok(())
    }

    fn count(&self) -> usize {
        self.batches.values().map(|batch| batch.keys.len()).sum::<usize>() + self.timelines.len()
    }

    /// Leaves the hints to the timelines that they belong to.
    fn without_hints(mut self) -> Self {
        for batch in self.batches.values_mut() {
            let place = &batch.place;
            let is_hint = |key: &String| {
                let name = split(key).1;
                let folder = key.strip_suffix(name).unwrap_or_default();
                name == timeline::HINT && self.timelines.contains_key(&place.clone().with_key(folder).to_string())
            };
            batch.keys.retain(|key| !is_hint(key));
        }
        self
    }

    /// Drops objects that are gone or are no longer snapshots.
    fn keep_only(&mut self, now: &Self) {
        for batch in self.batches.values_mut() {
            let place = &batch.place;
            batch.keys.retain(|key| now.seen.contains(&place.clone().with_key(key).to_string()));
        }
        self.timelines.retain(|place, _| now.timelines.contains_key(place));
    }
}

/// Finds the snapshots to delete.
fn look(deleting: &Deleting, host: &impl Host, output: &Output) -> Result<Finding, Failure> {
    let sources = &deleting.sources;
    let mut found = Finding::default();
    let others = AtomicU64::new(0);
    for source in sources.how.expand(host, &sources.src, &others) {
        let added = source.and_then(|source| match source {
            Source { found: Some(found), .. } => {
                let key = found.location.key();
                let folder = key.strip_suffix(&found.name).unwrap_or_default();
                Ok((found.location.clone().with_key(folder), key.to_owned(), !found.is_of_pattern))
            }
            source => {
                let location = host.locate(&source.text)?;
                check_is_snapshot(host, &host.locate_followed(&source.text)?, sources, &source)?;
                if !is_there(host, &location)? {
                    return Err(nothing_there(&source.text));
                }
                Ok((location.clone().with_key(""), location.key().to_owned(), false))
            }
        });
        match added {
            Ok((folder, key, is_named)) => found.add(folder, key, is_named),
            Err(error) => found.failed(error, output)?,
        }
    }
    found.others = others.load(Ordering::Relaxed);
    if sources.how.recursive && sources.how.filter.is_empty() {
        found.add_unlisted(deleting, host)?;
    }
    Ok(found)
}

/// Finds the objects to delete by name alone, whatever they contain.
fn look_at_names(deleting: &Deleting, host: &impl Host, output: &Output) -> Result<Finding, Failure> {
    let sources = &deleting.sources;
    let mut found = Finding::default();
    let texts = sources.src.iter().flat_map(|text| -> Box<dyn Iterator<Item = Result<(String, bool)>>> {
        match text.as_str() {
            "-" => Box::new(sources.how.lines().map(|line| line.map(|line| (line, true)))),
            text => Box::new(std::iter::once(Ok((text.to_owned(), false)))),
        }
    });
    for text in texts {
        let keys = text.and_then(|(text, is_listed)| {
            check_means_something(&text)?;
            let is_pattern = !is_listed && is_pattern(host, &text);
            let depth = if sources.how.recursive { Depth::Below } else { Depth::Level };
            if is_pattern || sources.how.recursive && is_folder(host, &text) {
                let (folder, keys) = find_keys(host, &text, depth)?;
                return Ok((folder, keys, !is_pattern));
            }
            let location = host.locate(&text)?;
            let may_be_folder = sources.how.recursive && !(is_listed && text.contains(SPECIAL));
            if may_be_folder && !matches!(location, StorageLocation::Local { .. }) {
                // In a bucket, a folder exists if something is in it.
                let (folder, keys) = find_keys(host, &text, depth)?;
                let mut keys = keys.peekable();
                if keys.peek().is_some() {
                    return Ok((folder, Box::new(keys) as Keys, true));
                }
            }
            if !is_there(host, &location)? {
                return Err(nothing_there(&text));
            }
            let key = location.key().to_owned();
            Ok((location.with_key(""), Box::new(std::iter::once(Ok(key))) as Keys, false))
        });
        let (folder, keys, is_named) = match keys {
            Ok(keys) => keys,
            Err(error) => {
                found.failed(error, output)?;
                continue;
            }
        };
        for key in keys {
            match key {
                Ok(key) => found.add(folder.clone(), key, is_named),
                Err(error) => found.failed(error, output)?,
            }
        }
    }
    Ok(found)
}

/// Deletes everything that is found, in batches.
pub(crate) fn delete_found(deleting: &Deleting, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let find = || if deleting.force { look_at_names(deleting, host, output) } else { look(deleting, host, output) };
    let mut found = find()?.without_hints();
    if found.others > 0 {
        let what =
            if found.others == 1 { "other file is not a snapshot and is kept" } else { "other files are not snapshots and are kept" };
        output.note(format_args!("{} {what}", found.others));
    }
    let location = |batch: &Batch, key: &str| host.written(&batch.place.clone().with_key(key));
    if deleting.dry_run {
        for batch in found.batches.values() {
            for key in &batch.keys {
                let location = location(batch, key)?;
                let object = json!({"location": location, "deleted": false});
                output.result(&object, format_args!("would delete {}", printable(&location)))?;
            }
        }
        for place in found.timelines.values() {
            let location = host.written(place)?;
            let object = json!({"location": location, "deleted": false});
            output.result(&object, format_args!("would delete the timeline {}", printable(&location)))?;
        }
        output.note(format_args!("{} would be deleted", found.count()));
        return exit(found.exit_code);
    }
    if found.count() > 0 && !deleting.yes {
        let what = if found.count() == 1 { "snapshot" } else { "snapshots" };
        if !confirmed(&format!("{} {what}", found.count()))? {
            output.note("nothing was deleted");
            return Err(Failure::Reported(1));
        }
        // While the question was open, the objects may have been replaced.
        if !deleting.force && sources_can_be_read_again(deleting) {
            let now = look(deleting, host, &Output { json: output.json, quiet: true })?;
            found.keep_only(&now);
        }
    }
    let mut progress = host.total_progress(output, "deleting");
    let (mut deleted, mut failed) = (0_u64, 0_u64);
    for batch in found.batches.values() {
        let keys: Vec<String> = batch.keys.iter().cloned().collect();
        for keys in keys.chunks(BATCH) {
            let failures = host.delete_many(&batch.place, keys, deleting.durability)?;
            for (_, error) in &failures {
                output.error(error);
                found.exit_code = worse(found.exit_code, error.exit_code());
            }
            let unchanged = failures.len() as u64;
            failed += unchanged;
            deleted += keys.len() as u64 - unchanged;
            progress(Done { snapshots: deleted, bytes: 0 });
            if output.json {
                for key in keys.iter().filter(|key| failures.iter().all(|(failed, _)| failed != *key)) {
                    output.report(&json!({"location": location(batch, key)?, "deleted": true}), "")?;
                }
            }
        }
        if deleting.sources.how.recursive {
            host.remove_empty_folders(&batch.place, &keys, batch.is_named);
        }
    }
    for place in found.timelines.values() {
        match host.timeline(place, Access::Write(deleting.durability)).and_then(|mut timeline| timeline.delete()) {
            Ok(_) => {
                deleted += 1;
                progress(Done { snapshots: deleted, bytes: 0 });
                if output.json {
                    output.report(&json!({"location": host.written(place)?, "deleted": true}), "")?;
                }
            }
            // It was deleted before, and its markers are left.
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => {
                failed += 1;
                output.error(&error);
                found.exit_code = worse(found.exit_code, error.exit_code());
            }
        }
    }
    drop(progress);
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    output.note(format_args!("{deleted} deleted{failed}"));
    exit(found.exit_code)
}

fn exit(code: u8) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::Reported(code)) }
}

/// Returns whether no source comes from stdin, which can be read only once.
fn sources_can_be_read_again(deleting: &Deleting) -> bool {
    deleting.sources.src.iter().all(|text| text != "-")
}
