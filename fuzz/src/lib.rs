//! Shared code of the fuzz targets: files with matching hashes, so that a fuzzer gets past
//! the checks, and reading a file in every way.

mod oracle;

use persist_guest::codec::{BlockRef, Codec, Decoder, crc32};
use persist_guest::error::{Error, ErrorCode};
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::salvage::Salvager;
use persist_guest::timeline::Timeline;
use persist_guest::{snapshots, verify};
use sha2::{Digest, Sha256};

pub use persist_test_support::craft;

const KEY: &str = "x";

/// Reads the fuzzer's bytes as a whole file, or as one frame and its length. The first three
/// bytes decide. In a zstd frame, content size and checksum are corrected.
pub fn read_as_file_or_frame(gzip: bool, bytes: &[u8]) {
    let Some((&[low, middle, high], rest)) = bytes.split_first_chunk() else { return };
    if high & 0x80 != 0 {
        read(rest.to_vec());
    } else {
        let length = u32::from_le_bytes([low, middle, high & 0x7f, 0]);
        let (frame, length) = if gzip { (rest.to_vec(), length) } else { mended(rest.to_vec(), length) };
        read_frame(gzip, &frame, length);
    }
}

/// Sets content size and checksum of a frame to those of what the guest's decoder makes of
/// it, and returns the frame and that size. A fuzzer would find neither.
fn mended(mut frame: Vec<u8>, length: u32) -> (Vec<u8>, u32) {
    const SIZE: std::ops::Range<usize> = 5..13;
    if frame.len() < SIZE.end + 4 {
        return (frame, length);
    }
    let mut declared = length;
    for _ in 0..3 {
        frame[SIZE].copy_from_slice(&u64::from(declared).to_le_bytes());
        let mut out = Vec::new();
        match zrip::DecompressContext::default().decompress_into_with_limit(&frame, &mut out, declared as usize) {
            Err(zrip::DecompressError::ChecksumMismatch { got, .. }) => {
                let checksum = frame.len() - 4;
                frame[checksum..].copy_from_slice(&got.to_le_bytes());
            }
            Err(zrip::DecompressError::FrameSizeMismatch) if !out.is_empty() => declared = out.len() as u32,
            _ => break,
        }
    }
    (frame, declared)
}

/// Reads a frame in files that are otherwise right: alone, before another frame and after
/// it.
pub fn read_frame(gzip: bool, frame: &[u8], length: u32) {
    let codec = if gzip { Codec::Gzip } else { Codec::Zstd };
    let Some(block) = decode(codec, frame, length) else {
        // What is refused alone is refused in a file.
        return read(craft::frames(gzip, &[(frame.to_vec(), length)], &[0; 32], 0));
    };
    let plain = b"a block of text, and another block of text";
    let good = persist_guest::codec::Encoder::new(codec, 1).and_then(|mut encoder| encoder.encode(plain)).expect("it is encoded");
    let good = (good.frame, plain.len() as u32);
    let this = (frame.to_vec(), length);
    for (frames, state) in [
        (vec![this.clone()], block.clone()),
        (vec![this.clone(), good.clone()], [&block[..], plain].concat()),
        (vec![good, this], [&plain[..], &block].concat()),
    ] {
        // Only an empty state has an empty block.
        if frames.len() == 1 || length > 0 {
            let crc = if gzip { crc32(0, &state) } else { 0 };
            let file = craft::frames(gzip, &frames, &Sha256::digest(&state), crc);
            let storage = MemoryStorage::default();
            storage.put(KEY, file.clone());
            assert!(snapshots::restore(&storage, KEY).expect("each of its frames is good") == state);
            read(file);
        }
    }
}

/// Returns the block of a frame, if it has this length.
pub fn decode(codec: Codec, frame: &[u8], length: u32) -> Option<Vec<u8>> {
    let frame_length = u32::try_from(frame.len()).ok()?;
    let hash = Sha256::digest(frame).into();
    let (prefix, suffix) = (Vec::new(), Vec::new());
    let block = BlockRef { key: None, etag: None, codec, offset: 0, prefix, frame_length, suffix, length, hash };
    let mut out = Vec::new();
    // A table has no empty frames.
    let decoded = Decoder::default().decode(&block, frame, &mut out);
    (decoded.is_ok() && !frame.is_empty() && frame_length <= Codec::max_frame_length(length)).then_some(out)
}

/// Asserts that an error is about what is stored, and can be shown.
pub fn about_the_object(error: &Error) {
    use ErrorCode::{Integrity, InvalidFormat, LimitExceeded, NotASnapshot, NotFound, UnsupportedFormat, WrongKind};
    assert!(
        matches!(error.code, Integrity | NotASnapshot | InvalidFormat | LimitExceeded | NotFound | UnsupportedFormat | WrongKind),
        "{error:?}"
    );
    assert!(error.message.chars().count() < 2500 && !error.message.contains(char::is_control), "{error:?}");
}

/// Returns the state of a step, which has at most `most` bytes.
pub fn whole_state(timeline: &Timeline<MemoryStorage>, number: u64, hashes: bool, most: u64) -> Result<Vec<u8>, Error> {
    timeline.open(number, hashes)?.read_to_end(most)
}

/// Reads a file in every way. Whatever its bytes are, the result is a state or an error
/// about the file, and all ways agree.
pub fn read(bytes: Vec<u8>) {
    let storage = MemoryStorage::default();
    storage.put(KEY, bytes.clone());
    let expected = |error: &Error| {
        assert!(error.code != ErrorCode::NotFound, "{error:?}");
        about_the_object(error);
    };
    let metadata = snapshots::metadata(&storage, KEY);
    let whole = snapshots::restore(&storage, KEY);
    let verified = verify::verify(&storage, KEY);
    for error in [metadata.as_ref().err(), whole.as_ref().err(), verified.as_ref().err()].into_iter().flatten() {
        expected(error);
    }
    assert_eq!(verified.is_ok(), whole.is_ok());
    if let (Ok(state), Ok(metadata)) = (&whole, &metadata) {
        // Every other tool must read the same state.
        let theirs = match metadata.compression_algorithm {
            Codec::Gzip => oracle::gunzip(&bytes, state.len()),
            Codec::Zstd => oracle::unzstd(&bytes, state.len()),
        };
        assert!(
            theirs.as_ref() == Some(state),
            "other tools read {:?} bytes, not {} as we do",
            theirs.map(|bytes| bytes.len()),
            state.len()
        );
    }
    if let Ok(mut restorer) = Restorer::open(&storage, KEY, true) {
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
            assert!(salvager.read(0).expect("memory does not fail").is_empty());
            // Stop early: that a file decompresses to much more is not a bug.
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
