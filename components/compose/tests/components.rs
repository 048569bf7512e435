//! Tests of what the components import, of what a runtime shows of the tools, and of
//! what the contract says in two places.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use persist_compose::{Composed, Parts};
use persist_model::ErrorCode;
use persist_test_support::composed;
use persist_test_support::workspace::workspace;
use serde_json::{Map, Value, json};
use wit_component::DecodedWasm;
use wit_parser::{Function, PackageId, Resolve, Type, TypeDef, TypeDefKind, WorldId, WorldItem, WorldKey};

static BUILT: LazyLock<(Parts, Composed)> = LazyLock::new(composed::build);

fn wit() -> PathBuf {
    workspace().join("wit")
}

/// Parses the contract.
fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit()).expect("it resolves");
    (resolve, package)
}

fn decode(wasm: &[u8]) -> (Resolve, WorldId) {
    match wit_component::decode(wasm).expect("a component") {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => panic!("not a component"),
    }
}

/// An interface or function of a world, with its version, if it has one.
type Name = (String, Option<String>);

/// Returns the names of what a world imports or exports.
fn names(resolve: &Resolve, world: WorldId, is_import: bool) -> BTreeSet<Name> {
    let world = &resolve.worlds[world];
    let items = if is_import { &world.imports } else { &world.exports };
    let name = |key: &WorldKey| match resolve.name_world_key(key).split_once('@') {
        Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
        None => (resolve.name_world_key(key), None),
    };
    // The world's own types are among its imports, but ask for nothing.
    items.iter().filter(|(_, item)| !matches!(item, WorldItem::Type { .. })).map(|(key, _)| name(key)).collect()
}

/// Returns what a component imports or exports.
fn interfaces(wasm: &[u8], is_import: bool) -> BTreeSet<Name> {
    let (resolve, world) = decode(wasm);
    names(&resolve, world, is_import)
}

/// Returns the imports of `persist.wasm` according to the contract.
fn imports_of_persist() -> BTreeSet<Name> {
    let (resolve, package) = contract();
    let world = resolve.select_world(&[package], Some("persist")).expect("the world");
    names(&resolve, world, true)
}

const STORAGE: &str = "persist:snapshot/storage";

/// What the component exports.
const PERSIST: [&str; 4] =
    ["persist:snapshot/blocks", "persist:snapshot/diffs", "persist:snapshot/snapshots", "persist:snapshot/timelines"];

/// The tools, in the order of their names.
const TOOLS: [&str; 10] = ["append", "delete", "diff", "get-metadata", "history", "list", "load", "restore", "snapshot", "verify"];

/// Only types. An exported interface can use them only if they are also imported or
/// exported; this asks for nothing.
const TYPES: &str = "persist:snapshot/types";

/// What the storage also needs for its files.
const FILES: [&str; 2] = ["wasi:filesystem/preopens", "wasi:filesystem/types"];

/// The newest WASI 0.2 from which the composed components import something. Hosts link
/// any 0.2 by name, but may lack functions of a newer one.
const NEWEST: u32 = 12;

/// The contract lists what Rust's standard library links too, so a host that follows it
/// knows everything that it has to provide.
#[test]
fn the_bare_component_imports_what_its_world_says() {
    let imports = interfaces(&BUILT.0.persist, true);
    for (import, version) in &imports {
        println!("{import}@{}", version.as_deref().unwrap_or_default());
    }
    assert_eq!(imports, imports_of_persist());
    let exports: Vec<String> = interfaces(&BUILT.0.persist, false).into_iter().map(|(name, _)| name).collect();
    assert_eq!(exports, PERSIST);
}

#[test]
fn each_component_imports_what_it_may_and_no_more() {
    let (parts, composed) = &*BUILT;
    let standard = imports_of_persist();
    let files: BTreeSet<&str> = standard.iter().map(|(name, _)| name.as_str()).filter(|name| *name != STORAGE).chain(FILES).collect();
    for (name, wasm, exported) in [
        ("storage-fs.wasm", &parts.storage_fs, &[STORAGE][..]),
        ("persist-fs.wasm", &composed.fs, &PERSIST),
        ("persist-tools.wasm", &composed.tools, &TOOLS),
        ("persist-cli.wasm", &composed.cli, &["wasi:cli/run"]),
    ] {
        println!("{name}, {} bytes", wasm.len());
        for (import, version) in interfaces(wasm, true) {
            let version = version.expect("each interface has a version");
            println!("  {import}@{version}");
            assert!(files.contains(import.as_str()), "{name} imports {import}");
            if import == TYPES {
                continue;
            }
            let patch = version.strip_prefix("0.2.").and_then(|patch| patch.parse::<u32>().ok());
            assert!(patch.is_some_and(|patch| patch <= NEWEST), "{name} imports {import} of version {version}");
        }
        let exports: Vec<String> = interfaces(wasm, false).into_iter().map(|(name, _)| name).collect();
        assert_eq!(exports, exported, "{name}");
    }
}

