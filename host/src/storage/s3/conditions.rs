//! Conditions on writes: which of them a server supports, and whether a write that was
//! refused because of one had already been carried out by an earlier attempt.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use persist_model::{ErrorCode, PersistError, Precondition};
use persist_paths::key::ABANDONED_AFTER;

use super::connection::Connection;
use super::error::Failure;
use super::facts::{object_info, quoted, unquoted, with_headers};
use super::known::Kind;
use super::options::WRITE_ID;
use crate::storage::ObjectInfo;
use crate::system::random::random_hex;

pub(super) use super::known::Request;

/// The name of an object that a condition is tested on, around 32 hexadecimal digits.
/// Such names are reserved for unfinished writes, so no snapshot has one.
const PROBE: (&str, &str) = (".persist-probe-", ".tmp");

/// Returns whether an object is one that conditions are tested on, judging by its name,
/// in any folder, and its size of at most one byte.
pub(super) fn is_probe(key: &[u8], size: Option<i64>) -> bool {
    let name = key.rsplit(|byte| *byte == b'/').next().unwrap_or(key);
    let digits = name.strip_prefix(PROBE.0.as_bytes()).and_then(|rest| rest.strip_suffix(PROBE.1.as_bytes()));
    let is_named = digits.is_some_and(|digits| digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit));
    // The part of the test upload has one byte.
    is_named && size.is_some_and(|size| size <= 1)
}

/// An etag that no object has.
const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

impl Connection {
    /// Returns the condition to send with a request. One that the server ignores is refused.
    /// AWS supports all of them. On another server, each kind is tested once per process, on a
    /// temporary key next to `key`. If there is only one writer, the object is looked at instead.
    pub(super) async fn require(
        self: &Arc<Self>,
        request: Request,
        precondition: &Precondition,
        key: &str,
    ) -> Result<Precondition, Failure> {
        let if_match = match precondition {
            Precondition::None => return Ok(Precondition::None),
            Precondition::IfAbsent => false,
            Precondition::IfMatch(_) => true,
        };
        if self.options.one_writer {
            // A delete has looked already.
            if request != Request::Delete {
                self.look(precondition, key).await?;
            }
            return Ok(Precondition::None);
        }
        let service = self.service().await?;
        if service.is_aws() {
            return Ok(precondition.clone());
        }
        let kind = Kind { request, if_match };
        let is_kept = *service.known.condition(kind).get_or_try_init(|| self.probe(kind, key)).await?;
        if is_kept {
            return Ok(precondition.clone());
        }
        let condition = if if_match { "if-match" } else { "if-absent" };
        let message = format!("the bucket's service ignores the condition {condition}, so it would have no effect");
        let error = PersistError::new(ErrorCode::Unsupported, message);
        Err(error.hint("omit the condition, or use a service that supports it: see docs/s3.md").into())
    }

    /// Looks whether a condition holds now.
    async fn look(&self, precondition: &Precondition, key: &str) -> Result<(), Failure> {
        let found = match self.stat(key).await {
            Ok(found) => Some(found),
            Err(failure) if failure.error.code() == ErrorCode::NotFound => None,
            Err(failure) => return Err(failure),
        };
        match (precondition, found) {
            (Precondition::IfAbsent, Some(_)) => Err(already_exists().into()),
            (Precondition::IfMatch(etag), found) if found.as_ref().and_then(|found| found.etag.as_deref()) != Some(unquoted(etag)) => {
                Err(other_etag().into())
            }
            _ => Ok(()),
        }
    }

    /// Tests whether the server enforces a condition: on a temporary key, a condition
    /// that does not hold must be refused.
    async fn probe(self: &Arc<Self>, kind: Kind, key: &str) -> Result<bool, Failure> {
        let folder = key.rfind('/').and_then(|end| key.get(..=end)).unwrap_or_default();
        let prefix = format!("{folder}{}", PROBE.0);
        let key = format!("{prefix}{}{}", random_hex()?, PROBE.1);
        let kept = self.try_condition(kind, &key).await;
        // The object is deleted whatever the result.
        let removed = self.request("DeleteObject", 0, |client| client.delete_object().bucket(&self.bucket).key(&key).send()).await;
        if let Err(failure) = removed {
            tracing::warn!(location = self.locate(&key), error = %failure.error, "a test object was left behind");
        }
        self.sweep(&prefix).await;
        tracing::debug!(?kind, ?kept, "tested whether the service enforces a condition");
        kept
    }

    /// Removes objects of processes that were killed during a test. If listing is not
    /// allowed, they stay.
    async fn sweep(self: &Arc<Self>, prefix: &str) {
        let list = |client: aws_sdk_s3::Client| client.list_objects_v2().bucket(&self.bucket).prefix(prefix).send();
        let Ok(listed) = self.request("ListObjectsV2", 0, list).await else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for object in listed.contents() {
            let written = object.last_modified().and_then(|written| u64::try_from(written.secs()).ok());
            if let (Some(key), Some(written)) = (object.key(), written)
                && is_probe(key.as_bytes(), object.size())
                && now.saturating_sub(written) > ABANDONED_AFTER.as_secs()
            {
                let _ = self.request("DeleteObject", 0, |client| client.delete_object().bucket(&self.bucket).key(key).send()).await;
            }
        }
    }

