//! Copies of timelines: whole ones, those that were interrupted, and those of timelines that
//! change meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Arc;
use std::time::SystemTime;

use persist_host::timeline::{OnConflict, Policy, StepSelector};
use persist_host::{
    CopiedTimeline, Durability, Engine, ErrorCode, LocalFileStorage, MemoryStorage, Precondition, ReadOptions, Result, StorageAdapter,
    Timeline, WriteOptions,
};
use persist_paths::timeline::GAP_SIZE;
use persist_test_support::proxy::{AGO, Fault, Operation, When};

use crate::helpers::{Kind, Place, TIMELINE, append, load, on, shown};

/// A storage in memory, and an engine on it.
fn memory() -> (MemoryStorage, Engine) {
    let storage = MemoryStorage::new();
    (storage.clone(), on(Arc::new(storage)))
}

fn timeline(engine: &Engine) -> Timeline {
    engine.timeline(TIMELINE).expect("a folder")
}

fn appended(engine: &Engine, ids: std::ops::RangeInclusive<u64>) {
    let mut timeline = timeline(engine);
    for id in ids {
        append(&mut timeline, id, OnConflict::Fail).expect("it is appended");
    }
}

fn copy(from: &Engine, to: &Engine) -> Result<CopiedTimeline> {
    timeline(from).copy(to, TIMELINE, |_| ())
}

fn pruned(engine: &Engine, last: u32) {
    timeline(engine).prune(&Policy::default().last(last), false).expect("it is pruned");
}

/// Returns all objects of a storage.
fn objects(storage: &dyn StorageAdapter) -> BTreeMap<String, Vec<u8>> {
    let listed = storage.list_objects("", None, u32::MAX).expect("a listing");
    let bytes = |key: &str| {
        let mut reader = storage.open_read(key, ReadOptions::default()).expect("an object");
        let mut all = Vec::new();
        loop {
            let part = reader.read(1 << 20).expect("bytes");
            if part.is_empty() {
                return all;
            }
            all.extend(part);
        }
    };
    listed.into_iter().map(|info| (info.key.clone(), bytes(&info.key))).collect()
}

fn loads_as_in(from: &Engine, to: &Engine) {
    let there = shown(&timeline(to));
    assert_eq!(there, shown(&timeline(from)));
    for (number, id) in there {
        assert_eq!(load(&timeline(to), number), id, "step {number}");
    }
}

#[test]
fn a_copy_has_every_object_and_grows_with_its_source() {
    let ((one, from), (other, to)) = (memory(), memory());
    let error = copy(&from, &to).expect_err("there is nothing to copy");
    assert_eq!(error.code(), ErrorCode::NotFound);
    appended(&from, 1..=300);
    timeline(&from).set_label(7, "good", Some("yes")).expect("it is labelled");
    let copied = copy(&from, &to).expect("it is copied");
    assert_eq!((copied.steps, copied.newest), (300, 300));
    assert_eq!(objects(&one), objects(&other));
    assert_eq!(copy(&from, &to).expect("it is there").steps, 0);
    timeline(&from).set_label(7, "good", Some("no")).expect("it is labelled");
    appended(&from, 301..=320);
    assert_eq!(copy(&from, &to).expect("the rest is copied").steps, 20);
    assert_eq!(objects(&one), objects(&other));
    // A copy keeps what is pruned in its source, and goes on.
    pruned(&from, 2);
    appended(&from, 321..=325);
    copy(&from, &to).expect("the rest is copied");
    let there = shown(&timeline(&to));
    for id in [1, 7, 320, 325] {
        let number = there.iter().find(|(_, found)| **found == id).map_or(id, |(number, _)| *number);
        assert_eq!(load(&timeline(&to), number), id);
    }
    timeline(&to).check(true).expect("a check").for_each(|checked| assert_eq!(checked.expect("it is checked").error, None));
}

