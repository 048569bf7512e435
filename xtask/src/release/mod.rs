//! `cargo xtask release --dry-run`: everything that is published, built from a copy of the
//! sources in which the component is a file, so that nothing has to build it again.

mod crates;
mod documentation;
mod folders;
mod notices;
mod npm;
mod sbom;
mod sdist;
mod staging;
mod version;
mod wheels;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use persist_recipe::component;

use crate::components;
use crate::python_package::Package;
use crate::shell::{announce, run, target_dir, workspace};
use crate::tools::WKG;
use folders::{fresh, subfolder};
use staging::Staging;
pub(crate) use staging::remove_left;

/// Builds all packages into a folder. Nothing is uploaded.
pub(crate) fn dry_run(out: &Path) -> Result<(), String> {
    let version = version::check()?;
    announce(&format!("Building the components of {version}"));
    components::dist_with(out, |out| {
        let staging = Staging::prepare(&out.join("persist.wasm"))?;
        notices::collect(&staging, out)?;
        announce("Packaging the crates, and building each from its package");
        let packages = crates::package(&staging, &subfolder(out, "crates")?)?;
        documentation::build(&packages, &version)?;
        let (package, folder) = (Package::prepare()?, subfolder(out, "python")?);
        announce("Building the Python packages");
        sdist::build(&package, &staging, &folder)?;
        wheels::build(&staging, &folder)?;
        announce("Transpiling the component for Node");
        let node = npm::package(&package, out, &version, &subfolder(out, "npm")?)?;
        sbom::write(out, &node)
    })?;
    sign(out)
}

/// Names the key that releases are signed with, as gpg knows it.
const KEY: &str = "PERSIST_SIGNING_KEY";

/// Signs the list of checksums, and so every file, if there is a key.
fn sign(out: &Path) -> Result<(), String> {
    let Some(key) = env::var_os(KEY).filter(|key| !key.is_empty()) else {
        println!("\n{} is not signed, since {KEY} names no key.", components::SUMS);
        return Ok(());
    };
    let mut gpg = Command::new("gpg");
    gpg.current_dir(out).args(["--batch", "--yes", "--armor", "--detach-sign", "--output", components::SIGNATURE, "--local-user"]);
    run(gpg.arg(key).arg(components::SUMS))
}

/// Builds all packages, and installs each in an empty environment.
pub(crate) fn test() -> Result<(), String> {
    let out = target_dir()?.join("packages");
    dry_run(&out)?;
    announce("Installing each package with nothing else, building it anew where it has to be built");
    let (package, wkg) = (Package::prepare()?, WKG.command()?);
    run(tests(&package, &out).env("PERSIST_WKG", wkg.get_program()).arg("tests/packages"))
}

/// Builds the source distribution of the Python package, and installs it and a wheel in empty
/// environments.
pub(crate) fn test_python(package: &Package, wheel: &Path) -> Result<(), String> {
    announce("Installing the Python package from its source distribution");
    let out = fresh(&target_dir()?.join("python-packages"))?;
    let folder = subfolder(&out, "python")?;
    let component = component::build(&workspace(), &target_dir()?.join("component"))?;
    let staging = Staging::prepare(&component)?;
    sdist::build(package, &staging, &folder)?;
    drop(staging);
    let name = wheel.file_name().ok_or("the wheel has no name")?;
    fs::copy(wheel, folder.join(name)).map_err(|error| format!("{}: {error}", wheel.display()))?;
    let target = target_dir()?;
    let mut tests = tests(package, &out);
    // What other packages were compiled to is used again.
    tests.env("PERSIST_KINDS", "sdist wheel").env("PERSIST_PACKAGES_TARGET", &target);
    let tested = run(tests.arg("tests/packages/test_installed.py"));
    remove_left()?;
    tested
}

/// Returns a command that runs the tests of the packages in a folder.
fn tests(package: &Package, out: &Path) -> Command {
    let mut tests = package.tool("python");
    // With cargo in the path, which installs from sources.
    tests.env("PATH", env::var_os("PATH").unwrap_or_default());
    tests.args(["-m", "pytest", "-p", "no:cacheprovider"]).env("PERSIST_DIST", out);
    tests
}
