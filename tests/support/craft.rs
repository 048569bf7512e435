//! Snapshot files made by hand, by `docs/format.md`: for whatever the library
//! would not write.

#![allow(dead_code, unreachable_pub, reason = "each user needs a part, and the fuzz targets are crates of their own")]

use sha2::{Digest, Sha256};

/// The header of the gzip member.
pub const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

fn carry(gzip: bool, id: u8, payload: &[u8], out: &mut Vec<u8>) {
    if gzip {
        for part in payload.chunks(16_000) {
            out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff]);
            out.extend_from_slice(&(part.len() as u16 + 4).to_le_bytes());
            out.extend_from_slice(&[b'P', id]);
            out.extend_from_slice(&(part.len() as u16).to_le_bytes());
            out.extend_from_slice(part);
            out.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        return;
    }
    let number = match id {
        b'T' => 0x51,
        b'M' => 0x52,
        _ => 0x53,
    };
    out.extend_from_slice(&[number, 0x2a, 0x4d, 0x18]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

/// A footer of these lengths, with a digest over these sections.
pub fn footer(format: u32, data: u64, table_length: u32, document_length: u32, table: &[u8], document: &[u8]) -> Vec<u8> {
    let mut footer = b"PERSIST\0".to_vec();
    footer.extend_from_slice(&format.to_le_bytes());
    footer.extend_from_slice(&[0; 4]);
    footer.extend_from_slice(&data.to_le_bytes());
    footer.extend_from_slice(&table_length.to_le_bytes());
    footer.extend_from_slice(&document_length.to_le_bytes());
    let digest = Sha256::new().chain_update(&footer).chain_update(table).chain_update(document).finalize();
    footer.extend_from_slice(&digest);
    footer
}

/// Table, metadata and footer in their carriers.
pub fn carried(gzip: bool, table: &[u8], document: &[u8], footer: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    carry(gzip, b'T', table, &mut bytes);
    carry(gzip, b'M', document, &mut bytes);
    carry(gzip, b'F', footer, &mut bytes);
    bytes
}

/// A file of these sections, with a digest that fits.
pub fn file(gzip: bool, data: &[u8], table: &[u8], document: &[u8]) -> Vec<u8> {
    let footer = footer(1, data.len() as u64, table.len() as u32, document.len() as u32, table, document);
    [data, &carried(gzip, table, document, &footer)].concat()
}

/// A row of the block table.
pub fn row(frame: &[u8], length: u32) -> Vec<u8> {
    row_of(frame.len() as u32, length, &Sha256::digest(frame))
}

/// A row with these words.
pub fn row_of(frame_length: u32, length: u32, hash: &[u8]) -> Vec<u8> {
    [&frame_length.to_le_bytes()[..], &length.to_le_bytes(), hash].concat()
}

/// What stands behind the frames of a state of this size, whose CRC-32 is 0.
pub fn trailer(gzip: bool, size: u64) -> Vec<u8> {
    if gzip { [&[3, 0, 0, 0, 0, 0][..], &(size as u32).to_le_bytes()].concat() } else { Vec::new() }
}

/// The data of these frames.
pub fn data(gzip: bool, frames: &[u8], size: u64) -> Vec<u8> {
    [if gzip { &GZIP_HEADER[..] } else { &[] }, frames, &trailer(gzip, size)].concat()
}

/// The document of a state of these sizes.
pub fn document(gzip: bool, size: u64, data_length: u64) -> String {
    let name = if gzip { "gzip" } else { "zstd" };
    let crc32 = if gzip { "\"crc32\":0," } else { "" };
    let hash = "0".repeat(64);
    format!(
        "{{\"codec\":\"{name}\",\"block_size\":8388608,{crc32}\"metadata\":{{\"snapshot_id\":\"\",\"agent_id\":\"\",\"session_id\":\"\",\
         \"snapshot_index\":0,\"timestamp\":\"\",\"content_type\":\"\",\"content_hash\":\"{hash}\",\"uncompressed_size\":{size},\
         \"compressed_size\":{data_length},\"compression_algorithm\":\"{name}\",\"format_version\":1,\"producer\":\"\"}}}}"
    )
}

/// A file of one frame that is what the table says, whatever it holds.
pub fn one_frame(gzip: bool, frame: &[u8], length: u32) -> Vec<u8> {
    let data = data(gzip, frame, u64::from(length));
    file(gzip, &data, &row(frame, length), document(gzip, u64::from(length), data.len() as u64).as_bytes())
}
