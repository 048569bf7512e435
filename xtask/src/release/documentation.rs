//! The documentation of the crates, built as docs.rs builds it: from the packages alone, and without
//! a network.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::crates::PUBLISHED;
use crate::shell::{announce, cargo, run, target_dir};

/// Builds the documentation of each crate with the features that docs.rs uses for it. `packages` is
/// where the crates are unpacked.
pub(crate) fn build(packages: &Path, version: &str) -> Result<(), String> {
    announce("Building the documentation from the packages, without a network");
    let folder = |name: &str| packages.join(format!("{name}-{version}"));
    let target = target_dir()?.join("documentation");
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&target).map_err(|error| failed(&target, error))?;
    // Where they are published, cargo finds the others by their names; here by paths.
    let mut patch = String::from("[patch.crates-io]\n");
    for name in PUBLISHED {
        writeln!(patch, "{name} = {{ path = '{}' }}", folder(name).display()).map_err(|error| error.to_string())?;
    }
    let patches = target.join("patch.toml");
    fs::write(&patches, patch).map_err(|error| failed(&patches, error))?;
    for name in PUBLISHED {
        let manifest = folder(name).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).map_err(|error| failed(&manifest, error))?;
        let mut document = if must_use_network() { cargo() } else { without_network() };
        document.current_dir(folder(name)).args(["doc", "--no-deps", "--lib", "--quiet", "--offline", "--config"]).arg(&patches);
        document.args(["--features", &features(&text)]).arg("--target-dir").arg(&target);
        run(document.env("DOCS_RS", "1").env("RUSTDOCFLAGS", "--deny warnings"))?;
    }
    Ok(())
}

/// Returns the features that a package has its documentation built with.
fn features(manifest: &str) -> String {
    let settings = manifest.split_once("[package.metadata.docs.rs]\n").map_or("", |(_, rest)| rest);
    let list = settings.split_once("features = [").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(",")
}

/// Returns whether this machine lets no one make a network of their own, as in some containers.
fn must_use_network() -> bool {
    !Command::new("unshare").args(["--map-root-user", "--net", "true"]).status().is_ok_and(|status| status.success())
}

/// Returns cargo in a network of its own, which leads nowhere.
fn without_network() -> Command {
    let plain = cargo();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net"]).arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[cfg(test)]
mod tests {
    use super::features;

    #[test]
    fn the_features_of_the_documentation_are_read() {
        let manifest = "[features]\nall = [\"a\"]\n[package.metadata.docs.rs]\nfeatures = [\n    \"compiler\",\n    \"s3\",\n]\n[x]\nfeatures = [\"y\"]\n";
        assert_eq!(features(manifest), "compiler,s3");
        assert_eq!(features("[package]\n"), "");
    }
}
