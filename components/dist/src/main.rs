//! Builds all components into a folder: `persist.wasm`, those for hosts that provide
//! only WASI, and the WIT package in binary form. Also writes bills of materials, and the
//! checksums of the files in a folder.

mod description;
mod sbom;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use description::describe;
use persist_compose::{Parts, wit_package};
use persist_recipe::component;
use sbom::Materials;
use sha2::{Digest, Sha256};

const USAGE: &str = "usage: persist-dist build BUILD-FOLDER OUTPUT-FOLDER
       persist-dist sbom FILE OUTPUT [cargo:TARGET:PACKAGE[,PACKAGE]|npm:NAME@VERSION=LICENCE|tool:NAME@VERSION=LICENCE]...
       persist-dist checksums FOLDER";

const CHECKSUMS: &str = "SHA256SUMS";

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the workspace. It is found at run time, not at build time, since clones may share a
/// target folder.
fn workspace() -> Result<PathBuf, String> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set: start this program with cargo run")?;
    Ok(Path::new(&package).ancestors().nth(2).ok_or("the package is not in a workspace")?.to_owned())
}

fn build(target: &Path, out: &Path) -> Result<(), String> {
    let workspace = &workspace()?;
    let library = |package: &str| component::build_package(workspace, package, target).and_then(|built| read(&built));
    let persist = component::build(workspace, target).and_then(|built| read(&built))?;
    let command = component::build_command(workspace, "persist-command", target, &sha256(&persist))?;
    let parts = Parts { persist, storage_fs: library("persist-storage-fs")?, tools: library("persist-tools")?, command: read(&command)? };
    let wit = workspace.join("wit");
    let (composed, package) = (parts.compose(&wit)?, wit_package(&wit)?);
    fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let save = |name: &str, wasm: &[u8]| {
        let path = out.join(name);
        println!("{} {} bytes", path.display(), wasm.len());
        write(&path, wasm)
    };
    // Hosts embed this one, and name it by its hash: it is published byte for byte, with the
    // description that it was built with.
    save("persist.wasm", &parts.persist)?;
    for (name, wasm, what) in [
        ("storage-fs.wasm", &parts.storage_fs, "The storage of Persist on files"),
        ("persist-fs.wasm", &composed.fs, "Snapshots and timelines of the states of agents, on files"),
        ("persist-tools.wasm", &composed.tools, "Tools that agents save and restore their states with, on files"),
        ("persist-cli.wasm", &composed.cli, "The persist command, on files"),
        ("persist-snapshot.wit.wasm", &package, "The interfaces of Persist"),
    ] {
        save(name, &describe(wasm, what)?)?;
    }
    Ok(())
}

/// Returns all files below a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the checksums of all files in the form that `sha256sum --check` reads.
fn checksums(folder: &Path) -> Result<(), String> {
    let mut lines = String::new();
    for path in files(folder)? {
        let name = path.strip_prefix(folder).unwrap_or(&path);
        if name != Path::new(CHECKSUMS) {
            writeln!(lines, "{}  {}", sha256(&read(&path)?), name.display()).map_err(|error| error.to_string())?;
        }
    }
    write(&folder.join(CHECKSUMS), lines.as_bytes())
}

/// Writes what a file was built from.
fn sbom(file: &Path, out: &Path, parts: &[&str]) -> Result<(), String> {
    let mut materials = Materials::default();
    for part in parts {
        materials.add(&workspace()?, part)?;
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let document = materials.document(&name, &sha256(&read(file)?))?;
    write(out, format!("{document:#}\n").as_bytes())
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build", target, out] => build(Path::new(target), Path::new(out)),
        ["sbom", file, out, ref parts @ ..] => sbom(Path::new(file), Path::new(out), parts),
        ["checksums", folder] => checksums(Path::new(folder)),
        _ => Err(USAGE.to_owned()),
    }
}

fn main() -> ExitCode {
    persist_recipe::exit_code(run())
}
