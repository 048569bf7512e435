//! Finding the snapshots that an argument names: by folder, by pattern, or by the
//! beginning of their names.

use glob::{MatchOptions, Pattern};
use persist_model::{ErrorCode, ListEntry, PersistError, Result};
use persist_paths::StorageLocation;

use crate::filter::Filter;
use crate::host::{Entries, Host, Keys, Search};

/// How deep a search goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only what the pattern matches.
    Level,
    /// Everything below the folders that are named or that the pattern matches.
    Below,
    /// Everything below the folders that the pattern matches, but no snapshot that it
    /// matches itself.
    Folders,
    /// Like `Below`, and also names that begin with the text.
    Beginnings,
}

/// Snapshots that were found.
pub(crate) struct Found<'a> {
    /// Their storage. With one of their keys, it is the location of that snapshot.
    pub(crate) place: StorageLocation,
    /// The length in bytes of the part of their keys that is the named folder.
    pub(crate) hidden: usize,
    /// The entries, in natural order.
    pub(crate) entries: Entries<'a>,
}

impl Found<'_> {
    /// Returns whether nothing was found.
    pub(crate) fn is_empty(&mut self) -> bool {
        let mut entries = std::mem::replace(&mut self.entries, Box::new(std::iter::empty()));
        let first = entries.next();
        let is_empty = first.is_none();
        self.entries = Box::new(first.into_iter().chain(entries));
        is_empty
    }
}

/// The characters that make an argument a pattern.
pub(crate) const SPECIAL: [char; 3] = ['*', '?', '['];

/// As in a shell: `*` stays within a folder, `**` does not.
const MATCHING: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Returns whether an argument is a pattern, and not the name of an existing object.
pub(crate) fn is_pattern(host: &impl Host, text: &str) -> bool {
    // A storage that cannot be asked is reported when the location is used.
    let is_there = || host.locate(text.trim_end_matches('/')).is_ok_and(|location| is_there(host, &location).unwrap_or(true));
    text.contains(SPECIAL) && !is_there()
}

/// Returns whether something exists at a location, including a dangling symlink.
///
/// # Errors
/// Errors of the storage.
pub(crate) fn is_there(host: &impl Host, location: &StorageLocation) -> Result<bool> {
    match location {
        StorageLocation::Local { root, key } if root.join(key).symlink_metadata().is_ok() => Ok(true),
        location => host.exists(location),
    }
}

/// Finds the snapshots that an argument names and that match the filter: all below a
/// folder, those that a pattern matches and those below the folders that it matches, or
/// those whose names begin with the text.
///
/// # Errors
/// `NotFound` if there is no such folder and no name begins with the text;
/// `Configuration` if the text is neither a location nor a pattern.
pub(crate) fn find<'a>(host: &impl Host, text: &str, filter: &'a Filter, is_fresh: bool, depth: Depth) -> Result<Found<'a>> {
    let search = Search { filter: filter.for_listing(), is_fresh };
    let found = if is_pattern(host, text) { matching(host, text, &search, depth) } else { below(host, text, &search, depth) }?;
    let is_wanted = |entry: &Result<ListEntry>| match entry {
        Ok(ListEntry::Snapshot(metadata)) => filter.wants(metadata),
        _ => true,
    };
    Ok(Found { entries: Box::new(found.entries.filter(is_wanted)), ..found })
}

/// Like [`find`], but for all objects, whatever they contain: returns the named folder
/// and the keys in its storage.
///
/// # Errors
/// Those of [`find`].
pub(crate) fn find_keys(host: &impl Host, text: &str, depth: Depth) -> Result<(StorageLocation, Keys)> {
    if !is_pattern(host, text) {
        return match host.locate_folder(text, true) {
            Ok(folder) => Ok((folder.clone(), host.keys(&folder)?)),
            Err(error) => Err(error),
        };
    }
    let Place { folder, literal, pattern, depth } = Place::of(host, text, depth)?;
    let hidden = folder.key().len();
    let keys = host.keys(&folder.clone().with_key(&format!("{}{literal}", folder.key())))?;
    let is_match = move |key: &Result<String>| match key {
        Ok(key) => matches(&pattern, key.get(hidden..).unwrap_or_default(), depth),
        Err(_) => true,
    };
    Ok((folder, Box::new(keys.filter(is_match))))
}

