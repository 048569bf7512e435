//! Snapshot files built by hand according to `docs/format.md`, for cases that the library
//! would not write.

use sha2::{Digest, Sha256};

/// The header of a gzip member.
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
    if payload.is_empty() {
        return;
    }
    let number = match id {
        b'T' => 0x51,
        b'M' => 0x52,
        b'F' => 0x53,
        _ => 0x54,
    };
    out.extend_from_slice(&[number, 0x2a, 0x4d, 0x18]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The lengths that a footer declares.
#[derive(Clone, Copy)]
pub struct Lengths {
    pub format: u32,
    pub seal: u32,
    pub data: u64,
    pub table: u32,
    pub document: u32,
}

impl Lengths {
    fn words(self, seal: u32) -> Vec<u8> {
        let Self { format, data, table, document, .. } = self;
        [&b"PERSIST\0"[..], &format.to_le_bytes(), &seal.to_le_bytes(), &data.to_le_bytes(), &table.to_le_bytes(), &document.to_le_bytes()]
            .concat()
    }

    /// Returns the root, which a seal signs.
    pub fn root(self, document: &[u8]) -> Vec<u8> {
        Sha256::new().chain_update(b"persist.root.v1\0").chain_update(self.words(0)).chain_update(document).finalize().to_vec()
    }

    /// Returns the footer, with a digest over these sections.
    pub fn footer(self, document: &[u8], seal: &[u8]) -> Vec<u8> {
        let mut footer = self.words(self.seal);
        footer.extend_from_slice(&Sha256::new().chain_update(self.root(document)).chain_update(seal).finalize());
        footer
    }
}

/// Returns table, metadata, seal and footer in their carriers.
pub fn carried(gzip: bool, table: &[u8], document: &[u8], seal: &[u8], footer: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    carry(gzip, b'T', table, &mut bytes);
    carry(gzip, b'M', document, &mut bytes);
    carry(gzip, b'S', seal, &mut bytes);
    carry(gzip, b'F', footer, &mut bytes);
    bytes
}

/// Returns a file of these sections with a matching digest.
pub fn file(gzip: bool, data: &[u8], table: &[u8], document: &[u8]) -> Vec<u8> {
    sealed_file(gzip, data, table, document, &[])
}

/// Returns a file of these sections and a seal with a matching digest.
pub fn sealed_file(gzip: bool, data: &[u8], table: &[u8], document: &[u8], seal: &[u8]) -> Vec<u8> {
    let lengths =
        Lengths { format: 1, seal: seal.len() as u32, data: data.len() as u64, table: table.len() as u32, document: document.len() as u32 };
    [data, &carried(gzip, table, document, seal, &lengths.footer(document, seal))].concat()
}

/// Adds a seal to a snapshot. Only the footer and the carrier of the seal change.
pub fn sealed(gzip: bool, snapshot: &[u8], seal: &[u8]) -> Vec<u8> {
    let (after, carrier) = if gzip { (10, 90) } else { (0, 72) };
    let footer = &snapshot[snapshot.len() - after - 64..];
    let word = |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
    let data = u64::from(word(16)) | u64::from(word(20)) << 32;
    let lengths = Lengths { format: word(8), seal: seal.len() as u32, data, table: word(24), document: word(28) };
    let body = &snapshot[..snapshot.len() - carrier];
    let document = uncarried(gzip, &body[body.len() - carried_length(gzip, lengths.document as usize)..]);
    let mut bytes = body.to_vec();
    carry(gzip, b'S', seal, &mut bytes);
    carry(gzip, b'F', &lengths.footer(&document, seal), &mut bytes);
    bytes
}

/// Returns the length of the carriers of a payload.
pub fn carried_length(gzip: bool, payload: usize) -> usize {
    if gzip { payload + payload.div_ceil(16_000) * 26 } else { payload + 8 }
}

/// Returns the payload of carriers.
pub fn uncarried(gzip: bool, carriers: &[u8]) -> Vec<u8> {
    if gzip {
        carriers.chunks(16_026).flat_map(|carrier| &carrier[16..carrier.len() - 10]).copied().collect()
    } else {
        carriers[8..].to_vec()
    }
}

/// Gives a zstd frame of any encoder, with content size and checksum, the header of
/// frames in snapshots.
pub fn with_header(frame: &[u8], length: u64) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, 0xe4][..], &length.to_le_bytes(), &frame[zstd_header_length(frame)..]].concat()
}

