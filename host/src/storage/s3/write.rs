//! Writing an object: in one request while it is small, in parts above that.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption, StorageClass};
use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::{Connection, End, Work};
use super::conditions::{Request, headers, is_refusal};
use super::error::{Doubt, Failure};
use super::options::{S3Encryption, S3Options, WRITE_ID, is_metadata};
use super::read::S3Reader;
use super::transport::noting;
use super::{object_info, quoted, unquoted, with_headers};
use crate::cancel::CancelToken;
use crate::error::{ErrorCode, PersistError, Result};
use crate::key::check_key;
use crate::random::random_hex;
use crate::storage::{
    ByteRange, MAX_READ, ObjectInfo, Precondition, ReadOptions, StorageReader, StorageWriter, WriteOptions, is_lost_upload,
};

/// The most parts that S3 takes.
const MAX_PARTS: usize = 10_000;

/// So many parts of one size, then the next are larger by the first one's size:
/// an object of unknown size may have 10,000 parts and 440 GB.
const PARTS_OF_A_SIZE: usize = 1000;

/// The same where the size was known beforehand.
const HINTED_PARTS: usize = 9000;

/// The largest part that a hint asks for: it comes from the component, which
/// must not decide how much memory the host takes. 9,000 of them hold the
/// largest snapshot that there is.
const MAX_HINTED_PART: usize = 64 << 20;

/// The least bytes of a part that is not the last, and the most of one that the
/// service copies itself.
const MIN_PART: u64 = 5 << 20;
const MAX_COPIED_PART: u64 = 1 << 30;

/// What a part's size is a multiple of.
const MIB: u64 = 1 << 20;

/// An object on its way into a bucket.
pub(super) struct S3Writer {
    object: Arc<Object>,
    cancel: CancelToken,
    /// The size of the first parts, and how many they are.
    part_size: usize,
    parts_of_a_size: usize,
    /// What was not sent yet, at most a part.
    buffer: BytesMut,
    size: u64,
    upload: Option<Upload>,
    /// After an error a writer can only be dropped.
    has_failed: bool,
    /// An upload that is gone is begun again once.
    has_begun_again: bool,
}

/// What is known of an object before it is written.
struct Object {
    connection: Arc<Connection>,
    key: String,
    precondition: Precondition,
    content_type: Option<String>,
    metadata: Vec<(String, String)>,
    write_id: String,
    /// Whether a request was handed over that makes the object visible.
    begun: Arc<AtomicBool>,
}

/// A multipart upload.
struct Upload {
    id: String,
    sent: usize,
    in_flight: VecDeque<Work<Result<CompletedPart, Failure>>>,
    done: Vec<CompletedPart>,
    /// What the parts were made of, as long as that is no more than may be in
    /// flight: with it the upload can be begun again.
    kept: Option<Vec<Part>>,
}

/// What a part is made of.
#[derive(Clone)]
enum Part {
    Bytes(Bytes),
    /// A range of another object of this version.
    Range {
        source: String,
        etag: Option<String>,
        offset: u64,
        length: u64,
    },
}

impl Part {
    /// Bytes of it that are in memory.
    fn held(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Range { .. } => 0,
        }
    }
}

impl S3Writer {
    pub(super) fn new(connection: &Arc<Connection>, cancel: &CancelToken, key: &str, options: WriteOptions) -> Result<Self> {
        let write_id = random_hex()?;
        if let Some((name, _)) = options.attributes.iter().find(|(name, value)| !is_metadata(name, value) || name == WRITE_ID) {
            let message = format!("the attribute '{}' can't be kept as metadata in S3", name.escape_debug());
            let error = PersistError::new(ErrorCode::InvalidArgument, message).at(connection.locate(key));
            return Err(error.hint("a name has letters, digits, hyphens, dots and underscores, a value printable ASCII"));
        }
        let own = &connection.options;
        let mut metadata: Vec<_> = own.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        metadata.extend(options.attributes);
        metadata.push((WRITE_ID.to_owned(), write_id.clone()));
        let object = Object {
            connection: Arc::clone(connection),
            key: key.to_owned(),
            precondition: options.precondition,
            content_type: options.content_type,
            metadata,
            write_id,
            begun: Arc::default(),
        };
        let part_size = part_size(own.part_size, options.object_size_hint);
        Ok(Self {
            object: Arc::new(object),
            cancel: cancel.clone(),
            part_size,
            parts_of_a_size: if part_size > own.part_size { HINTED_PARTS } else { PARTS_OF_A_SIZE },
            buffer: BytesMut::new(),
            size: 0,
            upload: None,
            has_failed: false,
            has_begun_again: false,
        })
    }

