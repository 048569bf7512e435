//! The package for Node: the component for hosts that know only WASI, transpiled to JavaScript.

use std::fs;
use std::path::Path;

use super::notices::NOTICES;
use crate::python_package::Package;
use crate::shell::{run, workspace};

/// What the package has besides the transpiled component.
const FILES: [&str; 5] = ["package.json", "README.md", "index.d.ts", "index.js", "worker.js"];

/// The version in the sources. It is replaced by that of the workspace.
const UNSET: &str = "\"version\": \"0.0.0\"";

/// The package that it needs at run time.
const SHIM: &str = "@bytecodealliance/preview2-shim";

/// Writes the package, as a folder and as the file that is uploaded. `components` is the folder of
/// the components. Returns what it needs, as NAME@VERSION=LICENCE.
pub(crate) fn package(package: &Package, components: &Path, version: &str, out: &Path) -> Result<Vec<String>, String> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let node = package.node()?;
    let mut transpile = package.tool("node");
    transpile.arg(node.join("node_modules/@bytecodealliance/jco/dist/jco.js")).arg("transpile").arg(components.join("persist-fs.wasm"));
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
    let shim = node.join("node_modules").join(SHIM).join("package.json");
    let installed = fs::read_to_string(&shim).map_err(failed(&shim))?;
    let (Some(required), Some(licence)) = (field(&text, SHIM), field(&installed, "license")) else {
        return Err(format!("{} and {} do not say which {SHIM} is needed, and its licence", manifest.display(), shim.display()));
    };
    Ok(vec![format!("{SHIM}@{required}={licence}")])
}

/// Returns the text in a field of a manifest.
fn field<'a>(manifest: &'a str, name: &str) -> Option<&'a str> {
    manifest.split_once(&format!("\"{name}\": \""))?.1.split('"').next()
}
