//! Tables, frames, headers and trailers that break the rules, and files that are not
//! snapshots.

use persist_guest::restore::Restorer;

use super::*;

#[test]
fn a_table_must_match_the_hash_in_the_metadata() {
    for mut parts in both() {
        parts.document = parts.document.replace("@table", &"0".repeat(64));
        refused("table", &parts, ErrorCode::Integrity, "block table was changed");
        // Reading the metadata does not need the table.
        let storage = MemoryStorage::default();
        storage.put(KEY, parts.bytes());
        assert_eq!(snapshots::metadata(&storage, KEY).unwrap().snapshot_index, 3);
    }
}

#[test]
fn false_lengths_are_refused() {
    for parts in both() {
        let data = parts.data().len() as u64;
        for length in [0, data - 1, data + 1, data * 2, u64::from(u32::MAX), u64::MAX] {
            let parts = Parts { data_length: Some(length), ..parts.clone() };
            refused("data length", &parts, ErrorCode::Integrity, "declares");
        }
        for (declared, length) in [(0, 10_000), (u32::MAX, 10_000), (70, u32::MAX), (70, 10_001), (70, 0), (11_300, 10_000)] {
            let mut parts = parts.clone();
            (parts.blocks[0].1, parts.blocks[0].2) = (declared, length);
            refused("row", &parts, ErrorCode::InvalidFormat, "block 0");
        }
        let mut longer = parts.clone();
        longer.blocks[0].2 -= 1;
        refused("sum", &longer, ErrorCode::InvalidFormat, "sizes");
        // The sums agree, but the blocks don't.
        let mut shifted = parts.clone();
        shifted.blocks[0].2 -= 1;
        let last = shifted.blocks.len() - 1;
        shifted.blocks[last].2 += 1;
        refused("shifted", &shifted, ErrorCode::InvalidFormat, "a frame");
    }
}

#[test]
fn a_table_without_rows_is_refused() {
    for mut parts in both() {
        parts.blocks.clear();
        let length = parts.data().len();
        parts.edit(|document| {
            document["metadata"]["compressed_size"] = json!(length);
            document["metadata"]["uncompressed_size"] = json!(0);
        });
        assert!(read(parts.bytes()).is_err());
    }
}

