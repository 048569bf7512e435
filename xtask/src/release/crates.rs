//! The crates, each in the form in which it is uploaded.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::folders::{files, subfolders};
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
    forget(&target)?;
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

/// Removes the crates that cargo unpacked into its home when they were last packaged, and what it
/// compiled them to. It takes a version for immutable, and would use these instead of the new ones.
fn forget(target: &Path) -> Result<(), String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut folders = subfolders(&home.ok_or("neither CARGO_HOME nor HOME is set")?.join("registry/src"))?;
    // The names of registries that are folders have no host before the hyphen.
    folders.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('-')));
    folders.push(target.join("debug/.fingerprint"));
    for folder in folders {
        for path in subfolders(&folder)?.iter().filter(|path| is_published(path)) {
            fs::remove_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

/// Returns whether the name of a folder is that of a published crate with something after it.
fn is_published(folder: &Path) -> bool {
    let folder = folder.file_name().unwrap_or_default().to_string_lossy();
    PUBLISHED.iter().any(|name| folder.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_published_crates_are_found() {
        assert!(is_published(Path::new("x/persist-host-0.1.0")) && is_published(Path::new("x/persist-guest-d58f45d208a27d0f")));
        assert!(!is_published(Path::new("x/persist-host")) && !is_published(Path::new("x/serde-1.0.0")));
    }
}
