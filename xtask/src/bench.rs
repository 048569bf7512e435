//! `cargo xtask bench`: figures, as ratios within one run. Never part of CI.

use crate::shell::{announce, cargo, install_target, run as run_command};
use crate::{edge, python};

pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    install_target()?;
    announce("The build for small machines");
    let edge = edge::build()?;
    announce("Snapshots");
    let mut snapshots = cargo();
    snapshots.args(["bench", "--locked", "--package", "persist-host", "--bench", "snapshots", "--"]).args(options);
    run_command(snapshots.env("PERSIST_EDGE", edge))?;
    announce("The S3 adapter and aws s3 cp");
    run_command(cargo().args(["bench", "--locked", "--package", "persist-host", "--bench", "s3_transfer"]))?;
    python::bench()
}
