//! Reads objects in ranges that fit in memory, several ahead.

use std::collections::VecDeque;
use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Bytes, BytesMut};
use persist_model::{ErrorCode, PersistError, Result};

use super::connection::Connection;
use super::error::Failure;
use super::facts::{object_info, quoted, with_headers};
use super::transport::Body;
use super::work::Work;
use crate::cancel::CancelToken;
use crate::storage::{ByteRange, MAX_READ, ObjectInfo, ReadAnswer, ReadOptions, ReadRequest, StorageReader};

/// No object is this large. Every server accepts smaller offsets in headers.
const MAX_OFFSET: u64 = 1 << 60;

/// Reads an object from a bucket.
pub(super) struct S3Reader {
    connection: Arc<Connection>,
    cancel: CancelToken,
    info: ObjectInfo,
    /// Bytes that were received and not returned yet.
    chunk: Bytes,
    ahead: VecDeque<Work<Result<Fetched, Failure>>>,
    /// The first byte that was not requested yet, and the end of the range.
    next: u64,
    end: u64,
    /// Why reading stopped. Later bytes would leave a gap.
    failed: Option<PersistError>,
}

/// Bytes of an object, and its metadata.
struct Fetched {
    info: ObjectInfo,
    start: u64,
    bytes: Bytes,
}

impl S3Reader {
    pub(super) fn open(connection: &Arc<Connection>, cancel: &CancelToken, key: &str, options: ReadOptions) -> Result<Self> {
        let work = connection.start(open(Arc::clone(connection), key.to_owned(), options));
        let opened = work.and_then(|work| work.wait(cancel)?.map_err(|failure| failure.error));
        let (Fetched { info, start, bytes }, end) = opened.map_err(|error| error.at(connection.locate(key)))?;
        let next = start + bytes.len() as u64;
        let (connection, cancel) = (Arc::clone(connection), cancel.clone());
        Ok(Self { connection, cancel, info, chunk: bytes, ahead: VecDeque::new(), next, end, failed: None })
    }

    /// Requests the next ranges, as many as may be in memory.
    fn fetch_ahead(&mut self) -> Result<()> {
        let options = &self.connection.options;
        while self.next < self.end && self.ahead.len() < options.parallel.get() {
            let length = (self.end - self.next).min(options.part_size as u64);
            let fetch = Fetch::span(&self.connection, &self.info.key, self.next, length, self.info.etag.clone());
            self.ahead.push_back(self.connection.start(fetch.run())?);
            self.next += length;
        }
        Ok(())
    }
}

impl StorageReader for S3Reader {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if max == 0 {
            return Ok(Vec::new());
        }
        self.fetch_ahead()?;
        if self.chunk.is_empty()
            && let Some(work) = self.ahead.pop_front()
        {
            match work.wait(&self.cancel).and_then(|fetched| fetched.map_err(|failure| failure.error)) {
                Ok(fetched) => self.chunk = fetched.bytes,
                Err(error) => {
                    self.ahead.clear();
                    let error = error.at(self.connection.locate(&self.info.key));
                    return Err(self.failed.insert(error).clone());
                }
            }
            self.fetch_ahead()?;
        }
        let length = self.chunk.len().min(max.min(MAX_READ) as usize);
        Ok(self.chunk.split_to(length).to_vec())
    }
}

/// Reads all bytes of a range once the window has a place for it.
pub(super) async fn read_in_window(connection: Arc<Connection>, request: ReadRequest) -> Result<ReadAnswer, Failure> {
    let place = connection.window.place().await;
    let outcome = read_range(Arc::clone(&connection), request).await;
    connection.window.give_back(place, &outcome);
    outcome
}

/// Reads all bytes of a range.
async fn read_range(connection: Arc<Connection>, request: ReadRequest) -> Result<ReadAnswer, Failure> {
    let options = ReadOptions { range: request.range, if_match: request.if_match };
    let (Fetched { info, start, bytes }, end) = open(Arc::clone(&connection), request.key, options).await?;
    let mut all = bytes.to_vec();
    loop {
        let next = start + all.len() as u64;
        let length = end.saturating_sub(next).min(connection.options.part_size as u64);
        if length == 0 {
            return Ok(ReadAnswer { info, bytes: all });
        }
        let fetched = Fetch::span(&connection, &info.key, next, length, info.etag.clone()).run().await?;
        if fetched.bytes.is_empty() {
            return Err(Failure::bad_answer("the response was empty"));
        }
        all.extend_from_slice(&fetched.bytes);
    }
}