#[test]
fn the_same_parts_give_the_same_compositions() {
    let (parts, composed) = &*BUILT;
    let again = parts.compose(&wit()).expect("they fit together");
    assert!(again.fs == composed.fs && again.tools == composed.tools && again.cli == composed.cli);
}

/// Returns the documentation in a component, read as runtimes do.
fn docs(wasm: &[u8]) -> Value {
    let sections = wasmparser::Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.unwrap() {
        wasmparser::Payload::CustomSection(section) if section.name() == "package-docs" => Some(section.data().to_vec()),
        _ => None,
    });
    let found: Vec<Vec<u8>> = sections.collect();
    assert_eq!(found.len(), 1);
    serde_json::from_slice(&found[0][1..]).unwrap()
}

/// Returns the JSON schema of a type, as runtimes make it for the arguments of tools:
/// nothing may be left out, and an option may be null.
fn schema(resolve: &Resolve, wanted: &Type) -> Value {
    let id = match wanted {
        Type::Bool => return json!({"type": "boolean"}),
        Type::String => return json!({"type": "string"}),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::S8 | Type::S16 | Type::S32 | Type::S64 => return json!({"type": "number"}),
        Type::Id(id) => *id,
        other => panic!("no argument is a {other:?}"),
    };
    match &resolve.types[id].kind {
        TypeDefKind::Type(other) => schema(resolve, other),
        TypeDefKind::Option(some) => json!({"anyOf": [{"type": "null"}, schema(resolve, some)]}),
        TypeDefKind::List(item) => json!({"type": "array", "items": schema(resolve, item)}),
        TypeDefKind::Enum(cases) => json!({"type": "string", "enum": cases.cases.iter().map(|case| &case.name).collect::<Vec<_>>()}),
        TypeDefKind::Record(record) => object(resolve, record.fields.iter().map(|field| (&field.name, &field.ty))),
        TypeDefKind::Result(result) => {
            let part = |part: &Option<Type>| part.as_ref().map_or(Value::Null, |part| schema(resolve, part));
            json!({"oneOf": [{"ok": part(&result.ok)}, {"err": part(&result.err)}]})
        }
        // A resource or handle can't be written in JSON.
        other => panic!("there is no JSON for a {}", other.as_str()),
    }
}

fn object<'a>(resolve: &Resolve, fields: impl Iterator<Item = (&'a String, &'a Type)>) -> Value {
    let properties: Map<String, Value> = fields.map(|(name, wanted)| (name.clone(), schema(resolve, wanted))).collect();
    let names: Vec<String> = properties.keys().cloned().collect();
    json!({"type": "object", "properties": properties, "required": names})
}

fn tool(resolve: &Resolve, docs: &Value, function: &Function) -> Value {
    json!({
        "name": function.name,
        "description": docs["worlds"]["root"]["func_exports"][&function.name]["docs"],
        "inputSchema": object(resolve, function.params.iter().map(|parameter| (&parameter.name, &parameter.ty))),
        "outputSchema": function.result.as_ref().map(|result| schema(resolve, result)),
    })
}

