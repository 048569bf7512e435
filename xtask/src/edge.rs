//! The build for small machines: the command without S3, optimised for size.

use std::path::PathBuf;

use crate::shell::{cargo, install_target, run, target_dir};

/// Builds the command and returns its path.
pub(crate) fn build() -> Result<PathBuf, String> {
    install_target()?;
    let edge = ["--profile", "edge", "--package", "persist-cli", "--no-default-features", "--features", "native", "--bin", "persist"];
    run(cargo().args(["build", "--locked"]).args(edge))?;
    Ok(target_dir()?.join("edge").join("persist"))
}
