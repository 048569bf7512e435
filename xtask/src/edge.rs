//! The build for small machines: the command without S3, as small as it gets.

use std::path::PathBuf;

use crate::shell::{cargo, install_target, run, target_dir};

/// Builds it, and says where it is.
pub(crate) fn build() -> Result<PathBuf, String> {
    install_target()?;
    let edge = ["--profile", "edge", "--package", "persist-host", "--no-default-features", "--features", "cli", "--bin", "persist"];
    run(cargo().args(["build", "--locked"]).args(edge))?;
    Ok(target_dir()?.join("edge").join("persist"))
}
