//! The engine in programs on tokio.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::future::Future;
use std::time::Duration;

use persist_host::timeline::{OnConflict, Policy, StepSelector};
use persist_host::{
    AsyncEngine, AsyncTimeline, CancelToken, CopyOptions, DiffSource, Engine, ErrorCode, ListFilter, MemoryStorage, PersistError,
    Precondition, SnapshotOptions,
};
use persist_test_support::command::chat_bytes;

fn engine() -> AsyncEngine {
    AsyncEngine::new(Engine::builder().storage(MemoryStorage::new()).build().expect("an engine"))
}

fn fails<T>(result: Result<T, PersistError>) -> PersistError {
    result.err().expect("it fails")
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(test)
}

#[test]
fn snapshots() {
    run(async {
        let engine = engine();
        let saved = engine.snapshot("a/1.json.gz", r#"{"n": 1}"#, SnapshotOptions::default()).await.expect("it is stored");
        engine.snapshot("a/2.json.gz", r#"{"n": 2}"#, SnapshotOptions::default().agent_id("other")).await.expect("it is stored");
        assert_eq!(engine.restore("a/1.json.gz").await.expect("it is there"), br#"{"n": 1}"#);
        assert_eq!(engine.metadata("a/1.json.gz").await.expect("it is there"), saved);
        assert_eq!(engine.verify("a/1.json.gz").await.expect("it is intact").digest, saved.digest);
        assert!(engine.exists("a/1.json.gz").await.expect("it is known"));
        assert_eq!(engine.list("a/", ListFilter::default()).collect().await.expect("they are listed").len(), 2);
        let filter = ListFilter::default().agent_id("other".to_owned());
        assert_eq!(engine.list("a/", filter).collect().await.expect("it is listed").len(), 1);
        let mut diff = engine.diff(DiffSource::Stored("a/1.json.gz".to_owned()), DiffSource::Stored("a/2.json.gz".to_owned()));
        assert_eq!(diff.next().await.expect("they differ").expect("they are read").path, "/n");
        assert!(diff.next().await.is_none() && diff.next().await.is_none());
        let copied = engine.copy("a/1.json.gz", engine.engine(), "b/1.json.gz", CopyOptions::default()).await.expect("it is copied");
        assert_eq!(copied.metadata.digest, saved.digest);
        engine.delete("a/1.json.gz", Precondition::None).await.expect("it is deleted");
        assert_eq!(fails(engine.restore("a/1.json.gz").await).code(), ErrorCode::NotFound);
        let missing = DiffSource::Stored("a/1.json.gz".to_owned());
        let mut diff = engine.diff(missing.clone(), missing);
        assert_eq!(fails(diff.next().await.expect("an error")).code(), ErrorCode::NotFound);
        assert!(diff.next().await.is_none());
    });
}

async fn append(timeline: AsyncTimeline, state: String) -> u64 {
    timeline.append(state, SnapshotOptions::default(), OnConflict::Fail).await.expect("it is appended").number
}

#[test]
fn timelines() {
    run(async {
        let engine = engine();
        let timeline = engine.timeline("runs/a").expect("a timeline");
        // At the same time: they follow one another.
        let steps: Vec<_> = (0..20).map(|number| tokio::spawn(append(timeline.clone(), format!("[{number}]")))).collect();
        let mut numbers = Vec::new();
        for step in steps {
            numbers.push(step.await.expect("it does not panic"));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
        let newest = timeline.find(StepSelector::Newest).await.expect("it is there");
        assert_eq!(newest.number, 20);
        timeline.set_label(3, "kept", Some("yes".to_owned())).await.expect("it is labelled");
        let labelled = StepSelector::Label("kept".to_owned(), None);
        assert_eq!(timeline.find(labelled.clone()).await.expect("it is there").number, 3);
        let third = timeline.load(labelled).await.expect("it is there");
        timeline.copy(engine.engine(), "runs/b").await.expect("it is copied");
        let keep = Policy::default().last(1).labels(vec![("kept".to_owned(), None)]);
        let report = timeline.prune(keep, false).await.expect("it is pruned");
        assert_eq!(report.steps.len(), 20);
        let left = timeline.history(ListFilter::default(), None).collect().await.expect("it is read");
        // The newest is stored once more, so that what only it needs can go.
        assert_eq!(left.iter().map(|entry| entry.number()).collect::<Vec<_>>(), [report.restated_as.unwrap_or(20), 3]);
        assert_eq!(timeline.load(StepSelector::Number(3)).await.expect("it is there"), third);
        let checked = timeline.check(true).collect().await.expect("it is checked");
        assert!(!checked.is_empty() && checked.iter().all(|checked| checked.error.is_none()), "{checked:?}");
        timeline.finish().await.expect("it is recorded");
        timeline.repair(false).await.expect("there is nothing to repair");
        let copy = engine.timeline("runs/b").expect("a timeline");
        assert_eq!(copy.history(ListFilter::default(), Some(5)).collect().await.expect("it is read").len(), 5);
        copy.delete().await.expect("it is deleted");
        assert_eq!(fails(copy.find(StepSelector::Newest).await).code(), ErrorCode::NotFound);
    });
}

#[test]
fn a_future_that_is_dropped_cancels_its_operation() {
    run(async {
        let engine = engine();
        let state = chat_bytes(200 << 20);
        let saving = engine.snapshot("large.json.gz", state, SnapshotOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(200), saving).await.is_err(), "it takes longer than that");
        // What runs ends soon, and stores nothing.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!engine.exists("large.json.gz").await.expect("it is known"));
    });
}

#[test]
fn the_token_of_the_engine_still_cancels() {
    run(async {
        let token = CancelToken::new();
        let engine = AsyncEngine::new(engine().engine().with_cancel(&token));
        engine.snapshot("x.json.gz", "{}", SnapshotOptions::default()).await.expect("it is stored");
        token.cancel();
        assert_eq!(fails(engine.restore("x.json.gz").await).code(), ErrorCode::Cancelled);
    });
}