/// Returns the length of a zstd frame header by RFC 8878, 3.1.1.1: magic number,
/// descriptor, window, dictionary, content size.
fn zstd_header_length(frame: &[u8]) -> usize {
    let descriptor = frame[4];
    let is_single = descriptor & 0x20 != 0;
    let size = match descriptor >> 6 {
        0 => usize::from(is_single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    5 + usize::from(!is_single) + [0, 1, 2, 4][usize::from(descriptor & 3)] + size
}

/// Returns the row of the block table for a frame.
pub fn row(frame: &[u8], length: u32) -> Vec<u8> {
    row_of(frame.len() as u32, length, &Sha256::digest(frame))
}

/// Returns a row of the block table with these fields.
pub fn row_of(frame_length: u32, length: u32, hash: &[u8]) -> Vec<u8> {
    [&frame_length.to_le_bytes()[..], &length.to_le_bytes(), hash].concat()
}

/// Returns the bytes after the frames of a state of this size and CRC-32.
pub fn trailer(gzip: bool, size: u64, crc32: u32) -> Vec<u8> {
    if gzip { [&[3, 0][..], &crc32.to_le_bytes(), &(size as u32).to_le_bytes()].concat() } else { Vec::new() }
}

/// Returns the data section of these frames, for a state of this size and CRC-32.
pub fn data(gzip: bool, frames: &[u8], size: u64, crc32: u32) -> Vec<u8> {
    [if gzip { &GZIP_HEADER[..] } else { &[] }, frames, &trailer(gzip, size, crc32)].concat()
}

/// Returns the document of a state of these sizes, with this block table. CRC-32 and
/// content hash are those of an empty state, since the state is not known here.
pub fn document(gzip: bool, size: u64, data_length: u64, table: &[u8]) -> String {
    document_of(gzip, size, data_length, table, &Sha256::digest([]), 0)
}

/// Returns the document of a state with this hash and CRC-32.
pub fn document_of(gzip: bool, size: u64, data_length: u64, table: &[u8], content_hash: &[u8], crc32: u32) -> String {
    let name = if gzip { "gzip" } else { "zstd" };
    let crc32 = if gzip { format!("\"crc32\":{crc32},") } else { String::new() };
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (table_hash, hash) = (hex(&Sha256::digest(table)), hex(content_hash));
    format!(
        "{{\"codec\":\"{name}\",\"block_size\":8388608,\"table_hash\":\"{table_hash}\",{crc32}\"metadata\":{{\
         \"snapshot_id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"agent_id\":\"\",\"session_id\":\"\",\
         \"snapshot_index\":0,\"timestamp\":\"2026-01-31T12:00:00.000000Z\",\"content_type\":\"\",\"content_hash\":\"{hash}\",\"uncompressed_size\":{size},\
         \"compressed_size\":{data_length},\"compression_algorithm\":\"{name}\",\"format_version\":1,\"producer\":\"\"}}}}"
    )
}

/// Returns a file of these frames, each with the length of its block, for a state with
/// this hash and CRC-32. The table matches the frames, whatever they contain.
pub fn frames(gzip: bool, frames: &[(Vec<u8>, u32)], content_hash: &[u8], crc32: u32) -> Vec<u8> {
    let size = frames.iter().map(|(_, length)| u64::from(*length)).sum();
    let all: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.clone()).collect();
    let table: Vec<u8> = frames.iter().flat_map(|(frame, length)| row(frame, *length)).collect();
    let data = data(gzip, &all, size, crc32);
    let document = document_of(gzip, size, data.len() as u64, &table, content_hash, crc32);
    file(gzip, &data, &table, document.as_bytes())
}

/// Returns two frames that decode to one state separately and to another in sequence. The
/// first ends with a stored block and eight bits of an unfinished block: `1` final, `10`
/// fixed codes, and the first five bits of a code. After the frame alone, `03 00`
/// completes the code (fifteen spaces) and ends the block. In the file, the second frame
/// follows, whose bytes complete the code to another text, which the trailing `03 00`
/// then ends. Both states have the same length and CRC-32.
pub fn open_frames() -> [Vec<u8>; 2] {
    const FRAMES: [&str; 2] = [
        "002200ddff7b226e6f7465223a2277686174207a6361742073686f7773222c22706164223a222043",
        "80b80047ff00251da5e2c44a252ba520d7304fd77057172b85bcfc928cccbc7485927c85e2d4543d8520d7304fd77057172b85bcfc928cccbc74\
         85927c85e2d4543d8520d7304fd77057172b85bcfc928cccbc7485927c85e2d4543d8520d7304fd77057172b85bcfc928cccbc7485927c85e2d4\
         543d8520d7304fd77057172b85bcfc928cccbc7485927c85e2d4543d8520d7304fd77057172b85bcfc928cccbc7485927c85e2d4543d05373f7f\
         1f5f2f176707070707070707074747",
    ];
    FRAMES.map(from_hex)
}

fn from_hex(digits: &str) -> Vec<u8> {
    let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
    digits.as_bytes().chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

/// Returns a snapshot of these frames that is otherwise consistent: the hashes and the
/// CRC-32 are those of the separately decoded frames.
pub fn two_states() -> Vec<u8> {
    let [first, second] = open_frames();
    let hash = from_hex("53611289412d6ffe0f438f65c18b203ba5b043ec31497bb20a673d0371152ee6");
    frames(true, &[(first, 49), (second, 184)], &hash, 1_776_777_405)
}

/// Returns an otherwise consistent snapshot whose first frame leaves its last block
/// unfinished. An end added to this frame closes the block, and with its codes the second
/// frame decodes to the same bytes as separately. The end after both frames does not
/// close it, so other tools read on into the CRC-32.
pub fn open_end() -> Vec<u8> {
    let first = from_hex(concat!(
        "ede3010c00b06dc330fcffffffffffffffffffffffffffffffffffffffffffffff5fffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0f0000000000000000000000000000",
        "004c72b66ddbb66ddbb60d002e4900000000ffff"
    ));
    let second = from_hex("72440320402c00e00000ffff");
    frames(true, &[(first, 274), (second, 60)], &Sha256::digest([b'A'; 334]), 793_884_048)
}