/// Reads the first bytes of a range. Returns them with the end of the range.
async fn open(connection: Arc<Connection>, key: String, options: ReadOptions) -> Result<(Fetched, u64), Failure> {
    let part_size = connection.options.part_size as u64;
    let first = match options.range {
        // An empty range can't be expressed in a header.
        ByteRange::Span { length: 0, .. } | ByteRange::Suffix(0) => None,
        // Past the end of any object in S3.
        ByteRange::Span { offset, .. } if offset > MAX_OFFSET => None,
        ByteRange::All => Some(Wanted::Span { offset: 0, length: part_size }),
        ByteRange::Span { offset, length } => Some(Wanted::Span { offset, length: length.min(part_size) }),
        ByteRange::Suffix(length) if length <= part_size => Some(Wanted::Suffix(length)),
        ByteRange::Suffix(_) => None,
    };
    if let Some(wanted) = first {
        let fetch = Fetch { wanted, ..Fetch::span(&connection, &key, 0, 0, options.if_match.clone()) };
        match fetch.run().await {
            Ok(fetched) => {
                let end = options.range.within(fetched.info.size).1;
                return Ok((fetched, end));
            }
            Err(failure) if failure.status == 416 => {}
            Err(failure) => return Err(failure),
        }
    }
    // An empty object, or a range that is empty or starts at the end: only its metadata
    // is needed. Or a long suffix, whose start depends on the size.
    let info = connection.stat(&key).await?;
    if options.if_match.is_some() && options.if_match != info.etag {
        return Err(replaced().into());
    }
    let (start, end) = options.range.within(info.size);
    Ok((Fetched { info, start, bytes: Bytes::new() }, end.max(start)))
}

pub(super) fn replaced() -> PersistError {
    PersistError::new(ErrorCode::PreconditionFailed, "the object has been replaced").hint("read it again from the beginning")
}

/// The bytes to request.
#[derive(Clone, Copy)]
enum Wanted {
    Span { offset: u64, length: u64 },
    Suffix(u64),
}

/// A request for bytes, at most a part. If the connection breaks, the received bytes
/// are kept, and only the rest is requested again.
struct Fetch {
    connection: Arc<Connection>,
    key: String,
    wanted: Wanted,
    etag: Option<String>,
    came: Option<(ObjectInfo, u64)>,
    bytes: BytesMut,
}

impl Fetch {
    fn span(connection: &Arc<Connection>, key: &str, offset: u64, length: u64, etag: Option<String>) -> Self {
        let wanted = Wanted::Span { offset, length };
        Self { connection: Arc::clone(connection), key: key.to_owned(), wanted, etag, came: None, bytes: BytesMut::new() }
    }

    async fn run(self) -> Result<Fetched, Failure> {
        let connection = Arc::clone(&self.connection);
        let service = connection.service().await?;
        // The attempts use it one after the other.
        let fetch = tokio::sync::Mutex::new(self);
        service.retries.run("GetObject", || async { fetch.lock().await.attempt(service).await }).await?;
        let Self { came, bytes, .. } = fetch.into_inner();
        let (info, start) = came.ok_or_else(|| Failure::bad_answer("the response was empty"))?;
        Ok(Fetched { info, start, bytes: bytes.freeze() })
    }

