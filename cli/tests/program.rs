//! The program itself. Since a test of this package needs it, cargo builds it together
//! with the tests of other packages, which also run it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn the_version_names_the_component() {
    let output = Command::new(env!("CARGO_BIN_EXE_persist")).arg("--version").output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let hash: String = persist_host::component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.starts_with(concat!("persist ", env!("CARGO_PKG_VERSION"))) && text.contains(&hash), "{text}");
}
