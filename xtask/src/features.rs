//! Tests that the command, the wheel and the tests use the same features of each package.
//! Otherwise, wasmtime and the AWS SDK would be compiled several times.

use std::collections::BTreeSet;

use persist_recipe::component::printed;

use crate::demo::SELECTION;
use crate::shell::{WITH_COMPILER, WITHOUT_COMPILER, cargo};

/// Returns the packages of a build for the most common machine, each with its features. A
/// package that macros or build scripts also use may occur twice.
fn packages(selection: &[&str], edges: &str) -> Result<BTreeSet<String>, String> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--quiet", "--prefix", "none", "--target", "x86_64-unknown-linux-gnu"]);
    tree.args(["--format", "{p} [{f}]", "--edges", edges]).args(selection);
    Ok(printed(&mut tree)?.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
}

#[test]
fn every_package_is_compiled_once() -> Result<(), String> {
    let of_tests = packages(&WITHOUT_COMPILER, "normal,build,dev")?;
    for (what, selection) in [("the demo", &SELECTION[..]), ("the wheel", &["--package", "persist-python"])] {
        let built = packages(selection, "normal,build")?;
        assert!(built.len() > 100, "{what}: {} packages", built.len());
        // These differ on purpose, since the demo has no S3.
        let is_own = |package: &&&String| ["persist-cli ", "persist-host ", "workspace-hack "].iter().any(|own| package.starts_with(own));
        let missing: Vec<&String> = built.difference(&of_tests).collect();
        let missing: Vec<_> = missing.iter().filter(|package| !is_own(package)).collect();
        assert!(
            missing.is_empty(),
            "{what} builds packages with fewer features than the tests: add the features to workspace-hack/Cargo.toml: {missing:?}"
        );
    }
    Ok(())
}

#[test]
fn the_compiler_is_compiled_once() -> Result<(), String> {
    let of_tests = packages(&WITH_COMPILER, "normal,build,dev")?;
    let alone = packages(&["--package", "persist-precompile", "--package", "workspace-hack"], "normal,build")?;
    assert!(alone.len() > 100, "{} packages", alone.len());
    // Running components needs more features of wasmtime than compiling them.
    let is_own = |package: &str| {
        ["wasmtime ", "wasmtime-internal-component-macro ", "wasmtime-internal-wit-bindgen "].iter().any(|own| package.starts_with(own))
    };
    let missing: Vec<&String> = alone.difference(&of_tests).filter(|package| !is_own(package)).collect();
    assert!(missing.is_empty(), "persist-precompile builds packages with fewer features than its tests and the example: {missing:?}");
    Ok(())
}