    async fn try_condition(self: &Arc<Self>, kind: Kind, key: &str) -> Result<bool, Failure> {
        let put = |if_match: Option<&str>, if_none_match: Option<&str>| {
            let (if_match, if_none_match) = (if_match.map(str::to_owned), if_none_match.map(str::to_owned));
            self.request("PutObject", 0, move |client| {
                let put = client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from_static(b""));
                put.set_if_match(if_match.clone()).set_if_none_match(if_none_match.clone()).send()
            })
        };
        let outcome = match kind {
            // If the condition is enforced, this leaves nothing.
            Kind { request: Request::Put, if_match: true } => put(Some(NO_ETAG), None).await.map(drop),
            Kind { request: Request::Put, if_match: false } => {
                put(None, None).await?;
                put(None, Some("*")).await.map(drop)
            }
            Kind { request: Request::Delete, .. } => {
                put(None, None).await?;
                let delete = |client: aws_sdk_s3::Client| client.delete_object().bucket(&self.bucket).key(key).if_match(NO_ETAG).send();
                self.request("DeleteObject", 0, delete).await.map(drop)
            }
            Kind { request: Request::Complete, if_match } => {
                put(None, None).await?;
                self.try_complete(key, if_match).await
            }
        };
        match outcome {
            Ok(()) => Ok(false),
            Err(failure) if is_refusal(&failure) => Ok(true),
            // The server says that it does not support it.
            Err(failure) if failure.error.code() == ErrorCode::Unsupported => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn try_complete(self: &Arc<Self>, key: &str, if_match: bool) -> Result<(), Failure> {
        let bucket = &self.bucket;
        let create = |client: aws_sdk_s3::Client| client.create_multipart_upload().bucket(bucket).key(key).send();
        let created = self.request("CreateMultipartUpload", 0, create).await?;
        let id = created.upload_id().unwrap_or_default();
        let part = |client: aws_sdk_s3::Client| {
            client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(1).body(ByteStream::from_static(b"1")).send()
        };
        let outcome = match self.request("UploadPart", 0, part).await {
            Err(failure) => Err(failure),
            Ok(part) => {
                let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).set_checksum_crc32(part.checksum_crc32).build();
                let parts = CompletedMultipartUpload::builder().parts(part).build();
                let complete = |client: aws_sdk_s3::Client| {
                    let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id).multipart_upload(parts.clone());
                    if if_match { complete.if_match(NO_ETAG) } else { complete.if_none_match("*") }.send()
                };
                self.request("CompleteMultipartUpload", 0, complete).await.map(drop)
            }
        };
        if outcome.is_err() {
            self.abort_upload(key, id).await?;
        }
        outcome
    }

    /// Determines the outcome of a write after the service refused it for its condition
    /// or a response was lost. If the object at the key comes from this very write, the
    /// write was carried out. None means that it does not.
    pub(super) async fn settle(self: &Arc<Self>, key: &str, write_id: &str) -> Result<Option<ObjectInfo>, Failure> {
        let head = |client: aws_sdk_s3::Client| client.head_object().bucket(&self.bucket).key(key).send();
        match self.request("HeadObject", 0, head).await {
            Ok(found) if found.metadata().and_then(|metadata| metadata.get(WRITE_ID)).is_some_and(|id| id == write_id) => {
                let info = object_info(key, found.content_length(), found.e_tag(), found.last_modified())?;
                Ok(Some(with_headers(info, found.content_type(), found.metadata())))
            }
            Ok(_) => Ok(None),
            Err(failure) if failure.error.code() == ErrorCode::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// Returns whether the server refused a request for its condition.
pub(super) fn is_refusal(failure: &Failure) -> bool {
    // For If-Match on a missing object, AWS responds with 404.
    matches!(failure.error.code(), ErrorCode::PreconditionFailed | ErrorCode::Conflict | ErrorCode::NotFound)
}

/// The error of a write that would replace an object.
pub(super) fn already_exists() -> PersistError {
    PersistError::new(ErrorCode::AlreadyExists, "an object with this key already exists")
}

/// The error of a change to an object that has changed.
pub(super) fn other_etag() -> PersistError {
    PersistError::new(ErrorCode::PreconditionFailed, "the object does not have the expected etag")
        .hint("check the current object ('persist show --json' prints its etag) before you try again")
}

/// Returns the headers of a precondition: `If-Match` and `If-None-Match`.
pub(super) fn headers(precondition: &Precondition) -> (Option<String>, Option<String>) {
    match precondition {
        Precondition::None => (None, None),
        Precondition::IfAbsent => (None, Some("*".to_owned())),
        Precondition::IfMatch(etag) => (Some(quoted(etag)), None),
    }
}
