//! The package for Node: the component for hosts that know only WASI, transpiled to JavaScript.

use std::fs;
use std::path::Path;

use super::notices::NOTICES;
use crate::python_package::Package;
use crate::shell::{run, workspace};

/// What the package has besides the transpiled component.
const FILES: [&str; 7] = ["package.json", "README.md", "arguments.js", "error.js", "index.d.ts", "index.js", "worker.js"];

/// The version in the sources. It is replaced by that of the workspace.
const UNSET: &str = "\"version\": \"0.0.0\"";

/// The package that transpiles.
const JCO: &str = "@bytecodealliance/jco";

/// The package that it needs at run time.
const SHIM: &str = "@bytecodealliance/preview2-shim";

/// Writes the package, as a folder and as the file that is uploaded. `components` is the folder of
/// the components. Returns what it needs and what has made it, for its bill of materials.
pub(crate) fn package(package: &Package, components: &Path, version: &str, out: &Path) -> Result<Vec<String>, String> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let node = package.node()?;
    let mut transpile = package.tool("node");
    transpile.arg(node.join("node_modules").join(JCO).join("dist/jco.js")).arg("transpile").arg(components.join("persist-fs.wasm"));
    transpile.args(["--instantiation", "async", "--quiet", "--name", "persist-fs", "-o"]).arg(out.join("component"));
    run(&mut transpile)?;
    let (sources, root) = (workspace().join("components/npm"), workspace());
    for (folder, names) in [(&sources, &FILES[..]), (&root, &["LICENSE-APACHE", "LICENSE-MIT"])] {
        for name in names {
            fs::copy(folder.join(name), out.join(name)).map_err(failed(&folder.join(name)))?;
        }
    }
    let manifest = out.join("package.json");
    let text = fs::read_to_string(&manifest).map_err(failed(&manifest))?;
    if !text.contains(UNSET) {
        return Err(format!("components/npm/package.json does not have {UNSET}"));
    }
    fs::write(&manifest, text.replace(UNSET, &format!("\"version\": \"{version}\""))).map_err(failed(&manifest))?;
    fs::copy(components.join(NOTICES), out.join(NOTICES)).map_err(failed(out))?;
    run(package.tool("npm").args(["pack", "--silent", "--pack-destination"]).arg(components).arg(out))?;
    let installed = |name: &str| {
        let manifest = node.join("node_modules").join(name).join("package.json");
        let text = fs::read_to_string(&manifest).map_err(failed(&manifest))?;
        match (field(&text, "version"), field(&text, "license")) {
            (Some(version), Some(licence)) => Ok(format!("{name}@{version}={licence}")),
            _ => Err(format!("{} does not say its version and licence", manifest.display())),
        }
    };
    let (shim, jco) = (installed(SHIM)?, installed(JCO)?);
    match field(&text, SHIM) {
        Some(version) if shim.starts_with(&format!("{SHIM}@{version}=")) => Ok(vec![format!("npm:{shim}"), format!("tool:{jco}")]),
        _ => Err(format!("the package does not need {shim}, which the tests use")),
    }
}

/// Returns the text in a field of a manifest.
fn field<'a>(manifest: &'a str, name: &str) -> Option<&'a str> {
    manifest.split_once(&format!("\"{name}\": \""))?.1.split('"').next()
}