    fn append(&mut self, mut chunk: &[u8]) -> Result<()> {
        while !chunk.is_empty() {
            let sent = self.upload.as_ref().map_or(0, |upload| upload.sent);
            let part_size = self.part_size * (1 + sent / self.parts_of_a_size);
            if self.buffer.len() >= part_size {
                self.send_part()?;
                continue;
            }
            let (now, later) = chunk.split_at(chunk.len().min(part_size - self.buffer.len()));
            if self.buffer.capacity() - self.buffer.len() < now.len() {
                // Doubled as by itself, but never past a part.
                self.buffer.reserve(now.len().max(self.buffer.len()).min(part_size - self.buffer.len()));
            }
            self.buffer.extend_from_slice(now);
            self.size += now.len() as u64;
            chunk = later;
        }
        Ok(())
    }

    /// Opens the upload, if it is not.
    fn begin_upload(&mut self) -> Result<()> {
        let object = &self.object;
        if self.upload.is_none() {
            let begin = object.connection.start(Arc::clone(object).begin_upload())?;
            let id = match begin.wait(&self.cancel) {
                Ok(begun) => begun.map_err(|failure| failure.error)?,
                Err(cancelled) => {
                    // If it begins all the same, it has to be aborted.
                    let begun = begin.wait_before_taking_back(End::of(&self.cancel));
                    self.upload = begun.and_then(|begun| begun.ok()).map(Upload::new);
                    return Err(cancelled);
                }
            };
            self.upload = Some(Upload::new(id));
        }
        Ok(())
    }

    /// Sends the buffer as a part.
    fn send_part(&mut self) -> Result<()> {
        let part = Part::Bytes(self.buffer.split().freeze());
        self.start_part(part)
    }

    /// Starts to make the next part, once fewer than the allowed number are under way.
    fn start_part(&mut self, part: Part) -> Result<()> {
        loop {
            match self.try_start_part(&part) {
                Err(error) if is_lost_upload(&error) => self.begin_again(error)?,
                done => return done,
            }
        }
    }

    fn try_start_part(&mut self, part: &Part) -> Result<()> {
        self.begin_upload()?;
        let options = &self.object.connection.options;
        let parallel = options.parallel.get();
        let Some(upload) = &mut self.upload else { return Ok(()) };
        if upload.sent >= MAX_PARTS {
            return Err(PersistError::new(ErrorCode::LimitExceeded, "the object is too large: S3 takes 10,000 parts")
                .hint("raise --s3-part-size, or give the size beforehand"));
        }
        upload.collect(&self.cancel, parallel - 1)?;
        let number = i32::try_from(upload.sent + 1).unwrap_or(i32::MAX);
        let work = Arc::clone(&self.object).make_part(upload.id.clone(), number, part.clone());
        upload.in_flight.push_back(self.object.connection.start(work)?);
        upload.sent += 1;
        upload.keep(part, parallel.saturating_mul(options.part_size));
        Ok(())
    }

    /// Begins an upload anew that the service has no more, as after a lifecycle rule
    /// has aborted it, if what its parts were made of is still there.
    fn begin_again(&mut self, error: PersistError) -> Result<()> {
        let kept = self.upload.as_mut().and_then(|upload| upload.kept.take());
        let Some(parts) = kept.filter(|_| !self.has_begun_again) else { return Err(error) };
        tracing::warn!(location = self.object.location(), %error, "the upload is begun again");
        self.has_begun_again = true;
        // A service that was wrong about it keeps nothing of it.
        if let Err(error) = self.abort(false) {
            tracing::warn!(location = error.location(), %error, "an upload that was said to be gone may be left");
        }
        parts.into_iter().try_for_each(|part| self.start_part(part))
    }

