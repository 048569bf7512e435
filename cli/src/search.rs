//! Finding the snapshots that a text names: a folder, a pattern, or the beginning of
//! names.

use glob::{MatchOptions, Pattern};
use persist_model::{ErrorCode, ListEntry, ListFilter, PersistError, Result, StorageLocation};

use crate::filter::Filter;
use crate::host::{Entries, Host, Keys};

/// What a listing is to give.
#[derive(Clone, Default)]
pub struct Search {
    /// Which snapshots.
    pub filter: ListFilter,
    /// Look at each object, also where it is known what it is.
    pub is_fresh: bool,
}

/// How far a search goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What a pattern matches, and nothing below it.
    Level,
    /// All below the folders that a text names.
    Below,
    /// All below the folders that a pattern matches, but not what it matches itself.
    Folders,
    /// Also what only begins with the text.
    Beginnings,
}

/// Snapshots that were found.
pub(crate) struct Found<'a> {
    /// Where they are: with one of their keys it is the location of that one.
    pub(crate) place: StorageLocation,
    /// The bytes of their keys that are the folder that was named.
    pub(crate) hidden: usize,
    /// In natural order.
    pub(crate) entries: Entries<'a>,
}

impl Found<'_> {
    /// Looks whether there is anything.
    pub(crate) fn is_empty(&mut self) -> bool {
        let mut entries = std::mem::replace(&mut self.entries, Box::new(std::iter::empty()));
        let first = entries.next();
        let is_empty = first.is_none();
        self.entries = Box::new(first.into_iter().chain(entries));
        is_empty
    }
}

/// What makes a text a pattern.
pub(crate) const SPECIAL: [char; 3] = ['*', '?', '['];

/// As in a shell: `*` stays within a folder, `**` does not.
const MATCHING: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Whether a text is a pattern, and not the name of something that is there.
pub(crate) fn is_pattern(host: &impl Host, text: &str) -> bool {
    // What can't be asked is said where it is used.
    let is_there = || host.locate(text.trim_end_matches('/')).is_ok_and(|location| is_there(host, &location).unwrap_or(true));
    text.contains(SPECIAL) && !is_there()
}

/// Whether there is something, a link that leads nowhere included.
///
/// # Errors
/// What the storage says.
pub(crate) fn is_there(host: &impl Host, location: &StorageLocation) -> Result<bool> {
    match location {
        StorageLocation::Local { root, key } if root.join(key).symlink_metadata().is_ok() => Ok(true),
        location => host.exists(location),
    }
}

/// Finds the snapshots that a text names and a filter wants: all below a folder; what a
/// pattern matches, and all below the folders that it matches; or what begins with the
/// text.
///
/// # Errors
/// `NotFound` where there is no such folder, nor anything that begins like this;
/// `Configuration` for what is no location or no pattern.
pub(crate) fn find<'a>(host: &impl Host, text: &str, filter: &'a Filter, is_fresh: bool, depth: Depth) -> Result<Found<'a>> {
    let search = Search { filter: filter.for_listing(), is_fresh };
    let found = if is_pattern(host, text) { matching(host, text, &search, depth) } else { below(host, text, &search, depth) }?;
    let is_wanted = |entry: &Result<ListEntry>| match entry {
        Ok(ListEntry::Snapshot(metadata)) => filter.wants(metadata),
        _ => true,
    };
    Ok(Found { entries: Box::new(found.entries.filter(is_wanted)), ..found })
}

/// The same for all objects, whatever they hold: the folder that was named, and the
/// keys in its storage.
///
/// # Errors
/// As [`find`].
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
        // There is nothing, or a file.
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidArgument) && may_be_beginning => {
            let (folder, name) = split(text);
            let Ok(place) = host.locate_folder(folder, true) else { return Err(error) };
            let (hidden, key) = (place.key().len(), format!("{}{name}", place.key()));
            let mut found = list(place.with_key(&key), hidden)?;
            if found.is_empty() { Err(error) } else { Ok(found) }
        }
        // In a bucket a folder is there if something is in it.
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

/// The folder of a text, and what is behind it.
fn split(text: &str) -> (&str, &str) {
    match text.rfind('/') {
        Some(end) => text.split_at(end + 1),
        None => (".", text),
    }
}

/// Where a pattern is to be looked for.
struct Place<'a> {
    folder: StorageLocation,
    /// What all names that match begin with.
    literal: &'a str,
    /// What is behind the folder.
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
            PersistError::new(ErrorCode::InvalidArgument, message).at(text.escape_debug()).hint("a [ that is meant is written [[]")
        })?;
        // With a slash at its end it means folders alone.
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

/// Whether a pattern matches a key or, where what is below counts, a folder that it is in.
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
