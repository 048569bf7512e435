//! Timelines that are changed while they are read, and objects that somebody has broken.

use persist_model::StepSelector;

use super::pruning::{keep_last, prune};
use super::*;
use crate::error::Result;
use crate::memory::{MemoryReader, MemoryWriter};
use crate::snapshots::{self, ListEntry, ListFilter};
use crate::storage::{ByteRange, ObjectInfo, Storage, WriteOptions};
use crate::timeline::newest::write_hint;
use crate::timeline::record::Record;

fn states(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|turn| format!("{{\"turn\": {turn}}}").into_bytes()).collect()
}

fn key(number: u64) -> String {
    Folder::new(PREFIX).step(number)
}

fn flip(storage: &MemoryStorage, key: &str) {
    let mut bytes = storage.get(key).unwrap();
    bytes[30] ^= 1;
    storage.put(key, bytes);
}

fn label_key(storage: &MemoryStorage) -> String {
    storage.keys().into_iter().find(|key| key.ends_with(".label")).unwrap()
}

/// A storage that lists snapshots as the host does: only the last object of a timeline.
#[derive(Clone)]
struct Only {
    storage: MemoryStorage,
    key: String,
}

impl Storage for Only {
    type Writer = MemoryWriter;
    type Reader = MemoryReader;

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<MemoryWriter> {
        self.storage.open_write(key, options)
    }

    fn open_read(&self, key: &str, range: ByteRange, if_match: Option<&str>) -> Result<MemoryReader> {
        self.storage.open_read(key, range, if_match)
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        self.storage.stat(key)
    }

    fn delete(&self, key: &str, precondition: Precondition) -> Result<()> {
        self.storage.delete(key, precondition)
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let mut objects = self.storage.list_objects(prefix, start_after, limit)?;
        if prefix.is_empty() {
            objects.retain(|info| info.key == self.key);
        }
        Ok(objects)
    }
}

/// What a listing of snapshots has, with the message of what can't be read.
fn listed(storage: &MemoryStorage, last: u64) -> Vec<std::result::Result<u64, String>> {
    let page = snapshots::list(&Only { storage: storage.clone(), key: key(last) }, "", None, 1000, ListFilter::default()).unwrap();
    let entry = |entry| match entry {
        ListEntry::Snapshot(metadata) => Ok(metadata.snapshot_index),
        ListEntry::Unreadable { error, .. } => Err(error.message),
    };
    page.entries.into_iter().map(entry).collect()
}

