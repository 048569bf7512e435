//! The component's imports, its size, and that its bytes depend only on its source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use persist_host::COMPONENT;
use persist_test_support::precompiled;
use persist_test_support::workspace::workspace;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Storage, and what Rust's standard library always links. Never files, sockets or HTTP.
const IMPORTS: [&str; 19] = [
    "persist:snapshot/storage@0.1.0",
    "persist:snapshot/types@0.1.0",
    "wasi:cli/environment@0.2.6",
    "wasi:cli/exit@0.2.6",
    "wasi:cli/stderr@0.2.6",
    "wasi:cli/stdin@0.2.6",
    "wasi:cli/stdout@0.2.6",
    "wasi:cli/terminal-input@0.2.6",
    "wasi:cli/terminal-output@0.2.6",
    "wasi:cli/terminal-stderr@0.2.6",
    "wasi:cli/terminal-stdin@0.2.6",
    "wasi:cli/terminal-stdout@0.2.6",
    "wasi:clocks/monotonic-clock@0.2.6",
    "wasi:clocks/wall-clock@0.2.6",
    "wasi:io/error@0.2.6",
    "wasi:io/poll@0.2.6",
    "wasi:io/streams@0.2.6",
    "wasi:random/insecure-seed@0.2.6",
    "wasi:random/random@0.2.6",
];

const EXPORTS: [&str; 4] = [
    "persist:snapshot/blocks@0.1.0",
    "persist:snapshot/diffs@0.1.0",
    "persist:snapshot/snapshots@0.1.0",
    "persist:snapshot/timelines@0.1.0",
];

/// The maximum size in bytes.
const MAX_SIZE: usize = 1_400_000;

#[test]
fn imports_and_exports_are_an_allowlist() {
    let engine = Engine::new(&precompiled::settings()).expect("an engine");
    // SAFETY: it was compiled by this build, just now or earlier.
    let component = unsafe { Component::deserialize(&engine, precompiled::precompiled(COMPONENT)) }.expect("it loads");
    let kind = component.component_type();
    let mut imports: Vec<String> = kind.imports(&engine).map(|(name, _)| name.to_owned()).collect();
    let mut exports: Vec<String> = kind.exports(&engine).map(|(name, _)| name.to_owned()).collect();
    imports.sort();
    exports.sort();
    assert_eq!(imports, IMPORTS);
    assert_eq!(exports, EXPORTS);
}

#[test]
fn it_is_small() {
    println!("the component has {} bytes", COMPONENT.len());
    assert!(COMPONENT.len() <= MAX_SIZE, "{} bytes", COMPONENT.len());
}

#[test]
fn it_contains_no_paths_of_this_machine() {
    let text = String::from_utf8_lossy(COMPONENT);
    let home = std::env::home_dir().expect("there is a home folder").display().to_string();
    let workspace = workspace().to_str().expect("UTF-8");
    for path in [workspace, &home, "/registry/src", ".cargo", ".rustup"] {
        assert!(!text.contains(path), "{path}");
    }
}

fn copy_sources(from: &Path, to: &Path) {
    for part in [
        "Cargo.toml",
        "Cargo.lock",
        "cli",
        "components",
        "wit",
        "guest",
        "host",
        "model",
        "paths",
        "python-host",
        "workspace-hack",
        "xtask",
        "tests",
        "examples",
    ] {
        let status = Command::new("cp").arg("-R").arg(from.join(part)).arg(to).status().expect("cp starts");
        assert!(status.success(), "{part}");
    }
}

/// Creates a separate cargo home, in which the downloaded packages are unpacked again.
fn own_cargo_home(folder: &Path) -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map_or_else(|| std::env::home_dir().expect("a home folder").join(".cargo"), PathBuf::from);
    let own = folder.join("cargo home");
    fs::create_dir_all(own.join("registry")).expect("a folder");
    for part in ["config.toml", "config", "credentials.toml"] {
        if home.join(part).exists() {
            fs::copy(home.join(part), own.join(part)).expect("it is copied");
        }
    }
    for part in ["cache", "index"] {
        std::os::unix::fs::symlink(home.join("registry").join(part), own.join("registry").join(part)).expect("a link");
    }
    own
}

/// Builds in a folder of another depth, with another CARGO_HOME and an empty target
/// folder; in the soak also in a second one.
#[test]
fn its_bytes_depend_only_on_the_source() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["the/second/of them", "one"].into_iter().take(persist_test_support::command::in_soak(1, 2)) {
        let place = folder.path().join(name);
        let source = place.join("source");
        fs::create_dir_all(&source).expect("a folder");
        copy_sources(workspace(), &source);
        let mut build = Command::new(env!("CARGO"));
        build
            .current_dir(&source)
            .args(["run", "--quiet", "--locked", "--package", "xtask", "--", "component"])
            .arg(place.join("persist.wasm"));
        build.env("CARGO_HOME", own_cargo_home(&place)).env("CARGO_TARGET_DIR", place.join("target")).env_remove("RUSTFLAGS");
        let output = build.output().expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = fs::read(place.join("persist.wasm")).expect("the component");
        assert!(built == COMPONENT, "{name}: {} bytes instead of {}", built.len(), COMPONENT.len());
        fs::remove_dir_all(place.join("target")).expect("it is removed");
    }
}
