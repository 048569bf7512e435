//! Keeps a writer that has slept from a number that was used and removed in the meantime.
//!
//! A marker keeps the number of a removed step taken. After a week, pruning replaces markers by
//! a gap, and then the numbers in it are free for a writer that does not know of the gap. So a
//! writer that may have slept looks for gaps before it acknowledges what it has stored.

use crate::error::{Error, ErrorCode, Result};
use crate::open::TAIL;
use crate::storage::{ObjectInfo, Storage};
use crate::timeline::handle::Timeline;
use crate::timeline::listing::Listing;
use crate::timeline::step::Step;

/// How long after it found the newest step a writer may store the next one without asking
/// for gaps, in milliseconds of the storage's clock. Markers stay for a week.
const STALE: u64 = 24 * 60 * 60 * 1000;

/// The same for a storage whose clock is not the one by which objects have their times: it
/// does not show a change of that clock, which may make markers look old.
const STALE_BY_OTHER_CLOCK: u64 = 60 * 1000;

/// Whether the storage's clock is the one by which objects have their times.
fn is_wall_clock(info: &ObjectInfo) -> bool {
    let (Some(now), Some(modified)) = (info.storage_time, info.modified) else { return true };
    now.abs_diff(modified) <= STALE
}

impl<S: Storage> Timeline<S> {
    /// After a long pause the number that was free may be one that was used and removed, and
    /// whose marker is gone. Then there is a gap, and what was stored is withdrawn. `parent`
    /// is the root of the step before, if there is one.
    pub(super) fn check_age(&self, found_at: Option<u64>, number: u64, parent: Option<[u8; 32]>, info: &ObjectInfo) -> Result<()> {
        let is_in_time = match (found_at, info.storage_time) {
            (found, Some(stored)) => {
                let limit = if is_wall_clock(info) { STALE } else { STALE_BY_OTHER_CLOCK };
                stored.saturating_sub(found.unwrap_or(0)) <= limit
            }
            // The storage has a clock, and does not always say.
            (Some(_), None) => false,
            // It has none. But another host may keep the same objects in one that has, and
            // remove old markers there.
            (None, None) => number == 1 || self.is_there(number - 1, parent)?,
        };
        if is_in_time || !Listing::read(&self.storage, &self.folder, 1)?.is_in_gap(number) {
            return Ok(());
        }
        self.delete_object(&self.folder.step(number))?;
        Err(self.conflict(number))
    }

    /// Whether a step is still there. As long as it is, a gap with the next number begins with
    /// that number, and so keeps it taken.
    fn is_there(&self, number: u64, root: Option<[u8; 32]>) -> Result<bool> {
        let end = self.storage.read_ends(&[&self.folder.step(number)], TAIL)?.pop();
        match end.unwrap_or_else(|| Err(Error::short_read(0, 1))) {
            Ok((info, tail)) => Ok(Step::parse(&self.storage, info, tail, number).is_ok_and(|step| Some(step.root) == root)),
            Err(error) if error.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
