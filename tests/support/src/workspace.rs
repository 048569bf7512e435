//! Where the sources are.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Returns the root of the workspace. Cargo names a package of it to each test that it
/// runs. The value from the build may belong to another clone, if clones share a target
/// folder; it is for tests that run in an empty environment.
pub fn workspace() -> &'static Path {
    static WORKSPACE: LazyLock<PathBuf> = LazyLock::new(|| {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        package.ancestors().find(|folder| folder.join("xtask").is_dir()).expect("the workspace").to_owned()
    });
    &WORKSPACE
}
