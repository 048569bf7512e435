//! Saving and restoring as tools: strings, records and lists over
//! `persist:snapshot/snapshots`, for runtimes that call a component with JSON
//! values and can't hand it resources or bytes.

#[cfg(target_family = "wasm")]
mod component;