#[test]
fn what_is_damaged_only_in_a_copy_is_copied_again() {
    let ((one, from), (other, to)) = (memory(), memory());
    appended(&from, 1..=300);
    timeline(&from).set_label(7, "good", Some("yes")).expect("it is labelled");
    copy(&from, &to).expect("it is copied");
    let whole = objects(&other);
    let change = |storage: &MemoryStorage, key: &str, bytes: &[u8]| {
        let mut writer = storage.open_write(key, WriteOptions::default()).expect("it is open");
        writer.write(bytes).expect("it is written");
        writer.commit().expect("it is stored");
    };
    for (key, bytes) in &whole {
        if key.ends_with("000000000300.step") {
            continue;
        }
        if key.ends_with("50.step") || !key.ends_with(".step") {
            let mut flipped = bytes.clone();
            flipped[30] ^= 1;
            change(&other, key, &flipped);
        } else if key.ends_with("99.step") {
            other.delete_object(key, Precondition::None).expect("it is deleted");
        }
    }
    assert_eq!(copy(&from, &to).expect("it is mended").steps, 6);
    assert_eq!(objects(&other), whole);
    // What is damaged in the source as well is named there.
    for storage in [&one, &other] {
        let (key, bytes) = whole.iter().find(|(key, _)| key.ends_with("000000000050.step")).expect("step 50");
        let mut flipped = bytes.clone();
        flipped[30] ^= 1;
        change(storage, key, &flipped);
    }
    let error = copy(&from, &to).expect_err("it is damaged");
    assert_eq!(error.code(), ErrorCode::Integrity, "{error:?}");
    assert!(error.detail().location.as_ref().is_some_and(|place| place.contains("000000000050.step")), "{error:?}");
}

#[test]
fn another_timeline_is_not_mixed_with_a_copy() {
    let ((_, from), (other, to)) = (memory(), memory());
    appended(&from, 1..=5);
    appended(&to, 11..=13);
    let before = objects(&other);
    let error = copy(&from, &to).expect_err("another timeline is there");
    assert_eq!(error.code(), ErrorCode::AlreadyExists, "{error:?}");
    assert!(error.to_string().contains("step 3 differs"), "{error}");
    assert_eq!(objects(&other), before);
    // The copy went on by itself.
    let (_, to) = memory();
    copy(&from, &to).expect("it is copied");
    append(&mut timeline(&to), 20, OnConflict::Fail).expect("it is appended");
    assert_eq!(copy(&from, &to).expect_err("it has more").code(), ErrorCode::AlreadyExists);
    append(&mut timeline(&from), 6, OnConflict::Fail).expect("it is appended");
    assert_eq!(copy(&from, &to).expect_err("it has another step").code(), ErrorCode::AlreadyExists);
    assert_eq!(load(&timeline(&to), 6), 20);
}

/// Whatever a copy does while its source is pruned, the copy has the newest step or says that
/// it does not, and copying again completes it.
#[test]
fn a_timeline_may_be_pruned_while_it_is_copied() {
    for at in [0, 3, 20, 39, 40] {
        let ((_, from), (_, to)) = (memory(), memory());
        appended(&from, 1..=40);
        let mut objects = 0;
        let copied = timeline(&from).copy(&to, TIMELINE, |_| {
            if objects == at {
                pruned(&from, 1);
                append(&mut timeline(&from), 50, OnConflict::Rebase).expect("it is appended");
                pruned(&from, 2);
            }
            objects += 1;
        });
        assert!(copied.is_ok(), "at {at}: {copied:?}");
        for (number, id) in shown(&timeline(&to)) {
            assert_eq!(load(&timeline(&to), number), id, "at {at}");
        }
        let newest = shown(&timeline(&from)).into_iter().next_back().expect("a step");
        copy(&from, &to).expect("the rest is copied");
        assert_eq!(load(&timeline(&to), newest.0), newest.1, "at {at}");
        assert!(timeline(&to).check(true).expect("a check").all(|checked| checked.expect("it is checked").error.is_none()), "at {at}");
    }
}

#[test]
fn a_copy_is_not_continued_by_a_timeline_that_is_not_known_to_be_the_same() {
    // Of another timeline, the steps with the numbers of the copy are gone.
    let ((_, from), (other, to)) = (memory(), memory());
    appended(&from, 1..=10);
    pruned(&from, 2);
    appended(&to, 21..=23);
    let before = objects(&other);
    assert_eq!(copy(&from, &to).expect_err("it is another timeline").code(), ErrorCode::AlreadyExists);
    assert_eq!(objects(&other), before);
    // Of the same, the marker shows it.
    let ((_, from), (_, to)) = (memory(), memory());
    appended(&from, 1..=10);
    copy(&from, &to).expect("it is copied");
    appended(&from, 11..=20);
    pruned(&from, 2);
    copy(&from, &to).expect("the rest is copied");
    assert_eq!(load(&timeline(&to), 10), 10);
    assert_eq!(shown(&timeline(&to)).into_iter().next_back(), shown(&timeline(&from)).into_iter().next_back());
    // A copy that was deleted, or has begun again.
    timeline(&to).delete().expect("it is deleted");
    assert_eq!(copy(&from, &to).expect_err("it was deleted").code(), ErrorCode::AlreadyExists);
    append(&mut timeline(&to), 30, OnConflict::Fail).expect("it is appended");
    assert_eq!(copy(&from, &to).expect_err("it has begun again").code(), ErrorCode::AlreadyExists);
    // A timeline that was deleted since it was copied, and has begun again.
    let ((_, from), (_, to)) = (memory(), memory());
    appended(&from, 1..=10);
    copy(&from, &to).expect("it is copied");
    timeline(&from).delete().expect("it is deleted");
    assert_eq!(copy(&from, &to).expect_err("there is nothing").code(), ErrorCode::NotFound);
    append(&mut timeline(&from), 40, OnConflict::Fail).expect("it is appended");
    let error = copy(&from, &to).expect_err("it has begun again");
    assert!(error.to_string().contains("has been deleted since it was copied"), "{error}");
    assert_eq!(shown(&timeline(&to)).len(), 10);
    // Elsewhere, it may be copied.
    let (_, to) = memory();
    copy(&from, &to).expect("it is copied");
    assert_eq!(shown(&timeline(&to)).values().copied().collect::<Vec<_>>(), [40]);
}

