//! The target folder, and components that tests build in the same
//! folders as the host's build script.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use persist_recipe::component;

use crate::workspace::workspace;

/// Returns the folder of the programs that were built with this test: `target/release`.
pub fn programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("a test is a program");
        test.ancestors().nth(2).expect("it is in target/PROFILE/deps").to_owned()
    });
    &PROGRAMS
}

/// Returns the target folder.
pub fn target() -> &'static Path {
    programs().parent().expect("the target folder")
}

/// Returns a folder that tests may write to and that persists between runs.
pub fn tmp() -> &'static Path {
    static TMP: LazyLock<PathBuf> = LazyLock::new(|| {
        let tmp = target().join("tmp");
        std::fs::create_dir_all(&tmp).expect("a folder");
        tmp
    });
    &TMP
}

/// Returns the folder in which components are built.
pub fn components() -> PathBuf {
    target().join("component")
}

/// Builds a library of the workspace as a component, and returns its path.
pub fn library(package: &str) -> PathBuf {
    component::build_package(workspace(), package, &components()).expect("it builds")
}
