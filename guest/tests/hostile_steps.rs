//! Steps that lie, with hashes that match. Each is refused with a clear error, in bounded
//! time and memory, or loads as the format says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "hostile_steps/limits.rs"]
mod limits;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress};
use persist_guest::error::{Error, ErrorCode};
use persist_guest::memory::MemoryStorage;
use persist_guest::timeline::Timeline;
use persist_test_support::steps::{Object, Run, Step, number, object, packed, stored};
use sha2::{Digest, Sha256};

/// Counts the memory of each thread: each test has its own.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator. Counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What loading a state may take, besides the objects and the state: far less than the
/// 128 MiB of an instance.
const MOST: isize = 96 << 20;

/// Raw deflate at the best level.
fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + 1000);
    Compress::new(Compression::new(9), false).compress_vec(plain, &mut out, FlushCompress::Finish).unwrap();
    out
}

fn storage(objects: &[(u64, &Object)]) -> MemoryStorage {
    let storage = MemoryStorage::default();
    for (number, object) in objects {
        storage.put(&format!("t/{number:012}.step"), object.bytes.clone());
    }
    storage
}

/// Loads a state part by part, and returns its size and SHA-256. Asserts that it takes little
/// memory and time.
fn read(storage: &MemoryStorage, number: u64) -> Result<(u64, [u8; 32]), Error> {
    let (before, start) = (HELD.get(), Instant::now());
    PEAK.set(before);
    let state = (|| {
        let mut reader = Timeline::new(storage.clone(), "t/").open(number, true)?;
        let (mut size, mut hash) = (0, Sha256::new());
        loop {
            let part = reader.read(u32::MAX)?;
            if part.is_empty() {
                return Ok((size, hash.finalize().into()));
            }
            size += part.len() as u64;
            hash.update(&part);
        }
    })();
    let (peak, taken) = (PEAK.get() - before, start.elapsed());
    if peak > 16 << 20 || taken > Duration::from_secs(1) {
        println!("{} MiB, {taken:?}: {:?}", peak >> 20, state.as_ref().map(|(size, _)| size));
    }
    assert!(peak < MOST, "{} MiB", peak >> 20);
    assert!(taken < Duration::from_secs(120), "{taken:?}");
    // A check and the newest step come to the same.
    let newest = Timeline::new(storage.clone(), "t/").open_newest(true);
    assert!(newest.is_err() || newest.is_ok_and(|newest| newest.number() >= number));
    state
}

/// Asserts that a step is refused with this code and this text.
fn refused(objects: &[(u64, &Object)], number: u64, code: ErrorCode, says: &str) {
    let error = read(&storage(objects), number).expect_err(says);
    assert!(error.code == code && error.message.contains(says), "{error:?}, not {code:?}: {says}");
    assert!(error.key.is_some() || error.message.contains("is missing, which"), "{error:?}");
}

fn loads(objects: &[(u64, &Object)], number: u64, state: &[u8]) {
    assert_eq!(read(&storage(objects), number).unwrap(), (state.len() as u64, Sha256::digest(state).into()));
}

const STATE: &[u8] = b"a state of some bytes, of which others are made";

/// The first step, and a second one that copies it.
fn two() -> (Object, Step) {
    let first = Step::whole(1, None, STATE);
    let object = first.object();
    let second = Step::copy(&first, object.root);
    (object, second)
}

#[test]
fn right_steps_load() {
    let (first, second) = two();
    loads(&[(1, &first)], 1, STATE);
    loads(&[(1, &first), (2, &second.object())], 2, STATE);
    // Sizes of links are only hints.
    for kib in [0, 2, 1 << 40, u64::MAX] {
        loads(&[(1, &first), (2, &Step { links: vec![(1, kib)], ..second.clone() }.object())], 2, STATE);
    }
    // Copies may overlap, go back and repeat.
    let state = [&STATE[10..30], &STATE[5..25], &STATE[5..25], &STATE[40..]].concat();
    let runs = vec![Run::Copy(10, 20), Run::Copy(-25, 20), Run::Copy(-20, 20), Run::Copy(15, STATE.len() as u64 - 40)];
    let copied = Step { runs, size: state.len() as u64, content_hash: Sha256::digest(&state).into(), ..second };
    loads(&[(1, &first), (2, &copied.object())], 2, &state);
}