fn below(host: &impl Host, text: &str, search: &Search, depth: Depth) -> Result<Found<'static>> {
    let list = |place: StorageLocation, hidden| Ok(Found { entries: host.list(&place, search)?, place, hidden });
    let whole = |place: StorageLocation| {
        let hidden = place.key().len();
        list(place, hidden)
    };
    let may_be_beginning = depth == Depth::Beginnings && !text.ends_with('/') && !matches!(text, "" | "." | "..");
    match host.locate_folder(text, true).and_then(whole) {
        // There is nothing there, or a file.
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidArgument) && may_be_beginning => {
            let (folder, name) = split(text);
            let Ok(place) = host.locate_folder(folder, true) else { return Err(error) };
            let (hidden, key) = (place.key().len(), format!("{}{name}", place.key()));
            let mut found = list(place.with_key(&key), hidden)?;
            if found.is_empty() { Err(error) } else { Ok(found) }
        }
        // In a bucket, a folder exists if something is in it.
        Ok(mut found) if may_be_beginning && !matches!(found.place, StorageLocation::Local { .. }) => {
            let key = found.place.key().trim_end_matches('/').to_owned();
            if key.is_empty() || !found.is_empty() {
                return Ok(found);
            }
            let hidden = key.rfind('/').map_or(0, |end| end + 1);
            list(found.place.with_key(&key), hidden)
        }
        found => found,
    }
}

/// Splits an argument into its folder and the rest.
fn split(text: &str) -> (&str, &str) {
    match text.rfind('/') {
        Some(end) => text.split_at(end + 1),
        None => (".", text),
    }
}

/// A pattern, and where to search for it.
struct Place<'a> {
    folder: StorageLocation,
    /// The text that all matching names begin with.
    literal: &'a str,
    /// The pattern, relative to the folder.
    pattern: Pattern,
    depth: Depth,
}

impl<'a> Place<'a> {
    fn of(host: &impl Host, text: &'a str, depth: Depth) -> Result<Self> {
        let start = text.find(SPECIAL).unwrap_or(text.len());
        let (folder, literal) = split(text.get(..start).unwrap_or_default());
        let behind = text.get(start - literal.len()..).unwrap_or_default();
        let pattern = Pattern::new(behind.trim_end_matches('/')).map_err(|error| {
            let message = format!("the pattern is not valid: {}", error.msg);
            PersistError::new(ErrorCode::InvalidArgument, message).at(text.escape_debug()).hint("write a literal [ as [[]")
        })?;
        // A pattern that ends with a slash matches only folders.
        let depth = if text.ends_with('/') { Depth::Folders } else { depth };
        Ok(Self { folder: host.locate_folder(folder, true)?, literal, pattern, depth })
    }
}

fn matching(host: &impl Host, text: &str, search: &Search, depth: Depth) -> Result<Found<'static>> {
    let Place { folder, literal, pattern, depth } = Place::of(host, text, depth)?;
    let hidden = folder.key().len();
    let place = folder.clone().with_key(&format!("{}{literal}", folder.key()));
    let entries = host.list(&place, search)?;
    let is_match = move |entry: &Result<ListEntry>| match entry {
        Ok(entry) => matches(&pattern, entry.key().get(hidden..).unwrap_or_default(), depth),
        Err(_) => true,
    };
    Ok(Found { place, hidden, entries: Box::new(entries.filter(is_match)) })
}

/// Returns whether a pattern matches a key or, depending on the depth, a folder above it.
fn matches(pattern: &Pattern, key: &str, depth: Depth) -> bool {
    let folders = key.match_indices('/').map(|(end, _)| end).filter(|_| depth != Depth::Level);
    let whole = (depth != Depth::Folders).then_some(key.len());
    folders.chain(whole).filter_map(|end| key.get(..end)).any(|part| pattern.matches_with(part, MATCHING))
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, key, is_match) in [
            ("*.gz", "1.gz", true),
            ("*.gz", "a/1.gz", false),
            ("*", "a/1.gz", true),
            ("a*/2", "ab/2/1.gz", true),
            ("**/1.gz", "a/b/1.gz", true),
            ("[ab]?", "b1", true),
            ("[ab]?", "c1", false),
        ] {
            let parsed = Pattern::new(pattern).expect("a pattern");
            assert_eq!(matches(&parsed, key, Depth::Below), is_match, "{pattern} {key}");
        }
    }
}
