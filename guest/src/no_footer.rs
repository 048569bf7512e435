//! Finds out what an object without a footer is: a truncated snapshot, or something
//! else.

use persist_model::error::UNCERTAIN;

use crate::codec::{Codec, gzip, zstd};
use crate::error::{Error, ErrorCode, Result};
use crate::footer;
use crate::storage::{ByteRange, ObjectInfo, Storage, read_all};

/// Bytes at the front of an object that are examined: more than either codec's header.
const FRONT: usize = 16;

/// Returns the error that says what an object without a footer is, as far as its first
/// bytes tell.
pub(crate) fn no_footer<S: Storage>(storage: &S, info: &ObjectInfo, tail: &[u8]) -> Result<Error> {
    let other = |what: &str| Error::new(ErrorCode::NotASnapshot, format!("not a snapshot: {what}"));
    let is_named = Codec::named_by(&info.key).is_some();
    if tail.is_empty() {
        return Ok(if is_named { Error::format("the file is empty: the snapshot was cut short") } else { other("the file is empty") });
    }
    let has_footer = footer::has_begun(tail);
    let head = if tail.len() as u64 == info.size {
        tail.get(..FRONT.min(tail.len())).unwrap_or_default().to_vec()
    } else {
        let span = ByteRange::Span { offset: 0, length: FRONT as u64 };
        read_all(&mut storage.open_read(&info.key, span, info.etag.as_deref())?, FRONT)?
    };
    let is_snapshot = is_beginning(&head) || is_named && (has_footer || is_lost_beginning(&head));
    Ok(if !is_snapshot {
        match head.get(..4) {
            Some(magic) if magic.starts_with(&gzip::MAGIC) => other("a gzip file that Persist did not write"),
            Some(magic) if magic == zstd::MAGIC => other("a zstd file that Persist did not write"),
            _ => other("the file is neither gzip nor zstd"),
        }
    } else if has_footer {
        Error::integrity("the file does not end with its footer: bytes at its end were lost, changed or added")
    } else if head.starts_with(Codec::Gzip.header()) {
        // Go, flate2 and Java write the same header, so this may be a file of theirs.
        let (name, value) = UNCERTAIN;
        Error::format("no footer at the end of the file: the snapshot was cut short, or another program wrote it").with(name, value)
    } else if is_beginning(&head) {
        Error::format("no footer at the end of the file: the snapshot was cut short")
    } else {
        Error::format("almost nothing is left of the file: the snapshot was cut short or overwritten with zeros")
    })
}

/// Whether an object that begins with these bytes may be a snapshot. Few programs write
/// the same gzip header, and no other the same zstd header. If the object ends within
/// the header, the rest is taken as zeros.
fn is_beginning(head: &[u8]) -> bool {
    let mut header = [0; zstd::HEADER];
    for (to, from) in header.iter_mut().zip(head) {
        *to = *from;
    }
    head.starts_with(Codec::Gzip.header()) || zstd::block_length(&header).is_some()
}

/// Whether these bytes are a part of a header followed by zeros, as a crash may leave
/// them. Then only the name tells what the file was.
fn is_lost_beginning(head: &[u8]) -> bool {
    let end = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let left = head.get(..end).unwrap_or_default();
    Codec::Gzip.header().starts_with(left) || zstd::header(0).starts_with(left)
}
