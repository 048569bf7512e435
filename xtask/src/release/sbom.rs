//! A bill of materials for each file that is published.

use std::path::{Path, PathBuf};
use std::process::Command;

use persist_recipe::component::TARGET;

use super::folders::{files, subfolder};
use super::wheels::tools;
use crate::components::{CONTENTS, dist_tool};
use crate::shell::{announce, run};

/// Writes a document for each file into `sbom/`. `node` has what the npm package needs, and what it was
/// made with, in the form that the tool takes.
pub(crate) fn write(out: &Path, node: &[String]) -> Result<(), String> {
    announce("Writing bills of materials");
    let (folder, checker) = (subfolder(out, "sbom")?, tools()?.join("pyspdxtools"));
    let write = |file: &Path, parts: &[String]| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let document = folder.join(format!("{name}.spdx.json"));
        let mut arguments: Vec<PathBuf> = vec!["sbom".into(), file.into(), document.clone()];
        arguments.extend(parts.iter().map(PathBuf::from));
        dist_tool(&arguments)?;
        run(Command::new(&checker).arg("--infile").arg(&document))
    };
    let compiled = |target: &str, packages: &str| format!("cargo:{target}:{packages}");
    let sources = |packages: &str| format!("cargo:all:{packages}");
    // Sources that are published, and wheels, have the component in them.
    let component = compiled(TARGET, "persist-guest");
    for (file, packages) in CONTENTS {
        write(&out.join(file), &[compiled(TARGET, &packages.join(","))])?;
    }
    // The contract contains no code of others.
    write(&out.join("persist-snapshot.wit.wasm"), &[])?;
    for file in files(&out.join("crates"), "crate")? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let package = name.rsplit_once('-').map_or(&*name, |(package, _)| package);
        let mut parts = vec![sources(package)];
        parts.extend((package == "persist-host").then(|| component.clone()));
        write(&file, &parts)?;
    }
    for file in files(&out.join("python"), "gz")? {
        write(&file, &[sources("persist-python"), component.clone()])?;
    }
    for file in files(&out.join("python"), "whl")? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let system = if name.contains("musllinux") { "musl" } else { "gnu" };
        let processor = if name.contains("aarch64") { "aarch64" } else { "x86_64" };
        write(&file, &[compiled(&format!("{processor}-unknown-linux-{system}"), "persist-python"), component.clone()])?;
    }
    for file in files(out, "tgz")? {
        write(&file, &[&[compiled(TARGET, "persist-guest,persist-storage-fs")], node].concat())?;
    }
    Ok(())
}
