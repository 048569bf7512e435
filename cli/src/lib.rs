//! The `persist` command. The commands that exist both natively and in a component work
//! on a [`Host`]. The feature `native` adds the host for files and buckets, the commands
//! that only exist there, and the program itself.

mod arguments;
mod choices;
mod commands;
mod exit_codes;
mod filter;
mod host;
mod many;
#[cfg(feature = "native")]
mod native;
mod order;
mod output;
mod search;
mod sources;
mod state;
mod step_names;
mod table;
mod target;
mod timelines;

pub use arguments::{long_version, parse};
pub use choices::{Durability, IfExists};
pub use commands::Command;
pub use exit_codes::{ABOUT_EXIT_CODES, EXIT_CODES, exit_codes};
pub use host::{
    Access, Checks, DiffSource, Differences, Done, Entries, FileWriter, History, Host, Keys, Object, Objects, Page, Progress, Reader,
    Search, Timeline, TotalProgress, Writer,
};
#[cfg(feature = "native")]
pub use native::{main, start_logging};
pub use output::{Failure, Output, OutputOptions};
