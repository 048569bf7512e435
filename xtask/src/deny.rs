//! `cargo xtask deny`: checks the dependencies of the workspace by the rules of `deny.toml`.

use crate::shell::{announce, run};
use crate::tools::CARGO_DENY;

/// Checks everything but advisories, whose database is on the network.
pub(crate) fn check() -> Result<(), String> {
    announce("Checking the licences, sources and versions of all dependencies");
    run(CARGO_DENY.command()?.args(["--locked", "check", "bans", "licenses", "sources"]))
}
