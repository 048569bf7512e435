//! The operating system: processes and forks, threads, random numbers.

pub(crate) mod fork;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod threads;
