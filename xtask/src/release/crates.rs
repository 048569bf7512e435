//! The crates, each in the form in which it is uploaded.

use std::fs;
use std::path::{Path, PathBuf};

use super::folders::files;
use super::staging::Staging;
use crate::shell::{cargo, run, target_dir};

/// The packages that are published, each after those that it needs.
pub(crate) const PUBLISHED: [&str; 8] = [
    "persist-model",
    "persist-paths",
    "persist-recipe",
    "persist-codegen",
    "persist-precompile",
    "persist-guest",
    "persist-host",
    "persist-cli",
];

/// Packages the crates, and builds each of them from its package and those of the others. Returns
/// the folder in which they are unpacked.
pub(crate) fn package(staging: &Staging, out: &Path) -> Result<PathBuf, String> {
    let target = target_dir()?.join("crates");
    let mut package = cargo();
    package.current_dir(&staging.root).args(["package", "--locked", "--allow-dirty", "--quiet", "--target-dir"]).arg(&target);
    package.args(PUBLISHED.iter().flat_map(|name| ["--package", name]));
    // Nobody debugs what is built here, and the files would take some gigabytes.
    run(package.env("CARGO_PROFILE_DEV_DEBUG", "false"))?;
    let built = target.join("package");
    for path in files(&built, "crate")? {
        let name = path.file_name().unwrap_or_default();
        fs::copy(&path, out.join(name)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(built)
}
