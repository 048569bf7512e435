//! Objects as files in a folder that a WASI host gives, for hosts that know WASI
//! and nothing of Persist: a component that exports `persist:snapshot/storage` and
//! imports `wasi:filesystem`.
//!
//! The folder is the first that the host has opened for the component, or what
//! `PERSIST_LOCAL_PATH` says: the name of one, or a path below it.
//!
//! `std::fs` is not used: it asks for flags that some hosts refuse.

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

/// The most keys, ranges or entries that one call takes or gives.
#[cfg(target_family = "wasm")]
const MAX_BATCH: usize = 1000;
