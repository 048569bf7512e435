//! The short form of a step's document. A document is JSON text, in which hashes take most
//! of the space; the short form holds them as bytes, and the rest deflated.
//!
//! ```text
//! 0   the byte 01, which no JSON text begins with
//! 1   the number of hashes
//! 2   the hashes, 32 bytes each, and the UUID, 16 bytes
//!     a raw deflate stream with DICTIONARY as its dictionary: the text, a zero byte, and
//!     the edit list with the dictionaries of the frames
//! ```
//!
//! In the text, the byte 01 stands for the 64 hexadecimal digits of the next hash, and 02
//! for the UUID. JSON has no such bytes.

use uuid::Uuid;

use crate::codec::primed::{deflate, inflate};
use crate::error::{Error, Result};
use crate::hash::{hash_of, hex};
use crate::limits::MAX_METADATA;

/// The first byte.
const PACKED: u8 = 1;
const HASH: u8 = 1;
const UUID: u8 = 2;
const END: u8 = 0;

/// The most hashes.
const MAX_HASHES: usize = 8;

/// The fewest bytes of a short form. With them, a step has more bytes than what may take its
/// place. Hashes that the text does not have make up for what is missing.
const MIN_PACKED: usize = 129;

/// The most bytes of text, edit list and dictionaries. Each of up to 262,144 frames has a
/// byte at least.
const MAX_UNPACKED: usize = 512_000;

/// What a document mostly consists of, the most common last.
pub(crate) const DICTIONARY: &[u8] = br#""description":"","extra":{},"base_root":"","labels":{"framework":"langgraph","reason":"error","name":"","text/plain","application/octet-stream"gzip","crc32":0,"default_agent","session_id":"default_session"{"kind":"step","codec":"zstd","block_size":1048576,"table_hash":"","step":{"number":1,"parent":null,"base_size":0},"metadata":{"snapshot_id":"","agent_id":"","session_id":"","snapshot_index":1,"timestamp":"2026-01-01T00:00:00.000000Z","description":null,"labels":{},"content_type":"application/json","content_hash":"","uncompressed_size":1,"compressed_size":1,"compression_algorithm":"zstd","format_version":1,"producer":"persist/0.1.0"}}"#;

/// A document and the bytes that come after its text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) text: Vec<u8>,
    pub(crate) edits: Vec<u8>,
}

/// Whether the payload of a metadata section has the short form.
pub(crate) fn is_packed(payload: &[u8]) -> bool {
    payload.first() == Some(&PACKED)
}

/// Returns the hash whose digits are the whole of a string that begins here.
fn hash_at(text: &[u8]) -> Option<[u8; 32]> {
    let digits = str::from_utf8(text.get(..64)?).ok()?;
    hash_of(digits).filter(|_| text.get(64) == Some(&b'"'))
}

/// Returns the UUID that is the whole of a string that begins here.
fn uuid_at(text: &[u8]) -> Option<[u8; 16]> {
    let written: &[u8; 36] = text.first_chunk()?;
    let uuid = Uuid::try_parse_ascii(written).ok()?;
    (text.get(36) == Some(&b'"') && uuid.hyphenated().to_string().as_bytes() == written).then(|| uuid.into_bytes())
}

/// Returns the short form.
pub(crate) fn pack(text: &[u8], edits: &[u8]) -> Result<Vec<u8>> {
    let (mut hashes, mut uuid, mut short) = (Vec::new(), None, Vec::with_capacity(text.len() + edits.len()));
    let mut rest = text;
    while let Some((byte, next)) = rest.split_first() {
        short.push(*byte);
        rest = next;
        if *byte != b'"' {
            continue;
        }
        if hashes.len() < MAX_HASHES
            && let Some(hash) = hash_at(rest)
        {
            hashes.push(hash);
            short.push(HASH);
            rest = rest.get(64..).unwrap_or_default();
        } else if uuid.is_none()
            && let Some(found) = uuid_at(rest)
        {
            uuid = Some(found);
            short.push(UUID);
            rest = rest.get(36..).unwrap_or_default();
        }
    }
    short.push(END);
    short.extend_from_slice(edits);
    if short.len() > MAX_UNPACKED {
        return Err(Error::argument(format!("the document of the step has {} bytes, but at most {MAX_UNPACKED} are allowed", short.len())));
    }
    let stream = deflate(DICTIONARY, &short)?;
    while 2 + 32 * hashes.len() + 16 + stream.len() < MIN_PACKED {
        hashes.push([0; 32]);
    }
    let mut packed = vec![PACKED, u8::try_from(hashes.len()).unwrap_or(u8::MAX)];
    packed.extend_from_slice(hashes.as_flattened());
    packed.extend_from_slice(&uuid.unwrap_or_default());
    packed.extend(stream);
    if packed.len() > MAX_METADATA {
        return Err(Error::argument(format!(
            "the metadata of the step has {} bytes, but at most {MAX_METADATA} are allowed",
            packed.len()
        )));
    }
    Ok(packed)
}

