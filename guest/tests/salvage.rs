//! Salvage returns what is left of a truncated or damaged snapshot, and its report says what
//! is missing and where.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use persist_guest::codec::{Codec, Encoder};
use persist_guest::error::ErrorCode;
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::salvage::{Hole, Report, Salvager};
use persist_guest::{SaveOptions, snapshots};
use persist_test_support::craft;

const KEY: &str = "x";

fn state() -> Vec<u8> {
    (0..600_000_u32).flat_map(|number| format!("{{\"message\": {number}}}\n").into_bytes()).collect()
}

/// Returns the snapshot, and for each block its offset in the object and in the state.
fn snapshot(codec: Codec, state: &[u8]) -> (Vec<u8>, Vec<(u64, usize)>) {
    let storage = MemoryStorage::default();
    snapshots::save(&storage, KEY, state, SaveOptions { codec: Some(codec), ..SaveOptions::default() }).unwrap();
    let mut first = 0;
    let plan = Restorer::open(&storage, KEY, false).unwrap().plan(0, u32::MAX);
    let blocks = plan
        .iter()
        .map(|block| {
            first += block.length as usize;
            (block.offset, first - block.length as usize)
        })
        .collect();
    (storage.get(KEY).unwrap(), blocks)
}

fn salvage(bytes: Vec<u8>) -> (Vec<u8>, Report) {
    let storage = MemoryStorage::default();
    storage.put(KEY, bytes);
    let mut salvager = Salvager::open(&storage, KEY).unwrap();
    let mut state = Vec::new();
    loop {
        let chunk = salvager.read(100_000).unwrap();
        assert!(chunk.len() <= 100_000);
        if chunk.is_empty() {
            let report = salvager.report();
            assert_eq!(report.salvaged_size, state.len() as u64);
            assert!(salvager.read(1).unwrap().is_empty(), "the end stays the end");
            return (state, report);
        }
        state.extend_from_slice(&chunk);
    }
}

/// The length of the data, from the footer of a zstd snapshot.
fn data_length(whole: &[u8]) -> u64 {
    let footer = &whole[whole.len() - 64..];
    u64::from_le_bytes(*footer[16..].first_chunk().unwrap())
}

#[test]
fn a_snapshot_inside_the_state_is_not_salvaged_in_its_place() {
    let mut seed = 1_u64;
    let noise = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 32) as u8
    });
    let noise: Vec<u8> = noise.take(2_000_000).collect();
    for codec in [Codec::Gzip, Codec::Zstd] {
        for inner in [Codec::Gzip, Codec::Zstd] {
            let (large, _) = snapshot(inner, &state());
            let (small, _) = snapshot(inner, b"{\"another\": true}");
            // A whole snapshot, and the end of one that is larger than this one.
            for inside in [&small[..], &large[large.len() - 1000..]] {
                let state = [&noise[..], inside, &noise[..20_000]].concat();
                let (whole, _) = snapshot(codec, &state);
                let metadata = whole.windows(11).rposition(|text| text == b"\"agent_id\":").unwrap();
                let mut changed = whole.clone();
                changed[metadata + 1] ^= 1;
                for damaged in [changed, whole[..whole.len() - 1500].to_vec()] {
                    let (salvaged, report) = salvage(damaged);
                    let what = format!("{} in {}", inner.name(), codec.name());
                    assert!(state.starts_with(&salvaged) && salvaged.len() > 1_000_000, "{what}: {} bytes", salvaged.len());
                    assert!(report.codec == codec && report.metadata.is_none() && report.checked_size == 0, "{what}: {report:?}");
                }
            }
        }
    }
}

