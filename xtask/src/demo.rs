//! `cargo xtask demo`: saves, verifies and restores a snapshot as a user would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::shell::{announce, cargo, install_target, run as run_command, spoken, target_dir, workspace};

const STATE: &str = "examples/agent-state.json";

/// What the demo builds: no S3, whose SDK takes longer to build than everything else,
/// and the component compiled for only one kind of processor.
pub(crate) const SELECTION: [&str; 7] = [
    "--package",
    "persist-cli",
    "--package",
    "workspace-hack",
    "--no-default-features",
    "--features",
    "persist-cli/native,persist-cli/precompiled",
];

/// The command's exit code for a damaged snapshot.
const DAMAGED: i32 = 5;

struct Demo {
    persist: PathBuf,
    folder: PathBuf,
    /// The time spent in the command.
    spent: Duration,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

impl Demo {
    /// Runs `persist` in the demo's folder, and prints the command line.
    fn persist(&mut self, arguments: &[&str], expected: i32) -> Result<(), String> {
        println!("\n$ persist {}", arguments.join(" "));
        let began = Instant::now();
        let output = Command::new(&self.persist).current_dir(&self.folder).args(arguments).output().map_err(failed(&self.persist))?;
        let took = began.elapsed();
        self.spent += took;
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("[{}]", spoken(took));
        match output.status.code() {
            Some(code) if code == expected => Ok(()),
            _ => Err(format!("persist ended with {} instead of {expected}", output.status)),
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.folder.join(name);
        fs::read(&path).map_err(failed(&path))
    }

    fn compare(&self, restored: &str) -> Result<(), String> {
        if self.read("agent-state.json")? != self.read(restored)? {
            return Err(format!("{restored} differs from agent-state.json"));
        }
        println!("{restored} equals agent-state.json, byte for byte.");
        Ok(())
    }

    /// Flips one bit in the middle of a copy of the snapshot.
    fn damage(&self, from: &str, to: &str) -> Result<(), String> {
        let mut bytes = self.read(from)?;
        let middle = bytes.len() / 2;
        let byte = bytes.get_mut(middle).ok_or("the snapshot is empty")?;
        *byte ^= 1;
        let path = self.folder.join(to);
        fs::write(&path, bytes).map_err(failed(&path))?;
        println!("\nWrote {to}: a copy of {from} with one bit of byte {middle} flipped.");
        Ok(())
    }
}

pub(crate) fn run() -> Result<(), String> {
    let began = Instant::now();
    announce("Setting up and building (4 minutes on two cores the first time)");
    install_target()?;
    run_command(cargo().args(["build", "--release", "--locked", "--bin", "persist"]).args(SELECTION))?;
    let target = target_dir()?;
    let folder = target.join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed(&folder))?;
    }
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let state = folder.join("agent-state.json");
    fs::copy(workspace().join(STATE), &state).map_err(failed(&state))?;
    let built = began.elapsed();

    announce(&format!("In {}", folder.display()));
    let mut demo = Demo { persist: target.join("release").join("persist"), folder, spent: Duration::ZERO };
    let about = ["--agent-id", "support-agent", "--session-id", "case-4711", "--label", "env=demo"];
    demo.persist(&[&["snapshot", "agent-state.json", "snapshots/0001.json.gz", "--index", "1"], &about[..]].concat(), 0)?;
    demo.persist(&[&["snapshot", "agent-state.json", "snapshots/0001.json.zst", "--index", "1"], &about[..]].concat(), 0)?;
    demo.persist(&["list", "snapshots"], 0)?;
    demo.persist(&["show", "snapshots/0001.json.gz"], 0)?;
    demo.persist(&["verify", "snapshots/0001.json.gz", "snapshots/0001.json.zst"], 0)?;
    for codec in ["gz", "zst"] {
        let restored = format!("restored-from-{codec}.json");
        demo.persist(&["restore", &format!("snapshots/0001.json.{codec}"), "-o", &restored], 0)?;
        demo.compare(&restored)?;
    }
    demo.damage("snapshots/0001.json.gz", "damaged.json.gz")?;
    demo.persist(&["verify", "damaged.json.gz"], DAMAGED)?;
    println!("The damage was detected: exit code {DAMAGED}.");

    println!("\nDone: {} to build, {} in the command. All files are in {}.", spoken(built), spoken(demo.spent), demo.folder.display());
    Ok(())
}