    /// Appends a range of another object: what is long enough for parts of their
    /// own is copied by the service, the rest comes by way of here.
    fn append_copy(&mut self, source: Source<'_>, mut offset: u64, length: u64) -> Result<()> {
        let end = offset.saturating_add(length);
        let size = self.object.connection.start(stat(Arc::clone(&self.object.connection), source.key.to_owned()))?;
        let found = size.wait(&self.cancel)?.map_err(|failure| failure.error.at(self.object.connection.locate(source.key)))?;
        if source.etag.is_some_and(|etag| Some(unquoted(etag)) != found.etag.as_deref()) {
            let error = PersistError::new(ErrorCode::PreconditionFailed, "the object to copy from was replaced meanwhile");
            return Err(error.at(self.object.connection.locate(source.key)));
        }
        if length == 0 {
            return Ok(());
        }
        if end > found.size {
            let message = format!("the object to copy from has {} bytes, fewer than the {end} that were asked for", found.size);
            return Err(PersistError::new(ErrorCode::Io, message).at(self.object.connection.locate(source.key)));
        }
        let etag = found.etag;
        // A part has so many bytes at least, unless it is the last.
        let wanting = if self.buffer.is_empty() { 0 } else { MIN_PART.saturating_sub(self.buffer.len() as u64) };
        if length.saturating_sub(wanting) < MIN_PART {
            return self.append_read(source.key, &etag, offset, length);
        }
        self.append_read(source.key, &etag, offset, wanting)?;
        offset += wanting;
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        while offset < end {
            // What is left is a part too, and not too small for one.
            let left = end - offset;
            let part = if left > MAX_COPIED_PART { MAX_COPIED_PART.min(left - MIN_PART) } else { left };
            self.copy_part(source.key, &etag, offset, part)?;
            offset += part;
        }
        Ok(())
    }

    fn append_read(&mut self, source: &str, etag: &Option<String>, offset: u64, length: u64) -> Result<()> {
        let options = ReadOptions { range: ByteRange::Span { offset, length }, if_match: etag.clone() };
        let mut reader = S3Reader::open(&self.object.connection, &self.cancel, source, options)?;
        let mut left = length;
        while left > 0 {
            let chunk = reader.read(MAX_READ)?;
            if chunk.is_empty() {
                return Err(
                    PersistError::new(ErrorCode::Io, "the object to copy from ends early").at(self.object.connection.locate(source))
                );
            }
            left = left.saturating_sub(chunk.len() as u64);
            self.append(&chunk)?;
        }
        Ok(())
    }

    /// Appends a range that is long enough for a part.
    fn copy_part(&mut self, source: &str, etag: &Option<String>, offset: u64, length: u64) -> Result<()> {
        let part = Part::Range { source: source.to_owned(), etag: etag.clone(), offset, length };
        let copies_parts = self.object.connection.known().and_then(|known| known.copies_parts.get().copied());
        match copies_parts {
            Some(true) => self.start_part(part)?,
            Some(false) => return self.append_read(source, etag, offset, length),
            // Not every service has it: the first one is waited for.
            None => {
                self.start_part(part)?;
                let Some(upload) = &mut self.upload else { return Err(self.failed_before()) };
                let copied = upload.collect_last(&self.cancel)?;
                let learn = |is_copied| {
                    let known = self.object.connection.known();
                    known.map(|known| *known.copies_parts.get_or_init(|| is_copied))
                };
                match copied {
                    Err(failure) if failure.error.code() == ErrorCode::Unsupported => {
                        learn(false);
                        return self.append_read(source, etag, offset, length);
                    }
                    Err(failure) if is_lost_upload(&failure.error) => {
                        self.begin_again(failure.error)?;
                        return self.copy_part(source, etag, offset, length);
                    }
                    Err(failure) => return Err(failure.error),
                    Ok(()) => learn(true),
                };
            }
        }
        self.size += length;
        Ok(())
    }

