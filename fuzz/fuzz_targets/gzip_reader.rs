//! Files from anywhere: as they are, and with matching hashes, so that the fuzzer reaches
//! the gzip decoder.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| persist_fuzz::read_as_file_or_frame(true, bytes));
