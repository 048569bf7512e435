//! Reads the metadata of objects from responses and listings.

use std::collections::HashMap;

use aws_sdk_s3::primitives::DateTime;

use crate::storage::ObjectInfo;
use crate::storage::s3::error::Failure;
use crate::storage::s3::options::WRITE_ID;
use crate::storage::s3::transport::responded;

/// Returns an etag as users see it.
pub(super) fn unquoted(etag: &str) -> &str {
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

/// Returns an etag as it is in headers.
pub(super) fn quoted(etag: &str) -> String {
    format!("\"{}\"", unquoted(etag))
}

/// Reads the metadata of an object from a response, which must include an etag.
pub(super) fn object_info(key: &str, size: Option<i64>, etag: Option<&str>, modified: Option<&DateTime>) -> Result<ObjectInfo, Failure> {
    let info = listed_info(key, size, etag, modified)?;
    if info.etag.is_some() { Ok(info) } else { Err(Failure::bad_answer("the response has no etag for the object")) }
}

/// Adds what the headers of a response include. The write ID is internal and left out.
pub(super) fn with_headers(info: ObjectInfo, content_type: Option<&str>, metadata: Option<&HashMap<String, String>>) -> ObjectInfo {
    let own = metadata.into_iter().flatten().filter(|(name, _)| *name != WRITE_ID);
    let mut attributes: Vec<_> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    attributes.sort_unstable();
    ObjectInfo { content_type: content_type.map(str::to_owned), attributes, ..info }
}

/// Reads the metadata of an object from a listing. Not every server includes an etag.
pub(super) fn listed_info(key: &str, size: Option<i64>, etag: Option<&str>, modified: Option<&DateTime>) -> Result<ObjectInfo, Failure> {
    let size =
        size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| Failure::bad_answer("the response has no size for the object"))?;
    Ok(ObjectInfo {
        key: key.to_owned(),
        size,
        etag: etag.map(|etag| unquoted(etag).to_owned()),
        // In whole seconds, since only listings have fractions.
        modified: modified.and_then(|modified| u64::try_from(modified.secs()).ok()).map(|seconds| seconds * 1000),
        storage_time: responded(),
        ..ObjectInfo::default()
    })
}
