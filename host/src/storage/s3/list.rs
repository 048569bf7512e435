//! Lists a bucket page by page.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;
use persist_paths::key::{Wanted, problem};

use super::bucket::S3StorageAdapter;
use super::conditions::is_probe;
use super::connection::Connection;
use super::error::Failure;
use super::facts::listed_info;
use crate::storage::{LevelEntry, Listed, Listing, ObjectInfo, after_level, not_a_key};

/// The most keys that S3 returns at a time.
const MAX_PAGE: i32 = 1000;

/// Pages that a server may return without advancing. S3 itself returns hardly any.
const MAX_IDLE_PAGES: u32 = 100;

/// An entry of a page.
enum Entry {
    Object(ObjectInfo),
    Level(String),
    /// A name that can't be a key, and why.
    NotAKey(Vec<u8>, &'static str),
}

impl Entry {
    fn name(&self) -> &[u8] {
        match self {
            Self::Object(info) => info.key.as_bytes(),
            Self::Level(prefix) => prefix.as_bytes(),
            Self::NotAKey(name, _) => name,
        }
    }
}

/// What is listed, and the position in the listing.
struct Place {
    prefix: String,
    start_after: Option<String>,
    one_level: bool,
    token: Option<String>,
    /// The last key so far, and how many pages have brought no later one.
    last_key: Vec<u8>,
    idle_pages: u32,
    ended: bool,
}

impl Place {
    fn new(prefix: &str, start_after: Option<String>, one_level: bool) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix, start_after, one_level, token: None, last_key: Vec::new(), idle_pages: 0, ended: false }
    }
}

/// Lists a bucket page by page.
pub(super) fn walk(storage: S3StorageAdapter, prefix: &str, start_after: Option<&str>) -> Listing {
    let place = Place::new(prefix, start_after.map(str::to_owned), false);
    let (mut place, mut page, prefix) = (Some(place), Vec::new().into_iter(), prefix.to_owned());
    Box::new(std::iter::from_fn(move || {
        loop {
            match page.next() {
                Some(Entry::Object(info)) => return Some(Ok(Listed::Object(info))),
                Some(Entry::Level(_)) => {}
                Some(Entry::NotAKey(name, problem)) => {
                    let (key, error) = not_a_key(&name, problem, &storage);
                    return Some(Ok(Listed::Unreadable { key, error }));
                }
                None => {
                    let mut next = place.take().filter(|place| !place.ended)?;
                    let listed = storage.run(&prefix, |connection| async move {
                        let entries = connection.next_page(&mut next, MAX_PAGE).await?;
                        Ok((entries, next))
                    });
                    match listed {
                        Err(error) => return Some(Err(error)),
                        Ok((entries, next)) => {
                            page = entries.into_iter();
                            place = Some(next);
                        }
                    }
                }
            }
        }
    }))
}

impl Connection {
    pub(super) async fn list(&self, prefix: &str, start_after: Option<String>, limit: u32) -> Result<Vec<ObjectInfo>, Failure> {
        let found = self.entries(prefix, start_after, limit, false).await?;
        let object = |entry| match entry {
            LevelEntry::Object(info) => Some(info),
            LevelEntry::Prefix(_) => None,
        };
        Ok(found.into_iter().filter_map(object).collect())
    }

    pub(super) async fn list_level(&self, prefix: &str, start_after: Option<String>, limit: u32) -> Result<Vec<LevelEntry>, Failure> {
        self.entries(prefix, start_after, limit, true).await
    }

