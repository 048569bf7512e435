//! A component of the world `core` that misbehaves in every export, as the key tells it
//! to. `tests/sandbox.rs` runs it.

#![cfg(target_family = "wasm")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "it misbehaves on purpose")]

mod behave;
mod bindings;
mod diffs;
mod steps;

use behave::behave;
use bindings::{blocks, storage, wit};

struct Hostile;

bindings::export!(Hostile with_types_in bindings::generated);

fn nonsense(key: &str) -> wit::Metadata {
    wit::Metadata {
        key: "another\u{0}key".to_owned(),
        kind: "\u{1b}[2J".to_owned(),
        snapshot_id: "\u{202e}".to_owned(),
        agent_id: key.to_owned(),
        session_id: String::new(),
        snapshot_index: u64::MAX,
        timestamp: "never".to_owned(),
        description: Some("\u{1b}[2J".repeat(1000)),
        labels: vec![(String::new(), String::new()); 100],
        content_type: String::new(),
        content_hash: "z".to_owned(),
        uncompressed_size: u64::MAX,
        compressed_size: u64::from(BLOCKS * BLOCK),
        compression_algorithm: wit::Codec::Gzip,
        format_version: 0,
        producer: String::new(),
        extra: "this is not JSON".to_owned(),
        seal: wit::SealState::Checked,
        encryption: wit::Encryption::Age,
        root: String::new(),
        digest: String::new(),
        etag: Some("\n".to_owned()),
        stored_size: 0,
    }
}

fn refused() -> wit::Error {
    wit::Error { code: wit::ErrorCode::Other, retryable: true, key: None, message: "\u{1b}[31mno".to_owned(), details: Vec::new() }
}

/// How many blocks a restorer has for a key that begins with `blocks/`, and how many bytes
/// each.
const BLOCKS: u32 = 10;
const BLOCK: u32 = 64;

struct Handle {
    key: String,
    /// The host may take this over.
    _object: Option<storage::Reader>,
}

fn block(number: u32) -> wit::BlockRef {
    wit::BlockRef {
        key: None,
        etag: None,
        codec: wit::Codec::Gzip,
        offset: u64::from(number * BLOCK),
        prefix: Vec::new(),
        frame_length: BLOCK,
        suffix: Vec::new(),
        length: u32::MAX,
        hash: Vec::new(),
    }
}

impl wit::GuestSaver for Handle {
    /// The host calls this while it opens the saver.
    fn encoding(&self) -> wit::Encoding {
        let block_size = match self.key.split('/').next().unwrap_or_default() {
            "blocks" => BLOCK,
            "none" => 0,
            "huge" => u32::MAX,
            _ => 1,
        };
        wit::Encoding { codec: wit::Codec::Zstd, level: i32::MIN, block_size }
    }

    fn write(&self, _: Vec<u8>) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }

    fn hash(&self, _: Vec<u8>) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }

    fn append(&self, _: wit::EncodedBlock) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }

    fn append_hashed(&self, block: wit::EncodedBlock) -> Result<(), wit::Error> {
        self.append(block)
    }

    fn set_content_hash(&self, _: Vec<u8>) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }

    fn commit(saver: wit::Saver) -> Result<wit::Metadata, wit::Error> {
        Ok(nonsense(&saver.into_inner::<Self>().key))
    }
}

impl wit::GuestRestorer for Handle {
    fn metadata(&self) -> wit::Metadata {
        nonsense(&self.key)
    }

    fn read(&self, _: u32) -> Result<Vec<u8>, wit::Error> {
        behave(&self.key);
        // More than was requested, without an end.
        Ok(if self.key == "endless" { vec![7; 9 << 20] } else { Vec::new() })
    }

    fn block_count(&self) -> u32 {
        if self.key.starts_with("blocks/") { BLOCKS } else { u32::MAX }
    }

    fn plan(&self, first: u32, _: u32) -> Vec<wit::BlockRef> {
        match self.key.as_str() {
            // Not misbehaviour: blocks of the current version of another object.
            "blocks/elsewhere" => {
                let key = || Some("blocks/other".to_owned());
                let etag = storage::stat("blocks/other").ok().and_then(|info| info.etag);
                (first..BLOCKS).map(|number| wit::BlockRef { key: key(), etag: etag.clone(), ..block(number) }).collect()
            }
            key if key.starts_with("blocks/") => (first..BLOCKS).map(block).collect(),
            _ => Vec::new(),
        }
    }

    fn check(&self, _: Vec<u8>, _: u32) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }
}

impl wit::GuestVerifier for Handle {
    fn metadata(&self) -> wit::Metadata {
        nonsense(&self.key)
    }

    fn write(&self, _: Vec<u8>) -> Result<(), wit::Error> {
        behave(&self.key);
        Ok(())
    }

