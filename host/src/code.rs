//! The settings that compiled code depends on. `persist-precompile` compiles
//! under the same.

use wasmtime::Config;

/// For code that has 4 GiB of addresses for the memory of an instance, and so
/// needs no check of its own at most accesses.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config
}

/// Addresses for an instance where there are few: what small snapshots need, and
/// so many more each time that it grows beyond that.
const FEW_ADDRESSES: u64 = 8 << 20;

/// Addresses around an instance where there are few, in which it would be found
/// out of bounds: the code checks most accesses itself.
const SMALL_GUARD: u64 = 64 << 10;

/// For code whose instances have few addresses, as under `ulimit -v`. Their memory
/// may have to move as it grows, and the code is slower.
pub(crate) fn config_for_few_addresses() -> Config {
    let mut config = config();
    config.memory_reservation(FEW_ADDRESSES).memory_reservation_for_growth(FEW_ADDRESSES).memory_guard_size(SMALL_GUARD);
    config
}
