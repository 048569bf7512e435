//! Components that tests build, in the folders in which the host's own build does.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

#[path = "../../xtask/src/component.rs"]
pub(crate) mod component;

/// The workspace that this is a test of.
pub(crate) fn workspace() -> &'static Path {
    let is_workspace = |folder: &&Path| folder.join("wit").is_dir();
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(is_workspace).expect("the workspace")
}

/// Where it is built.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder")
}

/// Where components are built.
pub(crate) fn components() -> PathBuf {
    target().join("component")
}

/// A library of the workspace, as a component.
pub(crate) fn library(package: &str) -> PathBuf {
    component::build_package(workspace(), package, &components()).expect("it builds")
}
