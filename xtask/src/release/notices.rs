//! The licences of the packages that are linked into what is published.

use std::path::Path;

use super::staging::Staging;
use crate::shell::{announce, cargo, run, workspace};
use crate::tools::CARGO_ABOUT;

/// The name of the file with the licences of others.
pub(crate) const NOTICES: &str = "THIRD-PARTY-NOTICES.txt";

/// Collects the licences of all packages that any of the published files contains, from their
/// sources, and puts them with the licence of each package that ships compiled code.
pub(crate) fn collect(staging: &Staging, out: &Path) -> Result<(), String> {
    announce("Collecting the licences of others");
    // It reads the sources of all packages, also those for other systems.
    run(cargo().arg("fetch").arg("--locked"))?;
    let (settings, notices) = (workspace().join("xtask"), out.join(NOTICES));
    let mut about = CARGO_ABOUT.command()?;
    about.args(["generate", "--workspace", "--offline", "--locked", "--fail", "--config"]).arg(settings.join("about.toml"));
    run(about.arg("--output-file").arg(&notices).arg(settings.join("about.hbs")))?;
    for folder in ["python-host", "host"] {
        let to = staging.root.join(folder).join(NOTICES);
        std::fs::copy(&notices, &to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(())
}