#[test]
fn a_frame_holds_its_block_and_nothing_else() {
    let block = &state()[..10_000];
    let [gzip, zstd] = both();
    let cases = [
        ("longer", deflate(&state()[..10_001])),
        ("shorter", deflate(&block[..9_999])),
        ("cut", deflate(block)[..60].to_vec()),
        ("two flushes", [deflate(&block[..5_000]), deflate(&block[5_000..])].concat()),
        ("a byte after it", [deflate(block), vec![0]].concat()),
        ("garbage", vec![0xff; 90]),
        ("an end inside", [vec![3, 0], deflate(block)].concat()),
    ];
    for (what, frame) in cases {
        let mut parts = gzip.clone();
        parts.reframe(0, frame);
        let outcome = read(parts.bytes());
        // For deflate, two sequences of blocks are one.
        if what == "two flushes" {
            assert!(outcome.unwrap().0 == state());
        } else {
            assert_eq!(outcome.err().map(|error| error.code), Some(ErrorCode::InvalidFormat), "{what}");
        }
    }
    // A frame that refers back to the one before it.
    let mut dependent = gzip.clone();
    let mut compress = Compress::new(Compression::new(6), false);
    let mut frames = [Vec::with_capacity(20_000), Vec::with_capacity(20_000)];
    for (frame, plain) in frames.iter_mut().zip(state().chunks(10_000)) {
        compress.compress_vec(plain, frame, FlushCompress::Sync).unwrap();
    }
    let [_, second] = frames;
    dependent.reframe(1, second);
    refused("dependent", &dependent, ErrorCode::InvalidFormat, "gzip");

    let skippable = vec![0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    let size = 10_000_u64.to_le_bytes();
    let cases = [
        ("longer", zstd_block(&state()[..10_001])),
        ("shorter", zstd_block(&block[..9_999])),
        ("another header", zstd_frame(block, true, true)),
        ("no checksum", zstd_frame(block, false, true)),
        ("no size", zstd_frame(block, true, false)),
        ("cut", zstd_block(block)[..60].to_vec()),
        ("two frames", [zstd_block(&block[..5_000]), zstd_block(&block[5_000..])].concat()),
        ("a byte after it", [zstd_block(block), vec![0]].concat()),
        ("a skippable frame after it", [zstd_block(block), skippable.clone()].concat()),
        ("a skippable frame before it", [skippable.clone(), zstd_block(block)].concat()),
        ("a skippable frame alone", skippable),
        ("a window smaller than the block", [&[0x28, 0xb5, 0x2f, 0xfd, 0xc4, 0][..], &size, &zstd_block(block)[13..]].concat()),
        ("a window of terabytes", [&[0x28, 0xb5, 0x2f, 0xfd, 0xc4, 0xff][..], &size, &zstd_block(block)[13..]].concat()),
        ("a reserved bit", [&[0x28, 0xb5, 0x2f, 0xfd, 0xec][..], &size, &zstd_block(block)[13..]].concat()),
        ("an unused bit", [&[0x28, 0xb5, 0x2f, 0xfd, 0xf4][..], &size, &zstd_block(block)[13..]].concat()),
        ("a dictionary", [&[0x28, 0xb5, 0x2f, 0xfd, 0xe5, 0][..], &size, &zstd_block(block)[13..]].concat()),
        ("a wrong checksum", {
            let mut frame = zstd_block(block);
            *frame.last_mut().unwrap() ^= 1;
            frame
        }),
    ];
    for (what, frame) in cases {
        let mut parts = zstd.clone();
        parts.reframe(0, frame);
        refused(what, &parts, ErrorCode::InvalidFormat, "zstd");
    }
}

#[test]
fn a_changed_header_or_trailer_is_refused() {
    let [gzip, _] = both();
    for (index, value) in [(3, 8), (4, 1), (8, 2), (9, 3)] {
        let mut parts = gzip.clone();
        parts.header[index] = value;
        refused("header", &parts, ErrorCode::Integrity, "header");
    }
    for index in 0..gzip.trailer.len() {
        let mut parts = gzip.clone();
        parts.trailer[index] ^= 1;
        refused("trailer", &parts, ErrorCode::Integrity, "checksum");
    }
    // The same wrong CRC in document and trailer: no other tool would accept the state.
    let mut lying = gzip;
    lying.trailer[2] ^= 1;
    let crc32 = u32::from_le_bytes(lying.trailer[2..6].try_into().unwrap());
    lying.edit(|document| document["crc32"] = json!(crc32));
    refused("crc", &lying, ErrorCode::Integrity, "CRC-32");
}

#[test]
fn a_state_that_contradicts_its_content_hash_is_not_given_out() {
    for mut parts in both() {
        parts.edit(|document| document["metadata"]["content_hash"] = json!(hex(&sha256(b"another state"))));
        let storage = MemoryStorage::default();
        storage.put(KEY, parts.bytes());
        for error in [snapshots::restore(&storage, KEY).unwrap_err(), verify::verify(&storage, KEY).unwrap_err()] {
            assert_eq!(error.code, ErrorCode::Integrity);
            assert!(error.details.contains(&("found".to_owned(), hex(&sha256(&state())))));
        }
        // A stream that checks the hash does not reach its end. Otherwise the caller checks it.
        for checks in [true, false] {
            let mut restorer = Restorer::open(&storage, KEY, checks).unwrap();
            let end = loop {
                match restorer.read(1000) {
                    Ok(chunk) if chunk.is_empty() => break restorer.check(sha256(&state()), crc32(&state())),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            assert_eq!(end.unwrap_err().code, ErrorCode::Integrity);
        }
    }
}

#[test]
fn a_table_of_too_many_blocks_is_refused() {
    // More rows than allowed, without their frames.
    let mut parts = Parts::new(true, &[], 1);
    parts.blocks = vec![(Vec::new(), 10, 1, [0; 32]); persist_guest::MAX_BLOCKS as usize + 1];
    refused("rows", &parts, ErrorCode::LimitExceeded, "262144");
}

#[test]
fn other_files_are_named() {
    let gzip = || {
        let mut encoder = flate2::GzBuilder::new().mtime(1).write(Vec::new(), Compression::default());
        std::io::Write::write_all(&mut encoder, b"a log").unwrap();
        encoder.finish().unwrap()
    };
    let cut = Parts::new(true, &state(), 10_000).bytes();
    let cases = [
        (Vec::new(), ErrorCode::NotASnapshot, "empty"),
        (gzip(), ErrorCode::NotASnapshot, "a gzip file that Persist did not write"),
        (b"\x89PNG\r\n\x1a\n and so on".to_vec(), ErrorCode::NotASnapshot, "neither gzip nor zstd"),
        (b"{\"messages\": []}".to_vec(), ErrorCode::NotASnapshot, "neither gzip nor zstd"),
        (zstd_frame(b"a log", true, true), ErrorCode::NotASnapshot, "a zstd file that Persist did not write"),
        (zstd_block(&state()), ErrorCode::InvalidFormat, "cut short"),
        (zstd_block(&state())[..40].to_vec(), ErrorCode::InvalidFormat, "cut short"),
        (cut[..100].to_vec(), ErrorCode::InvalidFormat, "cut short"),
        (vec![0; 200_000], ErrorCode::NotASnapshot, "neither gzip nor zstd"),
    ];
    for (bytes, code, says) in cases {
        // Other programs write the same gzip header, but none the same zstd header.
        let is_certain = !(code == ErrorCode::InvalidFormat && bytes.starts_with(&[0x1f, 0x8b]));
        let error = read(bytes).unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(says), "{error}");
        let expected = if is_certain { vec![] } else { vec![("certain".to_owned(), "no".to_owned())] };
        assert_eq!(error.details, expected, "{error}");
    }
    let mut longer = cut;
    longer.extend_from_slice(b"more");
    let error = read(longer).unwrap_err();
    assert_eq!(error.code, ErrorCode::Integrity);
    assert!(error.message.contains("does not end with its footer"), "{error}");
    assert!(error.details.is_empty(), "only Persist writes a footer: {error}");
}

#[test]
fn a_bomb_does_not_go_off() {
    // A frame that inflates to 8 MiB, declared as 100 bytes.
    let bomb = vec![0; 8 << 20];
    for (gzip, frame) in [(true, deflate(&bomb)), (false, zstd_block(&bomb))] {
        let mut parts = Parts::new(gzip, &[7; 100], 100);
        let before = parts.blocks[0].1;
        parts.reframe(0, frame);
        assert!(parts.blocks[0].1 > before);
        if gzip {
            // The table already says that the frame is too long for 100 bytes.
            refused("bomb", &parts, ErrorCode::InvalidFormat, "block 0");
        } else {
            refused("bomb", &parts, ErrorCode::InvalidFormat, "does not match the length of its block");
        }
    }
}
