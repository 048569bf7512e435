//! Reads a range of one file in chunks, or ranges of many files in one call.

use wasip2::filesystem::types::{Descriptor, ErrorCode as Os};

use crate::bindings::wit::{ByteRange, Error, ErrorCode, ObjectInfo, ReadAnswer, ReadRequest};
use crate::failure::{error, failed};
use crate::{MAX_BATCH, files, key, list};

/// The most bytes that one read returns.
const MAX_READ: u64 = 1 << 20;

/// The most bytes that may be requested in one call.
const MAX_READ_MANY: u64 = 8 << 20;

/// A range of a file being read.
pub(crate) struct Reader {
    file: Descriptor,
    info: ObjectInfo,
    /// The offset of the next byte, and how many bytes of the range are left.
    at: u64,
    left: u64,
}

impl Reader {
    pub(crate) fn open(root: &Descriptor, key: &str, range: &ByteRange, if_match: Option<&str>) -> Result<Self, Error> {
        let (file, stat) = files::open(root, key)?;
        let info = files::info(key, &file, &stat);
        if if_match.is_some() && if_match != info.etag.as_deref() {
            return Err(error(ErrorCode::PreconditionFailed, "the file has been replaced"));
        }
        let (start, end) = match range {
            ByteRange::All => (0, info.size),
            ByteRange::Span(span) => (span.offset.min(info.size), span.offset.saturating_add(span.length).min(info.size)),
            ByteRange::Suffix(length) => (info.size.saturating_sub(*length), info.size),
        };
        Ok(Self { file, info, at: start, left: end.saturating_sub(start) })
    }

    pub(crate) fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The number of bytes in the range that were not read yet.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Reads the next bytes: at most `max`, and none at the end.
    pub(crate) fn read(&mut self, max: u64) -> Result<Vec<u8>, Error> {
        let wanted = max.min(MAX_READ).min(self.left);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let bytes = match self.file.read(wanted, self.at) {
            Ok((bytes, _)) => bytes,
            // The file got shorter, so the range ends early. The caller notices.
            Err(Os::Overflow) => Vec::new(),
            Err(os) => return Err(failed("read", os)),
        };
        self.at += bytes.len() as u64;
        self.left = if bytes.is_empty() { 0 } else { self.left.saturating_sub(bytes.len() as u64) };
        Ok(bytes)
    }

    /// Passes all bytes that are left to `take`.
    pub(crate) fn for_each(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut missing = self.left;
        while missing > 0 {
            let bytes = self.read(missing)?;
            if bytes.is_empty() {
                return Err(error(ErrorCode::Io, format!("the file got shorter while it was being read: {missing} bytes are missing")));
            }
            missing = missing.saturating_sub(bytes.len() as u64);
            take(&bytes)?;
        }
        Ok(())
    }
}

/// Reads ranges of files, one after another.
pub(crate) fn read_many(requests: &[ReadRequest]) -> Result<Vec<Result<ReadAnswer, Error>>, Error> {
    if requests.len() > MAX_BATCH {
        return Err(error(ErrorCode::LimitExceeded, format!("one call reads at most {MAX_BATCH} ranges, not {}", requests.len())));
    }
    let mut wanted: u64 = 0;
    for request in requests {
        let length = match &request.range {
            ByteRange::All => {
                return Err(error(ErrorCode::InvalidArgument, "one call that reads many ranges can't read a whole file").at(&request.key));
            }
            ByteRange::Span(span) => span.length,
            ByteRange::Suffix(length) => *length,
        };
        wanted = wanted.saturating_add(length);
    }
    if wanted > MAX_READ_MANY {
        return Err(error(ErrorCode::LimitExceeded, format!("one call reads at most {MAX_READ_MANY} bytes, not {wanted}")));
    }
    let root = files::root();
    let answer = |request: &ReadRequest| {
        if request.key.ends_with('/') {
            return Err(list::why_listed(files::root()?, &request.key));
        }
        key::check(&request.key)?;
        let root = root.as_ref().map_err(Clone::clone)?;
        let mut reader = Reader::open(root, &request.key, &request.range, request.if_match.as_deref())?;
        let mut bytes = Vec::new();
        reader.for_each(|chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(ReadAnswer { info: reader.info, bytes })
    };
    Ok(requests.iter().map(|request| answer(request).map_err(|error: Error| error.at(&request.key))).collect())
}
