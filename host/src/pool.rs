//! Memory for instances. It is reserved once for many of them, and what one
//! has given back is cleared and used again: a fresh instance then costs some
//! ten microseconds, not some hundred. Each begins with the memory that the
//! component was built with, and has nothing of what was there before.

use wasmtime::{Config, Enabled, PoolingAllocationConfig};

use crate::{code, fork};

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

/// What WebAssembly can address, in bytes. What an instance may have of it is in
/// its engine's limits.
const MAX_MEMORY: usize = 1 << 32;

/// Settings for an engine with memory for many instances. The engine can't be made
/// where the addresses are not to be had.
///
/// Which pages were written, wasmtime asks a file of the process for. In a child that
/// was forked off while that was opened it is the parent's, and an instance would find
/// what the one before has left: there all is cleared.
pub(crate) fn config() -> Config {
    let mut places = PoolingAllocationConfig::default();
    places
        .total_component_instances(MAX_INSTANCES)
        .total_memories(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * CORE_INSTANCES)
        .total_tables(MAX_INSTANCES * TABLES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_tables_per_component(TABLES)
        .max_memories_per_component(1)
        .max_memory_size(MAX_MEMORY)
        .linear_memory_keep_resident(KEPT)
        .table_keep_resident(KEPT)
        .max_unused_warm_slots(WARM_PLACES)
        .pagemap_scan(if fork::is_child() { Enabled::No } else { Enabled::Auto });
    let mut config = code::config();
    config.allocation_strategy(places);
    config
}
