//! The requests that write an object, as a whole or in parts.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption, StorageClass};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use persist_model::{ErrorCode, PersistError, Precondition, Result};

use super::conditions::{Request, already_exists, headers, is_refusal};
use super::connection::Connection;
use super::error::{Doubt, Failure};
use super::facts::{object_info, quoted, with_headers};
use super::options::{S3Encryption, S3Options};
use super::transport::noting;
use crate::storage::{ObjectInfo, is_lost_upload};

/// What is known of an object before it is written.
pub(super) struct Object {
    pub(super) connection: Arc<Connection>,
    pub(super) key: String,
    pub(super) precondition: Precondition,
    pub(super) content_type: Option<String>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) write_id: String,
    /// Whether a request that makes the object visible was handed to a connection.
    pub(super) begun: Arc<AtomicBool>,
}

/// The source of a part.
#[derive(Clone)]
pub(super) enum Part {
    Bytes(Bytes),
    /// A range of another object in this version.
    Range {
        source: String,
        etag: Option<String>,
        offset: u64,
        length: u64,
    },
}

impl Part {
    /// Returns how many bytes of it are in memory.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Range { .. } => 0,
        }
    }
}

pub(super) async fn stat(connection: Arc<Connection>, key: String) -> Result<ObjectInfo, Failure> {
    connection.stat(&key).await
}

/// The characters to encode in the key of a source object.
const SOURCE: &AsciiSet = &TAG.remove(b'/');

/// The characters to encode in a query string.
const TAG: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn tagging(options: &S3Options) -> Option<String> {
    let encoded = |text| utf8_percent_encode(text, TAG).to_string();
    let tags: Vec<_> = options.tags.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    (!tags.is_empty()).then(|| tags.join("&"))
}

fn encryption(options: &S3Options) -> (Option<ServerSideEncryption>, Option<String>) {
    match &options.encryption {
        None => (None, None),
        Some(S3Encryption::S3) => (Some(ServerSideEncryption::Aes256), None),
        Some(S3Encryption::Kms { key_id }) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
    }
}

fn storage_class(options: &S3Options) -> Option<StorageClass> {
    options.storage_class.as_deref().map(StorageClass::from)
}

impl Object {
    pub(super) fn location(&self) -> String {
        self.connection.locate(&self.key)
    }

    /// Returns the metadata of the object once it is stored.
    fn info(&self, size: u64, etag: Option<&str>) -> Result<ObjectInfo, Failure> {
        let info = object_info(&self.key, i64::try_from(size).ok(), etag, None)?;
        Ok(with_headers(info, self.content_type.as_deref(), Some(&self.metadata.iter().cloned().collect())))
    }

    /// Stores a small object.
    pub(super) async fn put(self: Arc<Self>, body: Bytes) -> Result<ObjectInfo, Failure> {
        let connection = &self.connection;
        let (if_match, if_none_match) = headers(&connection.require(Request::Put, &self.precondition, &self.key).await?);
        let options = &connection.options;
        let (sse, kms_key_id) = encryption(options);
        let send = |client: Client| {
            let put = client.put_object().bucket(&connection.bucket).key(&self.key).body(ByteStream::from(body.clone()));
            put.set_content_type(self.content_type.clone())
                .set_metadata(Some(self.metadata.iter().cloned().collect()))
                .set_tagging(tagging(options))
                .set_storage_class(storage_class(options))
                .set_server_side_encryption(sse.clone())
                .set_ssekms_key_id(kms_key_id.clone())
                .set_if_match(if_match.clone())
                .set_if_none_match(if_none_match.clone())
                .send()
        };
        let sent = noting(&self.begun, connection.request("PutObject", body.len(), send)).await;
        self.outcome(sent.and_then(|stored| self.info(body.len() as u64, stored.e_tag()))).await
    }

    /// Starts a multipart upload and returns its ID.
    pub(super) async fn begin_upload(self: Arc<Self>) -> Result<String, Failure> {
        let connection = &self.connection;
        connection.require(Request::Complete, &self.precondition, &self.key).await?;
        if self.precondition == Precondition::IfAbsent {
            // Fails before any data is sent instead of after all of it.
            let head = |client: Client| client.head_object().bucket(&connection.bucket).key(&self.key).send();
            if connection.request("HeadObject", 0, head).await.is_ok() {
                return Err(already_exists().into());
            }
        }
        let options = &connection.options;
        let (sse, kms_key_id) = encryption(options);
        // The checksums of the parts must be announced here.
        let checksum = connection.service().await?.has_checksums.then_some(ChecksumAlgorithm::Crc32);
        let send = |client: Client| {
            let create = client.create_multipart_upload().bucket(&connection.bucket).key(&self.key);
            create
                .set_checksum_algorithm(checksum.clone())
                .set_content_type(self.content_type.clone())
                .set_metadata(Some(self.metadata.iter().cloned().collect()))
                .set_tagging(tagging(options))
                .set_storage_class(storage_class(options))
                .set_server_side_encryption(sse.clone())
                .set_ssekms_key_id(kms_key_id.clone())
                .send()
        };
        let created = connection.request("CreateMultipartUpload", 0, send).await?;
        let id = created.upload_id().filter(|id| !id.is_empty());
        id.map(str::to_owned).ok_or_else(|| Failure::bad_answer("the service started an upload without an ID"))
    }

