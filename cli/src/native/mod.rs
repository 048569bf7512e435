//! The command as a native program: files, buckets, signals and logs.

pub(crate) mod host;
mod interrupt;
pub(crate) mod options;
mod pager;
mod program;
mod progress;
mod reading;
mod timeline;

pub(crate) use interrupt::token;
pub use program::{main, start_logging};
