//! Writes objects: small ones in one request, larger ones in parts.

use std::future::Future;
use std::sync::Arc;

use aws_sdk_s3::types::CompletedMultipartUpload;
use bytes::BytesMut;
use persist_model::{ErrorCode, PersistError, Result};
use persist_paths::key::check_key;

use super::connection::Connection;
use super::error::Failure;
use super::facts::unquoted;
use super::options::{WRITE_ID, is_metadata};
use super::read::S3Reader;
use super::work::End;
use crate::cancel::CancelToken;
use crate::storage::s3::parts::{HINTED_PARTS, MAX_COPIED_PART, MAX_PARTS, MIN_PART, PARTS_OF_A_SIZE, Upload, part_size};
use crate::storage::s3::upload::{Object, Part, stat};
use crate::storage::{ByteRange, MAX_READ, ObjectInfo, ReadOptions, StorageReader, StorageWriter, WriteOptions, is_lost_upload};
use crate::system::random::random_hex;

/// Writes an object to a bucket.
pub(super) struct S3Writer {
    object: Arc<Object>,
    cancel: CancelToken,
    /// The size of the first parts, and how many of them have it.
    part_size: usize,
    parts_of_a_size: usize,
    /// Bytes that were not sent yet, at most a part.
    buffer: BytesMut,
    size: u64,
    upload: Option<Upload>,
    /// After an error, the writer can only be dropped.
    has_failed: bool,
    /// Whether a lost upload was started again, which happens only once.
    has_begun_again: bool,
}

