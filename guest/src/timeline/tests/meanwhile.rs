//! Pruning while others append and read.

use super::pruning::{keep_last, prune};
use super::*;

#[test]
fn a_step_is_never_repeated_after_a_later_one() {
    let states = checkpoints(20);
    let storage = written(&states, false);
    let count = states.len() as u64;
    let mut pruner = timeline(&storage);
    let newest = pruner.newest_step().unwrap();
    append(&mut timeline(&storage), b"later");
    let before = storage.keys();
    let error = pruner.restate_step(&newest, count).unwrap_err();
    assert!(matches!(error.code, ErrorCode::AlreadyExists | ErrorCode::Conflict), "{error}");
    assert_eq!(storage.keys(), before);
    assert_eq!(timeline(&storage).newest().unwrap(), Some(count + 1));
    assert_eq!(timeline(&storage).load(count + 1, u64::MAX).unwrap().1, b"later");
}

#[test]
fn a_step_that_is_removed_while_it_is_opened_is_not_damaged() {
    let states = checkpoints(20);
    let storage = written(&states, false);
    let reader = timeline(&storage);
    let newest = reader.newest_step().unwrap();
    assert!(!newest.document.links.is_empty());
    prune(&storage, &keep_last(1));
    assert_eq!(timeline(&storage).newest().unwrap(), Some(newest.document.number + 1));
    let error = reader.reader(newest, true).err().unwrap();
    assert_eq!(error.code, ErrorCode::NotFound, "{error}");
    assert_eq!(reader.open_newest(true).unwrap().read_to_end(u64::MAX).unwrap(), *states.last().unwrap());
}
