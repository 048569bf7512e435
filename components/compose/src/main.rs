//! Builds all components into a folder: the bare ones, and those for hosts that
//! know WASI alone.

#[path = "../../../xtask/src/component.rs"]
mod component;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use persist_compose::Parts;

fn run() -> Result<(), String> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [target, out] = &arguments[..] else { return Err("usage: persist-compose BUILD-FOLDER OUTPUT-FOLDER".to_owned()) };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("the package is not in a workspace")?;
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let library = |package: &str| component::build_package(workspace, package, target).and_then(|built| read(&built));
    let parts = Parts {
        persist: component::build(workspace, target).and_then(|built| read(&built))?,
        storage_fs: library("persist-storage-fs")?,
        tools: library("persist-tools")?,
        command: component::build_command(workspace, "persist-command", target).and_then(|built| read(&built))?,
    };
    let composed = parts.compose(&workspace.join("wit"))?;
    fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    for (name, wasm) in [
        ("persist.wasm", &parts.persist),
        ("storage-fs.wasm", &parts.storage_fs),
        ("persist-fs.wasm", &composed.fs),
        ("persist-tools.wasm", &composed.tools),
        ("persist-cli.wasm", &composed.cli),
    ] {
        let path = out.join(name);
        fs::write(&path, wasm).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{} {} bytes", path.display(), wasm.len());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
