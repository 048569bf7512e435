//! Values of options that several commands share.

use std::io::{self, IsTerminal as _};

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

/// When to use colours.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Returns whether stdout gets colours.
    pub(crate) fn is_on(self) -> bool {
        match self {
            Self::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
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
