//! Programs of others, each in a version that was tried, installed into the target folder.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::shell::{as_from_a_shell, cargo, run, target_dir, workspace};

/// Checks licences, sources and versions of all dependencies.
pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", features: "" };

/// Collects the licences of dependencies.
pub(crate) const CARGO_ABOUT: Tool = Tool { name: "cargo-about", version: "0.9.3", features: "cli" };

/// Compares the public interface of a crate with that of an earlier version.
pub(crate) const CARGO_SEMVER_CHECKS: Tool = Tool { name: "cargo-semver-checks", version: "0.51.0", features: "" };

/// Moves components to and from OCI registries.
pub(crate) const WKG: Tool = Tool { name: "wkg", version: "0.16.1", features: "" };

/// A program that cargo installs from the crate of the same name.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    features: &'static str,
}

impl Tool {
    /// Returns the program. Installs it first, if that has not been done.
    pub(crate) fn command(&self) -> Result<Command, String> {
        let program = self.program()?;
        let mut command = Command::new(&program);
        as_from_a_shell(&mut command).current_dir(workspace());
        Ok(command)
    }

    fn program(&self) -> Result<PathBuf, String> {
        let root = target_dir()?.join("tools");
        let wanted = format!("\"{} {} ", self.name, self.version);
        let is_installed = fs::read_to_string(root.join(".crates.toml")).is_ok_and(|listed| listed.contains(&wanted));
        if !is_installed {
            println!("Installing {} {}", self.name, self.version);
            let mut install = cargo();
            install.args(["install", "--locked", "--quiet", "--features", self.features, "--root"]).arg(&root);
            // These programs ask for the slowest optimisations, which take minutes and gain seconds.
            install.envs([
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
                ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
                ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ]);
            // Its packages are never used again.
            install.arg("--target-dir").arg(root.join("build")).arg(format!("{}@{}", self.name, self.version));
            run(&mut install)?;
            fs::remove_dir_all(root.join("build")).map_err(|error| format!("{}: {error}", root.join("build").display()))?;
        }
        Ok(root.join("bin").join(self.name))
    }
}
