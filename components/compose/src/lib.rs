//! Joins the components to such as need WASI and nothing else: what a host that
//! knows WASI alone can run.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value, json};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};
use wasm_encoder::{ComponentSection, CustomSection};
use wit_parser::{PackageMetadata, Resolve};

/// The section that holds the documentation of what a component exports.
const DOCS: &str = PackageMetadata::SECTION_NAME;

/// The components that are joined, as they were built.
#[derive(Debug)]
pub struct Parts {
    /// Imports a storage, exports `snapshots` and `blocks`.
    pub persist: Vec<u8>,
    /// Exports the storage.
    pub storage_fs: Vec<u8>,
    /// The tools, over `snapshots`.
    pub tools: Vec<u8>,
    /// The command, over `snapshots`.
    pub command: Vec<u8>,
}

/// What comes of them; each imports WASI alone.
#[derive(Debug)]
pub struct Composed {
    /// `persist-fs.wasm`: `snapshots` and `blocks`, on files.
    pub fs: Vec<u8>,
    /// `persist-tools.wasm`: the tools, on files.
    pub tools: Vec<u8>,
    /// `persist-cli.wasm`: the command, on files.
    pub cli: Vec<u8>,
}

/// A composition that grows from what needs nothing to what needs much.
#[derive(Default)]
struct Composition {
    graph: CompositionGraph,
    /// What there is to be used: the name of an interface, and where it is.
    offered: Vec<(String, NodeId)>,
}

impl Composition {
    /// Adds an instance of a component that uses what is offered so far; offers
    /// what it exports, and names that.
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

    /// The whole, which exports these.
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

/// The WIT package in a folder as one binary file, as registries keep it.
///
/// # Errors
/// One sentence, if the folder holds no package that resolves by itself.
pub fn wit_package(wit: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error:#}", wit.display());
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).map_err(|error| failed(&error))?;
    wit_component::encode(&resolve, package).map_err(|error| failed(&error))
}

/// The documentation of a world's own functions and types, as tools and runtimes
/// read it in a component: one byte for the version, then JSON, which calls the
/// world of a component `root`.
///
/// # Errors
/// One sentence, if the folder holds no such world.
pub fn documentation(wit: &Path, world: &str) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", wit.display());
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).map_err(|error| failed(&format_args!("{error:#}")))?;
    let mut encoded = PackageMetadata::extract(&resolve, package).encode().map_err(|error| failed(&error))?;
    let json = encoded.split_off(1);
    let mut package: Value = serde_json::from_slice(&json).map_err(|error| failed(&error))?;
    let mut docs = package.pointer_mut(&format!("/worlds/{world}")).map_or(Value::Null, Value::take);
    let own = docs.as_object_mut().ok_or_else(|| failed(&format_args!("there is no documentation of the world '{world}'")))?;
    // Where functions are that are not imported too. Runtimes look for them under
    // the name that says what they are.
    if let Some(functions) = own.remove("funcs") {
        own.insert("func_exports".to_owned(), functions);
    }
    serde_json::to_writer(&mut encoded, &json!({"worlds": {"root": docs}})).map_err(|error| failed(&error))?;
    Ok(encoded)
}

/// A composition of these, in this order, that exports what the last ones export.
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
    /// Joins them. What the tools do is written down in their component, as the
    /// WIT package in this folder says it.
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
