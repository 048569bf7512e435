//! Files that anybody could have made: as they are, and with hashes that fit,
//! so that what the fuzzer makes reaches the decoder of zstd.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| persist_fuzz::read_as_file_or_frame(false, bytes));
