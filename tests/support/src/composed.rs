//! The components in their published form, built for one run.

use std::fs;

use persist_compose::{Composed, Parts};
use persist_recipe::component;

use crate::built;
use crate::workspace::workspace;

/// Builds the components, and the compositions of them.
pub fn build() -> (Parts, Composed) {
    let (workspace, target) = (workspace(), built::components());
    let read = |built: Result<std::path::PathBuf, String>| fs::read(built.expect("it builds")).expect("it is there");
    let library = |package: &str| read(component::build_package(workspace, package, &target));
    let parts = Parts {
        persist: read(component::build(workspace, &target)),
        storage_fs: library("persist-storage-fs"),
        tools: library("persist-tools"),
        command: read(component::build_command(workspace, "persist-command", &target, &"0".repeat(64))),
    };
    let composed = parts.compose(&workspace.join("wit")).expect("they fit together");
    (parts, composed)
}
