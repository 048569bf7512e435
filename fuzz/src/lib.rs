//! What the fuzz targets share: files whose hashes fit, so that a fuzzer gets
//! behind them, and reading a file in every way there is.

#[path = "../../tests/support/craft.rs"]
pub mod craft;

use persist_guest::error::ErrorCode;
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::salvage::Salvager;
use persist_guest::{snapshots, verify};

const KEY: &str = "x";

/// Reads what a fuzzer made as a whole file, or as one frame and its length, by
/// the first three bytes.
pub fn read_as_file_or_frame(gzip: bool, bytes: &[u8]) {
    let Some((&[low, middle, high], rest)) = bytes.split_first_chunk() else { return };
    if high & 0x80 != 0 {
        read(rest.to_vec());
    } else {
        read(craft::one_frame(gzip, rest, u32::from_le_bytes([low, middle, high & 0x7f, 0])));
    }
}

/// Reads a file in every way. Bytes from strangers give bytes or an error about
/// them, and the ways agree.
pub fn read(bytes: Vec<u8>) {
    let storage = MemoryStorage::default();
    storage.put(KEY, bytes);
    let expected = |error: &persist_guest::error::Error| {
        use ErrorCode::{Integrity, InvalidFormat, LimitExceeded, NotASnapshot, UnsupportedFormat};
        assert!(matches!(error.code, Integrity | NotASnapshot | InvalidFormat | LimitExceeded | UnsupportedFormat), "{error:?}");
    };
    let metadata = snapshots::metadata(&storage, KEY);
    let whole = snapshots::restore(&storage, KEY);
    let verified = verify::verify(&storage, KEY);
    for error in [metadata.as_ref().err(), whole.as_ref().err(), verified.as_ref().err()].into_iter().flatten() {
        expected(error);
    }
    if verified.is_ok() {
        assert!(whole.is_ok());
    }
    if let Ok(mut restorer) = Restorer::open(&storage, KEY) {
        let mut streamed = Vec::new();
        let ended = loop {
            match restorer.read(1000) {
                Ok(chunk) if chunk.is_empty() => break Ok(()),
                Ok(chunk) => streamed.extend_from_slice(&chunk),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(ended.as_ref().err(), whole.as_ref().err());
        if let Ok(whole) = &whole {
            assert!(whole == &streamed);
        }
    }
    match Salvager::open(&storage, KEY) {
        Err(error) => expected(&error),
        Ok(mut salvager) => {
            let mut salvaged = Vec::new();
            // A bomb is cut off: what inflates to much more is no find.
            while salvaged.len() < 32 << 20 {
                let chunk = salvager.read(1 << 16).expect("memory does not fail");
                if chunk.is_empty() {
                    break;
                }
                salvaged.extend_from_slice(&chunk);
            }
            if let Ok(whole) = whole {
                assert!(whole.len() > salvaged.len() || whole == salvaged);
            }
        }
    }
}
