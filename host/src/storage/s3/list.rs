//! Listing a bucket, page by page.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use super::client::Connection;
use super::conditions::PROBE;
use super::error::Failure;
use super::listed_info;
use crate::key::{check_key, split};
use crate::storage::{LevelEntry, ObjectInfo, behind};

/// The most keys that S3 gives at a time.
const MAX_PAGE: i32 = 1000;

/// Pages that a server may give without getting on; S3 itself gives hardly any.
const MAX_IDLE_PAGES: u32 = 100;

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
        let mut page_token: Option<String> = None;
        // The last key of all, and how many pages have brought no later one.
        let (mut last_key, mut idle_pages) = (String::new(), 0);
        while found.len() < limit {
            let page = i32::try_from(limit - found.len()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
            let send = |client: Client| {
                let list = client.list_objects_v2().bucket(&self.bucket).max_keys(page);
                // Keys may hold what XML can't.
                list.encoding_type(EncodingType::Url)
                    .set_prefix(Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()))
                    // A server may list a prefix again that keys behind it have.
                    .set_start_after(start_after.as_deref().map(|after| if one_level { behind(prefix, after) } else { after.to_owned() }))
                    .set_delimiter(one_level.then(|| "/".to_owned()))
                    .set_continuation_token(page_token.clone())
                    .send()
            };
            let listed = self.request("ListObjectsV2", 0, send).await?;
            // Damaged XML may read as a shorter listing.
            let count = listed.key_count().map(|count| usize::try_from(count).unwrap_or_default());
            if listed.is_truncated().is_none()
                || count.is_some_and(|count| count != listed.contents().len() + listed.common_prefixes().len())
            {
                return Err(Failure::bad_answer("the answer is not a whole listing"));
            }
            let before = last_key.clone();
            let is_encoded = listed.encoding_type() == Some(&EncodingType::Url);
            let read = |name: Option<&str>| {
                let name = name?;
                let read = if is_encoded { decoded(name) } else { Some(name.to_owned()) };
                if read.is_none() {
                    tracing::debug!(name, "left out: it is not UTF-8");
                }
                read
            };
            // Some servers begin with the key itself.
            let is_wanted = |name: &str| name.starts_with(prefix) && start_after.as_ref().is_none_or(|after| name > after.as_str());
            let page_start = found.len();
            for object in listed.contents() {
                let Some(key) = read(object.key()) else { continue };
                last_key = last_key.max(key.clone());
                // Somebody tries out what the service keeps.
                if split(&key).1.starts_with(PROBE) {
                    continue;
                }
                // A folder's marker, or what no key of ours can be.
                if check_key(&key).is_err() {
                    tracing::debug!(key, "left out: it can't be the key of a snapshot");
                    continue;
                }
                if is_wanted(&key) {
                    found.push(LevelEntry::Object(listed_info(&key, object.size(), object.e_tag(), object.last_modified())?));
                }
            }
            for level in listed.common_prefixes() {
                let Some(level) = read(level.prefix()) else { continue };
                last_key = last_key.max(level.clone());
                if is_wanted(&level) && check_key(level.trim_end_matches('/')).is_ok() && !level.ends_with("//") {
                    found.push(LevelEntry::Prefix(level));
                }
            }
            // The two kinds come apart.
            if let Some(page) = found.get_mut(page_start..) {
                page.sort_by(|a, b| a.name().cmp(b.name()));
            }
            let next = listed.next_continuation_token().map(str::to_owned);
            if listed.is_truncated() != Some(true) || next.is_none() {
                break;
            }
            idle_pages = if last_key > before { 0 } else { idle_pages + 1 };
            if idle_pages > MAX_IDLE_PAGES || next == page_token {
                return Err(Failure::bad_answer("the service's listing goes in a circle"));
            }
            page_token = next;
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// A key from a listing, in which `+` stands for a space.
fn decoded(key: &str) -> Option<String> {
    percent_decode_str(&key.replace('+', " ")).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