    fn finish(&mut self) -> Result<ObjectInfo> {
        if self.upload.is_none() {
            let body = self.buffer.split().freeze();
            return self.store(Arc::clone(&self.object).put(body), false);
        }
        if !self.buffer.is_empty() {
            self.send_part()?;
        }
        loop {
            match self.try_complete() {
                Err(error) if is_lost_upload(&error) => self.begin_again(error)?,
                done => return done,
            }
        }
    }

    fn try_complete(&mut self) -> Result<ObjectInfo> {
        let Some(upload) = &mut self.upload else { return Err(self.failed_before()) };
        upload.collect(&self.cancel, 0)?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(upload.done.clone())).build();
        let complete = Arc::clone(&self.object).complete(upload.id.clone(), parts, self.size);
        let info = self.store(complete, true)?;
        // There is nothing to abort any more.
        self.upload = None;
        Ok(info)
    }

    /// Sends what makes the object visible, and waits for it. Whoever cancels that
    /// is told of an object that is there all the same.
    fn store(&self, work: impl Future<Output = Result<ObjectInfo, Failure>> + Send + 'static, is_upload: bool) -> Result<ObjectInfo> {
        self.cancel.check()?;
        let work = self.object.connection.start(work)?;
        work.wait_for_change(&self.cancel, "whether the object was stored is not known", &self.object.begun, is_upload)
    }

    /// Takes back what was uploaded. An error says which upload is left. When the
    /// write was cancelled, or `is_dropped`, that takes no longer than three seconds.
    fn abort(&mut self, is_dropped: bool) -> Result<()> {
        let Some(upload) = self.upload.take() else { return Ok(()) };
        if !self.object.connection.is_of_this_process() {
            // It is the parent's, and so is what is in flight.
            return Ok(());
        }
        let id = upload.id;
        let end = End::of(&self.cancel);
        for part in upload.in_flight {
            // What it came to is of no use any more.
            let _ = part.wait_before_taking_back(end);
        }
        let object = Arc::clone(&self.object);
        let abort = {
            let id = id.clone();
            self.object.connection.start(async move { object.connection.abort_upload(&object.key, &id).await })
        };
        let is_last_chance = is_dropped || self.cancel.is_cancelled();
        let aborted = abort.and_then(|abort| match abort.wait_to_take_back(&self.cancel, end, is_last_chance) {
            Some(aborted) => aborted.map_err(|failure| failure.error),
            None => Err(PersistError::new(ErrorCode::Timeout, "Request timeout: the upload was not aborted in time")),
        });
        aborted.map_err(|error| {
            let mut error = error.at(self.object.location());
            error.detail_mut().facts.push(("upload_id".to_owned(), id));
            error
        })
    }

    fn failed_before(&self) -> PersistError {
        PersistError::new(ErrorCode::Other, "this write has failed before").at(self.object.location()).hint("begin a new one")
    }

    /// Does a part of the write, unless an earlier one failed: what is missing
    /// then must not become an object.
    fn go_on<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.has_failed {
            return Err(self.failed_before());
        }
        work(self).map_err(|error| self.failed(error))
    }

    /// The error, after the upload was aborted; if that fails too, it names
    /// what is left.
    fn failed(&mut self, error: PersistError) -> PersistError {
        self.has_failed = true;
        let mut error = error.at(self.object.location());
        if let Err(abort) = self.abort(false)
            && let Some((name, id)) = abort.detail().facts.last()
        {
            let detail = error.detail_mut();
            let left = format!("the incomplete upload {id} may be left: abort it with 'aws s3api abort-multipart-upload'");
            detail.hint = Some(detail.hint.take().map_or(left.clone(), |hint| format!("{hint}; {left}")));
            detail.facts.push((name.clone(), id.clone()));
        }
        error
    }
}