    async fn entries(&self, prefix: &str, start_after: Option<String>, limit: u32, one_level: bool) -> Result<Vec<LevelEntry>, Failure> {
        let limit = limit as usize;
        let mut found: Vec<LevelEntry> = Vec::new();
        let mut place = Place::new(prefix, start_after, one_level);
        while found.len() < limit && !place.ended {
            let most = i32::try_from(limit - found.len()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
            found.extend(self.next_page(&mut place, most).await?.into_iter().filter_map(|entry| match entry {
                Entry::Object(info) => Some(LevelEntry::Object(info)),
                Entry::Level(prefix) => Some(LevelEntry::Prefix(prefix)),
                // Reading it fails, since the name can't be a key.
                Entry::NotAKey(name, _) => {
                    String::from_utf8(name).ok().map(|key| LevelEntry::Object(ObjectInfo { key, ..ObjectInfo::default() }))
                }
            }));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Returns the next page of a listing, of at most `most` entries.
    async fn next_page(&self, place: &mut Place, most: i32) -> Result<Vec<Entry>, Failure> {
        let Place { prefix, start_after, one_level, token, .. } = &*place;
        let send = |client: Client| {
            let list = client.list_objects_v2().bucket(&self.bucket).max_keys(most);
            // Keys may have characters that XML can't represent.
            list.encoding_type(EncodingType::Url)
                .set_prefix(Some(prefix.clone()).filter(|prefix| !prefix.is_empty()))
                // Otherwise a server may list a prefix again for the keys in it.
                .set_start_after(start_after.as_deref().map(|after| if *one_level { after_level(prefix, after) } else { after.to_owned() }))
                .set_delimiter(one_level.then(|| "/".to_owned()))
                .set_continuation_token(token.clone())
                .send()
        };
        let listed = self.request("ListObjectsV2", 0, send).await?;
        // Damaged XML may look like a shorter listing.
        let count = listed.key_count().map(|count| usize::try_from(count).unwrap_or_default());
        if listed.is_truncated().is_none() || count.is_some_and(|count| count != listed.contents().len() + listed.common_prefixes().len()) {
            return Err(Failure::bad_answer("the response is not a complete listing"));
        }
        if listed.contents().len() + listed.common_prefixes().len() > usize::try_from(most).unwrap_or(usize::MAX) {
            return Err(Failure::bad_answer("the response lists more than requested"));
        }
        let is_encoded = listed.encoding_type() == Some(&EncodingType::Url);
        let read = |name: &str| if is_encoded { decoded(name) } else { name.as_bytes().to_vec() };
        // Some servers begin with the key itself.
        let wanted = Wanted { prefix, start_after: start_after.as_deref() };
        let mut last_key = place.last_key.clone();
        let mut found = Vec::new();
        for object in listed.contents() {
            let Some(name) = object.key().map(read) else { return Err(Failure::bad_answer("the response lists an object without a key")) };
            if name > last_key {
                last_key.clone_from(&name);
            }
            // Objects of condition tests are never listed.
            if is_probe(&name, object.size()) {
                continue;
            }
            // The marker of a folder is not an object.
            let is_marker = name.ends_with(b"/") && object.size() == Some(0);
            if !wanted.has(&name) || is_marker {
                continue;
            }
            found.push(match String::from_utf8(name) {
                Err(name) => Entry::NotAKey(name.into_bytes(), "it is not UTF-8"),
                Ok(key) => match problem(&key) {
                    Some(problem) => Entry::NotAKey(key.into_bytes(), problem),
                    None => Entry::Object(listed_info(&key, object.size(), object.e_tag(), object.last_modified())?),
                },
            });
        }
        for level in listed.common_prefixes() {
            let Some(level) = level.prefix().map(read) else {
                return Err(Failure::bad_answer("the response lists a prefix without a name"));
            };
            if level > last_key {
                last_key.clone_from(&level);
            }
            if wanted.has(&level) {
                found.push(match String::from_utf8(level) {
                    Err(name) => Entry::NotAKey(name.into_bytes(), "it is not UTF-8"),
                    Ok(level) => Entry::Level(level),
                });
            }
        }
        // Objects and prefixes come as two separate lists.
        found.sort_by(|a, b| a.name().cmp(b.name()));
        let next = listed.next_continuation_token().map(str::to_owned);
        if listed.is_truncated() != Some(true) {
            place.ended = true;
            return Ok(found);
        }
        if next.is_none() {
            return Err(Failure::bad_answer("the response is not the complete listing, but has no continuation token"));
        }
        place.idle_pages = if last_key > place.last_key { 0 } else { place.idle_pages + 1 };
        if place.idle_pages > MAX_IDLE_PAGES || next == place.token {
            return Err(Failure::bad_answer("the service's listing does not advance"));
        }
        (place.last_key, place.token) = (last_key, next);
        Ok(found)
    }
}

/// Decodes a key from a listing, in which `+` means a space.
fn decoded(key: &str) -> Vec<u8> {
    percent_decode_str(&key.replace('+', " ")).collect()
}
