//! The metadata document, in a file whose digest fits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::craft::{data, file, row};
use persist_fuzz::read;

fuzz_target!(|document: &[u8]| {
    // An empty state: one frame that decodes to nothing.
    let frame = [0, 0, 0, 0xff, 0xff];
    read(file(true, &data(true, &frame, 0), &row(&frame, 0), document));
    read(file(false, &[], &row(&frame, 0), document));
});
