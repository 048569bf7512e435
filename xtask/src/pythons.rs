//! Testing the Python package on every other Python that is installed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::shell::{announce, run, workspace};

/// The minor versions of Python 3 that the package supports.
const MINORS: std::ops::RangeInclusive<u32> = 10..=14;

/// The requirements that the tests import.
const NEEDED: [&str; 11] = ["attrs", "boto3", "fsspec", "hypothesis", "moto", "numpy", "pandas", "pyarrow", "pydantic", "pytest", "tqdm"];

/// How many Pythons are tested at the same time.
const AT_ONCE: usize = 4;

/// Tests that do not depend on the Python version: types, and frameworks and readers that
/// have their own environments.
const ONCE: [&str; 6] =
    ["test_frameworks.py", "test_langgraph_saver.py", "test_sessions.py", "test_story.py", "test_typing.py", "test_zstd_readers.py"];

/// Runs the package's tests on the other Pythons, several at a time since they mostly wait.
/// `uv` installs the wheel into environments below `folder`.
pub(crate) fn test(uv: &Path, wheel: &Path, folder: &Path) -> Result<(), String> {
    let main = version_of(Path::new("python3"));
    let mut others = found();
    others.retain(|minor, _| Some(*minor) != main);
    let named = |minor: &u32| format!("3.{minor}");
    let names: Vec<String> = others.keys().map(named).collect();
    announce(&format!("Testing other Pythons: {}", if names.is_empty() { "none found".to_owned() } else { names.join(", ") }));

    let requirements = requirements(folder)?;
    let others: Vec<(u32, PathBuf)> = others.into_iter().collect();
    let mut failed = Vec::new();
    for some in others.chunks(AT_ONCE) {
        let done: Vec<(u32, Result<String, String>)> = thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|(minor, python)| (*minor, scope.spawn(|| on(python, &folder.join(named(minor)), uv, &requirements, wheel))))
                .collect();
            let joined = |(minor, thread): (u32, thread::ScopedJoinHandle<'_, Result<String, String>>)| {
                (minor, thread.join().unwrap_or_else(|_| Err("its thread panicked".to_owned())))
            };
            running.into_iter().map(joined).collect()
        });
        for (minor, outcome) in done {
            println!("Python 3.{minor}");
            match outcome {
                Ok(output) => println!("{output}"),
                Err(output) => {
                    println!("{output}");
                    failed.push(named(&minor));
                }
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("the package's tests failed on Python {}", failed.join(", "))) }
}

/// Finds one Python for each version: in `PERSIST_PYTHONS`, a list of programs separated
/// like a search path; in the search path; and in pyenv.
fn found() -> BTreeMap<u32, PathBuf> {
    let mut candidates: Vec<PathBuf> = env::split_paths(&env::var_os("PERSIST_PYTHONS").unwrap_or_default()).collect();
    candidates.extend(MINORS.map(|minor| PathBuf::from(format!("python3.{minor}"))));
    let pyenv = env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".pyenv")));
    if let Some(versions) = pyenv.and_then(|folder| fs::read_dir(folder.join("versions")).ok()) {
        candidates.extend(versions.flatten().map(|version| version.path().join("bin").join("python3")));
    }
    let mut found = BTreeMap::new();
    for candidate in candidates {
        if let Some(minor) = version_of(&candidate).filter(|minor| MINORS.contains(minor)) {
            found.entry(minor).or_insert(candidate);
        }
    }
    found
}

/// Returns the minor version of a Python 3, or `None` if it does not run.
fn version_of(python: &Path) -> Option<u32> {
    let output = Command::new(python).args(["-c", "import sys, venv; print(*sys.version_info[:2])"]).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.strip_prefix("3 ")?.trim().parse().ok()
}

/// Writes a file with the requirements that the tests need.
fn requirements(folder: &Path) -> Result<PathBuf, String> {
    let all = workspace().join("tests/python/requirements.txt");
    let text = fs::read_to_string(&all).map_err(|error| format!("{}: {error}", all.display()))?;
    let name = |line: &str| line.split(['=', '[']).next().unwrap_or_default().to_owned();
    let needed: Vec<&str> = text.lines().filter(|line| NEEDED.contains(&name(line).as_str())).collect();
    let file = folder.join("requirements.txt");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, needed.join("\n")))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// Runs the tests on one Python, and returns the last line of their output.
fn on(python: &Path, environment: &Path, uv: &Path, requirements: &Path, wheel: &Path) -> Result<String, String> {
    let here = environment.join("bin").join("python");
    let uv = || {
        let mut command = Command::new(uv);
        command.args(["--quiet", "--no-python-downloads"]);
        command
    };
    run(uv().args(["venv", "--clear", "--python"]).arg(python).arg(environment))?;
    run(uv().args(["pip", "install", "--python"]).arg(&here).arg("--requirements").arg(requirements).arg(wheel))?;
    let mut tests = Command::new(&here);
    tests.current_dir(workspace()).args(["-m", "pytest", "tests/python", "-p", "no:cacheprovider", "-q"]);
    tests.args(ONCE.map(|file| format!("--ignore=tests/python/{file}")));
    let output = tests.env("PERSIST_TEST_EXAMPLES", "200").output().map_err(|error| format!("{}: {error}", here.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.success() {
        Ok(text.lines().next_back().unwrap_or_default().to_owned())
    } else {
        Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}
