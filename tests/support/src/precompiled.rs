//! Components of tests, compiled ahead of time like the host's own.

use std::fs;

use persist_recipe::precompile::Precompiler;
use sha2::{Digest, Sha256};

use crate::built;
use crate::workspace::workspace;

/// Compiles a component with the settings of the host, in the form that an engine with
/// those settings loads. The result is cached for the next test.
pub fn precompiled(wasm: &[u8]) -> Vec<u8> {
    let folder = built::tmp().join("precompiled");
    fs::create_dir_all(&folder).expect("a folder");
    let precompiler = Precompiler::new(workspace(), built::target(), None).expect("it builds");
    // The result depends on the compiler and its settings, too.
    let mut hash = Sha256::new_with_prefix(fs::read(precompiler.program()).expect("the compiler"));
    hash.update(precompiler.baseline());
    hash.update(wasm);
    let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let kept = folder.join(format!("{name}.cwasm"));
    if !kept.exists() {
        let unfinished = tempfile::tempdir_in(&folder).expect("a folder");
        let (component, compiled) = (unfinished.path().join("component.wasm"), unfinished.path().join("compiled"));
        fs::write(&component, wasm).expect("it is written");
        precompiler.compile(&component, &compiled, precompiler.baseline(), "many").expect("it compiles");
        fs::rename(compiled, &kept).expect("it is kept");
    }
    fs::read(kept).expect("it is there")
}

/// The settings that components are compiled with, for another host.
pub use persist_codegen::config as settings;