#[test]
fn links_that_lie_are_refused() {
    use ErrorCode::{Integrity, InvalidFormat};
    let (first, second) = two();
    let with = |change: fn(&mut Step)| {
        let mut step = second.clone();
        change(&mut step);
        step.object()
    };
    let not_links = "its links must be at most 64 earlier steps, the latest first";
    for object in [
        with(|step| step.links = vec![(0, 1)]),
        with(|step| step.links = vec![(2, 1)]),
        with(|step| step.links = vec![(u64::MAX, 1)]),
        with(|step| step.links = vec![(1, 1), (0, 1)]),
        with(|step| step.links = vec![(1, 1); 2]),
        with(|step| step.links = vec![(1, 1); 65]),
    ] {
        refused(&[(1, &first), (2, &object)], 2, InvalidFormat, not_links);
    }
    let missing = "the root of its base is missing, or given twice";
    refused(&[(1, &first), (2, &with(|step| step.base_root = step.parent))], 2, InvalidFormat, missing);
    refused(&[(1, &first), (2, &with(|step| step.parent = None))], 2, InvalidFormat, "the root of its base is missing");
    refused(&[(1, &first), (2, &with(|step| step.links = Vec::new()))], 2, InvalidFormat, "a base that it does not have");
    let other = "step 1 is not the one that step 2 was made from";
    refused(&[(1, &first), (2, &with(|step| step.parent = Some([7; 32])))], 2, Integrity, other);
    let longer = with(|step| step.base_size += 1);
    refused(&[(1, &first), (2, &longer)], 2, Integrity, other);
    refused(&[(2, &second.object())], 2, Integrity, "step 1, which step 2 depends on, is missing");

    // A third step that leaves out a link, or has one too many.
    let second_object = second.object();
    let third = Step::copy(&second, second_object.root);
    let all = |third: &Step| vec![(1, first.clone()), (2, second_object.clone()), (3, third.object())];
    let given = |objects: &[(u64, Object)]| -> Vec<(u64, Object)> { objects.to_vec() };
    for (links, code, says) in
        [(vec![(1, 1)], InvalidFormat, "does not list all steps that it depends on"), (vec![(1, 1), (1, 1)], Integrity, "")]
    {
        let objects = given(&all(&Step { links: links.clone(), ..third.clone() }));
        let objects: Vec<(u64, &Object)> = objects.iter().map(|(number, object)| (*number, object)).collect();
        if says.is_empty() {
            loads(&objects, 3, STATE);
        } else {
            refused(&objects, 3, code, says);
        }
    }
    let whole = Step::whole(2, Some(first.root), STATE);
    let more = Step { links: vec![(1, 1), (1, 1)], ..Step::copy(&whole, whole.object().root) };
    refused(&[(1, &first), (2, &whole.object()), (3, &more.object())], 3, Integrity, "step 1 is not the one that step 3 was made from");
    // Numbers.
    refused(&[(2, &first)], 2, Integrity, "the step says that it is number 1, not 2");
    let zero = Step { number: 0, ..Step::whole(1, None, STATE) };
    refused(&[(1, &zero.object())], 1, InvalidFormat, "its number is not between 1 and 999,999,999,999");
    let parent = Step { parent: Some([1; 32]), ..Step::whole(1, None, STATE) };
    refused(&[(1, &parent.object())], 1, InvalidFormat, "the first step has a parent");
    for restates in [0, 2, u64::MAX] {
        let restating = Step { restates: Some(restates), ..second.clone() };
        refused(&[(1, &first), (2, &restating.object())], 2, InvalidFormat, "it repeats a step that does not come before it");
    }
}

