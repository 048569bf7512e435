//! A folder with a state, which most tests of the command begin with.

use std::fs;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The ID of a user and group that own nothing.
pub(crate) const NOBODY: u32 = 65_534;

pub(crate) const STATE: &[u8] = br#"{"messages": [{"role": "user", "content": "Hello"}]}"#;

pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), STATE).expect("a state");
    folder
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
