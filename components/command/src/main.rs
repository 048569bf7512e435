//! The `persist` command as a component: its files are in the folder that a WASI
//! host gives, and `persist:snapshot/snapshots` comes from what it is composed
//! with.

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod composed;
#[cfg(target_family = "wasm")]
mod convert;
#[cfg(target_family = "wasm")]
mod file;
#[cfg(target_family = "wasm")]
mod folder;

#[cfg(target_family = "wasm")]
fn main() {
    composed::main();
}

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: this is a component for WASI; the command for this machine is built from persist-host");
    std::process::ExitCode::FAILURE
}
