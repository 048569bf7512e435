//! One file, one state: a restore returns what every other tool reads from the file. In the
//! tricks here every hash, length and CRC is right, so that only the frame can be refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Read;

use flate2::read::MultiGzDecoder;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use persist_guest::codec::{BlockRef, Codec, Decoder};
use persist_guest::error::{Error, ErrorCode};
use persist_guest::memory::MemoryStorage;
use persist_guest::{snapshots, verify};
use persist_test_support::craft;
use sha2::{Digest, Sha256};

const KEY: &str = "x";

/// The end of a sync flush.
const FLUSH_END: [u8; 4] = [0, 0, 0xff, 0xff];

/// An empty final block with fixed codes, which follows the last frame.
const FINAL_BLOCK: [u8; 2] = [3, 0];

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Inflates like a naive reader that appends the end of a stream to a frame, and takes it as
/// proof that the frame ends with a block. `None` if even this reader refuses the frame.
fn inflated_with_end(frame: &[u8]) -> Option<Vec<u8>> {
    let mut inflate = Decompress::new(false);
    let mut out = Vec::with_capacity(1 << 20);
    let input = [frame, &FINAL_BLOCK].concat();
    let status = inflate.decompress_vec(&input, &mut out, FlushDecompress::None).ok()?;
    (status == Status::StreamEnd && inflate.total_in() == input.len() as u64).then_some(out)
}

/// Inflates the frame alone, whatever state that leaves the inflater in.
fn inflated_alone(frame: &[u8]) -> Option<Vec<u8>> {
    let mut inflate = Decompress::new(false);
    let mut out = Vec::with_capacity(1 << 20);
    let status = inflate.decompress_vec(frame, &mut out, FlushDecompress::None).ok()?;
    (status != Status::StreamEnd && inflate.total_in() == frame.len() as u64).then_some(out)
}

fn decode(codec: Codec, frame: &[u8], length: usize) -> Result<Vec<u8>, Error> {
    let block = BlockRef {
        key: None,
        etag: None,
        codec,
        offset: 0,
        prefix: Vec::new(),
        frame_length: frame.len() as u32,
        suffix: Vec::new(),
        length: length as u32,
        hash: Sha256::digest(frame).into(),
    };
    let mut out = Vec::new();
    Decoder::default().decode(&block, frame, &mut out).map(|()| out)
}

fn read(file: &[u8]) -> Result<Vec<u8>, Error> {
    let storage = MemoryStorage::default();
    storage.put(KEY, file.to_vec());
    let restored = snapshots::restore(&storage, KEY);
    assert_eq!(restored.is_ok(), verify::verify(&storage, KEY).is_ok());
    restored
}

#[test]
fn a_frame_that_leaves_a_block_open_is_refused_at_the_frame() {
    let frames = craft::open_frames();
    let blocks = frames.each_ref().map(|frame| inflated_with_end(frame).expect("the appended end is accepted"));
    let ours = blocks.concat();
    let file = craft::frames(
        true,
        &[(frames[0].clone(), blocks[0].len() as u32), (frames[1].clone(), blocks[1].len() as u32)],
        &Sha256::digest(&ours),
        crc32(&ours),
    );
    assert!(file == craft::two_states());
    // The trick still works: every other tool accepts the file, and reads a different state.
    let mut theirs = Vec::new();
    MultiGzDecoder::new(&file[..]).read_to_end(&mut theirs).expect("gzip accepts it");
    assert_ne!(ours, theirs);
    assert_eq!((ours.len(), crc32(&ours)), (theirs.len(), crc32(&theirs)));
    let error = read(&file).expect_err("it has two states");
    assert_eq!(error.code, ErrorCode::InvalidFormat);
    assert!(error.message.contains("does not end at a block boundary (bytes 0 to 50)"), "{error}");
}

/// Bits in deflate's order: the lowest of each byte comes first.
#[derive(Clone, Default)]
struct Bits(Vec<bool>);

impl Bits {
    /// A number, lowest bit first.
    fn number(&mut self, value: u32, bits: u32) {
        self.0.extend((0..bits).map(|bit| value >> bit & 1 == 1));
    }

    /// A code, highest bit first.
    fn code(&mut self, code: &str) {
        self.0.extend(code.bytes().map(|bit| bit == b'1'));
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.chunks(8).map(|bits| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << at)).collect()
    }
}

