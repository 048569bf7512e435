//! A storage that keeps objects as files in a folder of a WASI host, for hosts that know
//! WASI but not Persist: a component that exports `persist:snapshot/storage` and imports
//! `wasi:filesystem`.
//!
//! The folder is the first one that the host has opened for the component, or the one that
//! `PERSIST_LOCAL_PATH` names: a folder of the host, or a path below one.
//!
//! It does not use `std::fs`, which requests flags that some hosts refuse.

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod component;
#[cfg(target_family = "wasm")]
mod delete;
#[cfg(target_family = "wasm")]
mod failure;
#[cfg(target_family = "wasm")]
mod files;
#[cfg(target_family = "wasm")]
mod key;
#[cfg(target_family = "wasm")]
mod list;
#[cfg(target_family = "wasm")]
mod read;
#[cfg(target_family = "wasm")]
mod write;

/// The most keys, ranges or entries in one call.
#[cfg(target_family = "wasm")]
const MAX_BATCH: usize = 1000;