#[test]
fn a_state_counts_as_whole_only_with_proof() {
    let state = state();
    let (whole, blocks) = snapshot(Codec::Zstd, &state);
    // A frame is missing, and the table is damaged.
    let gone = [&whole[..blocks[1].0 as usize], &whole[blocks[2].0 as usize..]].concat();
    let mut damaged = gone.clone();
    damaged[data_length(&whole) as usize - (whole.len() - gone.len()) + 20] ^= 1;
    let (salvaged, report) = salvage(damaged);
    assert!(salvaged == [&state[..blocks[1].1], &state[blocks[2].1..]].concat());
    assert!(report.metadata.is_some() && report.break_offset.is_some(), "{report:?}");
    // The same without a footer: the document still has the content hash.
    let cut = &gone[..gone.len() - 72];
    let (salvaged, report) = salvage(cut.to_vec());
    assert!(salvaged == [&state[..blocks[1].1], &state[blocks[2].1..]].concat());
    assert!(report.metadata.is_none() && report.break_offset.is_some(), "{report:?}");
    // Only the table is damaged: the content hash shows that the state is whole.
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (mut damaged, _) = snapshot(codec, &state);
        let document = damaged.windows(9).rposition(|text| text == b"{\"codec\":").unwrap();
        damaged[document - 60] ^= 1;
        let (salvaged, report) = salvage(damaged);
        assert!(salvaged == state && report.metadata.is_some() && report.reason.is_some());
        assert_eq!((report.break_offset, report.checked_size), (None, 0), "{}", codec.name());
    }
    // Only the content hash in the file is wrong.
    for gzip in [true, false] {
        let codec = if gzip { Codec::Gzip } else { Codec::Zstd };
        let block = Encoder::new(codec, 1).unwrap().encode(b"a state").unwrap();
        let (salvaged, report) = salvage(craft::frames(gzip, &[(block.frame.clone(), 7)], &[0; 32], block.crc32));
        assert_eq!((salvaged.as_slice(), report.checked_size), (&b"a state"[..], 7));
        assert_eq!((report.break_offset.is_some(), report.reason.unwrap().code), (true, ErrorCode::Integrity));
    }
}

#[test]
fn a_changed_format_number_is_damage_not_a_newer_format() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (mut damaged, _) = snapshot(codec, &state());
        let footer = damaged.windows(8).rposition(|text| text == b"PERSIST\0").unwrap();
        damaged[footer + 9] ^= 1;
        let storage = MemoryStorage::default();
        storage.put(KEY, damaged.clone());
        let error = snapshots::metadata(&storage, KEY).unwrap_err();
        assert_eq!(error.code, ErrorCode::Integrity);
        assert!(error.message.contains("from 1 to 257"), "{error}");
        let (salvaged, report) = salvage(damaged);
        assert!(salvaged == state() && report.checked_size == salvaged.len() as u64);
    }
}

#[test]
fn a_whole_snapshot_comes_out_whole_and_checked() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        for state in [state(), Vec::new(), b"{}".to_vec()] {
            let (salvaged, report) = salvage(snapshot(codec, &state).0);
            assert!(salvaged == state);
            assert_eq!((report.checked_size, report.break_offset, report.reason), (state.len() as u64, None, None));
            assert_eq!(report.metadata.unwrap().uncompressed_size, state.len() as u64);
        }
    }
}

#[test]
fn damaged_blocks_are_holes_and_all_others_come_out_checked() {
    let state = state();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (whole, blocks) = snapshot(codec, &state);
        assert!(blocks.len() >= 4);
        let end_of = |index: usize| blocks.get(index + 1).map_or(state.len(), |block| block.1);
        for (index, &(offset, first)) in blocks.iter().enumerate() {
            let mut damaged = whole.clone();
            damaged[offset as usize + 40] ^= 1;
            let (salvaged, report) = salvage(damaged);
            assert!(salvaged == [&state[..first], &state[end_of(index)..]].concat());
            let hole = Hole { state_offset: first as u64, length: (end_of(index) - first) as u64, object_offset: offset };
            assert_eq!((report.holes, report.missing_size), (vec![hole], hole.length));
            assert_eq!((report.checked_size, report.break_offset), (salvaged.len() as u64, Some(offset)));
            assert_eq!(report.reason.unwrap().code, ErrorCode::Integrity);
            assert!(report.metadata.is_some());
        }
        // Two adjacent blocks are one hole, others two.
        for (which, holes) in [([1, 2], 1), ([0, 2], 2)] {
            let mut damaged = whole.clone();
            which.iter().for_each(|index| damaged[blocks[*index].0 as usize + 40] ^= 1);
            let (salvaged, report) = salvage(damaged);
            assert_eq!((report.holes.len(), report.missing_size), (holes, (state.len() - salvaged.len()) as u64));
        }
    }
}

#[test]
fn a_damaged_front_costs_its_block_and_no_more() {
    let state = state();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (mut damaged, blocks) = snapshot(codec, &state);
        damaged[..4096].fill(0);
        let (salvaged, report) = salvage(damaged);
        assert!(salvaged == state[blocks[1].1..], "{}", codec.name());
        assert_eq!((report.checked_size, report.missing_size), (salvaged.len() as u64, blocks[1].1 as u64));
        assert_eq!(report.break_offset, Some(0));
    }
}

