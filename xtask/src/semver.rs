//! `cargo xtask semver`: compares the public interface of the crates with that of a version before.

use std::fs;
use std::process::Command;

use persist_recipe::component::printed;

use crate::shell::{announce, run, target_dir, workspace};
use crate::tools::CARGO_SEMVER_CHECKS;

/// The crates with an interface that others use.
const LIBRARIES: [&str; 3] = ["persist-host", "persist-model", "persist-paths"];

/// Has the commit to compare with until the first version is tagged.
const FIRST: &str = "xtask/semver-baseline.txt";

/// Compares with the newest version that is tagged, or with the baseline.
pub(crate) fn check() -> Result<(), String> {
    let baseline = baseline()?;
    announce(&format!("Comparing the public interface with that of {baseline}"));
    let mut check = CARGO_SEMVER_CHECKS.command()?;
    check.args(["semver-checks", "--baseline-rev", &baseline]).args(LIBRARIES.iter().flat_map(|name| ["--package", name]));
    // As for the documentation, the component is not compiled.
    run(check.env("DOCS_RS", "1").env("CARGO_TARGET_DIR", target_dir()?.join("semver")))
}

fn baseline() -> Result<String, String> {
    let mut tags = Command::new("git");
    tags.current_dir(workspace()).args(["describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]);
    if let Ok(tag) = printed(&mut tags) {
        return Ok(tag.trim().to_owned());
    }
    let path = workspace().join(FIRST);
    Ok(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?.trim().to_owned())
}
