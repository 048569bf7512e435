//! The workers that process the blocks of snapshots in parallel.

mod crew;
mod parallel;
mod pool;

pub(crate) use crew::Crew;
pub(crate) use parallel::Workers;
pub(crate) use pool::{Permits, WorkerPool};
