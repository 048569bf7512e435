//! The Python package: built as a wheel, installed as a user would install it, and
//! tested.

use std::fs;
use std::process::Command;
use std::thread;

use persist_recipe::component::printed;
use persist_recipe::precompile::PROFILE;

use crate::python_package::Package;
use crate::shell::{announce, run};
use crate::{components, release};

/// The Python sources to check.
const SOURCES: [&str; 8] = [
    "examples/python",
    "python-host/python",
    "tests/python",
    "tests/frameworks",
    "tests/packages",
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
    })?;
    release::test_python(&package, &wheel)
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
    const RANDOM: [&str; 6] = [
        "test_arrays.py",
        "test_autosave_signals.py",
        "test_crafted_values.py",
        "test_random_models.py",
        "test_sessions.py",
        "test_values.py",
    ];
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
    let published = folder.join("dist");
    components::dist(&published)?;
    let hostile = components::hostile()?;
    let node = package.node()?;

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
    let toolchain = printed(Command::new("rustc").args(["--print", "sysroot"]))?;
    let mut measured = package.tool("python");
    measured.arg("tests/python/bench_package.py").arg("--json").arg(json).args(options);
    run(measured.env("PERSIST_COMPONENTS", built).env("PERSIST_TOOLCHAIN", toolchain.trim()))
}
