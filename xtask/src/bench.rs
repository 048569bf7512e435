//! `cargo xtask bench`: measurements as ratios within one run. Never part of CI.

use crate::shell::{WITHOUT_COMPILER, announce, build_command, cargo, install_target, run as run_command};
use crate::{edge, python};

/// The parts that are separate programs. All others belong to the benchmark `snapshots`.
const S3: &str = "s3";
const PACKAGE: &str = "package";

/// Measures everything, or only the named parts. A missed goal does not stop the other
/// measurements.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let (options, parts): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|argument| argument.starts_with('-'));
    if let Some(unknown) = options.iter().find(|option| !["--check", "--quick"].contains(option)) {
        return Err(format!("unknown option {unknown}: expected --check or --quick"));
    }
    let of_snapshots: Vec<&str> = parts.iter().copied().filter(|part| ![S3, PACKAGE].contains(part)).collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    install_target()?;
    build_command()?;
    let mut done = Vec::new();
    if parts.is_empty() || !of_snapshots.is_empty() {
        announce("Building the command for small machines");
        let edge = edge::build()?;
        announce("Measuring snapshots");
        let mut snapshots = benchmark("snapshots");
        done.push(run_command(snapshots.args(&options).args(of_snapshots).env("PERSIST_EDGE", edge)));
    }
    if is_wanted(S3) {
        announce("Measuring the S3 adapter against aws s3 cp");
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
