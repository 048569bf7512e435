//! The engine in programs on tokio.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use persist_host::timeline::{OnConflict, Policy, StepSelector};
use persist_host::{
    AsyncEngine, AsyncTimeline, ByteRange, CancelToken, Codec, CopyOptions, DiffSource, Engine, ErrorCode, ListFilter, MemoryStorage,
    PersistError, Precondition, ReadRequest, SnapshotOptions, StorageAdapter, WriteOptions,
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

#[test]
fn a_snapshot_is_written_and_read_piece_by_piece() {
    run(async {
        let engine = engine();
        let state = chat_bytes(20 << 20);
        let mut writer = engine.writer("large.json.gz", SnapshotOptions::default()).await.expect("it begins");
        for piece in state.chunks(3 << 20) {
            writer.write_state(piece).await.expect("it is taken");
        }
        let saved = writer.commit().await.expect("it is stored");
        assert_eq!(saved.uncompressed_size, state.len() as u64);
        let mut reader = engine.reader("large.json.gz").await.expect("it is there");
        assert_eq!(reader.metadata(), &saved);
        let mut read = reader.next_chunk().await.expect("it is intact").expect("it is not empty");
        assert!(read.len() < state.len());
        read.extend(reader.read_state().await.expect("it is intact"));
        assert!(read == state && reader.next_chunk().await.expect("it is the end").is_none());

        let mut dropped = engine.writer("dropped.json.gz", SnapshotOptions::default()).await.expect("it begins");
        dropped.write_state("[").await.expect("it is taken");
        drop(dropped);
        assert!(!engine.exists("dropped.json.gz").await.expect("it is known"));
        assert_eq!(fails(engine.reader("dropped.json.gz").await).code(), ErrorCode::NotFound);
    });
}

#[test]
fn what_is_left_of_a_damaged_snapshot() {
    run(async {
        let storage = Arc::new(MemoryStorage::new());
        let engine = AsyncEngine::new(Engine::builder().shared_storage(storage.clone()).build().expect("an engine"));
        let state = chat_bytes(20 << 20);
        engine.snapshot("x.json.zst", state.clone(), SnapshotOptions::default().codec(Codec::Zstd)).await.expect("it is stored");
        let answers = storage.read_many(&[ReadRequest::new("x.json.zst", ByteRange::All)]).expect("it is read");
        let whole = answers.into_iter().next().expect("an answer").expect("it is there").bytes;
        let mut writer = storage.open_write("x.json.zst", WriteOptions::default()).expect("it begins");
        writer.write(&whole[..whole.len() / 2]).expect("it is taken");
        writer.commit().expect("it is stored");
        let mut salvager = engine.salvage("x.json.zst").await.expect("it begins");
        let mut found = Vec::new();
        while let Some(chunk) = salvager.next_chunk().await.expect("it is read") {
            found.extend(chunk);
        }
        let report = salvager.report().await.expect("it is known");
        assert!(!found.is_empty() && state.starts_with(&found) && report.salvaged_size == found.len() as u64);
        assert!(report.break_offset.is_some());
    });
}

#[test]
fn a_step_is_written_and_read_piece_by_piece() {
    run(async {
        let engine = engine();
        let timeline = engine.timeline("runs/a").expect("a timeline");
        let mut writer = timeline.writer(SnapshotOptions::default(), OnConflict::Fail).await.expect("it begins");
        // It waits until the step is there.
        let other = tokio::spawn(append(timeline.clone(), r#"{"n": 2}"#.to_owned()));
        for piece in [r#"{"n""#, ": 1}"] {
            writer.write_state(piece).await.expect("it is taken");
        }
        assert_eq!(writer.commit().await.expect("it is stored").number, 1);
        assert_eq!(other.await.expect("it does not panic"), 2);
        let mut reader = timeline.reader(StepSelector::Number(1)).await.expect("it is there");
        assert_eq!(reader.read_state().await.expect("it is intact"), br#"{"n": 1}"#);

        let mut dropped = timeline.writer(SnapshotOptions::default(), OnConflict::Fail).await.expect("it begins");
        dropped.write_state("[").await.expect("it is taken");
        drop(dropped);
        assert_eq!(append(timeline.clone(), "[3]".to_owned()).await, 3);
        let taken = timeline.writer(SnapshotOptions::default().snapshot_index(2), OnConflict::Fail).await;
        let error = match taken {
            Ok(mut writer) => {
                writer.write_state("[4]").await.expect("it is taken");
                fails(writer.commit().await)
            }
            Err(error) => error,
        };
        assert_eq!(error.code(), ErrorCode::AlreadyExists);
    });
}

#[test]
fn forks_and_removals() {
    run(async {
        let (engine, other) = (engine(), engine());
        let timeline = engine.timeline("runs/a").expect("a timeline");
        for number in 1..=4 {
            append(timeline.clone(), format!("[{number}]")).await;
        }
        let forked = timeline.fork(StepSelector::Number(3), engine.engine(), "runs/b").await.expect("it is forked");
        assert_eq!((forked.newest, forked.steps), (3, 3));
        assert_eq!(timeline.remove([2, 3]).await.expect("they are removed"), 2);
        assert_eq!(fails(timeline.find(StepSelector::Number(2)).await).code(), ErrorCode::NotFound);
        assert_eq!(fails(timeline.delete_after(3).await).code(), ErrorCode::Conflict);
        timeline.copy(other.engine(), "runs/a").await.expect("it is copied");
        // The newest was stored once more, without what it needed.
        let newest = timeline.find(StepSelector::Newest).await.expect("it is there");
        let before = DiffSource::Stored(format!("runs/b/{:012}.step", 3));
        let diff = engine.diff_with(before, other.engine(), DiffSource::Stored(newest.metadata.key));
        let changes: Vec<_> = diff.collect().await.expect("they are compared");
        assert_eq!(changes.iter().map(|change| change.path.as_str()).collect::<Vec<_>>(), ["/0"]);
        assert_eq!(timeline.delete_after(newest.number).await.expect("it is deleted"), 2);
    });
}