    fn finish(verifier: wit::Verifier) -> Result<wit::Metadata, wit::Error> {
        Ok(nonsense(&verifier.into_inner::<Self>().key))
    }
}

impl wit::GuestSalvager for Handle {
    fn read(&self, _: u32) -> Result<Vec<u8>, wit::Error> {
        behave(&self.key);
        Ok(Vec::new())
    }

    fn report(&self) -> wit::SalvageReport {
        wit::SalvageReport {
            metadata: Some(nonsense(&self.key)),
            codec: wit::Codec::Gzip,
            salvaged_size: u64::MAX,
            checked_size: u64::MAX,
            missing_size: u64::MAX,
            holes: vec![wit::Hole { state_offset: u64::MAX, length: u64::MAX, object_offset: u64::MAX }; 2000],
            break_offset: Some(u64::MAX),
            reason: Some(refused()),
        }
    }
}

/// Keys that begin with `late-` misbehave only in later calls.
fn opened(key: String) -> Handle {
    if let Some(later) = key.strip_prefix("late-") {
        return Handle { key: later.to_owned(), _object: None };
    }
    behave(&key);
    let range = storage::ByteRange::Span(storage::Span { offset: 0, length: u64::from(BLOCKS * BLOCK) });
    let object = storage::open_read(&key, &storage::ReadOptions { range, if_match: None });
    Handle { key, _object: object.ok() }
}

impl wit::Guest for Hostile {
    type Saver = Handle;
    type Restorer = Handle;
    type Verifier = Handle;
    type Salvager = Handle;

    fn open_saver(key: String, _: wit::SaveOptions) -> Result<wit::Saver, wit::Error> {
        Ok(wit::Saver::new(opened(key)))
    }

    fn open_restorer(key: String, _: wit::RestoreOptions) -> Result<wit::Restorer, wit::Error> {
        Ok(wit::Restorer::new(opened(key)))
    }

    fn open_verifier(key: String) -> Result<wit::Verifier, wit::Error> {
        Ok(wit::Verifier::new(opened(key)))
    }

    fn open_salvager(key: String) -> Result<wit::Salvager, wit::Error> {
        Ok(wit::Salvager::new(opened(key)))
    }

    fn save(key: String, _: Vec<u8>, _: wit::SaveOptions) -> Result<wit::Metadata, wit::Error> {
        behave(&key);
        Ok(nonsense(&key))
    }

    fn save_text(key: String, _: String, _: wit::SaveOptions) -> Result<wit::Metadata, wit::Error> {
        behave(&key);
        Ok(nonsense(&key))
    }

    fn restore(key: String) -> Result<Vec<u8>, wit::Error> {
        behave(&key);
        Err(refused())
    }

    fn restore_text(key: String) -> Result<String, wit::Error> {
        behave(&key);
        Err(refused())
    }

    fn get_metadata(key: String) -> Result<wit::Metadata, wit::Error> {
        behave(&key);
        Ok(nonsense(&key))
    }

    fn verify(key: String) -> Result<wit::Metadata, wit::Error> {
        behave(&key);
        Ok(nonsense(&key))
    }

    fn exists(key: String) -> Result<bool, wit::Error> {
        behave(&key);
        Ok(true)
    }

    fn delete(key: String, _: wit::Precondition) -> Result<(), wit::Error> {
        behave(&key);
        Err(refused())
    }

    fn list_snapshots(prefix: String, _: Option<String>, _: u32, _: Option<wit::ListFilter>) -> Result<wit::ListPage, wit::Error> {
        behave(&prefix);
        // An empty listing without an end.
        Ok(wit::ListPage { entries: Vec::new(), next: Some(String::new()) })
    }
}

impl blocks::Guest for Hostile {
    fn encode(_: wit::Codec, _: i32, plain: Vec<u8>) -> Result<wit::EncodedBlock, wit::Error> {
        behave(&String::from_utf8_lossy(&plain));
        Ok(wit::EncodedBlock { frame: Vec::new(), length: u32::MAX, crc32: 0, hash: vec![0; 1000] })
    }

    fn encode_frame(codec: wit::Codec, level: i32, plain: Vec<u8>) -> Result<Vec<u8>, wit::Error> {
        Self::encode(codec, level, plain).map(|block| block.frame)
    }

    fn decode(_: wit::BlockRef, slice: Vec<u8>) -> Result<Vec<u8>, wit::Error> {
        behave(&String::from_utf8_lossy(&slice));
        if slice.starts_with(b".") { Ok(slice) } else { Err(refused()) }
    }

    fn decode_hashed(block: wit::BlockRef, slice: Vec<u8>, _: Vec<u8>) -> Result<Vec<u8>, wit::Error> {
        Self::decode(block, slice)
    }
}
