//! The metadata document, in a file with a matching digest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::craft::{data, file, row};
use persist_fuzz::read;

fuzz_target!(|document: &[u8]| {
    // An empty state: one frame that decodes to nothing.
    let frame = [0, 0, 0, 0xff, 0xff];
    read(file(true, &data(true, &frame, 0, 0), &row(&frame, 0), document));
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0xe4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x99, 0xe9, 0xd8, 0x51];
    read(file(false, &frame, &row(&frame, 0), document));
});