impl StorageWriter for S3Writer {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.go_on(|writer| writer.append(chunk))
    }

    fn copy_range(&mut self, source: &str, offset: u64, length: u64, if_match: Option<&str>) -> Result<()> {
        check_key(source)?;
        let source = Source { key: source, etag: if_match };
        self.go_on(|writer| writer.append_copy(source, offset, length))
    }

    fn commit(mut self: Box<Self>) -> Result<ObjectInfo> {
        self.go_on(Self::finish)
    }
}

impl Drop for S3Writer {
    fn drop(&mut self) {
        if let Err(error) = self.abort(true) {
            let upload = error.detail().facts.last().map(|(_, id)| id.as_str());
            tracing::warn!(location = error.location(), upload, %error, "an incomplete upload is left");
        }
    }
}

/// The size of the first parts: such that the expected size fits in the parts
/// that S3 takes, with room for a hint that is too small.
pub(super) fn part_size(least: usize, size_hint: Option<u64>) -> usize {
    let wanted = size_hint.unwrap_or_default().div_ceil(HINTED_PARTS as u64).div_ceil(MIB).saturating_mul(MIB);
    least.max(usize::try_from(wanted).unwrap_or(MAX_HINTED_PART).min(MAX_HINTED_PART))
}

impl Upload {
    fn new(id: String) -> Self {
        Self { id, sent: 0, in_flight: VecDeque::new(), done: Vec::new(), kept: Some(Vec::new()) }
    }

    /// Keeps what a part is made of, while all that is kept is at most so many bytes.
    fn keep(&mut self, part: &Part, most: usize) {
        if let Some(kept) = &mut self.kept {
            kept.push(part.clone());
            if kept.iter().map(Part::held).sum::<usize>() > most {
                self.kept = None;
            }
        }
    }

    /// Waits for all parts. What the last one came to is for the caller: one that
    /// failed is no part.
    fn collect_last(&mut self, cancel: &CancelToken) -> Result<Result<(), Failure>> {
        self.collect(cancel, 1)?;
        let Some(work) = self.in_flight.pop_front() else { return Ok(Ok(())) };
        Ok(match work.wait(cancel)? {
            Ok(part) => {
                self.done.push(part);
                Ok(())
            }
            Err(failure) => {
                self.sent -= 1;
                if let Some(kept) = &mut self.kept {
                    kept.pop();
                }
                Err(failure)
            }
        })
    }

    /// Waits until at most so many parts are in flight.
    fn collect(&mut self, cancel: &CancelToken, at_most: usize) -> Result<()> {
        while self.in_flight.len() > at_most {
            let Some(work) = self.in_flight.front() else { break };
            let part = work.wait(cancel)?.map_err(|failure| failure.error)?;
            self.done.push(part);
            self.in_flight.pop_front();
        }
        Ok(())
    }
}

/// An object to copy from, and the etag that it has to have.
#[derive(Clone, Copy)]
struct Source<'a> {
    key: &'a str,
    etag: Option<&'a str>,
}

async fn stat(connection: Arc<Connection>, key: String) -> Result<ObjectInfo, Failure> {
    connection.stat(&key).await
}

/// What the name of a source may hold as it is.
const SOURCE: &AsciiSet = &TAG.remove(b'/');

