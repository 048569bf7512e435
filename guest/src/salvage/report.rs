//! The report of a salvager.

use crate::codec::Codec;
use crate::error::Error;
use crate::metadata::Metadata;

/// The most holes in a report.
const MAX_HOLES: usize = 1000;

/// A part of the state that could not be salvaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where in the state the missing bytes belong.
    pub state_offset: u64,
    /// The number of missing bytes.
    pub length: u64,
    /// Where in the object they should have been.
    pub object_offset: u64,
}

/// What a salvager found. It is complete once the salvager has returned its last byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The snapshot's metadata, if it could be read.
    pub metadata: Option<Metadata>,
    /// The codec.
    pub codec: Codec,
    /// Bytes of state that were returned.
    pub salvaged_size: u64,
    /// How many of these were checked against the SHA-256 of their frame.
    pub checked_size: u64,
    /// Bytes of state that are known to be missing.
    pub missing_size: u64,
    /// Where these belong: the first 1,000 places, in the order of the state.
    pub holes: Vec<Hole>,
    /// The offset of the first break in the object; `None` if the content hash shows that
    /// all of the state came out, or without metadata, gzip's CRC-32 and size do.
    pub break_offset: Option<u64>,
    /// What was wrong there, or with the metadata and table.
    pub reason: Option<Error>,
}

/// A place where the file is damaged.
pub(super) struct Break {
    pub(super) offset: u64,
    pub(super) reason: Error,
}

impl Report {
    pub(super) fn new(codec: Codec, metadata: Option<Metadata>, reason: Option<Error>) -> Self {
        let (holes, break_offset) = (Vec::new(), None);
        Self { metadata, codec, salvaged_size: 0, checked_size: 0, missing_size: 0, holes, break_offset, reason }
    }

    pub(super) fn add_break(&mut self, Break { offset, reason }: Break) {
        self.break_offset.get_or_insert(offset);
        self.reason.get_or_insert(reason);
    }

    /// Adds missing bytes. Adjacent ones become one hole.
    pub(super) fn add_hole(&mut self, hole: Hole) {
        self.missing_size += hole.length;
        if let Some(last) = self.holes.last_mut()
            && last.state_offset + last.length == hole.state_offset
        {
            last.length += hole.length;
        } else if self.holes.len() < MAX_HOLES {
            self.holes.push(hole);
        }
    }
}
