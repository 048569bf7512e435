//! Memory for instances. It is reserved once for many of them, and what one
//! has given back is cleared and used again: a fresh instance then costs some
//! ten microseconds, not some hundred. Each begins with the memory that the
//! component was built with, and has nothing of what was there before.

#[cfg(feature = "compiler")]
use crate::process::Process;
use wasmtime::{Config, Enabled, PoolingAllocationConfig, Result, format_err};

/// Instances that can exist at once. Each has 4 GiB of addresses, which cost
/// nothing until they are used.
pub(crate) const MAX_INSTANCES: u32 = 1000;

/// Memory that a place for an instance keeps after its first use, in bytes:
/// what a small snapshot needs. It is cleared, which is faster than to give it
/// back to the system and to fault it in again.
const KEPT: usize = 2 << 20;

/// Places that keep memory, at most.
const WARM_PLACES: u32 = 16;

/// Core instances and tables of a component, at most: ours has three and two.
const CORE_INSTANCES: u32 = 8;
const TABLES: u32 = 4;

/// WebAssembly's unit of memory, in bytes.
const PAGE: usize = 64 << 10;

/// Settings for an engine whose instances each get memory of their own.
pub(crate) fn config_without() -> Result<Config> {
    Ok(settings())
}

/// Addresses for an instance where there are few: what small snapshots need, and
/// so many more each time that it grows beyond that.
#[cfg(feature = "compiler")]
const FEW_ADDRESSES: u64 = 8 << 20;

/// Addresses around an instance where there are few, in which it would be found
/// out of bounds: the code checks most accesses itself.
#[cfg(feature = "compiler")]
const SMALL_GUARD: u64 = 64 << 10;

/// Settings for an engine whose instances have few addresses, as under
/// `ulimit -v`. Their memory may have to move as it grows, and the code is slower
/// and compiled anew.
#[cfg(feature = "compiler")]
pub(crate) fn config_for_few_addresses() -> Result<Config> {
    let mut config = settings();
    config.memory_reservation(FEW_ADDRESSES).memory_reservation_for_growth(FEW_ADDRESSES).memory_guard_size(SMALL_GUARD);
    Ok(config)
}

/// Settings for any engine.
fn settings() -> Config {
    #[allow(unused_mut, reason = "without a compiler nothing is set")]
    let mut config = crate::code::config();
    // Its threads are those of the process that compiled first.
    #[cfg(feature = "compiler")]
    config.parallel_compilation(Process::of_first_engine().is_this());
    config
}

/// Settings for an engine with memory for many instances, of at most so many
/// bytes each.
///
/// # Errors
/// Where an instance may have more than 4 GiB; and the engine can't be made
/// where the addresses are not to be had.
pub(crate) fn config(memory_limit: usize) -> Result<Config> {
    let largest = memory_limit.checked_next_multiple_of(PAGE).filter(|size| *size as u64 <= 1 << 32);
    let mut places = PoolingAllocationConfig::default();
    places
        .total_component_instances(MAX_INSTANCES)
        .total_memories(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * CORE_INSTANCES)
        .total_tables(MAX_INSTANCES * TABLES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_tables_per_component(TABLES)
        .max_memories_per_component(1)
        .max_memory_size(largest.ok_or_else(|| format_err!("an instance may have {memory_limit} bytes"))?)
        .linear_memory_keep_resident(KEPT)
        .table_keep_resident(KEPT)
        .max_unused_warm_slots(WARM_PLACES)
        .pagemap_scan(Enabled::Auto);
    let mut config = settings();
    config.allocation_strategy(places);
    Ok(config)
}