    /// Requests the missing bytes and receives what comes.
    async fn attempt(&mut self, service: &super::connection::Service) -> Result<(), Failure> {
        let range = match self.missing() {
            Some(Wanted::Span { length: 0, .. }) => return Ok(()),
            Some(Wanted::Span { offset, length }) => format!("bytes={offset}-{}", offset + length - 1),
            Some(Wanted::Suffix(length)) => format!("bytes=-{length}"),
            None => return Ok(()),
        };
        let connection = Arc::clone(&self.connection);
        let get = service.client.get_object().bucket(&connection.bucket).key(&self.key).range(range);
        let get = get.set_if_match(self.etag.as_deref().map(quoted)).send();
        let answer = connection.attempt(service, 0, Body::Streamed, get).await?;
        let (start, length) = self.begin(&answer)?;
        let mut body = answer.body;
        // A server may return the whole object, with bytes before the requested ones.
        let mut position = start;
        let end = start + length;
        while position < end {
            let limit = connection.options.timeout;
            let came = tokio::time::timeout(limit, body.next()).await.map_err(|_| Failure::timeout(limit, true))?;
            let Some(chunk) = came else { return Err(Failure::bad_answer("the response ended early")) };
            let chunk = chunk.map_err(|error| Failure::body(&error))?;
            let from = self.position().saturating_sub(position);
            position += chunk.len() as u64;
            let Some(wanted) = usize::try_from(from).ok().and_then(|from| chunk.get(from..)) else { continue };
            let left = usize::try_from(self.end()?.saturating_sub(self.position())).unwrap_or(usize::MAX);
            self.bytes.extend_from_slice(wanted.get(..left).unwrap_or(wanted));
            if self.position() >= self.end()? {
                return Ok(());
            }
        }
        // A server may return less than requested; the rest is requested again.
        if self.missing().is_some() { Err(Failure::bad_answer("the response is only a part of the requested range")) } else { Ok(()) }
    }

    /// Returns the offset of the first missing byte.
    fn position(&self) -> u64 {
        self.came.as_ref().map_or(0, |(_, start)| *start) + self.bytes.len() as u64
    }

    /// Returns the end of the requested bytes, which is known from the first response
    /// on.
    fn end(&self) -> Result<u64, Failure> {
        let (info, _) = self.came.as_ref().ok_or_else(|| Failure::bad_answer("the response was empty"))?;
        Ok(self.wanted.range().within(info.size).1)
    }

    /// Returns what to request now.
    fn missing(&self) -> Option<Wanted> {
        match &self.came {
            None => Some(self.wanted),
            Some((info, _)) => {
                let (offset, end) = (self.position(), self.wanted.range().within(info.size).1);
                (offset < end).then(|| Wanted::Span { offset, length: end - offset })
            }
        }
    }

    /// Processes the head of a response. Returns where its bytes start in the object,
    /// and how many they are.
    fn begin(&mut self, answer: &GetObjectOutput) -> Result<(u64, u64), Failure> {
        let (info, start, length) = answer_info(&self.key, answer)?;
        let size = info.size;
        if self.etag.is_some() && self.etag != info.etag {
            return Err(replaced().into());
        }
        // Later responses must be for the same object.
        self.etag.clone_from(&info.etag);
        let wanted = self.wanted.range().within(size).0;
        let (info, _) = self.came.get_or_insert((info, wanted));
        if info.size != size || start > self.position() || (length == 0 && self.missing().is_some()) {
            return Err(Failure::bad_answer("the response is not the requested range"));
        }
        if self.bytes.capacity() == 0 {
            let expected = self.end()?.saturating_sub(self.position()).min(self.connection.options.part_size as u64);
            self.bytes.reserve(usize::try_from(expected).unwrap_or_default());
        }
        Ok((start, length))
    }
}

impl Wanted {
    fn range(self) -> ByteRange {
        match self {
            Self::Span { offset, length } => ByteRange::Span { offset, length },
            Self::Suffix(length) => ByteRange::Suffix(length),
        }
    }
}

/// Returns the metadata of the object from the head of a response, the offset of the
/// bytes that follow, and how many they are.
pub(super) fn answer_info(key: &str, answer: &GetObjectOutput) -> Result<(ObjectInfo, u64, u64), Failure> {
    let (start, length, size) = match answer.content_range() {
        Some(range) => content_range(range).ok_or_else(|| Failure::bad_answer("the range of the response can't be read"))?,
        None => {
            let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
            let length = length.ok_or_else(|| Failure::bad_answer("the response has no length"))?;
            (0, length, length)
        }
    };
    let info = object_info(key, i64::try_from(size).ok(), answer.e_tag(), answer.last_modified())?;
    Ok((with_headers(info, answer.content_type(), answer.metadata()), start, length))
}

/// Parses the start, length and object size in `bytes 0-9/1000`.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first, last - first + 1, size))
}
