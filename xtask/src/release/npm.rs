//! The package for Node: the component for hosts that know only WASI, transpiled to JavaScript.

use std::fs;
use std::path::Path;

use crate::python_package::Package;
use crate::shell::{run, workspace};

/// What the package has besides the transpiled component.
const FILES: [&str; 5] = ["package.json", "README.md", "index.d.ts", "index.js", "worker.js"];

/// The version in the sources. It is replaced by that of the workspace.
const UNSET: &str = "\"version\": \"0.0.0\"";

/// Writes the package. `components` is the folder of the components.
pub(crate) fn package(package: &Package, components: &Path, version: &str, out: &Path) -> Result<(), String> {
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
    fs::write(&manifest, text.replace(UNSET, &format!("\"version\": \"{version}\""))).map_err(failed(&manifest))
}
