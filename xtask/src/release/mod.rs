//! `cargo xtask release --dry-run`: everything that is published, built from a copy of the
//! sources in which the component is a file, so that nothing has to build it again.

mod crates;
mod npm;
mod staging;
mod version;

use std::fs;
use std::path::{Path, PathBuf};

use persist_recipe::component;

use crate::components;
use crate::python_package::Package;
use crate::shell::{announce, run, target_dir, workspace};
use staging::Staging;

/// Builds all packages into a folder. Nothing is uploaded.
pub(crate) fn dry_run(out: &Path) -> Result<(), String> {
    let version = version::check()?;
    announce(&format!("Building the components of {version}"));
    components::dist_with(out, |out| {
        let staging = Staging::prepare(&out.join("persist.wasm"))?;
        announce("Packaging the crates, and building each from its package");
        crates::package(&staging, &subfolder(out, "crates")?)?;
        let (package, folder) = (Package::prepare()?, subfolder(out, "python")?);
        announce("Building the Python packages");
        package.maturin(&staging.root, &["sdist"], &folder)?;
        package.maturin(&staging.root, &["build", "--release", "--locked"], &folder)?;
        announce("Transpiling the component for Node");
        npm::package(&package, out, &version, &subfolder(out, "npm")?)
    })
}

/// Builds all packages, and installs each in an empty environment.
pub(crate) fn test() -> Result<(), String> {
    let out = target_dir()?.join("packages");
    dry_run(&out)?;
    announce("Installing each package with nothing else, building it anew where it has to be built");
    try_out(&Package::prepare()?, &out, |tests| tests)
}

/// Builds the source distribution of the Python package, and installs it and a wheel in empty
/// environments.
pub(crate) fn test_python(package: &Package, wheel: &Path) -> Result<(), String> {
    announce("Installing the Python package from its source distribution");
    let out = target_dir()?.join("python-packages");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    }
    let folder = subfolder(&out, "python")?;
    let component = component::build(&workspace(), &target_dir()?.join("component"))?;
    package.maturin(&Staging::prepare(&component)?.root, &["sdist"], &folder)?;
    let name = wheel.file_name().ok_or("the wheel has no name")?;
    fs::copy(wheel, folder.join(name)).map_err(|error| format!("{}: {error}", wheel.display()))?;
    let target = target_dir()?;
    // What other packages were compiled to is used again.
    try_out(package, &out, |tests| tests.args(["-k", "not crate and not component and not npm"]).env("PERSIST_PACKAGES_TARGET", &target))
}

fn try_out(
    package: &Package,
    out: &Path,
    more: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command,
) -> Result<(), String> {
    let mut tests = package.tool("python");
    // With cargo in the path, which installs from sources.
    tests.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    tests.args(["-m", "pytest", "tests/packages", "-p", "no:cacheprovider"]).env("PERSIST_DIST", out);
    run(more(&mut tests))
}

fn subfolder(out: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = out.join(name);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
