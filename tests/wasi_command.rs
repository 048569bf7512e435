//! The `persist` command as a component, in a host that only knows WASI and whose disk
//! fails on demand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use persist_test_support::{composed, precompiled};
use wasmtime::component::{Component, Linker, Resource, ResourceTable};
use wasmtime::{Engine, Store, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as Os;
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::HostDescriptor as _;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxView, WasiView};

struct Wasi {
    table: ResourceTable,
    ctx: WasiCtx,
    /// How syncing a folder fails, if it does, and the number of the first read of a
    /// folder that fails.
    sync_fails: Option<Os>,
    closed_from: usize,
    lists: usize,
}

impl WasiView for Wasi {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

static COMPILED: LazyLock<(Engine, Component)> = LazyLock::new(|| {
    let (_, composed) = composed::build();
    let engine = Engine::new(&precompiled::settings()).unwrap();
    // SAFETY: it was compiled by this build, just now or earlier.
    let component = unsafe { Component::deserialize(&engine, precompiled::precompiled(&composed.cli)) }.unwrap();
    (engine, component)
});

#[derive(Clone, Copy, Default)]
struct Faults {
    sync: Option<Os>,
    closed_from: Option<usize>,
}

/// Runs the command, and returns its exit code, stdout and stderr.
fn run(folder: &Path, faults: Faults, arguments: &[&str]) -> (i32, String, String) {
    let (engine, component) = &*COMPILED;
    let mut linker: Linker<Wasi> = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
    type Fd = Resource<Descriptor>;
    let mut types = linker.allow_shadowing(true).instance("wasi:filesystem/types@0.2.12").unwrap();
    types
        .func_wrap("[method]descriptor.sync", |mut store: StoreContextMut<'_, Wasi>, (fd,): (Fd,)| {
            let wasi = store.data_mut();
            let is_folder = !matches!(wasi.table.get(&fd)?, Descriptor::File(_));
            Ok((match (wasi.sync_fails, is_folder) {
                (Some(os), true) => Err(os),
                _ => match wasi.filesystem().sync(fd) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.downcast()?),
                },
            },))
        })
        .unwrap();
    types
        .func_wrap("[method]descriptor.read-directory", |mut store: StoreContextMut<'_, Wasi>, (fd,): (Fd,)| {
            let wasi = store.data_mut();
            wasi.lists += 1;
            Ok((match wasi.filesystem().read_directory(fd) {
                _ if wasi.lists >= wasi.closed_from => Err(Os::Access),
                Ok(entries) => Ok(entries),
                Err(error) => Err(error.downcast()?),
            },))
        })
        .unwrap();
    let (stdout, stderr) = (MemoryOutputPipe::new(1 << 20), MemoryOutputPipe::new(1 << 20));
    let mut ctx = WasiCtx::builder();
    ctx.args(&[&["persist"], arguments].concat()).stdout(stdout.clone()).stderr(stderr.clone());
    ctx.preopened_dir(folder, ".", FsPerms::ReadWrite).unwrap();
    let closed_from = faults.closed_from.unwrap_or(usize::MAX);
    let wasi = Wasi { table: ResourceTable::new(), ctx: ctx.build(), sync_fails: faults.sync, closed_from, lists: 0 };
    let mut store = Store::new(engine, wasi);
    // Epochs never advance.
    store.set_epoch_deadline(1);
    let command = Command::instantiate(&mut store, component, &linker).unwrap();
    let code = match command.wasi_cli_run().call_run(&mut store) {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => error.downcast_ref::<I32Exit>().expect("it does not trap").0,
    };
    let text = |pipe: MemoryOutputPipe| String::from_utf8(pipe.contents().to_vec()).unwrap();
    (code, text(stdout), text(stderr))
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(folder, Faults::default(), arguments);
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

#[test]
fn a_restored_file_that_may_not_be_durable_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.json"), "{}").unwrap();
    ok(folder.path(), &["snapshot", "state.json", "x.gz"]);
    let restore = ["restore", "x.gz", "-o", "out.json"];
    for (os, code, says) in [
        (Os::Io, 12, "may not survive a power cut"),
        // A host that does not support it for folders is accepted.
        (Os::Unsupported, 0, ""),
        (Os::BadDescriptor, 0, ""),
        (Os::NotPermitted, 0, ""),
    ] {
        let done = run(folder.path(), Faults { sync: Some(os), ..Faults::default() }, &restore);
        assert!(done.0 == code && done.2.contains(says), "{os:?}: {done:?}");
        assert_eq!(fs::read(folder.path().join("out.json")).unwrap(), b"{}", "it is written anyway");
    }
}

#[test]
fn an_unreadable_folder_is_reported_and_the_rest_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.json"), "{}").unwrap();
    for key in ["s/a.gz", "s/closed/x.gz", "s/d.gz"] {
        ok(folder.path(), &["snapshot", "state.json", key]);
    }
    fs::write(folder.path().join("s/odd\u{7}.gz"), "").unwrap();
    let done = run(folder.path(), Faults { closed_from: Some(2), ..Faults::default() }, &["list", "s"]);
    assert_eq!(done.0, 6, "{done:?}");
    assert!(done.1.contains("a.gz") && done.1.contains("d.gz"), "{done:?}");
    assert!(done.2.contains("access denied") && done.2.contains("closed"), "{done:?}");
    assert!(done.2.contains("the key is not valid: it contains control characters"), "{done:?}");
    // The folder to list has to be readable.
    let done = run(folder.path(), Faults { closed_from: Some(1), ..Faults::default() }, &["list", "s"]);
    assert!(done.0 == 6 && done.1.is_empty(), "{done:?}");
}

#[test]
fn a_snapshot_that_could_not_be_listed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.json"), "{}").unwrap();
    let long = format!("{}/x.gz", [&*"n".repeat(200); 6].join("/"));
    for path in [long.as_str(), "odd\u{7}/x.gz", ".persist-1.tmp/x.gz"] {
        let done = run(folder.path(), Faults::default(), &["snapshot", "state.json", path]);
        assert!(done.0 == 2 && done.2.contains("would not be listable"), "{path}: {done:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