/// The beginning of a block with dynamic codes: `a` is 0, `b` 10, `c` 110, `d` 1110, the end
/// 11110, and 11111 a match of three bytes, where one more bit makes the distance 1 or 2. Any
/// sequence of zeros or ones consists of its symbols.
fn open_block(is_final: bool) -> Bits {
    let mut bits = Bits::default();
    bits.number(u32::from(is_final), 1);
    bits.number(2, 2);
    // 258 codes for literals and lengths, 2 for distances.
    bits.number(1, 5);
    bits.number(1, 5);
    // The codes for code lengths: 0 to 5 and 18 have three bits each, and 17 completes the
    // set.
    let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1];
    bits.number(order.len() as u32 - 4, 4);
    let used = [0, 1, 2, 3, 4, 5, 17, 18];
    order.iter().for_each(|symbol| bits.number(if used.contains(symbol) { 3 } else { 0 }, 3));
    let code = |symbol: usize| format!("{:03b}", used.iter().position(|used| *used == symbol).unwrap());
    let zeros = |bits: &mut Bits, count: u32| {
        bits.code(&code(18));
        bits.number(count - 11, 7);
    };
    zeros(&mut bits, 97);
    [1, 2, 3, 4].iter().for_each(|length| bits.code(&code(*length)));
    zeros(&mut bits, 138);
    zeros(&mut bits, 256 - 97 - 4 - 138);
    [5, 5, 1, 1].iter().for_each(|length| bits.code(&code(*length)));
    bits
}

#[test]
fn an_open_block_before_the_marks_of_a_flush_is_found_too() {
    for is_final in [false, true] {
        let mut found = 0;
        // At every bit position in a byte.
        for symbols in 0..16 {
            let mut block = open_block(is_final);
            block.code("110");
            (0..symbols).for_each(|number| block.code(if number % 3 == 0 { "10" } else { "0" }));
            while !block.0.len().is_multiple_of(8) {
                block.code("0");
            }
            let open = [block.bytes(), FLUSH_END.to_vec()].concat();
            let plain = inflated_alone(&open).expect("it inflates");
            assert!(plain.len() > 16 && plain.starts_with(b"c"));
            let error = decode(Codec::Gzip, &open, plain.len()).expect_err("a block is open");
            assert_eq!(error.code, ErrorCode::InvalidFormat, "{error}");
            found += 1;
            // If it is closed and flushed, the same block is a valid frame, unless it is final.
            block.code("11110");
            let mut closed = block.clone();
            closed.number(0, 3);
            let closed = [closed.bytes(), FLUSH_END.to_vec()].concat();
            let outcome = decode(Codec::Gzip, &closed, inflated_with_end(&closed).map_or(plain.len(), |plain| plain.len()));
            assert_eq!(outcome.is_ok(), !is_final, "{outcome:?}");
        }
        assert_eq!(found, 16);
    }
}

#[test]
fn no_bit_of_a_frame_may_be_left_over() {
    // A block with fixed codes that ends within the last byte, which is ff. The rest of that
    // byte would become part of the next header.
    for unused in 1..8 {
        let mut bits = Bits::default();
        bits.number(0, 1);
        bits.number(1, 2);
        // 'x' has eight bits, 0xff nine.
        (0..unused + 12).for_each(|number| bits.code(if number % 2 == 0 { "110010000" } else { "10101000" }));
        bits.code("0000000");
        if bits.0.len() % 8 != 0 {
            let filler = 8 - bits.0.len() % 8;
            (0..filler).for_each(|_| bits.0.push(true));
        }
        let frame = bits.bytes();
        if let Some(plain) = inflated_alone(&frame) {
            let error = decode(Codec::Gzip, &frame, plain.len()).expect_err("bits are left");
            assert!(error.message.contains("does not end at a block boundary"), "{error}");
        }
    }
}

/// A small random number generator with the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

fn deflate(plain: &[u8], level: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() * 2 + 100);
    Compress::new(Compression::new(level), false).compress_vec(plain, &mut out, FlushCompress::Sync).unwrap();
    out
}

