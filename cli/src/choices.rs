//! Values of options that several commands share.

use clap::ValueEnum;
use persist_model::Precondition;

/// What to do if the target already exists.
#[derive(Clone, Copy, ValueEnum)]
pub enum IfExists {
    /// Replace it.
    Replace,
    /// Fail and write nothing.
    Fail,
}

/// Whether a local write waits for the disk.
#[derive(Clone, Copy, ValueEnum)]
pub enum Durability {
    /// Wait until the data is on disk.
    Fsync,
    /// Do not wait; the operating system writes the data later.
    None,
}

impl IfExists {
    /// Returns the precondition of the write.
    pub fn precondition(self) -> Precondition {
        match self {
            Self::Replace => Precondition::None,
            Self::Fail => Precondition::IfAbsent,
        }
    }
}
