//! The settings of an engine.

use std::time::Duration;

use crate::sandbox::Code;

/// The settings of an engine, without its storage. None means the default.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) code: Code,
    pub(super) memory_limit: Option<usize>,
    pub(super) total_memory_limit: Option<u64>,
    pub(super) deadline: Option<Duration>,
    pub(super) workers: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { code: Code::BuiltIn, memory_limit: None, total_memory_limit: None, deadline: None, workers: None }
    }
}
