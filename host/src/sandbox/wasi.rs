//! The part of WASI that an instance gets: the time of day and random numbers, as
//! `wasmtime-wasi` provides them. Everything else that Rust's standard library imports
//! (environment, arguments, streams, polling) traps when called, so an instance can
//! neither look around nor wait past its deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use persist_model::Result;
use rand_core::UnwrapErr;
use wasmtime::bail;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceType};
use wasmtime_wasi::clocks::{HostWallClock, WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::{clocks, random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiView};

use crate::system::random::no_random_numbers;

/// The most random bytes that the component may ask for in one call. A UUID needs 10.
const MAX_RANDOM: u64 = 4096;

/// The clock of this machine.
struct Clock;

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        shown(SystemTime::now())
    }
}

/// Returns what the component sees of a clock. WASI has no time before 1970: the
/// component reports an error where it needs the time and sees zero.
fn shown(clock: SystemTime) -> Duration {
    clock.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the context of a new instance. Random numbers come from the system, since a
/// generator in this process would give a forked child the numbers of its parent.
///
/// # Errors
/// `Other` if the system provides no random numbers.
pub(crate) fn context() -> Result<WasiCtx> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(no_random_numbers)?;
    let mut context = WasiCtx::builder();
    context.wall_clock(Clock).secure_random(UnwrapErr(SysRng)).max_random_size(MAX_RANDOM);
    Ok(context.insecure_random_seed(u128::from_le_bytes(seed)).build())
}

/// Links the component's imports of WASI.
pub(crate) fn link<T: WasiView + 'static>(linker: &mut Linker<T>, component: &Component) -> wasmtime::Result<()> {
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(linker, T::clocks)?;
    random::random::add_to_linker::<T, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    trap_the_rest(linker, component)
}

/// The interfaces that are provided, without their versions. Any version 0.2 matches.
const PROVIDED: [&str; 5] =
    ["persist:snapshot/storage", "persist:snapshot/types", "wasi:clocks/wall-clock", "wasi:random/insecure-seed", "wasi:random/random"];

/// Links all other imports to traps. `Linker::define_unknown_imports_as_traps` would also
/// trap what is linked under another compatible version.
fn trap_the_rest<T: 'static>(linker: &mut Linker<T>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        let interface = name.split('@').next().unwrap_or(name);
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if PROVIDED.contains(&interface) {
            continue;
        }
        let mut trapping = linker.instance(name)?;
        for (export, item) in instance.exports(&engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let called = format!("{name}#{export}");
                    trapping.func_new(export, move |_, _, _, _| bail!("the component may not call {called}"))?;
                }
                ComponentItem::Resource(_) => trapping.resource(export, ResourceType::host::<()>(), |_, _| Ok(()))?,
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_shows_zero() {
        assert_eq!(shown(UNIX_EPOCH - Duration::from_secs(86_400 * 365)), Duration::ZERO);
        assert_eq!(shown(UNIX_EPOCH), Duration::ZERO);
        assert_eq!(shown(UNIX_EPOCH + Duration::new(7, 5)), Duration::new(7, 5));
    }
}