/// What a query string may hold as it is; the rest is percent-encoded.
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
    fn location(&self) -> String {
        self.connection.locate(&self.key)
    }

    /// The facts of the object, once it is stored.
    fn info(&self, size: u64, etag: Option<&str>) -> Result<ObjectInfo, Failure> {
        let info = object_info(&self.key, i64::try_from(size).ok(), etag, None)?;
        Ok(with_headers(info, self.content_type.as_deref(), Some(&self.metadata.iter().cloned().collect())))
    }

    /// Stores a small object.
    async fn put(self: Arc<Self>, body: Bytes) -> Result<ObjectInfo, Failure> {
        let connection = &self.connection;
        connection.require(Request::Put, &self.precondition, &self.key).await?;
        let options = &connection.options;
        let (if_match, if_none_match) = headers(&self.precondition);
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

    /// Opens a multipart upload, and gives its id.
    async fn begin_upload(self: Arc<Self>) -> Result<String, Failure> {
        let connection = &self.connection;
        connection.require(Request::Complete, &self.precondition, &self.key).await?;
        if self.precondition == Precondition::IfAbsent {
            // Better now than after all of it has been sent.
            let head = |client: Client| client.head_object().bucket(&connection.bucket).key(&self.key).send();
            if connection.request("HeadObject", 0, head).await.is_ok() {
                return Err(already_exists().into());
            }
        }
        let options = &connection.options;
        let (sse, kms_key_id) = encryption(options);
        // What the parts will carry has to be said now.
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
        id.map(str::to_owned).ok_or_else(|| Failure::bad_answer("the service began an upload without an id"))
    }

    async fn make_part(self: Arc<Self>, upload: String, number: i32, part: Part) -> Result<CompletedPart, Failure> {
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
            None => Err(Failure::bad_answer("the service took a part and gave no etag for it")),
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
        // The service reads and writes all of it before it answers.
        let allowance = usize::try_from(length).unwrap_or(usize::MAX) / 64;
        let copied = connection.request("UploadPartCopy", allowance, send).await?;
        let result = copied.copy_part_result.ok_or_else(|| Failure::bad_answer("the service copied a part and says nothing of it"))?;
        let part = CompletedPart::builder().part_number(number).set_checksum_crc32(result.checksum_crc32);
        match result.e_tag {
            Some(etag) => Ok(part.e_tag(etag).build()),
            None => Err(Failure::bad_answer("the service copied a part and gave no etag for it")),
        }
    }

    /// Makes the parts an object.
    async fn complete(self: Arc<Self>, upload: String, parts: CompletedMultipartUpload, size: u64) -> Result<ObjectInfo, Failure> {
        let connection = &self.connection;
        let (if_match, if_none_match) = headers(&self.precondition);
        let send = |client: Client| {
            let complete = client.complete_multipart_upload().bucket(&connection.bucket).key(&self.key).upload_id(&upload);
            complete.multipart_upload(parts.clone()).set_if_match(if_match.clone()).set_if_none_match(if_none_match.clone()).send()
        };
        // The service may have to put gigabytes together before it answers.
        let allowance = usize::try_from(size).unwrap_or(usize::MAX) / 64;
        let sent = noting(&self.begun, connection.request("CompleteMultipartUpload", allowance, send)).await;
        self.outcome(sent.and_then(|stored| self.info(size, stored.e_tag()))).await
    }

    /// What a write came to. Where a request was carried out and its answer
    /// lost, the next one is refused: the object itself knows.
    async fn outcome(&self, sent: Result<ObjectInfo, Failure>) -> Result<ObjectInfo, Failure> {
        let failure = match sent {
            Ok(info) => return Ok(info),
            Err(failure) => failure,
        };
        let is_refused = self.precondition != Precondition::None && is_refusal(&failure);
        if failure.doubt > Doubt::None || is_refused {
            match self.connection.settle(&self.key, &self.write_id).await {
                Ok(Some(info)) => return Ok(info),
                // What was refused is not there; what was not heard of may come
                // yet, or be replaced already.
                Ok(None) if is_refused || failure.doubt < Doubt::Open => {}
                Ok(None) => return Err(failure.outcome_unknown("whether the object was stored is not known: the answer was lost")),
                // Then nobody knows, which is worse than a conflict.
                Err(unknown) => {
                    let what = "whether the object was stored is not known: the answer was lost, and the service can't be asked";
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
                PersistError::new(ErrorCode::PreconditionFailed, "the object is not the one expected: it is gone")
            }
            _ => failure.error,
        };
        Err(error.into())
    }
}

fn already_exists() -> PersistError {
    PersistError::new(ErrorCode::AlreadyExists, "an object has this key")
}

impl Connection {
    /// Aborts an upload; one that is not there is aborted.
    pub(super) async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), Failure> {
        let send = |client: Client| client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload).send();
        match self.request("AbortMultipartUpload", 0, send).await {
            Err(failure) if failure.error.code() != ErrorCode::NotFound && !is_lost_upload(&failure.error) => Err(failure),
            _ => Ok(()),
        }
    }
}
