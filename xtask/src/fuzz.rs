//! `cargo xtask fuzz`: runs every fuzz target for a while, starting from the seeds in the
//! repository.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::shell::{announce, run as run_command, spoken, target_dir, workspace};

/// The fuzz targets, one for each reader of untrusted bytes, as in `fuzz/Cargo.toml`.
const TARGETS: [&str; 11] = [
    "append",
    "decode",
    "document",
    "gzip_reader",
    "location",
    "round_trip",
    "salvage",
    "table",
    "timeline",
    "timeline_round_trip",
    "zstd_reader",
];

/// The maximum memory of a target in MiB, far above the limits of the readers.
const MEMORY: u32 = 1024;

pub(crate) fn run(seconds: &str) -> Result<(), String> {
    let seconds: u64 = seconds.parse().map_err(|_| format!("'{seconds}' is not a number of seconds"))?;
    let folder = workspace().join("fuzz");
    let target = target_dir()?.join("fuzz");
    let build = || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&folder).env("CARGO_TARGET_DIR", &target).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        cargo.args(["+nightly", "fuzz"]);
        cargo
    };
    run_command(build().arg("build"))
        .map_err(|error| format!("{error}\nFuzzing needs a nightly toolchain and cargo-fuzz: cargo install --locked cargo-fuzz"))?;
    for name in TARGETS {
        announce(&format!("{name}, {}", spoken(Duration::from_secs(seconds))));
        let corpus = folder.join("corpus").join(name);
        fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        let limits = [
            format!("-max_total_time={seconds}"),
            format!("-rss_limit_mb={MEMORY}"),
            "-timeout=25".to_owned(),
            "-max_len=65536".to_owned(),
            "-verbosity=0".to_owned(),
        ];
        run_command(build().args(["run", name]).arg(&corpus).arg(folder.join("seeds").join(name)).arg("--").args(limits))?;
    }
    println!("\n{} targets, {} each, no failures found.", TARGETS.len(), spoken(Duration::from_secs(seconds)));
    Ok(())
}
