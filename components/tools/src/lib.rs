//! Saving and restoring as tools, for runtimes that call a component with JSON values and
//! can't pass it resources or bytes: functions of strings, records and lists on top of the
//! interfaces `snapshots`, `timelines` and `diffs` of `persist:snapshot`.

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod component;
#[cfg(target_family = "wasm")]
mod convert;
#[cfg(target_family = "wasm")]
mod differences;
#[cfg(target_family = "wasm")]
mod snapshot;
#[cfg(target_family = "wasm")]
mod timeline;