impl S3Writer {
    pub(super) fn new(connection: &Arc<Connection>, cancel: &CancelToken, key: &str, options: WriteOptions) -> Result<Self> {
        let write_id = random_hex()?;
        if let Some((name, _)) = options.attributes.iter().find(|(name, value)| !is_metadata(name, value) || name == WRITE_ID) {
            let message = format!("the attribute '{}' can't be kept as metadata in S3", name.escape_debug());
            let error = PersistError::new(ErrorCode::InvalidArgument, message).at(connection.locate(key));
            return Err(error.hint("a name may have letters, digits, hyphens, dots and underscores, and a value only printable ASCII"));
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
                // Doubled like any growing buffer, but never beyond a part.
                self.buffer.reserve(now.len().max(self.buffer.len()).min(part_size - self.buffer.len()));
            }
            self.buffer.extend_from_slice(now);
            self.size += now.len() as u64;
            chunk = later;
        }
        Ok(())
    }

    /// Starts the upload if it is not started yet.
    fn begin_upload(&mut self) -> Result<()> {
        let object = &self.object;
        if self.upload.is_none() {
            let begin = object.connection.start(Arc::clone(object).begin_upload())?;
            let id = match begin.wait(&self.cancel) {
                Ok(begun) => begun.map_err(|failure| failure.error)?,
                Err(cancelled) => {
                    // If the upload is started nevertheless, it has to be aborted.
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

    /// Starts the next part once fewer than the allowed number are in flight.
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
            return Err(PersistError::new(ErrorCode::LimitExceeded, "the object is too large: S3 accepts at most 10,000 parts")
                .hint("raise --s3-part-size, or give the size in advance"));
        }
        upload.collect(&self.cancel, parallel - 1)?;
        let number = i32::try_from(upload.sent + 1).unwrap_or(i32::MAX);
        let work = Arc::clone(&self.object).make_part(upload.id.clone(), number, part.clone());
        upload.in_flight.push_back(self.object.connection.start(work)?);
        upload.sent += 1;
        upload.keep(part, parallel.saturating_mul(options.part_size));
        Ok(())
    }

    /// Starts a lost upload again, for example after a lifecycle rule aborted it, if
    /// the sources of its parts were kept.
    fn begin_again(&mut self, error: PersistError) -> Result<()> {
        let kept = self.upload.as_mut().and_then(|upload| upload.kept.take());
        let Some(parts) = kept.filter(|_| !self.has_begun_again) else { return Err(error) };
        tracing::warn!(location = self.object.location(), %error, "the upload is started again");
        self.has_begun_again = true;
        // In case the service was wrong, it must not keep the old upload.
        if let Err(error) = self.abort(false) {
            tracing::warn!(location = error.location(), %error, "an upload that was reported as gone may have been left behind");
        }
        parts.into_iter().try_for_each(|part| self.start_part(part))
    }

    /// Appends a range of another object. If it is long enough for parts of its own,
    /// the service copies it; the rest passes through this process.
    fn append_copy(&mut self, source: Source<'_>, mut offset: u64, length: u64) -> Result<()> {
        let end = offset.saturating_add(length);
        let size = self.object.connection.start(stat(Arc::clone(&self.object.connection), source.key.to_owned()))?;
        let found = size.wait(&self.cancel)?.map_err(|failure| failure.error.at(self.object.connection.locate(source.key)))?;
        if source.etag.is_some_and(|etag| Some(unquoted(etag)) != found.etag.as_deref()) {
            let error = PersistError::new(ErrorCode::PreconditionFailed, "the source object has been replaced");
            return Err(error.at(self.object.connection.locate(source.key)));
        }
        if length == 0 {
            return Ok(());
        }
        if end > found.size {
            let message = format!("the source object has {} bytes, fewer than the {end} requested", found.size);
            return Err(PersistError::new(ErrorCode::Io, message).at(self.object.connection.locate(source.key)));
        }
        let etag = found.etag;
        // A part must reach the minimum size, unless it is the last.
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
            // The rest is a part too, and must not be too small for one.
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
                return Err(PersistError::new(ErrorCode::Io, "the source object ended early").at(self.object.connection.locate(source)));
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
            // Not every service supports it, so the first one is waited for.
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
        // There is nothing left to abort.
        self.upload = None;
        Ok(info)
    }

    /// Sends the request that makes the object visible and waits for it. After a
    /// cancellation, it still reports an object that was stored.
    fn store(&self, work: impl Future<Output = Result<ObjectInfo, Failure>> + Send + 'static, is_upload: bool) -> Result<ObjectInfo> {
        self.cancel.check()?;
        let work = self.object.connection.start(work)?;
        work.wait_for_change(&self.cancel, "it is not known whether the object was stored", &self.object.begun, is_upload)
    }

    /// Aborts the upload. The error names an upload that is left. If the write was
    /// cancelled, or `is_dropped`, this takes at most three seconds.
    fn abort(&mut self, is_dropped: bool) -> Result<()> {
        let Some(upload) = self.upload.take() else { return Ok(()) };
        if !self.object.connection.is_of_this_process() {
            // The upload and its parts in flight belong to the parent.
            return Ok(());
        }
        let id = upload.id;
        let end = End::of(&self.cancel);
        for part in upload.in_flight {
            // Its result does not matter any more.
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
        PersistError::new(ErrorCode::Other, "this write has already failed").at(self.object.location()).hint("start a new one")
    }

    /// Runs a step of the write, unless an earlier one failed. Otherwise the object
    /// would lack the data of that step.
    fn go_on<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.has_failed {
            return Err(self.failed_before());
        }
        work(self).map_err(|error| self.failed(error))
    }

    /// Returns the error after aborting the upload. If that fails too, the error names
    /// the upload that is left.
    fn failed(&mut self, error: PersistError) -> PersistError {
        self.has_failed = true;
        let mut error = error.at(self.object.location());
        if let Err(abort) = self.abort(false)
            && let Some((name, id)) = abort.detail().facts.last()
        {
            let detail = error.detail_mut();
            let left = format!("the incomplete upload {id} may have been left behind: abort it with 'aws s3api abort-multipart-upload'");
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

/// An object to copy from, and the etag that it must have.
#[derive(Clone, Copy)]
struct Source<'a> {
    key: &'a str,
    etag: Option<&'a str>,
}
