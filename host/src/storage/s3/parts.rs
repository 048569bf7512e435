//! The parts of an upload: their sizes, and those in flight.

use std::collections::VecDeque;

use aws_sdk_s3::types::CompletedPart;
use persist_model::Result;

use super::error::Failure;
use super::work::Work;
use crate::cancel::CancelToken;
use crate::storage::s3::upload::Part;

/// The most parts that S3 accepts.
pub(super) const MAX_PARTS: usize = 10_000;

/// How many parts have the same size. After each such group, parts grow by the size of
/// the first one, so an object of unknown size may have 10,000 parts and 440 GB.
pub(super) const PARTS_OF_A_SIZE: usize = 1000;

/// The same for an object whose size was known in advance.
pub(super) const HINTED_PARTS: usize = 9000;

/// The largest part that a hint may ask for. The hint comes from the component, which
/// must not decide how much memory the host takes. 9,000 such parts hold the largest
/// possible snapshot.
pub(super) const MAX_HINTED_PART: usize = 64 << 20;

/// The minimum size of a part other than the last, and the maximum size of a part that
/// the service copies.
pub(super) const MIN_PART: u64 = 5 << 20;
pub(super) const MAX_COPIED_PART: u64 = 1 << 30;

/// Part sizes are multiples of this.
pub(super) const MIB: u64 = 1 << 20;

/// A multipart upload.
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) sent: usize,
    pub(super) in_flight: VecDeque<Work<Result<CompletedPart, Failure>>>,
    pub(super) done: Vec<CompletedPart>,
    /// The sources of the parts, as long as their memory is within the limit for parts
    /// in flight. With them, the upload can be started again.
    pub(super) kept: Option<Vec<Part>>,
}

/// Returns the size of the first parts, so that the expected size fits into the number
/// of parts that S3 accepts, with room for a hint that is too small.
pub(super) fn part_size(least: usize, size_hint: Option<u64>) -> usize {
    let wanted = size_hint.unwrap_or_default().div_ceil(HINTED_PARTS as u64).div_ceil(MIB).saturating_mul(MIB);
    least.max(usize::try_from(wanted).unwrap_or(MAX_HINTED_PART).min(MAX_HINTED_PART))
}

impl Upload {
    pub(super) fn new(id: String) -> Self {
        Self { id, sent: 0, in_flight: VecDeque::new(), done: Vec::new(), kept: Some(Vec::new()) }
    }

    /// Keeps the source of a part, as long as all of them hold at most `most` bytes.
    pub(super) fn keep(&mut self, part: &Part, most: usize) {
        if let Some(kept) = &mut self.kept {
            kept.push(part.clone());
            if kept.iter().map(Part::held).sum::<usize>() > most {
                self.kept = None;
            }
        }
    }

    /// Waits for all parts. The result of the last one is for the caller; if it failed,
    /// it does not count as a part.
    pub(super) fn collect_last(&mut self, cancel: &CancelToken) -> Result<Result<(), Failure>> {
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

    /// Waits until at most this many parts are in flight.
    pub(super) fn collect(&mut self, cancel: &CancelToken, at_most: usize) -> Result<()> {
        while self.in_flight.len() > at_most {
            let Some(work) = self.in_flight.front() else { break };
            let part = work.wait(cancel)?.map_err(|failure| failure.error)?;
            self.done.push(part);
            self.in_flight.pop_front();
        }
        Ok(())
    }
}
