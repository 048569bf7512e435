//! Forks and copies that meet somebody in their folder, or whose source changes: what is there
//! stays whole, or says that it is not.

use std::sync::{Arc, Mutex};

use persist_host::timeline::{OnConflict, Policy, StepSelector};
use persist_host::{
    Capabilities, CopiedTimeline, Engine, ErrorCode, ListFilter, MemoryStorage, PersistError, Result, StorageAdapter, StorageWriter,
    Timeline, WriteOptions,
};
use persist_test_support::pass_on;

use crate::helpers::{Kind, Place, TIMELINE, append, load, on, shown};

const OTHER: &str = "runs/two";

/// What happens just before an object is written.
type Event = Box<dyn FnOnce() -> Result<()> + Send>;

/// A storage in which something happens just before an object with this name is written.
struct Before {
    storage: Arc<dyn StorageAdapter>,
    name: String,
    event: Mutex<Option<Event>>,
}

impl std::fmt::Debug for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Before").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StorageAdapter for Before {
    pass_on!(storage: summary, locate, open_read, stat, delete_object, list_objects);

    fn capabilities(&self) -> Capabilities {
        self.storage.capabilities().copy_range(false)
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        if key.ends_with(&self.name) {
            let event = self.event.lock().expect("it is not poisoned").take();
            event.map_or(Ok(()), |event| event())?;
        }
        self.storage.open_write(key, options)
    }
}

/// The storage, with an event just before a hint, or the step with this number, is written.
fn before(storage: &Arc<dyn StorageAdapter>, name: &str, event: impl FnOnce() -> Result<()> + Send + 'static) -> Arc<dyn StorageAdapter> {
    let event: Event = Box::new(event);
    Arc::new(Before { storage: Arc::clone(storage), name: name.to_owned(), event: Mutex::new(Some(event)) })
}

fn broken_off() -> Result<()> {
    Err(PersistError::new(ErrorCode::AccessDenied, "it is broken off"))
}

fn memory() -> Arc<dyn StorageAdapter> {
    Arc::new(MemoryStorage::new())
}

fn timeline(engine: &Engine, folder: &str) -> Timeline {
    engine.timeline(folder).expect("a folder")
}

/// A timeline of this many steps.
fn source(steps: u64) -> Engine {
    let engine = on(memory());
    let mut source = timeline(&engine, TIMELINE);
    for id in 1..=steps {
        append(&mut source, id, OnConflict::Fail).expect("it is appended");
    }
    engine
}

fn copy(from: &Engine, to: &Arc<dyn StorageAdapter>) -> Result<CopiedTimeline> {
    timeline(from, TIMELINE).copy(&on(Arc::clone(to)), OTHER, |_| ())
}

fn fork(from: &Engine, to: &Arc<dyn StorageAdapter>) -> Result<CopiedTimeline> {
    timeline(from, TIMELINE).fork(&StepSelector::Number(8), &on(Arc::clone(to)), OTHER, |_| ())
}

fn is_told(to: &Arc<dyn StorageAdapter>) {
    let there = timeline(&on(Arc::clone(to)), OTHER);
    assert_eq!(there.find(&StepSelector::Newest).expect_err("it is not whole").code(), ErrorCode::Integrity);
    assert_eq!(there.find(&StepSelector::FromNewest(2)).expect_err("it is not whole").code(), ErrorCode::Integrity);
    let history = there.history(ListFilter::default(), None).map(drop);
    assert_eq!(history.expect_err("it is not whole").code(), ErrorCode::Integrity);
}

#[test]
fn a_timeline_that_begins_in_the_folder_of_a_fork_or_a_copy_stays_whole() {
    let from = source(9);
    for (run, start) in [copy, fork].into_iter().enumerate() {
        let places = [Place::new(Kind::Folder), Place::new(Kind::Bucket)];
        let stored = places.iter().map(|place| place.kind.storage(&place.at));
        for to in std::iter::once(memory()).chain(stored) {
            let writer = Arc::new(Mutex::new(timeline(&on(Arc::clone(&to)), OTHER)));
            let begins = Arc::clone(&writer);
            // The folder was empty when it was looked at, and there was no hint for the writer.
            let meets = before(&to, "/head", move || append(&mut begins.lock().expect("a writer"), 50, OnConflict::Fail).map(drop));
            let error = start(&from, &meets).expect_err("somebody else has the folder");
            assert_eq!(error.code(), ErrorCode::Conflict, "{run} {to:?}: {error:?}");
            let there = timeline(&on(Arc::clone(&to)), OTHER);
            assert_eq!(there.find(&StepSelector::Newest).expect("its step is the newest").number, 1, "{run} {to:?}");
            assert_eq!(shown(&there).into_iter().collect::<Vec<_>>(), [(1, 50)]);
            assert_eq!(append(&mut writer.lock().expect("a writer"), 51, OnConflict::Fail).expect("it is appended"), 2);
            assert_eq!((load(&there, 1), load(&there, 2)), (50, 51));
        }
    }
}

#[test]
fn a_hint_that_another_copy_needs_stays() {
    let from = source(9);
    let to = memory();
    let (again, theirs) = (from.clone(), before(&to, "/000000000005.step", broken_off));
    let meets = before(&to, "/000000000002.step", move || {
        assert_eq!(copy(&again, &theirs).expect_err("it is broken off").code(), ErrorCode::AccessDenied);
        Ok(())
    });
    assert_eq!(copy(&from, &meets).expect_err("another copy was faster").code(), ErrorCode::Conflict);
    is_told(&to);
    assert_eq!(copy(&from, &to).expect("it is finished").steps, 5);
    assert_eq!(shown(&timeline(&on(to), OTHER)).len(), 9);
}

#[test]
fn a_copy_that_was_broken_off_after_its_newest_step_was_pruned_says_so() {
    let from = source(3);
    let to = memory();
    let (pruned, theirs) = (from.clone(), before(&to, "/000000000004.step", broken_off));
    let meets = before(&theirs, "/000000000002.step", move || {
        let mut timeline = timeline(&pruned, TIMELINE);
        timeline.prune(&Policy::default().last(1), false)?;
        let newest = timeline.find(&StepSelector::Newest)?.number;
        assert_eq!(newest, 4, "it restates the one that is kept");
        Ok(())
    });
    assert_eq!(copy(&from, &meets).expect_err("it is broken off").code(), ErrorCode::AccessDenied);
    is_told(&to);
    assert_eq!(copy(&from, &to).expect("it is finished").newest, 4);
    let there = timeline(&on(to), OTHER);
    assert_eq!(load(&there, 4), 3);
    assert!(there.check(true).expect("a check").all(|checked| checked.expect("it is checked").error.is_none()));
}
