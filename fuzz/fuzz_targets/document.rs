//! The metadata document, in a file whose digest fits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::{file, read, row};
use persist_guest::codec::Codec;

fuzz_target!(|document: &[u8]| {
    // An empty state: one frame that decodes to nothing.
    let frame = [0, 0, 0, 0xff, 0xff];
    let data = [Codec::Gzip.header(), &frame, &Codec::Gzip.trailer(0, 0)].concat();
    read(file(Codec::Gzip, &data, &row(&frame, 0), document));
    read(file(Codec::Zstd, &[], &row(&frame, 0), document));
});
