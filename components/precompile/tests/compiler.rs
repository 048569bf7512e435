//! Components that are not built in, compiled ahead of time or where they run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use persist_host::{COMPONENT, Engine, ErrorCode, MemoryStorage, SnapshotOptions};

/// The built-in component with one letter of a message changed.
fn another() -> Vec<u8> {
    let mut wasm = COMPONENT.to_vec();
    let message = b"not a snapshot";
    let at = wasm.windows(message.len()).position(|found| found == message).expect("it says so");
    wasm[at] = b'N';
    wasm
}

fn saves_and_restores(engine: &Engine) {
    for key in ["x.gz", "x.zst"] {
        engine.snapshot(key, b"{}", &SnapshotOptions::default()).expect("it is saved");
        assert_eq!(engine.restore(key).expect("it is restored"), b"{}");
    }
}

fn precompile(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_persist-precompile")).args(arguments).output().expect("it runs")
}

fn precompiled(folder: &Path, processor: &str, addresses: &str) -> Vec<u8> {
    let (component, out) = (folder.join("component.wasm"), folder.join("component.cwasm"));
    fs::write(&component, another()).unwrap();
    let here = Command::new("rustc").args(["--print", "host-tuple"]).output().expect("the compiler runs");
    let here = String::from_utf8(here.stdout).unwrap();
    let done = precompile(&[component.to_str().unwrap(), out.to_str().unwrap(), here.trim(), processor, addresses]);
    assert!(done.status.success(), "{done:?}");
    fs::read(out).unwrap()
}

#[test]
fn a_component_is_compiled_where_it_runs() {
    let engine = Engine::builder().storage(MemoryStorage::new()).component(another()).build().expect("it compiles");
    saves_and_restores(&engine);
    // Once for the engine.
    saves_and_restores(&engine.after_fork().expect("it is loaded"));
    let error =
        Engine::builder().storage(MemoryStorage::new()).component(b"nonsense".as_slice()).build().expect_err("it is not a component");
    assert!(error.code() == ErrorCode::Other && error.to_string().contains("could not be compiled"), "{error}");
}

#[test]
fn a_component_is_compiled_ahead_of_time() {
    let folder = tempfile::tempdir().unwrap();
    for addresses in ["many", "few"] {
        let code = precompiled(folder.path(), "baseline", addresses);
        // SAFETY: it was compiled just now.
        saves_and_restores(
            &unsafe { Engine::builder().storage(MemoryStorage::new()).precompiled_component(code) }.build().expect("it is loaded"),
        );
    }
}

#[test]
fn bad_arguments_are_an_error() {
    for arguments in [&[][..], &["a", "b", "x86_64-unknown-linux-gnu", "baseline", "some"], &["no such file", "b", "c", "baseline", "few"]]
    {
        let done = precompile(arguments);
        assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).starts_with("error: "), "{done:?}");
    }
}
