//! Components that a test brings along, compiled as the host's own is: beforehand.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

#[path = "built.rs"]
pub(crate) mod built;
#[allow(dead_code, reason = "each test uses a part")]
#[path = "../../xtask/src/precompile.rs"]
mod precompile;
#[allow(dead_code, reason = "each test uses a part")]
#[path = "../../host/src/code.rs"]
mod settings;

use built::component;

/// What wasmtime makes of a component under the settings of the host, as an engine
/// of those settings loads it. Kept for the next test.
pub(crate) fn precompiled(wasm: &[u8]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("precompiled");
    fs::create_dir_all(&folder).expect("a folder");
    let precompiler = precompile::Precompiler::new(built::workspace(), built::target(), None).expect("it builds");
    // The compiler and its settings are part of it.
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

/// The settings that it is compiled under, for a host of another kind.
#[allow(unused_imports, reason = "each test uses a part")]
pub(crate) use settings::config as settings;