/// Changes frames at random. An accepted frame must mean the same before any other frame.
#[test]
fn an_accepted_frame_means_the_same_before_any_other() {
    let mut random = Random(88_172_645_463_325_252);
    let others: Vec<(Vec<u8>, &[u8])> =
        [&b"\x01\x02 another block"[..], b"", b"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"].map(|plain| (deflate(plain, 6), plain)).to_vec();
    let (mut accepted, mut tried) = (0, 0);
    for round in 0..60_000 {
        let plain: Vec<u8> = (0..random.below(60)).map(|_| b"abcdefgh \xc3"[random.below(10)]).collect();
        let mut frame = deflate(&plain, [1, 6, 9][round % 3]);
        for _ in 0..random.below(4) {
            let bit = random.below(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        match random.below(4) {
            0 => frame.truncate(random.below(frame.len() + 1)),
            1 => {
                let at = random.below(frame.len() + 1);
                frame.insert(at, random.below(256) as u8);
            }
            _ => {}
        }
        if random.below(3) == 0 {
            frame.extend_from_slice(&FLUSH_END);
        }
        for alone in [inflated_alone(&frame), inflated_with_end(&frame)].into_iter().flatten() {
            tried += 1;
            let Ok(block) = decode(Codec::Gzip, &frame, alone.len()) else { continue };
            accepted += 1;
            assert_eq!(block, alone);
            for (next, next_plain) in &others {
                let stream = [&frame[..], next, &FINAL_BLOCK].concat();
                let mut inflate = Decompress::new(false);
                let mut whole = Vec::with_capacity(1 << 16);
                let status = inflate.decompress_vec(&stream, &mut whole, FlushDecompress::Finish).expect("it inflates");
                assert_eq!((status, inflate.total_in()), (Status::StreamEnd, stream.len() as u64));
                assert_eq!(whole, [&block[..], next_plain].concat());
            }
        }
    }
    println!("{accepted} of {tried} frames that inflate were accepted");
    assert!(accepted > 5_000 && tried - accepted > 1_000);
}

/// A frame with one block, this header, and the checksum of an encoder.
fn with_block(plain: &[u8], header: u32, block: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
    let encoded = compressor.compress(plain).unwrap();
    let start = craft::with_header(&encoded, plain.len() as u64)[..13].to_vec();
    [&start[..], &header.to_le_bytes()[..3], block, &encoded[encoded.len() - 4..]].concat()
}

/// A frame with one compressed block, which has a run of one literal, and these bytes in place
/// of its sequences.
fn literals(plain: &[u8], sequences: &[u8]) -> Vec<u8> {
    // One byte, repeated.
    let size = (plain.len() as u32) << 4 | 3 << 2 | 1;
    let block = [&size.to_le_bytes()[..3], &plain[..1], sequences].concat();
    with_block(plain, (block.len() as u32) << 3 | 2 << 1 | 1, &block)
}

/// A frame of zeros in Huffman codes of one bit. The tree gives the first symbol this weight,
/// and the second the same, which is not stored.
fn coded(plain: &[u8], weight: u8) -> Vec<u8> {
    assert!(plain.len() == 64 && plain.iter().all(|byte| *byte == 0));
    // 64 bits, and one that marks the end.
    let coded = [&[128, weight << 4][..], &[0; 8], &[1]].concat();
    let sizes = (coded.len() as u32) << 14 | (plain.len() as u32) << 4 | 2;
    let block = [&sizes.to_le_bytes()[..3], &coded, &[0]].concat();
    with_block(plain, (block.len() as u32) << 3 | 2 << 1 | 1, &block)
}

#[test]
fn tricks_of_zstd_are_refused_at_the_frame() {
    let plain = b"the state that a restore would give".repeat(20);
    let frame = |plain: &[u8]| {
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
        compressor.compress(plain).unwrap()
    };
    let good = craft::with_header(&frame(&plain), plain.len() as u64);
    let skippable = |payload: &[u8]| [&[0x50, 0x2a, 0x4d, 0x18][..], &(payload.len() as u32).to_le_bytes(), payload].concat();
    let empty = craft::with_header(&frame(b""), 0);
    let run = vec![b'x'; plain.len()];
    let file_of = |plain: &[u8], frame: &[u8]| craft::frames(false, &[(frame.to_vec(), plain.len() as u32)], &Sha256::digest(plain), 0);
    let file = |frame: &[u8]| file_of(&plain, frame);
    assert!(read(&file(&good)).unwrap() == plain);
    assert!(read(&file_of(&run, &literals(&run, &[0]))).unwrap() == run, "the same frame without a trick");
    for sequences in [&[0, 0xde, 0xad][..], &[], &[0x80, 0]] {
        let error = read(&file_of(&run, &literals(&run, sequences))).expect_err("something is hidden");
        assert!(error.message.contains("does not end with its sequences"), "{error}");
    }
    let zeros = [0; 64];
    let (tree, no_tree) = (file_of(&zeros, &coded(&zeros, 1)), file_of(&zeros, &coded(&zeros, 2)));
    assert!(read(&tree).unwrap() == zeros && zstd::decode_all(&tree[..]).unwrap() == zeros);
    let error = read(&no_tree).expect_err("C zstd refuses it");
    assert!(error.message.contains("at least two codes of the greatest length") && zstd::decode_all(&no_tree[..]).is_err(), "{error}");
    for (what, trick) in [
        ("a skippable frame before it", [skippable(b"hidden"), good.clone()].concat()),
        ("a skippable frame after it", [good.clone(), skippable(b"hidden")].concat()),
        ("an empty frame before it", [empty.clone(), good.clone()].concat()),
        ("an empty frame after it", [good.clone(), empty].concat()),
        ("the header that the encoder wrote", frame(&plain)),
        ("no content size", [&[0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58][..], &good[13..]].concat()),
        ("a window of a kilobyte", [&[0x28, 0xb5, 0x2f, 0xfd, 0xc4, 0x00][..], &good[5..]].concat()),
        ("a window of terabytes", [&[0x28, 0xb5, 0x2f, 0xfd, 0xc4, 0xff][..], &good[5..]].concat()),
        ("a dictionary", [&[0x28, 0xb5, 0x2f, 0xfd, 0xe5, 0x07][..], &good[5..]].concat()),
        ("a block larger than its content", with_block(&plain, (plain.len() as u32 + 1) << 3 | 1, &[&plain[..], b"!"].concat())),
        ("a reserved type", with_block(&plain, (plain.len() as u32) << 3 | 7, &plain)),
    ] {
        let error = read(&file(&trick)).expect_err(what);
        assert_eq!(error.code, ErrorCode::InvalidFormat, "{what}");
        assert!(error.message.contains("a frame breaks the rules of zstd"), "{what}: {error}");
    }
}
