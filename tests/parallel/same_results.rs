//! Any number of workers gives the same bytes and errors.

use std::fs;

use persist_host::{Codec, Engine, PersistError};
use persist_test_support::command::{chat_bytes, noise};

use crate::helpers::{MIB, engine, options};

#[test]
fn any_number_of_workers_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let engines = [1, 2, 3, 8].map(|workers| (workers, engine(folder.path(), workers)));
    let mut compared = 0;
    // Each codec with the size of its blocks.
    for (codec, block) in [(Codec::Gzip, 5 * MIB / 4), (Codec::Zstd, MIB)] {
        let sizes = [0, 1, MIB / 4, MIB / 4 + 1, block - 1, block, block + 1, 2 * block, 2 * block + 1, 4 * block, 13_000_001];
        for size in sizes {
            for state in [chat_bytes(size as u64), noise(size)] {
                let mut expected = None;
                for (workers, engine) in &engines {
                    // In one piece of known size, and in pieces of an odd size.
                    engine.snapshot("whole", &state, &options(codec)).expect("it is saved");
                    let mut writer = engine.writer("pieces", options(codec)).expect("a writer");
                    for piece in state.chunks(777_777) {
                        writer.write_state(piece).expect("it is written");
                    }
                    writer.commit().expect("it is saved");
                    for key in ["whole", "pieces"] {
                        let stored = fs::read(folder.path().join(key)).unwrap();
                        let expected = expected.get_or_insert_with(|| stored.clone());
                        assert!(stored == *expected, "{workers} workers, {size} bytes of {codec:?}, {key}");
                        assert!(engine.restore(key).expect("it is restored") == state);
                        compared += 1;
                    }
                }
            }
        }
    }
    println!("{compared} snapshots by 1, 2, 3 and 8 workers, the same bytes for each state");
}

#[test]
fn errors_do_not_depend_on_the_workers() {
    let folder = tempfile::tempdir().unwrap();
    let (one, three) = (engine(folder.path(), 1), engine(folder.path(), 3));
    for codec in [Codec::Gzip, Codec::Zstd] {
        one.snapshot("x", &chat_bytes(9_000_000), &options(codec)).unwrap();
        let whole = fs::read(folder.path().join("x")).unwrap();
        let mut damages: Vec<Vec<u8>> = Vec::new();
        for part in 0..40 {
            let mut damaged = whole.clone();
            damaged[whole.len() / 41 * (part + 1)] ^= 0x10;
            damages.push(damaged);
        }
        damages.push(whole[..whole.len() / 2].to_vec());
        damages.push([&whole[..1000], &whole[2000..]].concat());
        damages.push([&whole[..], b"x"].concat());
        for damaged in damages {
            fs::write(folder.path().join("x"), damaged).unwrap();
            let read = |engine: &Engine| -> (usize, PersistError) {
                let mut given = 0;
                let mut read = || {
                    let mut reader = engine.reader("x")?;
                    while let Some(chunk) = reader.next_chunk()? {
                        given += chunk.len();
                    }
                    Ok::<_, PersistError>(())
                };
                let error = read().expect_err("it is damaged");
                (given, error)
            };
            assert_eq!(read(&one), read(&three));
        }
        // After an error, a reader returns the same error again.
        let mut reader = three.reader("x").and_then(|mut reader| reader.next_chunk().map(|_| reader));
        if let Ok(reader) = &mut reader {
            let first = std::iter::from_fn(|| Some(reader.next_chunk())).find(Result::is_err);
            assert_eq!(first, Some(reader.next_chunk()));
        }
    }
}
