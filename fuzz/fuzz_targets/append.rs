//! Blocks that a host passes as encoded elsewhere. If a saver commits them, the result is a
//! snapshot, and what can be read from it is what every other tool reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::read;
use persist_guest::SaveOptions;
use persist_guest::codec::{Codec, EncodedBlock};
use persist_guest::memory::MemoryStorage;
use persist_guest::save::Saver;
use sha2::{Digest, Sha256};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, count], mut rest)) = bytes.split_first_chunk() else { return };
    let codec = if kind & 1 == 0 { Codec::Gzip } else { Codec::Zstd };
    let storage = MemoryStorage::default();
    let host_hashes = kind & 2 != 0;
    let options = SaveOptions { codec: Some(codec), host_hashes, ..SaveOptions::default() };
    let mut saver = Saver::open(&storage, "x", options).expect("the options are good");
    for _ in 0..count % 8 {
        let Some((&[low, middle, size_low, size_high, crc], after)) = rest.split_first_chunk() else { break };
        let (frame, after) = after.split_at(after.len().min(usize::from(u16::from_le_bytes([size_low, size_high]))));
        rest = after;
        let hash = if crc == 0xff { [0; 32] } else { Sha256::digest(frame).into() };
        let length = u32::from_le_bytes([low, middle, 0, 0]);
        let block = EncodedBlock { frame: frame.to_vec(), length, crc32: u32::from(crc), hash };
        let appended = if kind & 4 == 0 || crc == 0xff { saver.append(&block) } else { saver.append_hashed(&block) };
        if crc == 0xff {
            assert!(appended.is_err(), "it is not the hash of the frame");
        }
        if appended.is_err() {
            assert!(saver.commit().is_err());
            assert!(storage.get("x").is_none());
            return;
        }
    }
    if host_hashes {
        saver.set_content_hash([kind; 32]).expect("it is given once");
    }
    if saver.commit().is_ok() {
        read(storage.get("x").expect("it is there"));
    }
});
