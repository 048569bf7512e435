//! All components: the bare one, and those for hosts that know WASI alone.

use std::fs;
use std::path::Path;

use crate::component;
use crate::shell::{cargo, install_target, run, target_dir};
use crate::workspace;

/// Builds them into a folder.
pub(crate) fn build(out: &Path) -> Result<(), String> {
    install_target()?;
    let mut compose = cargo();
    compose.args(["run", "--release", "--locked", "--quiet", "--package", "persist-compose", "--"]);
    run(compose.arg(target_dir()?.join("component")).arg(out))
}

/// Builds them, and one that misbehaves, for tests.
pub(crate) fn build_for_tests(out: &Path) -> Result<(), String> {
    build(out)?;
    let hostile = component::build_package(&workspace(), "hostile-guest", &target_dir()?.join("tmp").join("hostile"))?;
    let copy = out.join("hostile.wasm");
    fs::copy(&hostile, &copy).map(drop).map_err(|error| format!("{}: {error}", copy.display()))
}