/// Returns the document and what comes after it.
pub(crate) fn unpack(packed: &[u8]) -> Result<Unpacked> {
    let wrong = |what: &str| Error::format(format!("the document of the step is not valid: {what}"));
    let cut = || wrong("it is cut short");
    let [_, count, rest @ ..] = packed else { return Err(cut()) };
    let (hashes, rest) = rest.split_at_checked(usize::from(*count) * 32).ok_or_else(cut)?;
    let (uuid, stream) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
    if usize::from(*count) > MAX_HASHES {
        return Err(wrong("it has more hashes than allowed"));
    }
    let short = inflate(DICTIONARY, stream, MAX_UNPACKED).map_err(wrong)?;
    let end = short.iter().position(|byte| *byte == END).ok_or_else(|| wrong("its text is not terminated"))?;
    let (written, edits) = short.split_at_checked(end).ok_or_else(cut)?;
    let mut hashes = hashes.as_chunks::<32>().0.iter();
    let mut uuid = Some(uuid);
    let mut text = Vec::with_capacity(written.len() + 64 * hashes.len());
    for byte in written {
        match *byte {
            HASH => text.extend_from_slice(hex(hashes.next().ok_or_else(|| wrong("a hash is missing"))?).as_bytes()),
            UUID => {
                let uuid = uuid.take().ok_or_else(|| wrong("a UUID is missing"))?;
                text.extend_from_slice(Uuid::from_bytes(*uuid).hyphenated().to_string().as_bytes());
            }
            byte => text.push(byte),
        }
    }
    Ok(Unpacked { text, edits: edits.get(1..).unwrap_or_default().to_vec() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_takes_little_more_than_its_hashes() {
        let hash = |digit: char| digit.to_string().repeat(64);
        let text = format!(
            r#"{{"kind":"step","codec":"zstd","block_size":1048576,"table_hash":"{}","step":{{"number":417,"parent":"{}","base_size":375120}},"metadata":{{"snapshot_id":"01890a5d-ac96-774b-bcce-b302099a8057","agent_id":"support","session_id":"case-4711","snapshot_index":417,"timestamp":"2026-11-27T12:31:07.123456Z","description":null,"labels":{{}},"content_type":"application/json","content_hash":"{}","uncompressed_size":376003,"compressed_size":271,"compression_algorithm":"zstd","format_version":1,"producer":"persist/0.1.0"}}}}"#,
            hash('a'),
            hash('7'),
            hash('0')
        );
        let packed = pack(text.as_bytes(), b"\x05edits\0").unwrap();
        println!("{} bytes of JSON are {} packed", text.len(), packed.len());
        assert!(packed.len() < 3 * 32 + 16 + 130, "{}", packed.len());
        let unpacked = unpack(&packed).unwrap();
        assert_eq!((unpacked.text.as_slice(), unpacked.edits.as_slice()), (text.as_bytes(), b"\x05edits\0".as_slice()));
    }

    proptest! {
        #[test]
        fn every_document_comes_back(text in "(\"[0-9a-f]{62,66}\"|\"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\"|[a-z\"]){0,20}", edits: Vec<u8>) {
            let packed = pack(text.as_bytes(), &edits).unwrap();
            prop_assert_eq!(unpack(&packed).unwrap(), Unpacked { text: text.into_bytes(), edits });
        }

        #[test]
        fn no_bytes_are_too_hostile(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes);
        }
    }
}
