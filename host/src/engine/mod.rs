//! The engine: saves, restores, verifies, copies, lists and salvages snapshots, keeps
//! timelines, and compares states.

mod builder;
mod compare_timelines;
mod conversions;
mod copy;
mod copy_timeline;
mod debug;
mod diff;
#[allow(clippy::module_inception, reason = "the engine itself, next to its operations")]
mod engine;
mod growing;
mod history;
mod index;
mod list;
mod restore;
mod salvage;
mod save;
mod settings;
mod timeline;
mod timeline_objects;
mod verify;
mod writing;

pub use builder::EngineBuilder;
pub use copy::{Copied, CopyOptions};
pub use copy_timeline::CopiedTimeline;
pub use diff::{Diff, DiffSource};
pub use engine::Engine;
pub use growing::GrowingState;
pub use history::{Checks, History};
pub use index::ListingIndex;
pub use list::Snapshots;
pub use restore::SnapshotReader;
pub use salvage::{SalvageReport, Salvager};
pub use save::SnapshotWriter;
pub use timeline::Timeline;
pub use writing::StepWriter;
