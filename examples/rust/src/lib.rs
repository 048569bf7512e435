//! A host of the bare component, `persist.wasm`, built on wasmtime alone. Its storage is
//! a map in memory.
//!
//! A host provides one import, the storage, and calls the component's exports. This one
//! also keeps the component in bounds: if it traps, asks for too much memory, computes or
//! waits too long, or writes too much, the call fails and the host goes on.
//!
//! ```no_run
//! use persist_example_host::{CallLimits, Objects, Sandbox};
//!
//! # fn main() -> wasmtime::Result<()> {
//! let sandbox = Sandbox::new(&std::fs::read("persist.wasm")?)?;
//! let mut objects = Objects::new();
//! let exists = sandbox.call(&mut objects, CallLimits::default(), |persist, store| {
//!     persist.persist_snapshot_snapshots().call_exists(store, "session-1/0001.json.gz")
//! })?;
//! assert_eq!(exists.ok(), Some(false));
//! # Ok(())
//! # }
//! ```
//!
//! [`memory`] implements the storage: start there to keep snapshots somewhere else.
//! [`sandbox`] compiles a component and calls it within limits. `src/main.rs` is a command
//! that runs both on the files of a folder:
//!
//! ```text
//! cargo xtask component persist.wasm
//! mkdir agents
//! cargo run --profile compiler -p persist-example-host -- persist.wasm agents save state.json 0001.json.gz
//! ```

mod bindings;
pub mod memory;
pub mod sandbox;

pub use bindings::{Core, snapshots, storage, timelines, types};
pub use memory::{MemoryStorage, Objects};
pub use sandbox::{CallLimits, Host, Sandbox};
