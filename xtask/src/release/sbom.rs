//! A bill of materials for each file that is published.

use std::path::{Path, PathBuf};
use std::process::Command;

use persist_recipe::component::TARGET;

use super::folders::{files, subfolder};
use super::wheels::tools;
use crate::components::{CONTENTS, dist_tool};
use crate::shell::{announce, run};

/// What a native program or wheel contains: its own packages, and the component.
const NATIVE: &str = "persist-guest,persist-python";

/// Cargo's name for all targets together.
const ALL: &str = "all";

/// Writes a document for each file into `sbom/`. `node` has the packages for Node that the npm
/// package needs, as NAME@VERSION=LICENCE.
pub(crate) fn write(out: &Path, node: &[String]) -> Result<(), String> {
    announce("Writing bills of materials");
    let (folder, checker) = (subfolder(out, "sbom")?, tools()?.join("pyspdxtools"));
    let write = |file: &Path, target: &str, packages: &str, more: &[String]| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let document = folder.join(format!("{name}.spdx.json"));
        let mut arguments: Vec<PathBuf> = vec!["sbom".into(), file.into(), document.clone(), target.into(), packages.into()];
        arguments.extend(more.iter().map(PathBuf::from));
        dist_tool(&arguments)?;
        run(Command::new(&checker).arg("--infile").arg(&document))
    };
    for (file, packages) in CONTENTS {
        write(&out.join(file), TARGET, &packages.join(","), &[])?;
    }
    for file in files(&out.join("crates"), "crate")? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let package = name.rsplit_once('-').map_or(&*name, |(package, _)| package);
        // This crate has the component in it.
        let packages = if package == "persist-host" { "persist-host,persist-guest" } else { package };
        write(&file, ALL, packages, &[])?;
    }
    for file in files(&out.join("python"), "gz")? {
        write(&file, ALL, NATIVE, &[])?;
    }
    for file in files(&out.join("python"), "whl")? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let system = if name.contains("musllinux") { "musl" } else { "gnu" };
        let processor = if name.contains("aarch64") { "aarch64" } else { "x86_64" };
        write(&file, &format!("{processor}-unknown-linux-{system}"), NATIVE, &[])?;
    }
    for file in files(out, "tgz")? {
        write(&file, TARGET, "persist-guest,persist-storage-fs", node)?;
    }
    Ok(())
}