#[test]
fn lost_or_added_bytes_cost_only_the_blocks_they_are_in() {
    let state = state();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (whole, blocks) = snapshot(codec, &state);
        // 4 KiB are missing in the middle of a block.
        let at = blocks[1].0 as usize + 5000;
        let gone = [&whole[..at], &whole[at + 4096..]].concat();
        let (salvaged, report) = salvage(gone);
        assert!(salvaged == [&state[..blocks[1].1], &state[blocks[2].1..]].concat(), "{}", codec.name());
        assert_eq!((report.checked_size, report.holes.len()), (salvaged.len() as u64, 1));
        // Something follows the end: zeros from a crash, or a line of text.
        for more in [vec![0; 3_000_000], vec![0; 1], b"appended by accident\n".to_vec(), [&b"PERSIST\0".repeat(100)[..], b"xyz"].concat()] {
            let (salvaged, report) = salvage([&whole[..], &more].concat());
            assert!(salvaged == state, "{} and {} bytes", codec.name(), more.len());
            assert_eq!((report.checked_size, report.missing_size), (state.len() as u64, 0));
            assert_eq!(report.reason.unwrap().code, ErrorCode::Integrity);
        }
    }
}

#[test]
fn a_table_of_another_snapshot_or_place_is_no_hindrance() {
    let state = state();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (whole, blocks) = snapshot(codec, &state);
        let (other, _) = snapshot(codec, b"{\"another\": true}");
        // Two snapshots in one file: the one whose table is found comes out, checked.
        let (salvaged, report) = salvage([&whole[..], &other].concat());
        assert_eq!((salvaged.as_slice(), report.checked_size), (&b"{\"another\": true}"[..], 17), "{}", codec.name());
        assert!(report.reason.is_some());
        // Added bytes at the front or in the middle cost only the block that they are in.
        let (salvaged, report) = salvage([b"12345", &whole[..]].concat());
        assert!(salvaged == state && report.checked_size == state.len() as u64, "{}", codec.name());
        let at = blocks[1].0 as usize + 5000;
        let (salvaged, report) = salvage([&whole[..at], &[7; 4096], &whole[at..]].concat());
        assert!(salvaged == [&state[..blocks[1].1], &state[blocks[2].1..]].concat(), "{}", codec.name());
        assert_eq!(report.holes.len(), 1);
    }
    // No block of the table is whole: the codec reads what it can from the front.
    let (mut damaged, blocks) = snapshot(Codec::Gzip, &state);
    blocks.iter().for_each(|(offset, _)| damaged[*offset as usize + 10_000] ^= 1);
    let (salvaged, report) = salvage(damaged);
    assert!(salvaged.len() > 20_000 && salvaged[..20_000] == state[..20_000]);
    assert_eq!((report.checked_size, report.missing_size), (0, 0));
}

#[test]
fn zeros_beyond_the_limit_are_not_read() {
    let (whole, blocks) = snapshot(Codec::Gzip, &state());
    let mut zeroed = whole[..blocks[1].0 as usize + 5000].to_vec();
    zeroed.resize(300 << 20, 0);
    let (salvaged, report) = salvage(zeroed);
    assert!(state().starts_with(&salvaged) && salvaged.len() >= blocks[1].1);
    assert!(report.break_offset.unwrap() <= blocks[1].0 + 5000);
}

#[test]
fn zeros_in_place_of_the_end_are_no_state() {
    let state = state();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (whole, blocks) = snapshot(codec, &state);
        let middle = (blocks[2].0 + blocks[3].0) / 2;
        for kept in [blocks[1].0 + 5000, blocks[2].0, middle].map(|kept| kept as usize) {
            let mut zeroed = whole.clone();
            zeroed[kept..].fill(0);
            let (salvaged, report) = salvage(zeroed);
            assert!(state.starts_with(&salvaged), "{}: nothing is invented", codec.name());
            let complete = blocks.iter().rev().find(|(offset, _)| *offset as usize <= kept).unwrap().1;
            assert!(salvaged.len() >= complete, "{}: {} of {complete}", codec.name(), salvaged.len());
            let at = report.break_offset.unwrap() as usize;
            assert!(at <= kept && kept - at < 16, "the break is where the zeros begin, {at} of {kept}");
            assert_eq!(report.checked_size, 0);
        }
    }
}

