//! `cargo xtask features`: compiles the published crates with each of their features alone.
//!
//! Also tests that the command, the wheel and the tests use the same features of each package.
//! Otherwise, wasmtime and the AWS SDK would be compiled several times.

use crate::shell::{announce, cargo, run};

/// The crates with features, and the sets that are compiled.
const SETS: [(&str, &[&str]); 2] = [
    ("persist-host", &["", "compiler", "precompiled", "s3", "tokio", "few-addresses", "x86-64-v3", "compiler,precompiled,s3,tokio"]),
    ("persist-cli", &["", "native", "native,precompiled", "native,s3", "native,few-addresses,x86-64-v3"]),
];

/// Compiles each set by itself, so that no other package adds a feature to a dependency.
pub(crate) fn check() -> Result<(), String> {
    for (package, sets) in SETS {
        for set in sets {
            announce(&format!("{package} with {}", if set.is_empty() { "no feature" } else { set }));
            let mut clippy = cargo();
            clippy.args(["clippy", "--release", "--locked", "--quiet", "--package", package, "--no-default-features", "--features", set]);
            // As for the documentation, the component is not compiled.
            run(clippy.args(["--", "--deny", "warnings"]).env("DOCS_RS", "1"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use persist_recipe::component::printed;

    use super::SETS;
    use crate::demo::SELECTION;
    use crate::shell::{WITH_COMPILER, WITHOUT_COMPILER, cargo, workspace};

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
            let is_own =
                |package: &&&String| ["persist-cli ", "persist-host ", "workspace-hack "].iter().any(|own| package.starts_with(own));
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

    #[test]
    fn every_feature_is_compiled() -> Result<(), String> {
        for (package, sets) in SETS {
            let manifest = workspace().join(package.trim_start_matches("persist-")).join("Cargo.toml");
            let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
            let (_, features) = text.split_once("[features]\n").ok_or("no features")?;
            let names = features.lines().take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once(" = ["));
            let names: Vec<&str> = names.map(|(name, _)| name).filter(|name| *name != "default").collect();
            assert!(names.len() > 3, "{package}: {names:?}");
            let missing: Vec<_> = names.iter().filter(|name| !sets.iter().any(|set| set.split(',').any(|one| one == **name))).collect();
            assert!(missing.is_empty(), "{package}: no set has {missing:?}");
        }
        Ok(())
    }
}