#[test]
fn what_is_pruned_during_a_check_is_not_lost() {
    let storage = written(&states(200), false);
    let mut checker = timeline(&storage).check(false).unwrap();
    let mut wrong: Vec<_> = checker.next_batch().unwrap().into_iter().filter(|checked| checked.error.is_some()).collect();
    prune(&storage, &keep_last(1));
    storage.advance(std::time::Duration::from_secs(14 * 24 * 60 * 60));
    prune(&storage, &keep_last(1));
    loop {
        let checked = checker.next_batch().unwrap();
        if checked.is_empty() {
            break;
        }
        wrong.extend(checked.into_iter().filter(|checked| checked.error.is_some()));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_step_that_was_lost_before_a_deletion_stays_deleted() {
    let storage = written(&states(5), false);
    storage.delete(&key(3), Precondition::None).unwrap();
    timeline(&storage).delete().unwrap();
    append(&mut timeline(&storage), b"{}");
    assert!(reading::wrong(&timeline(&storage), true).is_empty());
    storage.advance(std::time::Duration::from_secs(14 * 24 * 60 * 60));
    prune(&storage, &keep_last(3));
    assert!(reading::wrong(&timeline(&storage), true).is_empty());
    assert_eq!(reading::history(&timeline(&storage)).len(), 1);
}

#[test]
fn a_damaged_label_is_an_error_of_its_step_only() {
    let storage = written(&states(30), false);
    timeline(&storage).label(2, "good", Some("yes")).unwrap();
    flip(&storage, &label_key(&storage));
    let history = reading::history(&timeline(&storage));
    let hurt: Vec<u64> = history.iter().filter(|entry| entry.metadata.is_err()).map(|entry| entry.number).collect();
    assert_eq!((history.len(), hurt), (30, vec![2]));
    assert_eq!(timeline(&storage).load(2, u64::MAX).unwrap().1, states(30)[1], "the state is there");
    // A rule might keep it, so it stays.
    prune(&storage, &keep_last(1));
    assert_eq!(timeline(&storage).load(2, u64::MAX).unwrap().1, states(30)[1]);
    assert!(!reading::wrong(&timeline(&storage), false).is_empty());
    timeline(&storage).repair(true).unwrap();
    assert!(reading::wrong(&timeline(&storage), false).is_empty());
    assert!(reading::history(&timeline(&storage)).iter().all(|entry| entry.metadata.is_ok()));
}

#[test]
fn labels_of_no_step_are_named_and_those_of_removed_steps_go() {
    let storage = written(&states(5), false);
    timeline(&storage).label(2, "name", Some("value")).unwrap();
    let stray = Record::Label { number: 99, name: "x".to_owned(), value: None };
    stray.write(&storage, &Folder::new(PREFIX).label(99, "x"), Precondition::None).unwrap();
    let wrong = reading::wrong(&timeline(&storage), false);
    assert!(wrong.len() == 1 && wrong[0].error.as_ref().unwrap().message.contains("step 99, which does not exist"), "{wrong:?}");
    timeline(&storage).repair(true).unwrap();
    assert!(reading::wrong(&timeline(&storage), false).is_empty());
    // A pruning that was broken off has removed the step, but not its label.
    let label = label_key(&storage);
    let bytes = storage.get(&label).unwrap();
    prune(&storage, &keep_last(1));
    storage.put(&label, bytes);
    prune(&storage, &keep_last(1));
    assert_eq!(storage.get(&label), None);
}

#[test]
fn a_forgotten_step_is_not_lost() {
    let storage = written(&states(5), false);
    storage.delete(&key(5), Precondition::None).unwrap();
    timeline(&storage).repair(true).unwrap();
    assert!(reading::wrong(&timeline(&storage), true).is_empty());
    let history = reading::history(&timeline(&storage));
    assert!(history.iter().all(|entry| entry.metadata.is_ok()), "{history:?}");
}

#[test]
fn a_listing_never_shows_an_older_step_for_the_newest() {
    let storage = written(&states(20), false);
    assert_eq!(listed(&storage, 20), [Ok(20)]);
    // A listing may be late.
    assert_eq!(listed(&storage, 18), [Ok(20)]);
    let lost = storage.copied();
    lost.delete(&key(20), Precondition::None).unwrap();
    let message = "step 20, which was the newest, is missing: the end of the timeline was lost";
    assert_eq!(listed(&lost, 19), [Err(message.to_owned())]);
    for size in [100, 192, 200, 208] {
        let cut = storage.copied();
        cut.put(&key(20), storage.get(&key(20)).unwrap()[..size].to_vec());
        let found = listed(&cut, 20);
        assert!(matches!(found.as_slice(), [Err(_)]), "{size}: {found:?}");
    }
    timeline(&storage).delete().unwrap();
    assert_eq!(listed(&storage, 21), []);
}

#[test]
fn hostile_numbers_do_not_take_long() {
    let storage = written(&states(3), false);
    let gap = Record::Gap { first: 4, last: 999_999_999_998 };
    gap.write(&storage, &key(4), Precondition::None).unwrap();
    assert_eq!(reading::history(&timeline(&storage)).len(), 3);
    let storage = written(&states(3), false);
    write_hint(&storage, &Folder::new(PREFIX), 999_999_999_998, &[0; 32]).unwrap();
    assert!(timeline(&storage).find(&StepSelector::Newest).is_err());
    assert!(!reading::wrong(&timeline(&storage), false).is_empty());
    assert_eq!(timeline(&storage).delete().unwrap(), 3);
}

/// A timeline of 40 steps, of which 21 to 39 are lost, and whose hint still names step 20.
fn with_an_old_hint() -> MemoryStorage {
    let storage = written(&states(20), false);
    let hint = storage.get(&Folder::new(PREFIX).hint()).unwrap();
    let mut writer = timeline(&storage);
    for state in &states(40)[20..] {
        append(&mut writer, state);
    }
    for number in 21..40 {
        storage.delete(&key(number), Precondition::None).unwrap();
    }
    storage.put(&Folder::new(PREFIX).hint(), hint);
    storage
}

#[test]
fn steps_after_an_old_hint_and_a_long_loss_are_found_by_a_check() {
    let storage = with_an_old_hint();
    let wrong = reading::wrong(&timeline(&storage), true);
    let lost: Vec<u64> = wrong.iter().filter_map(|checked| checked.number).collect();
    assert!((21..40).all(|number| lost.contains(&number)), "{lost:?}");
    timeline(&storage).repair(false).unwrap();
    assert_eq!(timeline(&storage).newest().unwrap(), Some(40));
}

#[test]
fn pruning_and_deleting_know_of_steps_after_an_old_hint() {
    let storage = with_an_old_hint();
    // The newest depends on a step that is lost, so nothing is removed.
    let error = timeline(&storage).prune(&keep_last(1), time::OffsetDateTime::UNIX_EPOCH, false).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Integrity, "step 39, which step 40 depends on, is missing"));
    assert_eq!(timeline(&storage).delete().unwrap(), 21);
    assert!(!storage.keys().iter().any(|key| key.ends_with(".step") && storage.get(key).unwrap().len() > 208), "nothing is left");
}

