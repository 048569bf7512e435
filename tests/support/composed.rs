//! The components as they are published, built for one run.

use std::fs;
use std::path::Path;

use persist_compose::{Composed, Parts};

#[path = "../../xtask/src/component.rs"]
mod component;

/// The components, and what is composed of them. `target` is where they are built.
pub(crate) fn build(target: &Path) -> (Parts, Composed) {
    let is_workspace = |folder: &&Path| folder.join("wit").is_dir();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(is_workspace).expect("the workspace");
    let read = |built: Result<std::path::PathBuf, String>| fs::read(built.expect("it builds")).expect("it is there");
    let library = |package: &str| read(component::build_package(workspace, package, target));
    let parts = Parts {
        persist: read(component::build(workspace, target)),
        storage_fs: library("persist-storage-fs"),
        tools: library("persist-tools"),
        command: read(component::build_command(workspace, "persist-command", target, &"0".repeat(64))),
    };
    let composed = parts.compose(&workspace.join("wit")).expect("they fit together");
    (parts, composed)
}
