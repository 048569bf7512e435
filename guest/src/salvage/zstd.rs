//! Salvages zstd frames from the first up to the break.

use std::io::Read;

use super::input::{CHUNK, ENDS_EARLY, Input};
use super::report::Break;
use super::source::{Next, Proof};
use crate::carrier::{self, Section};
use crate::codec::{Codec, zstd};
use crate::error::{Error, Result};
use crate::limits::MAX_METADATA;
use crate::metadata::Document;
use crate::storage::Reader;
use crate::table::MAX_TABLE;

pub(super) struct ZstdSource<R> {
    input: Input<R>,
    /// The break after the block that was returned.
    broken: Option<Break>,
}

impl<R: Reader> ZstdSource<R> {
    pub(super) fn new(input: Input<R>) -> Self {
        Self { input, broken: None }
    }

    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<Next> {
        if let Some(broken) = self.broken.take() {
            return Ok(Next::Break(broken));
        }
        let start = self.input.position;
        let head = self.input.peek(zstd::HEADER)?;
        if zstd::is_skippable(head) {
            // Whole frames before it may be missing without a trace.
            let proof = self.content_hash()?.map_or(Proof::None, Proof::ContentHash);
            return Ok(Next::End { offset: start, proof });
        }
        let broken = |offset, what: &str| Break { offset, reason: Error::integrity(what) };
        if head.is_empty() {
            return Ok(Next::Break(broken(start, ENDS_EARLY)));
        }
        let Some(size) = zstd::block_length(head) else {
            return Ok(Next::Break(broken(start, "there is no frame here")));
        };
        let most = Codec::max_frame_length(size) as usize;
        let mut length = zstd::HEADER;
        let (frame, cut) = loop {
            let frame = self.input.peek(most)?;
            match zstd::next_block(frame, length) {
                Some((next, false)) => length = next,
                Some((end, true)) => break (frame.get(..end).unwrap_or(frame), frame.len() < end),
                None => break (frame, true),
            }
        };
        let length = frame.len();
        let decoded = zrip::FrameDecoder::with_limit(frame, size as usize).read_to_end(block);
        self.input.skip(length);
        if decoded.is_ok() && block.len() == size as usize {
            let end = Next::End { offset: self.input.position, proof: Proof::None };
            return Ok(if size == 0 { end } else { Next::Bytes });
        }
        if !cut {
            // The checksum is wrong, so what came out before it can't be trusted.
            block.clear();
            return Ok(Next::Break(broken(start, "a frame is damaged")));
        }
        self.broken = Some(broken(self.input.position, ENDS_EARLY));
        Ok(Next::Bytes)
    }

    /// Returns the content hash from the document after the table, if both are there.
    fn content_hash(&mut self) -> Result<Option<String>> {
        for (section, most) in [(Section::Table, MAX_TABLE), (Section::Metadata, MAX_METADATA)] {
            let Some(length) = carrier::zstd_length(section, self.input.peek(carrier::ZSTD_OVERHEAD)?) else { return Ok(None) };
            if length > most {
                return Ok(None);
            }
            self.input.skip(carrier::ZSTD_OVERHEAD);
            if section == Section::Metadata {
                let json = self.input.peek(length)?;
                let document = (json.len() == length).then(|| Document::parse(json));
                return Ok(document.and_then(Result::ok).map(|document| document.content_hash));
            }
            let mut left = length;
            while left > 0 {
                let now = self.input.peek(left.min(CHUNK))?.len();
                if now == 0 {
                    return Ok(None);
                }
                self.input.skip(now.min(left));
                left = left.saturating_sub(now);
            }
        }
        Ok(None)
    }
}
