//! The sandbox: instances of the component, their imports and their limits.

mod allocator;
mod bindings;
mod budget;
mod clock;
mod code;
#[cfg(feature = "compiler")]
mod compile;
mod errors;
mod guest;
mod image;
mod imports;
mod limits;
mod runtime;
mod state;
mod wasi;

pub(crate) use bindings::{diffs, snapshots as wit, timelines};
pub(crate) use budget::{Budget, Share};
pub(crate) use code::Code;
pub use code::{COMPONENT, component_hash};
pub(crate) use errors::from_guest;
pub(crate) use guest::{Guest, log};
pub(crate) use limits::Limits;
pub(crate) use runtime::Runtime;
