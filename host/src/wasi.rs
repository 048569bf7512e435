//! What a guest gets of WASI: the time and random numbers. All else that Rust's
//! standard library imports (environment, arguments, streams, waiting) traps if
//! it is ever called, so that a guest can neither look around nor outwait its
//! deadline in a call.

use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::{Component, ComponentType, Lift, Linker, Lower};
use wasmtime::{Result, bail, format_err};

/// The most random bytes that a guest may ask for in one call; a UUID needs 10.
const MAX_RANDOM: u64 = 4096;

/// `wasi:clocks/wall-clock.datetime`
#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// What a guest sees of a clock. WASI has no time before 1970: the beginning of
/// it stands for all of that, and the component says so where it needs the time.
fn shown(clock: SystemTime) -> Datetime {
    let since = clock.duration_since(UNIX_EPOCH).unwrap_or_default();
    Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| format_err!("no random numbers: {error}"))
}

fn random_u64() -> Result<u64> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Defines the component's imports of WASI, under the versions that it names.
pub(crate) fn link<T: 'static>(linker: &mut Linker<T>, component: &Component) -> Result<()> {
    let engine = linker.engine().clone();
    for (name, _) in component.component_type().imports(&engine) {
        match name.split('@').next() {
            Some("wasi:clocks/wall-clock") => {
                let mut clock = linker.instance(name)?;
                clock.func_wrap("now", |_, (): ()| Ok((shown(SystemTime::now()),)))?;
                clock.func_wrap("resolution", |_, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 1 },)))?;
            }
            Some("wasi:random/random") => {
                let mut instance = linker.instance(name)?;
                instance.func_wrap("get-random-bytes", |_, (length,): (u64,)| {
                    if length > MAX_RANDOM {
                        bail!("the component wanted {length} random bytes, it may have {MAX_RANDOM}");
                    }
                    let mut bytes = vec![0; usize::try_from(length)?];
                    random(&mut bytes)?;
                    Ok((bytes,))
                })?;
                instance.func_wrap("get-random-u64", |_, (): ()| Ok((random_u64()?,)))?;
            }
            Some("wasi:random/insecure-seed") => {
                linker.instance(name)?.func_wrap("insecure-seed", |_, (): ()| Ok(((random_u64()?, random_u64()?),)))?;
            }
            _ => {}
        }
    }
    linker.define_unknown_imports_as_traps(component)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_is_shown_as_its_beginning() {
        let seen = |clock: SystemTime| (shown(clock).seconds, shown(clock).nanoseconds);
        assert_eq!(seen(UNIX_EPOCH - Duration::from_secs(86_400 * 365)), (0, 0));
        assert_eq!(seen(UNIX_EPOCH), (0, 0));
        assert_eq!(seen(UNIX_EPOCH + Duration::new(7, 5)), (7, 5));
    }
}