#[test]
fn a_copy_of_a_timeline_with_gaps_is_whole() {
    let source = tempfile::tempdir().expect("a folder");
    let from = on(Arc::new(LocalFileStorage::new(source.path()).durability(Durability::None)));
    let (_, early) = memory();
    appended(&from, 1..=20);
    copy(&from, &early).expect("it is copied");
    pruned(&from, 2);
    for file in fs::read_dir(source.path().join(TIMELINE)).expect("a folder").flatten() {
        File::options().write(true).open(file.path()).expect("a file").set_modified(SystemTime::now() - AGO).expect("it has a time");
    }
    appended(&from, 21..=22);
    pruned(&from, 2);
    let (storage, to) = memory();
    copy(&from, &to).expect("it is copied");
    assert!(objects(&storage).values().any(|bytes| bytes.len() as u64 == GAP_SIZE));
    loads_as_in(&from, &to);
    appended(&from, 23..=25);
    assert_eq!(copy(&from, &to).expect("the rest is copied").steps, 3);
    loads_as_in(&from, &to);
    // This one ends with a step that is in the gap now, or with one that is a marker.
    match copy(&from, &early) {
        Ok(_) => assert_eq!(load(&timeline(&early), 5), 5),
        Err(error) => assert_eq!(error.code(), ErrorCode::AlreadyExists, "{error:?}"),
    }
    assert!(timeline(&early).check(true).expect("a check").all(|checked| checked.expect("it is checked").error.is_none()));
}

#[test]
fn a_copy_of_a_timeline_whose_writer_is_open_is_not_taken_for_whole_too_early() {
    let ((_, from), place) = (memory(), Place::new(Kind::Bucket));
    let mut writer = timeline(&from);
    for id in 1..=9 {
        append(&mut writer, id, OnConflict::Fail).expect("it is appended");
    }
    let (_, proxy) = place.server.as_ref().expect("a bucket");
    let to = place.engine();
    proxy.inject(Operation::PutObject, Fault::Answer(403, "AccessDenied"), When::Nth(8));
    copy(&from, &to).expect_err("a write fails");
    proxy.heal();
    assert!(!to.storage().list_objects(TIMELINE, None, 9).expect("a listing").is_empty());
    assert_eq!(timeline(&to).find(&StepSelector::Newest).expect_err("it is not whole").code(), ErrorCode::Integrity);
    copy(&from, &to).expect("it is finished");
    loads_as_in(&from, &to);
}

#[test]
fn a_copy_that_was_broken_off_is_never_a_shorter_timeline_and_is_finished_by_the_next() {
    let (_, from) = memory();
    appended(&from, 1..=20);
    pruned(&from, 12);
    let failing = Fault::Answer(403, "AccessDenied");
    for write in 1.. {
        let place = Place::new(Kind::Bucket);
        let (_, proxy) = place.server.as_ref().expect("a bucket");
        proxy.inject(Operation::PutObject, failing, When::Nth(write));
        let to = place.engine();
        let copied = copy(&from, &to);
        proxy.heal();
        if copied.is_ok() {
            assert!(write > 20, "{write} writes");
            break;
        }
        // What a reader sees: nothing, all, or that it is not whole.
        match timeline(&to).find(&StepSelector::Newest) {
            Ok(newest) => assert_eq!(newest.number, timeline(&from).find(&StepSelector::Newest).expect("a step").number),
            Err(error) => {
                let is_empty = to.storage().list_objects(TIMELINE, None, 1).expect("a listing").is_empty();
                let expected = if is_empty { ErrorCode::NotFound } else { ErrorCode::Integrity };
                assert_eq!(error.code(), expected, "after {write} writes: {error:?}");
            }
        }
        copy(&from, &to).expect("it is finished");
        loads_as_in(&from, &to);
        place.checked();
    }
}
