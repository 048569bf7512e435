//! A component of the world `core` that misbehaves as the key tells it to,
//! in every export. `tests/sandbox.rs` runs it.

#![cfg(target_family = "wasm")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "misbehaving is its work")]

use std::sync::atomic::{AtomicU32, Ordering};

#[allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks, clippy::all)]
mod generated {
    wit_bindgen::generate!({ path: "../../wit", world: "core" });
}

use generated::exports::persist::snapshot::{blocks, snapshots as wit};
use generated::persist::snapshot::storage;

struct Hostile;

/// How much memory an instance leaves behind full of its own, in bytes.
const STAIN: usize = 24 << 20;
const STAIN_BYTE: u8 = 0xa5;

static STAINED: AtomicU32 = AtomicU32::new(0);

generated::export!(Hostile with_types_in generated);

fn writer(key: &str) -> Result<storage::Writer, storage::Error> {
    let options = storage::WriteOptions {
        precondition: storage::Precondition::None,
        object_size_hint: Some(u64::MAX),
        content_type: None,
        attributes: Vec::new(),
    };
    storage::open_write(key, &options)
}

/// Whether a host took something; that it has no room is the one reason not to.
fn accepted<T>(answer: Result<T, storage::Error>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code, storage::ErrorCode::NoSpace, "{}", error.message);
            false
        }
    }
}

fn request(key: &str, length: u64) -> storage::ReadRequest {
    storage::ReadRequest { key: key.to_owned(), range: storage::ByteRange::Suffix(length), if_match: None }
}

/// No storage may take such a key, whatever it is asked for. Where it is one of
/// many, the whole call may be refused.
fn assert_refused(key: &str) {
    assert!(writer(key).is_err());
    assert!(storage::stat(key).is_err());
    assert!(storage::delete(key, &storage::Precondition::None).is_err());
    let options = storage::ReadOptions { range: storage::ByteRange::Suffix(u64::MAX), if_match: None };
    assert!(storage::open_read(key, &options).is_err());
    assert!(storage::read_many(&[request(key, 1)]).map_or(true, |answers| answers.iter().all(Result::is_err)));
    assert!(storage::delete_many(&[key.to_owned()]).map_or(true, |failures| failures.len() == 1));
    if let Ok(writer) = writer("copied") {
        assert!(writer.copy_range(key, storage::Span { offset: 0, length: 0 }, None).is_err());
    }
}

/// Nor more in one call than the contract says.
fn assert_bounded() {
    assert!(storage::list_objects("", None, u32::MAX).is_err());
    assert!(storage::list_level("", None, u32::MAX).is_err());
    assert!(storage::read_many(&vec![request("x", 1); 1001]).is_err());
    assert!(storage::read_many(&[request("x", 8 << 20), request("x", 1)]).is_err());
    assert!(storage::delete_many(&vec!["x".to_owned(); 1001]).is_err());
}

/// Does what the first part of a key says.
fn behave(key: &str) {
    match key.split('/').next().unwrap_or_default() {
        "trap" => panic!("a trap"),
        "overflow" => behave(&format!("overflow/{}", key.len()).repeat(2)),
        "loop" => loop {
            std::hint::black_box(());
        },
        "bloat" => {
            let mut bloat: Vec<Vec<u8>> = Vec::new();
            loop {
                bloat.push(vec![1; 1 << 20]);
            }
        }
        // Handles that are never given back.
        "leak" => loop {
            std::mem::forget(writer("leaked"));
        },
        // One write after another into a writer that is never committed.
        "hold" => {
            if let Ok(writer) = writer("held") {
                let _ = writer.write(&[7; 100_000]);
                std::mem::forget(writer);
            }
        }
        // More in one call than a host may be made to copy.
        "flood" => {
            if let Ok(writer) = writer("flooded") {
                let _ = writer.write(&vec![7; 60 << 20]);
            }
        }
        // Into one writer, until that is refused.
        "fill" => {
            let writer = writer("filled").expect("one writer");
            while accepted(writer.write(&[7; 10_000])) {}
            std::mem::forget(writer);
        }
        // Under one key after another, with nothing in them.
        "scatter" => {
            let stored = |number: u64| writer(&format!("scattered-{number}")).and_then(storage::Writer::commit);
            (0..).take_while(|number| accepted(stored(*number))).for_each(drop);
        }
        "escape" => {
            let long = "long".repeat(300);
            for key in ["../escaped", "/etc/escaped", "a/../../escaped", "", "a\0b", "a//b", &long] {
                assert_refused(key);
            }
            assert_bounded();
            let _ = storage::list_objects("../", Some("\0"), 1000);
            let _ = storage::list_level("../", Some("\0"), 1000);
        }
        // Where objects are files.
        "reserved" => assert_refused(".persist-00000000000000000000000000000000.tmp"),
        // What another instance might find.
        "stain" => {
            STAINED.store(1, Ordering::Relaxed);
            std::mem::forget(vec![STAIN_BYTE; STAIN]);
        }
        "look" => {
            assert_eq!(STAINED.load(Ordering::Relaxed), 0, "another's static");
            let mut room: Vec<u8> = Vec::with_capacity(STAIN);
            for byte in room.spare_capacity_mut() {
                // SAFETY: the pointer is to a byte of this vector's, and memory
                // of WebAssembly always holds some value.
                let found = unsafe { byte.as_mut_ptr().read_volatile() };
                assert_ne!(found, STAIN_BYTE, "another's memory");
            }
        }
        // What is not linked.
        "environment" => drop(std::env::vars().count()),
        "print" => println!("hello from inside"),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        "exit" => std::process::exit(0),
        "read" => drop(std::io::stdin().lines().next()),
        _ => {}
    }
}

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
        extra: "this is no JSON".to_owned(),
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

/// How many blocks a restorer of a key that begins with `blocks/` has, and how
/// many bytes each.
const BLOCKS: u32 = 10;
const BLOCK: u32 = 64;

struct Handle {
    key: String,
    /// What the host may take over.
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
    /// Asked for while the saver is opened.
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
        // More than was asked for, and then no end.
        Ok(if self.key == "endless" { vec![7; 9 << 20] } else { Vec::new() })
    }

    fn block_count(&self) -> u32 {
        if self.key.starts_with("blocks/") { BLOCKS } else { u32::MAX }
    }

    fn plan(&self, first: u32, _: u32) -> Vec<wit::BlockRef> {
        match self.key.as_str() {
            // No misbehaviour: blocks of another object, of the version that it has.
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

/// Keys that begin with `late-` behave only in the calls that follow.
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
        // A listing without an end, of nothing.
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