    pub(super) async fn make_part(self: Arc<Self>, upload: String, number: i32, part: Part) -> Result<CompletedPart, Failure> {
        match part {
            Part::Bytes(body) => self.upload_part(upload, number, body).await,
            Part::Range { source, etag, offset, length } => self.copy_part(upload, number, source, etag, offset, length).await,
        }
    }

    async fn upload_part(self: Arc<Self>, upload: String, number: i32, body: Bytes) -> Result<CompletedPart, Failure> {
        let connection = &self.connection;
        let send = |client: Client| {
            let part = client.upload_part().bucket(&connection.bucket).key(&self.key).upload_id(&upload).part_number(number);
            part.body(ByteStream::from(body.clone())).send()
        };
        let stored = connection.request("UploadPart", body.len(), send).await?;
        let part = CompletedPart::builder().part_number(number).set_checksum_crc32(stored.checksum_crc32);
        match stored.e_tag {
            Some(etag) => Ok(part.e_tag(etag).build()),
            None => Err(Failure::bad_answer("the service accepted a part but returned no etag for it")),
        }
    }

    async fn copy_part(
        self: Arc<Self>,
        upload: String,
        number: i32,
        source: String,
        etag: Option<String>,
        offset: u64,
        length: u64,
    ) -> Result<CompletedPart, Failure> {
        let connection = &self.connection;
        let source = format!("{}/{}", connection.bucket, utf8_percent_encode(&source, SOURCE));
        let range = format!("bytes={offset}-{}", offset + length - 1);
        let send = |client: Client| {
            let copy = client.upload_part_copy().bucket(&connection.bucket).key(&self.key).upload_id(&upload).part_number(number);
            let copy = copy.copy_source(source.clone()).copy_source_range(range.clone());
            copy.set_copy_source_if_match(etag.as_deref().map(quoted)).send()
        };
        // The service reads and writes the whole part before it responds.
        let allowance = usize::try_from(length).unwrap_or(usize::MAX) / 64;
        let copied = connection.request("UploadPartCopy", allowance, send).await?;
        let result =
            copied.copy_part_result.ok_or_else(|| Failure::bad_answer("the service copied a part but returned no result for it"))?;
        let part = CompletedPart::builder().part_number(number).set_checksum_crc32(result.checksum_crc32);
        match result.e_tag {
            Some(etag) => Ok(part.e_tag(etag).build()),
            None => Err(Failure::bad_answer("the service copied a part but returned no etag for it")),
        }
    }

    /// Completes the upload, which makes its parts an object.
    pub(super) async fn complete(
        self: Arc<Self>,
        upload: String,
        parts: CompletedMultipartUpload,
        size: u64,
    ) -> Result<ObjectInfo, Failure> {
        let connection = &self.connection;
        let (if_match, if_none_match) = headers(&connection.require(Request::Complete, &self.precondition, &self.key).await?);
        let send = |client: Client| {
            let complete = client.complete_multipart_upload().bucket(&connection.bucket).key(&self.key).upload_id(&upload);
            complete.multipart_upload(parts.clone()).set_if_match(if_match.clone()).set_if_none_match(if_none_match.clone()).send()
        };
        // The service may have to join gigabytes before it responds.
        let allowance = usize::try_from(size).unwrap_or(usize::MAX) / 64;
        let sent = noting(&self.begun, connection.request("CompleteMultipartUpload", allowance, send)).await;
        self.outcome(sent.and_then(|stored| self.info(size, stored.e_tag()))).await
    }

    /// Determines the outcome of a write. If an attempt was carried out and its
    /// response lost, the next attempt is refused; then the object itself shows whether
    /// it comes from this write.
    async fn outcome(&self, sent: Result<ObjectInfo, Failure>) -> Result<ObjectInfo, Failure> {
        let failure = match sent {
            Ok(info) => return Ok(info),
            Err(failure) => failure,
        };
        let is_refused = self.precondition != Precondition::None && is_refusal(&failure);
        if failure.doubt > Doubt::None || is_refused {
            match self.connection.settle(&self.key, &self.write_id).await {
                Ok(Some(info)) => return Ok(info),
                // A refused request did not store the object. A request without a
                // response may still be carried out, or its object may already be
                // replaced.
                Ok(None) if is_refused || failure.doubt < Doubt::Open => {}
                Ok(None) => return Err(failure.outcome_unknown("it is not known whether the object was stored: the response was lost")),
                // The outcome is unknown, which is worse than a conflict.
                Err(unknown) => {
                    let what = "it is not known whether the object was stored: the response was lost, and the service can't be asked";
                    return Err(unknown.outcome_unknown(what));
                }
            }
        }
        if !is_refused {
            return Err(failure);
        }
        let error = match self.precondition {
            Precondition::IfAbsent if failure.error.code() == ErrorCode::PreconditionFailed => already_exists(),
            Precondition::IfMatch(_) if failure.error.code() == ErrorCode::NotFound => {
                PersistError::new(ErrorCode::PreconditionFailed, "the object does not have the expected etag: it no longer exists")
            }
            _ => failure.error,
        };
        Err(error.into())
    }
}

impl Connection {
    /// Aborts an upload. A missing one counts as aborted.
    pub(super) async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), Failure> {
        let send = |client: Client| client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload).send();
        match self.request("AbortMultipartUpload", 0, send).await {
            Err(failure) if failure.error.code() != ErrorCode::NotFound && !is_lost_upload(&failure.error) => Err(failure),
            _ => Ok(()),
        }
    }
}
