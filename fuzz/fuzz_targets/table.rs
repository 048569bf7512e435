//! The block table and the data, in a file with a matching digest and document.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::craft::{data, document, file};
use persist_fuzz::read;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[split], rest)) = bytes.split_first_chunk() else { return };
    let (table, frames) = rest.split_at(rest.len().min(usize::from(split) * 40));
    // The size of the state according to the table, so that only the rest can be wrong.
    let size = table.chunks_exact(40).map(|row| u64::from(u32::from_le_bytes([row[4], row[5], row[6], row[7]]))).sum();
    for gzip in [true, false] {
        let data = data(gzip, frames, size, 0);
        read(file(gzip, &data, table, document(gzip, size, data.len() as u64, table).as_bytes()));
    }
});
