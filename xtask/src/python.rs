//! The Python package: built as a wheel, installed as a user would, tested.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::precompile::PROFILE;
use crate::shell::{announce, run, target_dir};
use crate::{components, pythons, workspace};

const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// What of Python there is to check.
const SOURCES: [&str; 7] = [
    "examples/python",
    "python-host/python",
    "tests/python",
    "tests/frameworks",
    "tests/portability",
    "tests/conftest.py",
    "tests/test_s3_integration.py",
];
const SETTINGS: &str = "python-host/pyproject.toml";

/// Builds the package and runs its checks and tests.
pub(crate) fn test() -> Result<(), String> {
    let package = Package::prepare()?;

    announce("Checking the Python package");
    run(package.tool("ruff").args(["check", "--config", SETTINGS]).args(SOURCES))?;
    run(package.tool("ruff").args(["format", "--check", "--config", SETTINGS]).args(SOURCES))?;
    // The programs in tests/frameworks have environments of their own, and the
    // examples are to be read.
    let typed = SOURCES.into_iter().filter(|source| !matches!(*source, "examples/python" | "tests/frameworks"));
    run(package.tool("mypy").args(["--config-file", SETTINGS]).args(typed))?;

    let wheel = package.install()?;
    run(package.tool("pyright").args(["--project", "python-host"]))?;

    // With the system's own programs alone: what runs here needs no Rust.
    announce("The tests in Python");
    let tests = ["-m", "pytest", "tests/python", "tests/test_s3_integration.py", "-p", "no:cacheprovider"];
    run(package.tool("python").args(tests))?;
    package.on_others(&wheel)?;

    portability(&package)
}

/// Builds the package and runs its tests on the Pythons that `test` does not use.
pub(crate) fn on_others() -> Result<(), String> {
    let package = Package::prepare()?;
    let wheel = package.install()?;
    package.on_others(&wheel)
}

/// The component in hosts of other kinds, each as it is installed from its
/// registry: wasmtime's command and its package for Python, jco for Node.
fn portability(package: &Package) -> Result<(), String> {
    announce("The components, and the hosts to run them in");
    let folder = package.target.join("portability");
    let (published, node) = (folder.join("dist"), folder.join("node"));
    components::dist(&published)?;
    let hostile = components::hostile()?;
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&node).map_err(|error| failed(&node, error))?;
    let wanted = workspace().join("tests/portability/package-lock.json");
    let (lock, done) = (fs::read(&wanted).map_err(|error| failed(&wanted, error))?, node.join("installed.json"));
    if fs::read(&done).ok().as_ref() != Some(&lock) {
        for name in ["package.json", "package-lock.json"] {
            let from = workspace().join("tests/portability").join(name);
            fs::copy(&from, node.join(name)).map_err(|error| failed(&from, error))?;
        }
        run(package.tool("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&node))?;
        fs::write(&done, lock).map_err(|error| failed(&done, error))?;
    }

    announce("Every host reads what every other wrote");
    let mut tests = package.tool("python");
    tests.args(["-m", "pytest", "tests/portability", "-p", "no:cacheprovider"]).env("PERSIST_COMPONENTS", published);
    tests.env("PERSIST_HOSTILE", hostile);
    // Built with the tests in Rust, which came before.
    tests.env("PERSIST_COMMAND", package.target.join("release/persist"));
    tests.env("PERSIST_EXAMPLE_HOST", package.target.join(PROFILE).join("persist-example-host"));
    run(tests.env("PERSIST_NODE", node))
}

/// Measures what the package costs.
pub(crate) fn bench(options: &[&str]) -> Result<(), String> {
    let package = Package::prepare()?;
    package.install()?;
    let built = package.target.join("portability").join("components");
    components::build(&built)?;
    announce("The Python package");
    let folder = package.target.join("tmp");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let json = folder.join("bench_package.json");
    let mut measured = package.tool("python");
    measured.arg("tests/python/bench_package.py").arg("--json").arg(json).args(options);
    run(measured.env("PERSIST_COMPONENTS", built))
}

/// A virtual environment, and the wheel that goes into it.
struct Package {
    target: PathBuf,
    programs: PathBuf,
}

impl Package {
    fn prepare() -> Result<Self, String> {
        let target = target_dir()?;
        announce("A virtual environment for Python");
        let programs = environment(&target.join("python"))?;
        Ok(Self { target, programs })
    }

    /// A program of the environment, which finds no Rust.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(workspace()).env("PATH", plain_path(&self.programs));
        command
    }

    fn on_others(&self, wheel: &Path) -> Result<(), String> {
        pythons::test(&self.programs.join("uv"), wheel, &self.target.join("pythons"))
    }

    /// Builds the wheel as it is published, and installs it.
    fn install(&self) -> Result<PathBuf, String> {
        announce("Building the wheel");
        let wheels = self.target.join("wheels");
        if wheels.exists() {
            fs::remove_dir_all(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
        }
        let mut maturin = Command::new(self.programs.join("maturin"));
        maturin.args(["build", "--release", "--locked", "--manifest-path", "python-host/Cargo.toml", "--out"]).arg(&wheels);
        run(maturin.current_dir(workspace()).env("CARGO_TARGET_DIR", &self.target))?;
        let wheel = only_file(&wheels)?;
        run(self.tool("pip").args(["install", "--quiet", "--disable-pip-version-check", "--no-index", "--force-reinstall"]).arg(&wheel))?;
        Ok(wheel)
    }
}

/// The folder of programs of a virtual environment with the requirements. Made
/// anew when they change, or when the environment was moved: its programs know
/// where they are.
fn environment(folder: &Path) -> Result<PathBuf, String> {
    let requirements = workspace().join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    let wanted = format!("{wanted}# {}\n", folder.display());
    let (programs, done) = (folder.join("bin"), folder.join("requirements.txt"));
    if fs::read_to_string(&done).ok().as_ref() == Some(&wanted) {
        return Ok(programs);
    }
    // Not to be had is one thing, and has one line that helps.
    let python = Command::new("python3").args(["-c", "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))"]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        return Err(
            "Python 3.10 or newer with venv is needed; install it, on Debian and Ubuntu with\n  apt install python3-venv".to_owned()
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

/// The search path without folders that hold cargo.
fn plain_path(programs: &Path) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let without = env::split_paths(&path).filter(|folder| !folder.join("cargo").exists());
    // Joins what it has split.
    env::join_paths(std::iter::once(programs.to_owned()).chain(without)).unwrap_or_default()
}
