//! Composes components into ones that need only WASI, for hosts that provide nothing
//! else.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value, json};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};
use wasm_encoder::{ComponentSection, CustomSection};
use wit_parser::{PackageMetadata, Resolve};

/// The section with the documentation of what a component exports.
const DOCS: &str = PackageMetadata::SECTION_NAME;

/// The components to compose, as they were built.
#[derive(Debug)]
pub struct Parts {
    /// Imports a storage, exports `snapshots`, `blocks`, `timelines` and `diffs`.
    pub persist: Vec<u8>,
    /// Exports the storage.
    pub storage_fs: Vec<u8>,
    /// The tools, which use `snapshots`, `timelines` and `diffs`.
    pub tools: Vec<u8>,
    /// The command, which uses the same.
    pub command: Vec<u8>,
}

/// The composed components. Each of them imports only WASI.
#[derive(Debug)]
pub struct Composed {
    /// `persist-fs.wasm`: what `persist.wasm` exports, on files.
    pub fs: Vec<u8>,
    /// `persist-tools.wasm`: the tools, on files.
    pub tools: Vec<u8>,
    /// `persist-cli.wasm`: the command, on files.
    pub cli: Vec<u8>,
}

/// A composition, to which components are added after the ones that they use.
#[derive(Default)]
struct Composition {
    graph: CompositionGraph,
    /// The interfaces that are available: their names, and where they are.
    offered: Vec<(String, NodeId)>,
}

impl Composition {
    /// Adds an instance of a component, which uses the interfaces available so far.
    /// Makes its exports available and returns their names.
    fn add(&mut self, name: &str, wasm: &[u8]) -> Result<Vec<String>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let package = Package::from_bytes(name, None, wasm.to_vec(), self.graph.types_mut()).map_err(|error| failed(&error))?;
        let package = self.graph.register_package(package).map_err(|error| failed(&error))?;
        let instance = self.graph.instantiate(package);
        let imports = self.names(package, true);
        for (interface, node) in self.offered.iter().filter(|(interface, _)| imports.contains(interface)) {
            self.graph.set_instantiation_argument(instance, interface, *node).map_err(|error| failed(&error))?;
        }
        let exports = self.names(package, false);
        for interface in &exports {
            let node = self.graph.alias_instance_export(instance, interface).map_err(|error| failed(&error))?;
            self.offered.push((interface.clone(), node));
        }
        Ok(exports)
    }

    fn names(&self, package: PackageId, is_import: bool) -> Vec<String> {
        let world = &self.graph.types()[self.graph[package].ty()];
        if is_import { &world.imports } else { &world.exports }.keys().cloned().collect()
    }

    /// Returns the composed component, which exports these interfaces.
    fn finish(mut self, exports: &[String]) -> Result<Vec<u8>, String> {
        for (interface, node) in self.offered.iter().filter(|(interface, _)| exports.contains(interface)) {
            self.graph.export(*node, interface).map_err(|error| format!("{interface}: {error}"))?;
        }
        self.graph.encode(EncodeOptions::default()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("the composition can't be encoded: {error}{cause}")
        })
    }
}

/// Returns the WIT package in a folder as one binary file, in the form that registries
/// keep.
///
/// # Errors
/// One sentence, if the folder has no package that resolves without others.
pub fn wit_package(wit: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error:#}", wit.display());
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).map_err(|error| failed(&error))?;
    wit_component::encode(&resolve, package).map_err(|error| failed(&error))
}

/// Returns the documentation of a world's own functions and types, in the form that
/// tools and runtimes read in a component: one byte for the version, then JSON in which
/// the world of the component is called `root`.
///
/// # Errors
/// One sentence, if the folder has no such world.
pub fn documentation(wit: &Path, world: &str) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", wit.display());
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).map_err(|error| failed(&format_args!("{error:#}")))?;
    let mut encoded = PackageMetadata::extract(&resolve, package).encode().map_err(|error| failed(&error))?;
    let json = encoded.split_off(1);
    let mut package: Value = serde_json::from_slice(&json).map_err(|error| failed(&error))?;
    let mut docs = package.pointer_mut(&format!("/worlds/{world}")).map_or(Value::Null, Value::take);
    let own = docs.as_object_mut().ok_or_else(|| failed(&format_args!("the world '{world}' has no documentation")))?;
    // `funcs` holds the functions that are exported and not imported. Runtimes look for
    // them under `func_exports`.
    if let Some(functions) = own.remove("funcs") {
        own.insert("func_exports".to_owned(), functions);
    }
    serde_json::to_writer(&mut encoded, &json!({"worlds": {"root": docs}})).map_err(|error| failed(&error))?;
    Ok(encoded)
}

/// Composes these components in this order, and exports what the last ones export.
fn compose(hidden: &[(&str, &[u8])], exported: &[(&str, &[u8])]) -> Result<Vec<u8>, String> {
    let mut composition = Composition::default();
    for (name, wasm) in hidden {
        composition.add(name, wasm)?;
    }
    let mut exports = Vec::new();
    for (name, wasm) in exported {
        exports.extend(composition.add(name, wasm)?);
    }
    composition.finish(&exports)
}

impl Parts {
    /// Composes the components. The component of the tools gets the documentation of
    /// the WIT package in this folder.
    ///
    /// # Errors
    /// One sentence, if they do not fit together.
    pub fn compose(&self, wit: &Path) -> Result<Composed, String> {
        let storage = ("persist:storage-fs", &self.storage_fs[..]);
        let persist = ("persist:persist", &self.persist[..]);
        let mut tools = compose(&[storage, persist], &[("persist:tools", &self.tools)])?;
        let docs = documentation(wit, "tool-provider")?;
        CustomSection { name: Cow::Borrowed(DOCS), data: Cow::Borrowed(&docs) }.append_to_component(&mut tools);
        let fs = compose(&[storage], &[persist])?;
        let cli = compose(&[storage, persist], &[("persist:command", &self.command)])?;
        Ok(Composed { fs, tools, cli })
    }
}
