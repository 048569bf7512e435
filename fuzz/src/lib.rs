//! What the fuzz targets share: files whose hashes fit, so that a fuzzer gets
//! behind them, and reading a file in every way there is.

use persist_guest::codec::Codec;
use persist_guest::error::ErrorCode;
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::salvage::Salvager;
use persist_guest::{snapshots, verify};
use sha2::{Digest, Sha256};

const KEY: &str = "x";

fn carry(codec: Codec, id: u8, payload: &[u8], out: &mut Vec<u8>) {
    match codec {
        Codec::Gzip => {
            for part in payload.chunks(16_000) {
                out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff]);
                out.extend_from_slice(&(part.len() as u16 + 4).to_le_bytes());
                out.extend_from_slice(&[b'P', id]);
                out.extend_from_slice(&(part.len() as u16).to_le_bytes());
                out.extend_from_slice(part);
                out.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
        Codec::Zstd => {
            let number = match id {
                b'T' => 0x51,
                b'M' => 0x52,
                _ => 0x53,
            };
            out.extend_from_slice(&[number, 0x2a, 0x4d, 0x18]);
            out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            out.extend_from_slice(payload);
        }
    }
}

/// A file of these sections, with a digest that fits.
pub fn file(codec: Codec, data: &[u8], table: &[u8], document: &[u8]) -> Vec<u8> {
    let mut footer = b"PERSIST\0\x01\0\0\0\0\0\0\0".to_vec();
    footer.extend_from_slice(&(data.len() as u64).to_le_bytes());
    footer.extend_from_slice(&(table.len() as u32).to_le_bytes());
    footer.extend_from_slice(&(document.len() as u32).to_le_bytes());
    let digest = Sha256::new().chain_update(&footer).chain_update(table).chain_update(document).finalize();
    footer.extend_from_slice(&digest);
    let mut bytes = data.to_vec();
    carry(codec, b'T', table, &mut bytes);
    carry(codec, b'M', document, &mut bytes);
    carry(codec, b'F', &footer, &mut bytes);
    bytes
}

/// A row of the block table.
pub fn row(frame: &[u8], length: u32) -> Vec<u8> {
    let mut row = (frame.len() as u32).to_le_bytes().to_vec();
    row.extend_from_slice(&length.to_le_bytes());
    row.extend_from_slice(&Sha256::digest(frame));
    row
}

/// The document of a state of these sizes.
pub fn document(codec: Codec, size: u64, data_length: u64) -> String {
    let name = codec.name();
    let crc32 = if codec == Codec::Gzip { "\"crc32\":0," } else { "" };
    let hash = "0".repeat(64);
    format!(
        "{{\"codec\":\"{name}\",\"block_size\":8388608,{crc32}\"metadata\":{{\"snapshot_id\":\"\",\"agent_id\":\"\",\"session_id\":\"\",\
         \"snapshot_index\":0,\"timestamp\":\"\",\"content_type\":\"\",\"content_hash\":\"{hash}\",\"uncompressed_size\":{size},\
         \"compressed_size\":{data_length},\"compression_algorithm\":\"{name}\",\"format_version\":1,\"producer\":\"\"}}}}"
    )
}

/// A file of one frame that is what the table says, whatever it holds.
pub fn one_frame(codec: Codec, frame: &[u8], length: u32) -> Vec<u8> {
    let data = [codec.header(), frame, &codec.trailer(0, u64::from(length))].concat();
    file(codec, &data, &row(frame, length), document(codec, u64::from(length), data.len() as u64).as_bytes())
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
