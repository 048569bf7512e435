//! The ways to misbehave.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::bindings::storage;

/// How many bytes of memory an instance fills and leaves behind.
const STAIN: usize = 24 << 20;
const STAIN_BYTE: u8 = 0xa5;

static STAINED: AtomicU32 = AtomicU32::new(0);

fn writer(key: &str) -> Result<storage::Writer, storage::Error> {
    let options = storage::WriteOptions {
        precondition: storage::Precondition::None,
        object_size_hint: Some(u64::MAX),
        content_type: None,
        attributes: Vec::new(),
    };
    storage::open_write(key, &options)
}

/// Whether a host accepted something. It may refuse only because it is out of space.
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

/// No storage may accept such a key in any call. A call with several keys may be refused
/// as a whole.
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

/// No storage may accept more in one call than the contract allows.
fn assert_bounded() {
    assert!(storage::list_objects("", None, u32::MAX).is_err());
    assert!(storage::list_level("", None, u32::MAX).is_err());
    assert!(storage::read_many(&vec![request("x", 1); 1001]).is_err());
    assert!(storage::read_many(&[request("x", 8 << 20), request("x", 1)]).is_err());
    assert!(storage::delete_many(&vec!["x".to_owned(); 1001]).is_err());
}

/// Misbehaves as the first part of a key says.
pub(crate) fn behave(key: &str) {
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
        // Handles that are never returned.
        "leak" => loop {
            std::mem::forget(writer("leaked"));
        },
        // Each call leaves a writer that is never committed.
        "hold" => {
            if let Ok(writer) = writer("held") {
                let _ = writer.write(&[7; 100_000]);
                std::mem::forget(writer);
            }
        }
        // More in one call than a host should copy.
        "flood" => {
            if let Ok(writer) = writer("flooded") {
                let _ = writer.write(&vec![7; 60 << 20]);
            }
        }
        // Writes into one writer until one is refused.
        "fill" => {
            let writer = writer("filled").expect("one writer");
            while accepted(writer.write(&[7; 10_000])) {}
            std::mem::forget(writer);
        }
        // Empty objects under one key after another.
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
        // A key that storages of files reserve.
        "reserved" => assert_refused(".persist-00000000000000000000000000000000.tmp"),
        // Leaves traces that another instance might find.
        "stain" => {
            STAINED.store(1, Ordering::Relaxed);
            std::mem::forget(vec![STAIN_BYTE; STAIN]);
        }
        "look" => {
            assert_eq!(STAINED.load(Ordering::Relaxed), 0, "another's static");
            let mut room: Vec<u8> = Vec::with_capacity(STAIN);
            for byte in room.spare_capacity_mut() {
                // SAFETY: the pointer is to a byte of this vector, and WebAssembly's memory
                // always holds some value.
                let found = unsafe { byte.as_mut_ptr().read_volatile() };
                assert_ne!(found, STAIN_BYTE, "another's memory");
            }
        }
        // Functions that are not linked.
        "environment" => drop(std::env::vars().count()),
        "print" => println!("hello from inside"),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        "exit" => std::process::exit(0),
        "read" => drop(std::io::stdin().lines().next()),
        _ => {}
    }
}