#[test]
fn tools_are_listed_with_descriptions_and_schemas() {
    let (resolve, world) = decode(&BUILT.1.tools);
    let docs = docs(&BUILT.1.tools);
    let functions = resolve.worlds[world].exports.values().filter_map(|item| match item {
        WorldItem::Function(function) => Some(function),
        _ => None,
    });
    let tools: Vec<Value> = functions.map(|function| tool(&resolve, &docs, function)).collect();
    for tool in &tools {
        let description = tool["description"].as_str().unwrap();
        println!("{}\n    {}", tool["name"].as_str().unwrap(), description.replace('\n', "\n    "));
        println!("  {}\n", tool["inputSchema"]);
        assert!(description.len() > 50, "{}: a tool is chosen by its description", tool["name"]);
        assert!(description.ends_with('.'), "{description}");
        assert!(tool["outputSchema"]["oneOf"][1]["err"]["properties"]["code"]["enum"].as_array().unwrap().contains(&json!("integrity")));
    }
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["snapshot", "restore", "verify", "get-metadata", "list", "delete", "append", "load", "history", "diff"]);
    let snapshot = &tools[0]["inputSchema"];
    assert_eq!(snapshot["required"], json!(["key", "options", "state"]));
    assert_eq!(snapshot["properties"]["state"], json!({"type": "string"}));
    let options = &snapshot["properties"]["options"]["anyOf"];
    assert_eq!(options[0], json!({"type": "null"}), "the options may be left out");
    assert_eq!(options[1]["properties"]["codec"]["anyOf"][1]["enum"], json!(["gzip", "zstd"]));
    assert_eq!(tools[1]["outputSchema"]["oneOf"][0]["ok"], json!({"type": "string"}));
    let append = &tools[6]["inputSchema"]["properties"]["options"]["anyOf"][1]["properties"];
    assert_eq!(append["on-conflict"]["anyOf"][1]["enum"], json!(["fail", "rebase"]));
    assert_eq!(tools[7]["inputSchema"]["properties"]["step"]["anyOf"][0], json!({"type": "null"}), "the step may be left out");
    // Tools for WIT read the same text.
    let restore = resolve.worlds[world].exports.values().find_map(|item| match item {
        WorldItem::Function(function) if function.name == "restore" => function.docs.contents.as_deref(),
        _ => None,
    });
    assert!(restore.is_some_and(|text| text.starts_with("Bring back the state")), "{restore:?}");
}

/// Hosts and registries get one file, which includes the parts of WASI that the world
/// `persist` names.
#[test]
fn the_wit_package_needs_no_other() {
    let package = persist_compose::wit_package(&wit()).expect("it resolves");
    let DecodedWasm::WitPackage(resolve, id) = wit_component::decode(&package).expect("a package") else { panic!("not a package") };
    let packages: BTreeSet<String> = resolve.packages.iter().map(|(_, package)| package.name.to_string()).collect();
    let wasi = ["wasi:cli@0.2.6", "wasi:clocks@0.2.6", "wasi:io@0.2.6", "wasi:random@0.2.6"];
    assert_eq!(packages, ["persist:snapshot@0.1.0"].into_iter().chain(wasi).map(str::to_owned).collect());
    let package = &resolve.packages[id];
    assert_eq!(package.name.to_string(), "persist:snapshot@0.1.0");
    let interfaces: BTreeSet<&str> = package.interfaces.keys().map(String::as_str).collect();
    assert_eq!(interfaces, BTreeSet::from(["blocks", "diffs", "snapshots", "storage", "timelines", "types"]));
    let worlds: BTreeSet<&str> = package.worlds.keys().map(String::as_str).collect();
    assert_eq!(worlds, BTreeSet::from(["command", "core", "persist", "storage-provider", "tool-provider"]));
    assert_eq!(names(&resolve, package.worlds["persist"], true), imports_of_persist());
}

/// This is why bindings are generated from `core`.
#[test]
fn the_world_core_asks_for_a_storage_alone() {
    let (resolve, package) = contract();
    let core = resolve.select_world(&[package], Some("core")).expect("the world");
    // The types have no functions, so there is nothing to provide.
    let wanted = [STORAGE, "persist:snapshot/types"].map(|name| (name.to_owned(), Some("0.1.0".to_owned())));
    assert_eq!(names(&resolve, core, true), BTreeSet::from(wanted));
}

/// The world of the tools can't use an interface that it does not import, so it repeats
/// the codes, and the model has to know both.
#[test]
fn the_codes_of_errors_are_the_same_everywhere() {
    let codes = |wanted: &TypeDef| match &wanted.kind {
        TypeDefKind::Enum(codes) => codes.cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>(),
        other => panic!("a {}", other.as_str()),
    };
    let (resolve, package) = contract();
    let package = &resolve.packages[package];
    let types = codes(&resolve.types[resolve.interfaces[package.interfaces["types"]].types["error-code"]]);
    let tools = &resolve.worlds[package.worlds["tool-provider"]];
    let WorldItem::Type { id, .. } = &tools.imports[&WorldKey::Name("error-code".to_owned())] else { panic!("not a type") };
    let model: Vec<&str> = ErrorCode::CONTRACT.iter().map(|code| code.as_str()).collect();
    assert_eq!(types, model, "types.wit and the model");
    assert_eq!(codes(&resolve.types[*id]), model, "tools.wit and the model");
}
