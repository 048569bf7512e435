//! Building all components, that is, the bare one and those for hosts that only know
//! WASI, and the folder from which they are published.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use persist_recipe::component;

use crate::shell::{cargo, install_target, run, target_dir, workspace};

/// The packages that each file is built from, for the list of contents.
pub(crate) const CONTENTS: [(&str, &[&str]); 5] = [
    ("persist.wasm", &["persist-guest"]),
    ("storage-fs.wasm", &["persist-storage-fs"]),
    ("persist-fs.wasm", &["persist-guest", "persist-storage-fs"]),
    ("persist-tools.wasm", &["persist-guest", "persist-storage-fs", "persist-tools"]),
    ("persist-cli.wasm", &["persist-guest", "persist-storage-fs", "persist-command"]),
];

/// The files that are published with the components.
const COPIED: [(&str, &str); 3] =
    [("components/tools/policy.yaml", "policy.yaml"), ("LICENSE-APACHE", "LICENSE-APACHE"), ("LICENSE-MIT", "LICENSE-MIT")];

/// The list of checksums, which names every other file in the folder.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// The signature of the list, if there is a key.
pub(crate) const SIGNATURE: &str = "SHA256SUMS.asc";

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Runs `persist-dist`.
pub(crate) fn dist_tool(arguments: &[impl AsRef<OsStr>]) -> Result<(), String> {
    let mut dist = cargo();
    dist.args(["run", "--release", "--locked", "--quiet", "--package", "persist-dist", "--"]).args(arguments);
    run(&mut dist)
}

/// Builds the components into a folder.
pub(crate) fn build(out: &Path) -> Result<(), String> {
    install_target()?;
    dist_tool(&[Path::new("build"), &target_dir()?.join("component"), out])
}

/// Builds the component that misbehaves, for tests.
pub(crate) fn hostile() -> Result<PathBuf, String> {
    component::build_package(&workspace(), "hostile-guest", &target_dir()?.join("component"))
}

/// Returns the packages that a component is built from, each with version and licence.
fn contents(packages: &[&str]) -> Result<Vec<String>, String> {
    let mut tree = cargo();
    tree.args([
        "tree",
        "--locked",
        "--quiet",
        "--target",
        component::TARGET,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ]);
    for package in packages {
        tree.args(["--package", package]);
    }
    let output = tree.output().map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let described = text.lines().filter_map(|line| {
        let (package, licence) = line.split_once('|')?;
        // Omits the folder of a workspace package.
        let name: Vec<&str> = package.split(' ').take(2).collect();
        Some(format!("{}: {}", name.join(" "), licence.trim_end_matches(" (*)")))
    });
    let mut described: Vec<String> = described.collect();
    described.sort();
    described.dedup();
    Ok(described)
}

/// Returns the files in a folder and its subfolders, by the names in its list of
/// checksums.
fn files(folder: &Path) -> Result<Vec<String>, String> {
    let (mut files, mut left) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).map_err(|error| failed(&next, &error))? {
            let entry = entry.map_err(|error| failed(&next, &error))?;
            // A link is not followed: removing the folder removes the link itself.
            if entry.file_type().map_err(|error| failed(&next, &error))?.is_dir() {
                left.push(entry.path());
            } else if let Ok(path) = entry.path().strip_prefix(folder) {
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(files)
}

/// Checks that a folder contains only files that an earlier run wrote.
fn check_earlier(out: &Path) -> Result<(), String> {
    let sums = fs::read_to_string(out.join(SUMS)).unwrap_or_default();
    let listed: Vec<&str> = sums.lines().filter_map(|line| Some(line.split_once("  ")?.1)).collect();
    let files = files(out)?;
    match files.iter().find(|file| ![SUMS, SIGNATURE].contains(&file.as_str()) && !listed.contains(&file.as_str())) {
        Some(foreign) => {
            Err(format!("{}: {foreign} was not written by 'cargo xtask dist': move it away, or use another folder", out.display()))
        }
        None => Ok(()),
    }
}

/// Writes the folder that is published. It is built next to the old one, which it then
/// replaces.
pub(crate) fn dist(out: &Path) -> Result<(), String> {
    dist_with(out, |_| Ok(()))
}

/// Like [`dist`], and `more` adds to the folder before its checksums are written.
pub(crate) fn dist_with(out: &Path, more: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    // The commands that write into it run in another folder.
    let out = &std::path::absolute(out).map_err(|error| failed(out, &error))?;
    let name = out.file_name().ok_or_else(|| format!("{}: this is not a folder name", out.display()))?;
    let unfinished = &out.with_file_name(format!(".{}.persist-dist", name.to_string_lossy()));
    let is_there = out.exists();
    if is_there {
        check_earlier(out)?;
    }
    if unfinished.exists() {
        fs::remove_dir_all(unfinished).map_err(|error| failed(unfinished, &error))?;
    }
    write(unfinished, more)?;
    if is_there {
        fs::remove_dir_all(out).map_err(|error| failed(out, &error))?;
    }
    fs::rename(unfinished, out).map_err(|error| failed(out, &error))
}

fn write(out: &Path, more: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    build(out)?;
    let copy = |from: &Path, to: &Path| fs::copy(from, to).map(drop).map_err(|error| failed(from, &error));
    for (from, to) in COPIED {
        copy(&workspace().join(from), &out.join(to))?;
    }
    let (from, to) = (workspace().join("wit"), out.join("wit"));
    for file in files(&from)? {
        let path = to.join(&file);
        let folder = path.parent().unwrap_or(&to);
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        copy(&from.join(file), &path)?;
    }
    let mut text = String::from("The contents of the components: packages, versions, licences.\n");
    for (file, packages) in CONTENTS {
        text.push_str(&format!("\n{file}\n"));
        text.push_str("  Rust's standard library and its libc for WASI: MIT OR Apache-2.0, Apache-2.0 WITH LLVM-exception, MIT\n");
        for line in contents(packages)? {
            text.push_str(&format!("  {line}\n"));
        }
    }
    let list = out.join("CONTENTS.txt");
    fs::write(&list, text).map_err(|error| failed(&list, &error))?;
    more(out)?;
    dist_tool(&[Path::new("checksums"), out])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_an_earlier_run_are_replaced() {
        let folder = std::env::temp_dir().join(format!("persist-dist-{}", std::process::id()));
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&folder)).and_then(|()| fs::write(path, text)).map_err(|error| error.to_string())
        };
        let checked = file("wit/world.wit", "")
            .and_then(|()| file(SUMS, "0123  wit/world.wit\n"))
            .map(|()| check_earlier(&folder))
            // A foreign file, with and without files of our own.
            .and_then(|first| file("wit/other.wit", "").map(|()| (first, check_earlier(&folder))))
            .and_then(|(first, second)| file(SUMS, "").map(|()| (first, second, check_earlier(&folder))));
        let removed = fs::remove_dir_all(&folder);
        assert!(matches!(&checked, Ok((Ok(()), Err(foreign), Err(_))) if foreign.contains("wit/other.wit")), "{checked:?}");
        assert!(removed.is_ok());
    }
}
