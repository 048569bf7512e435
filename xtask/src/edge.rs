//! The build for small machines: the command without a compiler and without S3,
//! its component compiled beforehand.

use std::path::PathBuf;

use crate::shell::{cargo, install_target, run, target_dir};

/// Builds it, and says where it is.
pub(crate) fn build() -> Result<PathBuf, String> {
    install_target()?;
    run(cargo().args([
        "build",
        "--locked",
        "--profile",
        "edge",
        "--package",
        "persist-host",
        "--no-default-features",
        "--features",
        "cli,edge",
        "--bin",
        "persist",
    ]))?;
    Ok(target_dir()?.join("edge").join("persist"))
}