#[test]
fn a_writer_goes_on_after_its_own_step_that_pruning_has_repeated() {
    // Each depends on the one before.
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    let state = |turn: usize| format!("{{\"text\": \"{}\", \"turn\": {turn}}}", "word ".repeat(200)).into_bytes();
    for turn in 1..=15 {
        append(&mut writer, &state(turn));
    }
    let report = timeline(&storage).prune(&keep_last(1), time::OffsetDateTime::UNIX_EPOCH, false).unwrap();
    assert_eq!(report.restated_as, Some(16));
    let (number, _) = writer.append(state(16), &options(), OnConflict::Fail, None).unwrap();
    assert_eq!((number, timeline(&storage).load(17, u64::MAX).unwrap().1), (17, state(16)));
    // Another's step is another's, whatever pruning has done to it.
    append(&mut timeline(&storage), &state(17));
    timeline(&storage).prune(&keep_last(1), time::OffsetDateTime::UNIX_EPOCH, false).unwrap();
    let error = writer.append(state(18), &options(), OnConflict::Fail, None).unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
}

#[test]
fn a_writer_is_told_that_its_timeline_was_deleted() {
    let storage = MemoryStorage::default();
    let mut writer = timeline(&storage);
    append(&mut writer, b"{}");
    timeline(&storage).delete().unwrap();
    let error = writer.append(b"[]".to_vec(), &options(), OnConflict::Fail, None).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::AlreadyExists, "the timeline was deleted by another program"));
    append(&mut writer, b"[]");
    assert_eq!(timeline(&storage).newest().unwrap(), Some(3));
}

#[test]
fn a_snapshot_takes_no_name_of_a_timeline() {
    let storage = written(&states(2), false);
    let save = |key: &str| snapshots::save(&storage, key, b"1", options());
    for key in ["agent/session/head", "agent/session/000000000003.step", "agent/session/000000000002.hidden"] {
        assert_eq!(save(key).unwrap_err().code, ErrorCode::InvalidArgument, "{key}");
    }
    for key in ["agent/session/forehead", "agent/session/head.json", "agent/head", "head"] {
        save(key).unwrap();
    }
    assert_eq!(timeline(&storage).find(&StepSelector::Newest).unwrap().number, 2);
}

#[test]
fn a_marker_of_another_step_is_named() {
    let storage = written(&states(4), false);
    let id = uuid::Uuid::nil().to_string();
    for (root, errors) in [
        (crate::hash::hex(&chain(&storage, 2).steps[0].root), &[][..]),
        ("0".repeat(64), &["step 3 does not follow from step 2 as it is now: one of them was replaced"][..]),
    ] {
        // Steps that refer to it are damaged; here it is about the marker itself.
        let marked = storage.copied();
        Record::Removed { number: 2, root, id: id.clone() }.write(&marked, &key(2), crate::storage::Precondition::None).unwrap();
        let mut checker = timeline(&marked).check(false).unwrap();
        let mut found = Vec::new();
        loop {
            let batch = checker.next_batch().unwrap();
            if batch.is_empty() {
                break;
            }
            found.extend(batch.into_iter().filter(|checked| checked.number.is_none()).filter_map(|checked| checked.error));
        }
        let found: Vec<&str> = found.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(found, errors);
    }
}
