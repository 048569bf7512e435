//! The Python package: built as a wheel, installed as a user would install it, and
//! tested.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use persist_recipe::precompile::PROFILE;

use crate::shell::{announce, as_from_a_shell, run, target_dir, workspace};
use crate::{components, pythons};

const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// The Python sources to check.
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
    // The programs in tests/frameworks have their own environments, and the examples are
    // written for readers.
    let typed = SOURCES.into_iter().filter(|source| !matches!(*source, "examples/python" | "tests/frameworks"));
    run(package.tool("mypy").args(["--config-file", SETTINGS]).args(typed))?;

    let wheel = package.install()?;
    run(package.tool("pyright").args(["--project", "python-host"]))?;

    // Without cargo in the path, since an installed package must not need Rust.
    announce("Running the Python tests");
    let mut tests = package.tool("python");
    tests.args(["-m", "pytest", "tests/python", "tests/test_s3_integration.py", "-p", "no:cacheprovider"]);
    // Several at the same time, since many wait for processes and servers.
    run(tests.args(["--numprocesses", "2", "--dist", "worksteal"]))?;

    // At the same time: the tests of other Pythons mostly wait.
    thread::scope(|scope| {
        let others = scope.spawn(|| package.on_others(&wheel));
        let portable = portability(&package);
        others.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())).and(portable)
    })
}

/// Builds the package and runs its tests on the Pythons that `test` does not use.
pub(crate) fn on_others() -> Result<(), String> {
    let package = Package::prepare()?;
    let wheel = package.install()?;
    package.on_others(&wheel)
}

/// Runs the tests that try random values, with ten times as many of them, and those that kill
/// programs at random moments.
pub(crate) fn soak() -> Result<(), String> {
    const RANDOM: [&str; 5] =
        ["test_arrays.py", "test_autosave_signals.py", "test_crafted_values.py", "test_random_models.py", "test_values.py"];
    let package = Package::prepare()?;
    package.install()?;
    let mut tests = package.tool("python");
    tests.args(["-m", "pytest", "-p", "no:cacheprovider"]).args(RANDOM.map(|file| format!("tests/python/{file}")));
    run(tests.env("PERSIST_TEST_EXAMPLES", "10000").env("PERSIST_SOAK", "1"))
}

/// Tests the component in other hosts, each installed from its registry: wasmtime's
/// command and Python package, and jco for Node.
fn portability(package: &Package) -> Result<(), String> {
    announce("Building the components and installing other hosts");
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

    announce("Testing that every host reads what every other host wrote");
    let mut tests = package.tool("python");
    tests.args(["-m", "pytest", "tests/portability", "-p", "no:cacheprovider"]).env("PERSIST_COMPONENTS", published);
    tests.env("PERSIST_HOSTILE", hostile);
    // Built earlier, with the Rust tests.
    tests.env("PERSIST_COMMAND", package.target.join("release/persist"));
    tests.env("PERSIST_EXAMPLE_HOST", package.target.join(PROFILE).join("persist-example-host"));
    run(tests.env("PERSIST_NODE", node))
}

/// Measures the Python package.
pub(crate) fn bench(options: &[&str]) -> Result<(), String> {
    let package = Package::prepare()?;
    package.install()?;
    let built = package.target.join("portability").join("components");
    components::build(&built)?;
    announce("Measuring the Python package");
    let folder = package.target.join("tmp");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let json = folder.join("bench_package.json");
    let mut measured = package.tool("python");
    measured.arg("tests/python/bench_package.py").arg("--json").arg(json).args(options);
    run(measured.env("PERSIST_COMPONENTS", built))
}

/// The virtual environment that the wheel is installed into.
struct Package {
    target: PathBuf,
    programs: PathBuf,
}

impl Package {
    fn prepare() -> Result<Self, String> {
        let target = target_dir()?;
        announce("Setting up the Python environment");
        let programs = environment(&target.join("python"))?;
        Ok(Self { target, programs })
    }

    /// Returns a program of the environment, without cargo in its path.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(workspace()).env("PATH", plain_path(&self.programs));
        command
    }

    fn on_others(&self, wheel: &Path) -> Result<(), String> {
        pythons::test(&self.programs.join("uv"), wheel, &self.target.join("pythons"))
    }

    /// Builds the wheel in its published form and installs it.
    fn install(&self) -> Result<PathBuf, String> {
        announce("Building the wheel");
        let wheels = self.target.join("wheels");
        if wheels.exists() {
            fs::remove_dir_all(&wheels).map_err(|error| format!("{}: {error}", wheels.display()))?;
        }
        let mut maturin = Command::new(self.programs.join("maturin"));
        maturin.args(["build", "--release", "--locked", "--manifest-path", "python-host/Cargo.toml", "--out"]).arg(&wheels);
        run(as_from_a_shell(&mut maturin).current_dir(workspace()).env("CARGO_TARGET_DIR", &self.target))?;
        let wheel = only_file(&wheels)?;
        run(self.tool("pip").args(["install", "--quiet", "--disable-pip-version-check", "--no-index", "--force-reinstall"]).arg(&wheel))?;
        Ok(wheel)
    }
}

/// Returns the folder of programs of a virtual environment with the requirements. The
/// environment is recreated if the requirements change or the folder was moved, since its
/// programs contain their paths.
fn environment(folder: &Path) -> Result<PathBuf, String> {
    let requirements = workspace().join(REQUIREMENTS);
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
