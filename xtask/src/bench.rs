//! `cargo xtask bench`: figures, as ratios within one run. Never part of CI.

use crate::shell::{WITHOUT_COMPILER, announce, cargo, install_target, run as run_command};
use crate::{edge, python};

/// Parts that are programs of their own; every other one is of the snapshots'.
const S3: &str = "s3";
const PACKAGE: &str = "package";

/// Measures everything, or the parts that are named. What misses a goal does not
/// keep the rest from being measured.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let (options, parts): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = options.iter().find(|option| !["--check", "--quick"].contains(option)) {
        return Err(format!("there is no option {unknown}: --check and --quick there are"));
    }
    let of_snapshots: Vec<&str> = parts.iter().copied().filter(|part| ![S3, PACKAGE].contains(part)).collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    install_target()?;
    let mut done = Vec::new();
    if parts.is_empty() || !of_snapshots.is_empty() {
        announce("The build for small machines");
        let edge = edge::build()?;
        announce("Snapshots");
        let mut snapshots = benchmark("snapshots");
        done.push(run_command(snapshots.args(&options).args(of_snapshots).env("PERSIST_EDGE", edge)));
    }
    if is_wanted(S3) {
        announce("The S3 adapter and aws s3 cp");
        done.push(run_command(benchmark("s3_transfer").args(&options)));
    }
    if is_wanted(PACKAGE) {
        done.push(python::bench(&options));
    }
    done.into_iter().collect()
}

fn benchmark(name: &str) -> std::process::Command {
    let mut command = cargo();
    command.args(["bench", "--profile", "release", "--locked"]).args(WITHOUT_COMPILER).args(["--bench", name, "--"]);
    command
}
