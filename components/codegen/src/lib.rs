//! The settings that compiled code depends on. `persist-precompile` compiles with them,
//! and the host loads only code that was compiled with the same.

use wasmtime::Config;

/// Returns the settings for instances with 4 GiB of addresses. Most memory accesses then
/// need no check in the code.
pub fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config
}

/// How many bytes of addresses an instance gets if they are few, and how many more each
/// time it grows. It is enough for small snapshots.
const FEW_ADDRESSES: u64 = 8 << 20;

/// The guard around an instance if addresses are few. It can be small, since the code
/// checks most accesses itself.
const SMALL_GUARD: u64 = 64 << 10;

/// Returns the settings for instances with few addresses, for example under
/// `ulimit -v`. The code is slower, and memory may have to move when it grows.
pub fn config_for_few_addresses() -> Config {
    let mut config = config();
    config.memory_reservation(FEW_ADDRESSES).memory_reservation_for_growth(FEW_ADDRESSES).memory_guard_size(SMALL_GUARD);
    config
}
