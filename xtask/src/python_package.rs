//! Building and installing the Python package, and the programs that this needs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pythons;
use crate::shell::{announce, as_from_a_shell, run, target_dir, workspace};

const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// The virtual environment that the wheel is installed into.
pub(crate) struct Package {
    pub(crate) target: PathBuf,
    programs: PathBuf,
}

impl Package {
    pub(crate) fn prepare() -> Result<Self, String> {
        let target = target_dir()?;
        announce("Setting up the Python environment");
        let programs = environment(&target.join("python"), REQUIREMENTS)?;
        Ok(Self { target, programs })
    }

    /// Returns a program of the environment, without cargo in its path.
    pub(crate) fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(workspace()).env("PATH", plain_path(&self.programs));
        command
    }

    /// Installs the packages for Node that the tests need, and returns the folder.
    pub(crate) fn node(&self) -> Result<PathBuf, String> {
        let node = self.target.join("portability").join("node");
        let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(&node).map_err(|error| failed(&node, error))?;
        let wanted = workspace().join("tests/portability/package-lock.json");
        let (lock, done) = (fs::read(&wanted).map_err(|error| failed(&wanted, error))?, node.join("installed.json"));
        if fs::read(&done).ok().as_ref() != Some(&lock) {
            for name in ["package.json", "package-lock.json"] {
                let from = workspace().join("tests/portability").join(name);
                fs::copy(&from, node.join(name)).map_err(|error| failed(&from, error))?;
            }
            run(self.tool("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&node))?;
            fs::write(&done, lock).map_err(|error| failed(&done, error))?;
        }
        Ok(node)
    }

    pub(crate) fn on_others(&self, wheel: &Path) -> Result<(), String> {
        pythons::test(&self.programs.join("uv"), wheel, &self.target.join("pythons"))
    }

    /// Runs maturin on sources. It builds in the same folder as everything else.
    pub(crate) fn maturin(&self, sources: &Path, arguments: &[&str], out: &Path) -> Result<(), String> {
        run(&mut maturin(&self.programs, sources, arguments, out, &self.target))
    }

    /// Builds the wheel in its published form and installs it.
    pub(crate) fn install(&self) -> Result<PathBuf, String> {
        announce("Building the wheel");
        let wheels = self.target.join("wheels");
        if wheels.exists() {
            fs::remove_dir_all(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
        }
        self.maturin(&workspace(), &["build", "--release", "--locked"], &wheels)?;
        let wheel = only_file(&wheels)?;
        run(self.tool("pip").args(["install", "--quiet", "--disable-pip-version-check", "--no-index", "--force-reinstall"]).arg(&wheel))?;
        Ok(wheel)
    }
}

/// Returns a command that runs maturin, one of these programs, on sources.
pub(crate) fn maturin(programs: &Path, sources: &Path, arguments: &[&str], out: &Path, target: &Path) -> Command {
    let mut maturin = Command::new(programs.join("maturin"));
    maturin.args(arguments).args(["--manifest-path", "python-host/Cargo.toml", "--out"]).arg(out);
    as_from_a_shell(&mut maturin).current_dir(sources).env("CARGO_TARGET_DIR", target);
    maturin
}

/// Returns the folder of programs of a virtual environment with the requirements in a file of
/// the workspace. The environment is recreated if the requirements change or the folder was
/// moved, since its programs contain their paths.
pub(crate) fn environment(folder: &Path, requirements: &str) -> Result<PathBuf, String> {
    let requirements = workspace().join(requirements);
    let wanted = fs::read_to_string(&requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    let wanted = format!("{wanted}# {}\n", folder.display());
    let (programs, done) = (folder.join("bin"), folder.join("requirements.txt"));
    if fs::read_to_string(&done).ok().as_ref() == Some(&wanted) {
        return Ok(programs);
    }
    // A missing Python is common, so it gets a helpful error.
    let python = Command::new("python3").args(["-c", "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))"]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        return Err(
            "Python 3.10 or newer with venv is required; on Debian and Ubuntu, install it with\n  apt install python3-venv".to_owned()
        );
    }
    let _ = fs::remove_dir_all(folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    run(Command::new(programs.join("pip")).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements))?;
    fs::write(&done, wanted).map_err(|error| format!("{}: {error}", done.display()))?;
    Ok(programs)
}

fn only_file(folder: &Path) -> Result<PathBuf, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let mut entries = fs::read_dir(folder).map_err(failed)?;
    let entry = entries.next().ok_or_else(|| format!("{} is empty: no wheel was built", folder.display()))?;
    entry.map(|entry| entry.path()).map_err(failed)
}

/// Returns the search path without folders that contain cargo.
fn plain_path(programs: &Path) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let without = env::split_paths(&path).filter(|folder| !folder.join("cargo").exists());
    // Joining cannot fail, since the parts come from splitting a path.
    env::join_paths(std::iter::once(programs.to_owned()).chain(without)).unwrap_or_default()
}
