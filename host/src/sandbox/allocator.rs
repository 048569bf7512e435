//! Memory for instances. It is reserved once for many of them; memory that an instance
//! gives back is cleared and used again. A fresh instance then takes about ten
//! microseconds instead of about a hundred. Each instance starts with the component's
//! initial memory, and never sees the data of an earlier one.

use wasmtime::{Config, Enabled, PoolingAllocationConfig};

use crate::system::fork;

/// Instances that can exist at once. Each reserves 4 GiB of addresses, which cost
/// nothing until they are used.
pub(crate) const MAX_INSTANCES: u32 = 1000;

/// Memory that a slot keeps after its first use, in bytes: as much as a small snapshot
/// needs. Clearing it is faster than returning it to the system and faulting it in
/// again.
const KEPT: usize = 2 << 20;

/// Slots that keep memory, at most.
const WARM_PLACES: u32 = 16;

/// Core instances and tables of a component, at most. Ours has three and two.
const CORE_INSTANCES: u32 = 8;
const TABLES: u32 = 4;

/// The memory that WebAssembly can address, in bytes. The engine's limits say how much
/// of it an instance may use.
const MAX_MEMORY: usize = 1 << 32;

/// Returns the settings for an engine with memory for many instances. Making the engine
/// fails if the addresses are not available.
///
/// wasmtime asks a file in `/proc` which pages were written. In a child that was forked
/// after the file was opened, it describes the parent, and an instance would see the
/// data of an earlier one. In a child, all memory is cleared instead.
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
    let mut config = persist_codegen::config();
    config.allocation_strategy(places);
    config
}
