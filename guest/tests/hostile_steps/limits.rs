//! States that take much memory or time.

use super::*;

/// A state of one megabyte from one byte is legal; more is not.
#[test]
fn states_that_repeat_too_often_are_refused() {
    let first = Step::whole(1, None, &[b'x'; 65]);
    let mut objects = vec![(1, first.object())];
    let mut before = first;
    let mut size = 65_u64;
    for step in 2..=65 {
        // 64 steps, each of which copies the one before 16,000 times, as long as numbers last.
        let times = 16_000.min(((1 << 63) - 1) / size).max(1);
        let mut next = Step::copy(&before, objects.last().unwrap().1.root);
        next.runs = (0..times).map(|run| Run::Copy(if run == 0 { 0 } else { -(size as i64) }, size)).collect();
        size *= times;
        next.size = size;
        next.deflate = deflate;
        next.content_hash = Sha256::digest(vec![b'x'; if step == 2 { size as usize } else { 0 }]).into();
        objects.push((step, next.object()));
        before = next;
    }
    let given: Vec<(u64, &Object)> = objects.iter().map(|(number, object)| (*number, object)).collect();
    loads(&given, 2, &vec![b'x'; 65 * 16_000]);
    for step in [3, 4, 5, 64, 65] {
        refused(&given, step, ErrorCode::LimitExceeded, "repeats the same few bytes too many times");
    }
}

/// A chain in which each step cuts the state at other places.
fn cut_chain(steps: u64, state: &[u8], run: u64) -> Vec<(u64, Object)> {
    let first = Step::whole(1, None, state);
    let (size, mut before, mut objects) = (state.len() as u64, first.clone(), vec![(1, first.object())]);
    for number in 2..=steps {
        let mut next = Step::copy(&before, objects.last().unwrap().1.root);
        // All of the same byte, so any order makes the same state: runs from the end to the front.
        let shift = number % run;
        let mut ends: Vec<u64> = (0..=size / run).map(|index| (index * run + shift).min(size)).collect();
        ends.push(size);
        ends.insert(0, 0);
        ends.dedup();
        let mut last = 0_i64;
        next.runs = ends
            .windows(2)
            .rev()
            .map(|pair| {
                let copied = Run::Copy(pair[0] as i64 - last, pair[1] - pair[0]);
                last = pair[1] as i64;
                copied
            })
            .collect();
        next.deflate = deflate;
        objects.push((number, next.object()));
        before = next;
    }
    objects
}

#[test]
fn states_of_too_many_pieces_are_refused() {
    let state = vec![b'x'; 1 << 20];
    let objects = cut_chain(65, &state, 65);
    let given: Vec<(u64, &Object)> = objects.iter().map(|(number, object)| (*number, object)).collect();
    loads(&given, 4, &state);
    refused(&given, 65, ErrorCode::LimitExceeded, "more pieces than allowed");
}

/// Few pieces that are copied often: every byte is looked for in all steps, on its own. This
/// is the slowest that a state can be: the time grows with its size, and with the links.
#[test]
fn copies_of_copies_take_a_bounded_time() {
    const BYTES: u64 = 3600;
    let first = Step::whole(1, None, &[b'x'; BYTES as usize]);
    let (mut before, mut objects) = (first.clone(), vec![(1, first.object())]);
    for number in 2..=65_u64 {
        let mut next = Step::copy(&before, objects.last().unwrap().1.root);
        let mut last = 0;
        let shuffled = |index: u64| {
            let start = (index * 7919 % BYTES) as i64;
            let run = Run::Copy(start - last, 1);
            last = start + 1;
            run
        };
        next.runs = (0..BYTES).map(shuffled).collect();
        if number == 65 {
            next.size = 20 * BYTES;
            next.runs = (0..next.size / BYTES).map(|run| Run::Copy(if run == 0 { 0 } else { -(BYTES as i64) }, BYTES)).collect();
            next.content_hash = Sha256::digest(vec![b'x'; next.size as usize]).into();
        }
        next.deflate = deflate;
        objects.push((number, next.object()));
        before = next;
    }
    let given: Vec<(u64, &Object)> = objects.iter().map(|(number, object)| (*number, object)).collect();
    loads(&given, 65, &vec![b'x'; before.size as usize]);
}

/// A state that needs far more of its base than it has bytes: a frame for each of its first
/// bytes, with dictionaries all over the base.
#[test]
fn dictionaries_do_not_fill_the_memory() {
    const BLOCK: usize = 8 << 20;
    let blocks = 64_u64;
    let coded = [&[1], &deflate(&vec![b'x'; BLOCK])[..]].concat();
    let size = blocks * BLOCK as u64;
    let first = Step {
        frames: vec![(coded, BLOCK as u32); blocks as usize],
        dictionaries: vec![Vec::new(); blocks as usize],
        runs: vec![Run::Literal(size)],
        size,
        ..Step::whole(1, None, b"")
    };
    let first_object = first.object();
    let frames = size / 32_768;
    let byte = [&[1], &deflate(b"x")[..]].concat();
    let copied = (size / 64).max(frames);
    let second = Step {
        size: frames + copied,
        content_hash: Sha256::digest(vec![b'x'; (frames + copied) as usize]).into(),
        runs: vec![Run::Literal(frames), Run::Copy(0, copied)],
        frames: vec![(byte, 1); frames as usize],
        dictionaries: (0..frames).map(|frame| vec![(frame * 32_768, 32_768)]).collect(),
        deflate,
        ..Step::copy(&first, first_object.root)
    };
    let second = second.object();
    assert!(first_object.bytes.len() + second.bytes.len() < 2 << 20);
    refused(&[(1, &first_object), (2, &second)], 2, ErrorCode::LimitExceeded, "more pieces than allowed");
}
