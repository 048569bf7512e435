//! `cargo xtask bench`: figures, as ratios within one run. Never part of CI.

use crate::python;
use crate::shell::{announce, cargo, install_target, run as run_command};

pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    install_target()?;
    announce("Snapshots");
    run_command(cargo().args(["bench", "--locked", "--package", "persist-host", "--bench", "snapshots", "--"]).args(options))?;
    announce("The S3 adapter and aws s3 cp");
    run_command(cargo().args(["bench", "--locked", "--package", "persist-host", "--bench", "s3_transfer"]))?;
    python::bench()
}
