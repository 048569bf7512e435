//! The source distribution of the Python package.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::folders::{files, fresh, subfolders};
use super::staging::Staging;
use crate::python_package::Package;
use crate::shell::{cargo, run, target_dir};

/// Replaces a file of an archive.
const REPLACE: &str = include_str!("replace_member.py");

/// Builds it into a folder that has no other.
pub(crate) fn build(package: &Package, staging: &Staging, out: &Path) -> Result<(), String> {
    package.maturin(&staging.root, &["sdist"], out)?;
    let [archive] = &files(out, "gz")?[..] else { return Err(format!("{} has several archives", out.display())) };
    // It lacks the packages that it does not need, but its lock file names them. Nobody could build
    // it with `--locked`.
    let unpacked = fresh(&target_dir()?.join("sdist-lock"))?;
    run(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&unpacked))?;
    let [root] = &subfolders(&unpacked)?[..] else { return Err(format!("{} has several folders", archive.display())) };
    let lock = root.join("Cargo.lock");
    run(cargo().current_dir(root).args(["update", "--workspace", "--offline", "--quiet"]))?;
    let name = lock.strip_prefix(&unpacked).unwrap_or(&lock);
    run(package.tool("python").args(["-c", REPLACE]).arg(archive).arg(name).arg(&lock))?;
    fs::remove_dir_all(&unpacked).map_err(|error| format!("{}: {error}", unpacked.display()))
}
