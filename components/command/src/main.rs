//! The `persist` command as a component. It works on files in the folders that a WASI host
//! grants access to, and is composed with a component that exports `persist:snapshot/snapshots`.

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
mod listing;
#[cfg(target_family = "wasm")]
mod timeline;

#[cfg(target_family = "wasm")]
fn main() {
    composed::main();
}

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: this is a component for WASI; the command for this machine is in the package persist-cli");
    std::process::ExitCode::FAILURE
}