#[test]
fn runs_that_lie_are_refused() {
    let (first, second) = two();
    let size = STATE.len() as u64;
    let refuses = |runs: Vec<Run>, size: u64, says: &str| {
        let step = Step { runs, size, ..second.clone() };
        refused(&[(1, &first), (2, &step.object())], 2, ErrorCode::InvalidFormat, says);
    };
    let outside = "a copy lies outside of the base state";
    let merged = "a run is empty, or continues the run before it";
    refuses(vec![Run::Copy(0, size + 1)], size + 1, outside);
    refuses(vec![Run::Copy(-1, 5)], 5, outside);
    refuses(vec![Run::Copy(i64::MAX, 5)], 5, outside);
    refuses(vec![Run::Copy(i64::MIN, 5)], 5, outside);
    refuses(vec![Run::Copy(1, (1 << 63) - 1)], u64::MAX, outside);
    refuses(vec![Run::Copy(0, 5), Run::Copy(0, 5)], 10, merged);
    refuses(vec![Run::Literal(5), Run::Literal(5)], 10, merged);
    refuses(vec![Run::Literal(0), Run::Copy(0, size)], size, merged);
    refuses(vec![Run::Copy(3, 0), Run::Copy(0, size)], size, merged);
    refuses(vec![Run::Copy(0, size)], size + 1, "it produces too few bytes");
    refuses(vec![Run::Copy(0, size)], size - 1, "it produces too many bytes");
    refuses(
        vec![Run::Literal((1 << 63) - 1), Run::Copy(0, size), Run::Literal((1 << 63) - 1), Run::Copy(0, size)],
        u64::MAX,
        "it produces too many bytes",
    );
    refuses(vec![Run::Literal((1 << 63) - 1)], (1 << 63) - 1, "the sizes in the footer, table and edit list");
    refuses(vec![Run::Literal(5)], 5, "the sizes in the footer, table and edit list");
    refuses(vec![Run::Copy(0, 1); 16_385], 16_385, "it has too many runs");
    // Any count, with no runs behind it, and numbers with no end or too many bytes.
    let with = |edits: &[u8], says: &str| {
        let step = Step { deflate, ..second.clone() };
        refused(&[(1, &first), (2, &step.object_with(edits))], 2, ErrorCode::InvalidFormat, says);
    };
    for count in [5, 1_000_000, 1 << 63, u64::MAX] {
        let mut edits = vec![1, 1, 1];
        number(count, &mut edits);
        with(&edits, "it has too many runs");
    }
    let mut million = vec![1, 1, 1];
    number(200_000, &mut million);
    million.extend([3, 1].repeat(200_000));
    with(&million, "it has too many runs");
    with(&[], "its links must be at most 64");
    with(&[1, 1], "its links must be at most 64");
    with(&[1, 1, 1, 1], "it has too many runs");
    with(&[1, 1, 1, 1, 0x80], "it is cut short");
    with(&[1, 1, 1, 1, 0x80, 0], "it is cut short");
    with(&[1, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "it is cut short");
    with(&[second.edits(), vec![0]].concat(), "bytes follow its dictionaries");
}

#[test]
fn dictionaries_that_lie_are_refused() {
    let (first, second) = two();
    let size = STATE.len() as u64;
    let coded = deflate(b"new");
    let step = Step {
        size: size + 3,
        content_hash: Sha256::digest([STATE, b"new"].concat()).into(),
        runs: vec![Run::Copy(0, size), Run::Literal(3)],
        frames: vec![([&[1], &coded[..]].concat(), 3)],
        ..second
    };
    let with = |ranges: Vec<(u64, u64)>| Step { dictionaries: vec![ranges], ..step.clone() }.object();
    for ranges in [vec![], vec![(0, size)], vec![(0, size); 600]] {
        loads(&[(1, &first), (2, &with(ranges))], 2, &[STATE, b"new"].concat());
    }
    for ranges in [
        vec![(0, size + 1)],
        vec![(size, 1)],
        vec![(u64::MAX, 1)],
        vec![(1, u64::MAX)],
        vec![(0, 0)],
        vec![(0, size); 32_768 / STATE.len() + 1],
    ] {
        refused(&[(1, &first), (2, &with(ranges))], 2, ErrorCode::InvalidFormat, "a dictionary must be at most 32 KiB of the base state");
    }
    for count in [1_000_000, u64::MAX] {
        let mut edits = Step { dictionaries: Vec::new(), ..step.clone() }.edits();
        number(count, &mut edits);
        refused(&[(1, &first), (2, &step.object_with(&edits))], 2, ErrorCode::InvalidFormat, "its dictionaries are cut short");
    }
    let none = Step { dictionaries: vec![vec![(0, 1)]], ..Step::whole(1, None, STATE) };
    refused(&[(1, &none.object())], 1, ErrorCode::InvalidFormat, "a dictionary must be at most 32 KiB");
}

#[test]
fn tables_and_frames_that_lie_are_refused() {
    use ErrorCode::{Integrity, InvalidFormat};
    let whole = Step::whole(1, None, STATE);
    let frame = |frame: Vec<u8>, length: u32| {
        let runs = vec![Run::Literal(u64::from(length))];
        Step { frames: vec![(frame, length)], runs, size: u64::from(length), ..whole.clone() }.object()
    };
    let cannot = "can't be decoded";
    refused(&[(1, &frame(vec![3, 1, 2], 3))], 1, InvalidFormat, "its coding is not known");
    refused(&[(1, &frame(vec![0, 1, 2], 3))], 1, InvalidFormat, cannot);
    refused(&[(1, &frame(vec![0, 1, 2, 3, 4], 3))], 1, InvalidFormat, cannot);
    refused(&[(1, &frame(vec![1], 3))], 1, InvalidFormat, cannot);
    refused(&[(1, &frame([&[1], &deflate(b"12")[..]].concat(), 3))], 1, InvalidFormat, "its block has a different length");
    refused(&[(1, &frame([&[1], &deflate(b"123")[..], &[0]].concat(), 3))], 1, InvalidFormat, "bytes follow its end");
    refused(&[(1, &frame([&[1], &deflate(b"1234")[..]].concat(), 3))], 1, InvalidFormat, "it is longer than declared");
    // A bomb: ten megabytes, of which ten bytes are declared.
    let bomb = deflate(&vec![0; 1_000_000]);
    refused(&[(1, &frame([&[1], &bomb[..]].concat(), 10))], 1, InvalidFormat, "it is longer than declared");
    refused(&[(1, &frame([&[2], &bomb[..]].concat(), 1000))], 1, InvalidFormat, "a frame breaks the rules of zstd");
    // Tables.
    refused(&[(1, &frame(vec![], 3))], 1, InvalidFormat, "a frame of 0 bytes");
    refused(&[(1, &frame(vec![0; 2000], 3))], 1, InvalidFormat, "a frame of 2000 bytes");
    refused(&[(1, &frame(vec![0; 9 << 20], 9 << 20))], 1, InvalidFormat, "which is not between 1 and");
    let document = packed(&whole.text(), &whole.edits(), stored);
    let table = whole.table();
    let (data, short) = (whole.data(), whole.data()[1..].to_vec());
    refused(&[(1, &object(&short, &table, &document))], 1, InvalidFormat, "the sizes in the footer, table and edit list");
    let mut changed = table.clone();
    changed[10] ^= 1;
    refused(&[(1, &object(&data, &changed, &document))], 1, Integrity, "the block table was changed");
    refused(&[(1, &object(&data, &table[..39], &document))], 1, InvalidFormat, "bytes follow its dictionaries");
    let mut other = data.clone();
    other[5] ^= 1;
    refused(&[(1, &object(&other, &table, &document))], 1, Integrity, "a frame of the step was changed");
    let lie = Step { content_hash: [3; 32], ..whole.clone() };
    refused(&[(1, &lie.object())], 1, Integrity, "does not match the content hash");
    // A step with more rows than frames in its document.
    let more = Step { dictionaries: vec![Vec::new(); 2], ..whole };
    refused(&[(1, &more.object())], 1, InvalidFormat, "bytes follow its dictionaries");
}

#[test]
fn documents_that_lie_are_refused() {
    use ErrorCode::{Integrity, InvalidFormat, WrongKind};
    let whole = Step::whole(1, None, STATE);
    let (data, table) = (whole.data(), whole.table());
    let document = |bytes: &[u8]| object(&data, &table, bytes);
    let stream = |plain: &[u8]| deflate(plain);
    let plain = [whole.text().as_bytes(), &[0], &whole.edits()].concat();
    let hashes = |count: u8, there: usize, plain: &[u8]| [&[1, count][..], &vec![0; 32 * there + 16], &stream(plain)].concat();
    // Hashes that nothing refers to are legal.
    for count in [0, 1, 8] {
        loads(&[(1, &document(&hashes(count, usize::from(count), &plain)))], 1, STATE);
    }
    for count in [9, 255] {
        refused(&[(1, &document(&hashes(count, usize::from(count), &plain)))], 1, InvalidFormat, "it has more hashes than allowed");
        refused(&[(1, &document(&[&[1, count], &[0; 100][..]].concat()))], 1, InvalidFormat, "it is cut short");
    }
    refused(&[(1, &document(&hashes(2, 2, b"\x01\x01\x01\0")))], 1, InvalidFormat, "a hash is missing");
    refused(&[(1, &document(&hashes(2, 2, b"\x02\x02\0")))], 1, InvalidFormat, "a UUID is missing");
    refused(&[(1, &document(&hashes(2, 2, b"{}")))], 1, InvalidFormat, "its text is not terminated");
    refused(&[(1, &document(&hashes(2, 2, b"{}\0")))], 1, WrongKind, "of kind 'snapshot', not a step");
    refused(&[(1, &document(&hashes(2, 2, b"{]\0")))], 1, InvalidFormat, "not a single JSON object");
    refused(&[(1, &document(&hashes(2, 2, b"{\"kind\":\"step\"}\0")))], 1, InvalidFormat, "the metadata has no 'codec'");
    let without = whole.text().replacen("\"step\":{", "\"other\":{", 1);
    refused(&[(1, &document(&packed(&without, &whole.edits(), stored)))], 1, InvalidFormat, "'step' is missing");
    refused(&[(1, &document(whole.text().as_bytes()))], 1, InvalidFormat, "it is not packed");
    refused(&[(1, &document(&[&b"{\"kind\":\"catalogue\"}"[..], &[b' '; 100]].concat()))], 1, WrongKind, "'catalogue'");
    refused(&[(1, &document(&[&hashes(0, 0, &plain)[..], &[0]].concat()))], 1, InvalidFormat, "bytes follow its end");
    // As large as it can be, and a bomb.
    let long = |spaces: usize| [whole.text().as_bytes(), &vec![b' '; spaces], &[0], &whole.edits()].concat();
    loads(&[(1, &document(&hashes(0, 0, &long(512_000 - plain.len()))))], 1, STATE);
    refused(&[(1, &document(&hashes(0, 0, &long(512_001 - plain.len()))))], 1, InvalidFormat, "it is longer than declared");
    refused(&[(1, &document(&hashes(0, 0, &vec![0; 40 << 20])))], 1, InvalidFormat, "it is longer than declared");
    refused(&[(1, &document(&hashes(0, 0, &[b"{\"kind\":".repeat(60_000), vec![0]].concat())))], 1, InvalidFormat, "");
    refused(&[(1, &document(&hashes(0, 0, &[b"[".repeat(500_000), vec![0]].concat())))], 1, InvalidFormat, "not a single JSON object");
    refused(&[(1, &document(&vec![1; 48_001]))], 1, InvalidFormat, "at most 48000 are read");
    // In place of steps.
    for size in [192, 200, 208] {
        let garbage = Object { bytes: vec![b'x'; size], root: [0; 32] };
        refused(&[(1, &garbage)], 1, Integrity, "a record of the timeline was changed");
    }
    for size in [0, 1, 191, 193, 209, 5000, 100_000] {
        let garbage = Object { bytes: vec![b'x'; size], root: [0; 32] };
        refused(&[(1, &garbage)], 1, InvalidFormat, "the step has no footer: it was cut short, or another file is in its place");
    }
}
