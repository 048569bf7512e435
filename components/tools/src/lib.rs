//! Saving and restoring as tools, for runtimes that call a component with JSON values and
//! can't pass it resources or bytes: functions of strings, records and lists on top of
//! `persist:snapshot/snapshots`.

#[cfg(target_family = "wasm")]
mod component;
