//! Pruning while others append and read.

use std::cell::RefCell;
use std::rc::Rc;

use super::pruning::{keep_last, prune};
use super::*;
use crate::timeline::appender::Appender;

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
fn a_step_gets_the_number_that_its_writer_wants_or_is_not_stored() {
    let storage = MemoryStorage::default();
    append(&mut timeline(&storage), b"one");
    let loaded = timeline(&storage).newest().unwrap().unwrap();
    append(&mut timeline(&storage), b"another's");
    let wanting = |number| SaveOptions { snapshot_index: number, ..options() };
    let mut writer = timeline(&storage);
    for on_conflict in [OnConflict::Fail, OnConflict::Rebase] {
        let error = writer.append(b"changed".to_vec(), &wanting(loaded + 1), on_conflict, None).unwrap_err();
        assert_eq!(error.code, ErrorCode::AlreadyExists, "{error}");
        assert!(error.details.contains(&("number".to_owned(), "2".to_owned())), "{error:?}");
        let mut parts = Appender::open(Rc::new(RefCell::new(timeline(&storage))), wanting(loaded + 1), on_conflict).unwrap();
        parts.write(b"changed").unwrap();
        assert_eq!(parts.commit(None).unwrap_err().code, ErrorCode::AlreadyExists);
    }
    assert_eq!(writer.append(b"changed".to_vec(), &wanting(3), OnConflict::Fail, None).unwrap().0, 3);
    assert_eq!(timeline(&storage).newest().unwrap(), Some(3));
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
