//! The types that all hosts and commands share: errors, metadata, options, codecs.
//! Nothing here does I/O.

mod cause;
mod conversions;
pub mod diff;
pub mod error;
mod error_codes;
#[doc(hidden)]
pub mod fields;
pub mod files;
pub mod metadata;
pub mod permissions;
pub mod salvage;
mod setters;
pub mod time;
pub mod timeline;
pub mod units;
pub mod view;

pub use diff::{Change, ChangeSummary, DiffKind, Excerpt, Operation};
pub use error::{ErrorCode, ErrorDetail, PersistError, Result};
pub use metadata::{
    Codec, Encryption, FORMAT_VERSION, ListEntry, ListFilter, Located, Precondition, SealState, SnapshotMetadata, SnapshotOptions,
};
pub use permissions::Permissions;
pub use salvage::Hole;
pub use timeline::{Checked, Every, HistoryEntry, OnConflict, Outcome, Period, Policy, PruneReport, PrunedStep, Step, StepSelector};
pub use view::View;