#[test]
fn a_file_that_was_cut_gives_what_is_there() {
    let state = state();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let (whole, blocks) = snapshot(codec, &state);
        let (last, _) = *blocks.last().unwrap();
        let mut before = 0;
        for length in (20..last as usize).step_by(170_000) {
            let (salvaged, report) = salvage(whole[..length].to_vec());
            assert!(state.starts_with(&salvaged), "{} cut at {length}", codec.name());
            assert!(salvaged.len() >= before, "more of the file gives more of the state");
            before = salvaged.len();
            // At least all whole blocks come out, and usually more.
            let (_, complete) = blocks.iter().rev().find(|(offset, _)| *offset as usize <= length).unwrap();
            assert!(salvaged.len() >= *complete, "{} cut at {length}: {} of {complete}", codec.name(), salvaged.len());
            assert_eq!((report.checked_size, report.break_offset), (0, Some(length as u64)));
            assert!(report.metadata.is_none() && report.reason.is_some());
        }
        assert!(before > state.len() / 2);
        // All of the data is there, but no footer: the end is reached.
        for length in [whole.len() - 1, whole.len() - 200] {
            let (salvaged, report) = salvage(whole[..length].to_vec());
            assert!(salvaged == state);
            // Proof is gzip's CRC-32, or the document. Without the document, nothing tells how
            // many zstd frames there were.
            let is_shown = codec == Codec::Gzip || length == whole.len() - 1;
            assert_eq!(report.break_offset, (!is_shown).then(|| data_length(&whole)), "{} cut at {length}", codec.name());
        }
    }
}

#[test]
fn without_a_table_salvage_ends_at_the_damaged_frame() {
    let state = state();
    let (whole, blocks) = snapshot(Codec::Zstd, &state);
    let (offset, first) = blocks[2];
    let mut damaged = whole[..whole.len() - 10].to_vec();
    damaged[offset as usize + 5000] ^= 1;
    let (salvaged, report) = salvage(damaged);
    assert!(salvaged == state[..first], "a zstd frame has a checksum of its own");
    assert_eq!(report.break_offset, Some(offset));

    // gzip may return wrong bytes after the damage, but reports it at the end at the latest.
    let (whole, _) = snapshot(Codec::Gzip, &state);
    let mut damaged = whole[..whole.len() - 10].to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let (salvaged, report) = salvage(damaged);
    assert!(salvaged[..salvaged.len() / 3] == state[..salvaged.len() / 3]);
    assert!(report.break_offset.is_some() && report.checked_size == 0);
}

#[test]
fn other_files_are_refused_and_missing_ones_are_not_found() {
    let storage = MemoryStorage::default();
    assert_eq!(Salvager::open(&storage, KEY).err().unwrap().code, ErrorCode::NotFound);
    for bytes in [Vec::new(), b"\x89PNG".to_vec(), vec![0; 100_000], b"\x1f\x8b\x08\x08".to_vec()] {
        storage.put(KEY, bytes);
        assert_eq!(Salvager::open(&storage, KEY).err().unwrap().code, ErrorCode::NotASnapshot);
    }
}

/// Hostile files without a footer: the lengths they declare allocate nothing, and nothing
/// comes out that is not there.
#[test]
fn hostile_files_are_bounded() {
    let magic = 0xFD2F_B528_u32.to_le_bytes();
    let header = |size: u64| [&magic[..], &[0b1110_0100], &size.to_le_bytes()].concat();
    for bytes in [
        magic.to_vec(),
        header(u64::MAX),
        header(8 << 20),
        [header(8 << 20), vec![0xff; 100]].concat(),
        // A run of 2 MiB - 1 in a frame that declares 100 bytes.
        [header(100), vec![0xfb, 0xff, 0xff, 0]].concat(),
        // A window of terabytes.
        [&magic[..], &[0b0000_0100, 0xff, 1, 0, 0, 0]].concat(),
    ] {
        let (salvaged, report) = salvage(bytes);
        assert_eq!(salvaged, b"");
        assert!(report.break_offset.is_some());
    }
    let gzip_header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    for rest in [&[][..], &[0xff; 100], &[3, 0], &[0; 50]] {
        let (salvaged, report) = salvage([&gzip_header[..], rest].concat());
        assert_eq!(salvaged, b"");
        assert!(report.break_offset.is_some());
    }
}
