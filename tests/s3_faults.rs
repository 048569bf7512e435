//! Faults of a bucket never lose anything: each S3 request meets each fault the first
//! time, the second time, and always.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use persist_host::{
    Engine, ErrorCode, ListEntry, MemoryStorage, PersistError, Precondition, ReadOptions, Result, S3StorageAdapter, SnapshotOptions,
    StorageAdapter, WriteOptions,
};
use persist_test_support::moto::Moto;
use persist_test_support::proxy::{DELAY, Fault, OPERATIONS, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_in, adapter_with};

const KEY: &str = "agents/one/0001.json.gz";

const FAULTS: [Fault; 19] = [
    Fault::Delay,
    Fault::Refuse,
    Fault::ResetRequest,
    Fault::ResetResponse,
    Fault::CutBody,
    Fault::ShortenBody,
    Fault::FlipRequest,
    Fault::FlipResponse,
    Fault::LoseReply,
    Fault::ErrorIn200,
    Fault::Answer(400, "InvalidRequest"),
    Fault::Answer(403, "AccessDenied"),
    Fault::Answer(404, "NoSuchKey"),
    Fault::Answer(408, "RequestTimeout"),
    Fault::Answer(409, "OperationAborted"),
    Fault::Answer(412, "PreconditionFailed"),
    Fault::Answer(429, "TooManyRequests"),
    Fault::Answer(500, "InternalError"),
    Fault::Answer(503, "SlowDown"),
];

/// Returns whether sending the request again overcomes the fault.
fn is_transient(fault: Fault) -> bool {
    match fault {
        Fault::Answer(status, _) => matches!(status, 408 | 409 | 429 | 500 | 503),
        Fault::ShortenBody | Fault::FlipRequest | Fault::FlipResponse | Fault::StripConditions => false,
        _ => true,
    }
}

/// Returns whether the response is lost, so that the outcome of the request is unknown.
fn loses_answer(fault: Fault) -> bool {
    matches!(fault, Fault::Delay | Fault::Refuse | Fault::ResetRequest | Fault::ResetResponse | Fault::CutBody | Fault::LoseReply)
}

/// Returns whether the request creates or removes an object.
fn changes_object(operation: Operation) -> bool {
    matches!(operation, Operation::PutObject | Operation::CompleteUpload | Operation::DeleteObject)
}

/// Returns whether the error is correct for the fault.
fn is_right(operation: Operation, fault: Fault, error: &PersistError) -> bool {
    use ErrorCode as E;
    let allowed: &[ErrorCode] = match fault {
        // The request may be carried out later, or its result may have been replaced.
        _ if loses_answer(fault) && changes_object(operation) => &[E::OutcomeUnknown],
        Fault::Delay => &[E::Timeout],
        Fault::Refuse | Fault::ResetRequest | Fault::ResetResponse | Fault::CutBody | Fault::LoseReply | Fault::ErrorIn200 => {
            &[E::Unavailable]
        }
        // Damaged data may cause various errors.
        Fault::ShortenBody => &[E::Unavailable, E::Refused, E::NotFound, E::Integrity, E::OutcomeUnknown],
        Fault::FlipRequest => &[E::Unavailable, E::Credentials, E::Refused],
        Fault::FlipResponse => {
            &[E::Integrity, E::InvalidFormat, E::NotASnapshot, E::Unavailable, E::Refused, E::AccessDenied, E::NotFound, E::OutcomeUnknown]
        }
        Fault::Answer(400, _) => &[E::Refused],
        Fault::Answer(403, _) => &[E::AccessDenied],
        Fault::Answer(404, _) => &[E::NotFound, E::PreconditionFailed, E::Unavailable],
        Fault::Answer(408, _) => &[E::Timeout],
        Fault::Answer(412, _) => &[E::PreconditionFailed, E::AlreadyExists],
        Fault::Answer(..) => &[E::Unavailable],
        Fault::StripConditions | Fault::LateReply | Fault::Slow | Fault::Endless(_) | Fault::Body(_) => &[],
    };
    allowed.contains(&error.code()) && error.location().is_some_and(|location| location.starts_with("s3://"))
}

/// Returns whether the upload cannot be known, since its ID never arrived.
fn hides_upload(operation: Operation, fault: Fault) -> bool {
    let damages_answer =
        matches!(fault, Fault::Delay | Fault::ResetResponse | Fault::CutBody | Fault::ShortenBody | Fault::FlipResponse | Fault::LoseReply);
    operation == Operation::CreateUpload && damages_answer
}

/// States and snapshots that all cases share.
struct Samples {
    engine: Engine,
    old: Vec<u8>,
    new: Vec<u8>,
    /// The state of a stored snapshot of three parts.
    large_state: Vec<u8>,
    large: Arc<dyn StorageAdapter>,
}

impl Samples {
    fn new() -> Self {
        let large: Arc<dyn StorageAdapter> = Arc::new(MemoryStorage::new());
        let engine = Engine::builder().build().expect("it runs");
        // Incompressible, so that the snapshot is as large.
        let large_state = persist_test_support::command::noise(11_000_000);
        let options = SnapshotOptions { level: Some(1), ..SnapshotOptions::default() };
        engine.with_storage(Arc::clone(&large)).snapshot(KEY, &large_state, &options).expect("it is saved");
        Self { engine, old: br#"{"step": 1}"#.to_vec(), new: persist_test_support::command::chat_bytes(200_000), large_state, large }
    }

    fn on(&self, storage: impl StorageAdapter + 'static) -> Engine {
        self.engine.with_storage(Arc::new(storage))
    }
}

/// What is done while the fault is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Save,
    SaveIfAbsent,
    SaveIfMatch,
    SaveLarge,
    SaveLargeIfAbsent,
    Restore,
    RestoreLarge,
    Verify,
    Exists,
    Delete,
    List,
    GiveUp,
}

/// Returns the actions that send a request.
fn actions(operation: Operation) -> &'static [Action] {
    match operation {
        Operation::PutObject => &[Action::Save, Action::SaveIfAbsent, Action::SaveIfMatch],
        Operation::GetObject => &[Action::Restore, Action::RestoreLarge, Action::Verify],
        Operation::HeadObject => &[Action::Exists, Action::Delete],
        Operation::DeleteObject => &[Action::Delete],
        Operation::ListObjects => &[Action::List],
        Operation::CreateUpload | Operation::UploadPart => &[Action::SaveLarge],
        Operation::CompleteUpload => &[Action::SaveLarge, Action::SaveLargeIfAbsent],
        Operation::AbortUpload => &[Action::GiveUp],
    }
}

/// What is stored at the key, read without faults.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Old,
    New,
    Large,
    Wrong,
}

struct Case<'a> {
    samples: &'a Samples,
    server: Server,
    proxy: Proxy,
    adapter: S3StorageAdapter,
}

impl<'a> Case<'a> {
    fn new(samples: &'a Samples, fault: Fault, over_tls: bool) -> Self {
        let server = Server::start();
        let proxy = if over_tls { Proxy::start_tls(server.address) } else { Proxy::start(server.address) };
        let adapter = adapter_with(&proxy.endpoint(), |options| {
            // Shorter than the delay, or otherwise long enough for a busy machine.
            options.timeout = if fault == Fault::Delay { DELAY / 2 } else { Duration::from_secs(20) };
            options.part_size = 5 << 20;
        });
        Self { samples, server, proxy, adapter }
    }

    fn direct(&self) -> Engine {
        self.samples.on(self.server.adapter())
    }

    fn found(&self) -> Found {
        match self.direct().restore(KEY) {
            Ok(state) if state == self.samples.old => Found::Old,
            Ok(state) if state == self.samples.new => Found::New,
            Ok(state) if state == self.samples.large_state => Found::Large,
            Err(PersistError::NotFound(_)) => Found::Nothing,
            _ => Found::Wrong,
        }
    }

    /// Stores what the action needs.
    fn prepare(&self, action: Action) {
        let direct = self.direct();
        match action {
            Action::SaveIfAbsent | Action::SaveLargeIfAbsent => {}
            Action::RestoreLarge => {
                let source = self.samples.engine.with_storage(Arc::clone(&self.samples.large));
                source.copy(KEY, &direct, KEY, Precondition::None, |_| {}).expect("it is copied");
            }
            _ => drop(direct.snapshot(KEY, &self.samples.old, &SnapshotOptions::default()).expect("it is saved")),
        }
        // Probes the server's preconditions now, so that the fault meets the action
        // instead.
        let probe = |precondition| {
            let mut writer = self.adapter.open_write("agents/one/probe", WriteOptions { precondition, ..WriteOptions::default() })?;
            writer.write(b"1")?;
            writer.commit()
        };
        match action {
            Action::SaveIfAbsent => drop(probe(Precondition::IfAbsent).expect("nothing is there")),
            Action::SaveIfMatch => drop(probe(Precondition::IfMatch("0".to_owned())).expect_err("nothing is there")),
            Action::SaveLargeIfAbsent => {
                let mut writer = self
                    .adapter
                    .open_write("agents/one/probe", WriteOptions { precondition: Precondition::IfAbsent, ..WriteOptions::default() })
                    .expect("it opens");
                writer.write(&vec![0; 6 << 20]).expect("it is written");
            }
            _ => {}
        }
        if matches!(action, Action::SaveIfAbsent) {
            self.adapter.delete_object("agents/one/probe", Precondition::None).expect("it is deleted");
        }
    }

    /// Runs the action, and checks the state that it returns.
    fn run(&self, action: Action) -> Result<()> {
        let samples = self.samples;
        let engine = samples.on(self.adapter.clone());
        let save = |precondition| {
            let options = SnapshotOptions { precondition, ..SnapshotOptions::default() };
            engine.snapshot(KEY, &samples.new, &options).map(drop)
        };
        let save_large = |precondition| {
            let source = samples.engine.with_storage(Arc::clone(&samples.large));
            source.copy(KEY, &engine, KEY, precondition, |_| {}).map(drop)
        };
        match action {
            Action::Save => save(Precondition::None),
            Action::SaveIfAbsent => save(Precondition::IfAbsent),
            Action::SaveIfMatch => {
                let etag = self.server.adapter().stat(KEY).expect("it is there").etag.expect("an etag");
                save(Precondition::IfMatch(etag))
            }
            Action::SaveLarge => save_large(Precondition::None),
            Action::SaveLargeIfAbsent => save_large(Precondition::IfAbsent),
            Action::Restore => engine.restore(KEY).map(|state| assert!(state == samples.old, "wrong bytes")),
            Action::RestoreLarge => engine.restore(KEY).map(|state| assert!(state == samples.large_state, "wrong bytes")),
            Action::Verify => engine.verify(KEY).map(drop),
            Action::Exists => engine.exists(KEY).map(|exists| assert!(exists, "{action:?}: it does exist")),
            Action::Delete => engine.delete(KEY, Precondition::None),
            Action::List => {
                let entries: Result<Vec<_>> = engine.list("agents/").collect();
                entries.map(|entries| {
                    assert_eq!(entries.len(), 1, "one snapshot: {:?}", self.proxy.seen());
                    assert!(matches!(&entries[0], ListEntry::Snapshot(found) if found.key == KEY), "{entries:?}");
                })
            }
            Action::GiveUp => {
                let mut writer = self.adapter.open_write(KEY, WriteOptions::default())?;
                writer.write(&samples.large_state)?;
                drop(writer);
                Ok(())
            }
        }
    }
}

/// Checks one case, and returns its outcome in a word.
fn check(samples: &Samples, operation: Operation, action: Action, fault: Fault, when: When, over_tls: bool) -> &'static str {
    let name = format!("{action:?}, {fault:?} in {operation:?}, {when:?}");
    let case = Case::new(samples, fault, over_tls);
    case.prepare(action);
    let before = case.found();
    case.proxy.forget();
    case.proxy.inject(operation, fault, when);
    let began = Instant::now();
    let outcome = case.run(action);
    assert!(began.elapsed() < Duration::from_secs(60), "{name}: it took {:?}", began.elapsed());
    let hits = case.proxy.hits();
    case.proxy.heal();
    let after = case.found();

    let written = match action {
        Action::Save | Action::SaveIfAbsent | Action::SaveIfMatch => Found::New,
        Action::SaveLarge | Action::SaveLargeIfAbsent => Found::Large,
        Action::Delete => Found::Nothing,
        _ => case.found(),
    };
    match &outcome {
        Ok(()) => assert_eq!(after, written, "{name}: it reported success"),
        Err(error) => {
            assert!(after == before || after == written, "{name}: {before:?} became {after:?} ({error:?})");
            assert!(is_right(operation, fault, error), "{name}: {error:?}");
            assert!(hits > 0, "{name}: {error:?}");
            assert!(when == When::Always || !is_transient(fault), "{name}: it should have tried again: {error:?}");
        }
    }
    // Three attempts for each part, and three to determine the outcome.
    let parts = if matches!(action, Action::SaveLarge | Action::SaveLargeIfAbsent | Action::RestoreLarge | Action::GiveUp) { 4 } else { 2 };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for seen in case.proxy.seen() {
        *counts.entry(format!("{:?}", seen.operation)).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count <= 3 * parts), "{name}: {counts:?}");
    let blocks_abort = operation == Operation::AbortUpload && (when == When::Always || !is_transient(fault));
    if !blocks_abort && !hides_upload(operation, fault) {
        assert_eq!(case.server.unfinished_uploads(), Vec::<String>::new(), "{name}: {outcome:?}");
    }
    match outcome {
        _ if hits == 0 => "not met",
        Ok(()) => "overcome",
        Err(_) => "reported",
    }
}

/// Writes an object with a precondition.
fn put_if(adapter: &S3StorageAdapter, key: &str, bytes: &[u8], precondition: Precondition) -> Result<()> {
    let mut writer = adapter.open_write(key, WriteOptions { precondition, ..WriteOptions::default() })?;
    writer.write(bytes)?;
    writer.commit().map(drop)
}

fn read(adapter: &S3StorageAdapter, key: &str) -> Vec<u8> {
    adapter.load(&adapter.locate(key).parse().expect("a location")).expect("it is there")
}

#[test]
fn a_lost_reply_is_not_a_conflict_with_ones_own_write() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let direct = server.adapter();
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    // Probes the server's preconditions before replies are lost.
    for condition in [Precondition::IfAbsent, Precondition::IfMatch("0".to_owned())] {
        for size in [1, 6 << 20] {
            let _ = put_if(&adapter, "probe", &vec![0; size], condition.clone());
        }
    }
    let large = vec![7; 6 << 20];
    let mut outcomes = BTreeMap::new();
    for seed in 0..100_u32 {
        // One in five in parts, half with if-match, half against another writer's object.
        // The first reply or the first two replies are lost.
        let (is_large, if_match, is_ours) = (seed % 5 == 0, seed % 2 == 0, (seed / 2) % 2 == 0);
        let lost = if seed % 3 == 0 { When::Of(2, 3) } else { When::First };
        let key = format!("lost/{seed}");
        let ours: &[u8] = if is_large { &large } else { b"ours" };
        if if_match || !is_ours {
            direct.save(&direct.locate(&key).parse().unwrap(), b"first").expect("it is saved");
        }
        let condition = if if_match {
            let etag = direct.stat(&key).expect("it is there").etag.expect("an etag");
            if !is_ours {
                direct.save(&direct.locate(&key).parse().unwrap(), b"another's").expect("it is saved");
            }
            Precondition::IfMatch(etag)
        } else {
            Precondition::IfAbsent
        };
        proxy.inject(if is_large { Operation::CompleteUpload } else { Operation::PutObject }, Fault::LoseReply, lost);
        let outcome = put_if(&adapter, &key, ours, condition).map_err(|error| error.code());
        proxy.heal();
        let expected = match (is_ours, if_match) {
            (true, _) => Ok(()),
            (false, true) => Err(ErrorCode::PreconditionFailed),
            (false, false) => Err(ErrorCode::AlreadyExists),
        };
        assert_eq!(outcome, expected, "seed {seed}");
        assert_eq!(read(&direct, &key) == ours, is_ours, "seed {seed}");
        *outcomes.entry(format!("{outcome:?}")).or_insert(0) += 1;
    }
    println!("100 lost replies: {outcomes:?}");
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
}

#[test]
fn of_many_writers_one_wins() {
    const WRITERS: usize = 16;
    const KEYS: usize = 100;
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    proxy.take_turns();
    let adapters: Vec<_> = (0..WRITERS).map(|_| persist_test_support::server::adapter(&proxy.endpoint())).collect();
    let barrier = std::sync::Barrier::new(WRITERS);
    let outcomes: Vec<Vec<std::result::Result<(), ErrorCode>>> = std::thread::scope(|scope| {
        let writers: Vec<_> = adapters
            .iter()
            .enumerate()
            .map(|(number, adapter)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let put = |key| {
                        barrier.wait();
                        let mine = format!("writer {number}");
                        put_if(adapter, &format!("race/{key}"), mine.as_bytes(), Precondition::IfAbsent).map_err(|error| error.code())
                    };
                    (0..KEYS).map(put).collect()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("it ends")).collect()
    });
    for key in 0..KEYS {
        let winners: Vec<usize> = (0..WRITERS).filter(|writer| outcomes[*writer][key].is_ok()).collect();
        assert_eq!(winners.len(), 1, "key {key}");
        let found = read(&server.adapter(), &format!("race/{key}"));
        assert_eq!(String::from_utf8_lossy(&found), format!("writer {}", winners[0]), "key {key}");
        let losers = outcomes.iter().filter(|outcomes| outcomes[key] == Err(ErrorCode::AlreadyExists)).count();
        assert_eq!(losers, WRITERS - 1, "key {key}");
    }
    println!("{WRITERS} writers, {KEYS} keys: one winner each");
}

/// The bucket of a server that ignores preconditions.
const CARELESS: &str = "careless";

#[test]
fn a_server_that_ignores_preconditions_is_detected() {
    // A server that does not check signatures, since the preconditions are signed.
    let server = Moto::start();
    let proxy = Proxy::start(server.address());
    proxy.inject(None, Fault::StripConditions, When::Always);
    // The result is cached for this bucket, so that it does not affect a later server on
    // this port.
    server.make_bucket(CARELESS);
    let adapter = adapter_in(CARELESS, &proxy.endpoint(), |options| options.part_size = 5 << 20);
    put_if(&adapter, "a/x", b"first", Precondition::None).expect("it is written");
    let etag = adapter.stat("a/x").expect("it is there").etag.expect("an etag");
    for size in [1, 6 << 20] {
        for condition in [Precondition::IfAbsent, Precondition::IfMatch(etag.clone())] {
            let key = if condition == Precondition::IfAbsent { "a/new" } else { "a/x" };
            let error = put_if(&adapter, key, &vec![1; size], condition.clone()).expect_err("it is refused");
            assert_eq!(error.code(), ErrorCode::Unsupported, "{condition:?} {size}: {error:?}");
            assert!(error.detail().hint.as_ref().is_some_and(|hint| hint.contains("docs/s3.md")), "{error:?}");
        }
    }
    let error = adapter.delete_object("a/x", Precondition::IfMatch(etag)).expect_err("it is refused");
    assert_eq!(error.code(), ErrorCode::Unsupported, "{error:?}");
    assert!(!adapter.capabilities().if_absent && !adapter.capabilities().if_match);
    // Nothing was written, and nothing is left of the probes.
    assert_eq!(read(&adapter, "a/x"), b"first");
    let keys: Vec<String> = adapter.list_objects("", None, 100).expect("it is listed").into_iter().map(|info| info.key).collect();
    assert_eq!(keys, ["a/x"]);
    assert_eq!(server.unfinished_uploads(CARELESS), "");
    // It is probed only once.
    proxy.forget();
    let refused = put_if(&adapter, "a/new", b"1", Precondition::IfAbsent).expect_err("it is refused");
    assert_eq!((refused.code(), proxy.seen().len()), (ErrorCode::Unsupported, 0));
}

#[test]
fn a_failed_write_cannot_be_committed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    adapter.save(&adapter.locate("x").parse().unwrap(), b"before").expect("it is saved");
    proxy.inject(Operation::CreateUpload, Fault::Answer(403, "AccessDenied"), When::Always);
    let mut writer = adapter.open_write("x", WriteOptions::default()).expect("it opens");
    assert_eq!(writer.write(&vec![1; 6 << 20]).expect_err("no upload begins").code(), ErrorCode::AccessDenied);
    proxy.heal();
    // Continuing must not create an object from the rest.
    assert!(writer.write(b"more").is_err());
    assert!(writer.commit().is_err());
    assert_eq!(read(&adapter, "x"), b"before");
}

#[test]
fn nothing_is_read_past_a_gap() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    let bytes = persist_test_support::command::noise(16 << 20);
    adapter.save(&adapter.locate("x").parse().unwrap(), &bytes).expect("it is saved");
    let mut reader = adapter.open_read("x", ReadOptions::default()).expect("it opens");
    // The first range was read; every attempt to read the next fails.
    proxy.inject(Operation::GetObject, Fault::Answer(500, "InternalError"), When::Always);
    let mut found = Vec::new();
    let error = loop {
        match reader.read(1 << 20) {
            Ok(chunk) => found.extend(chunk),
            Err(error) => break error,
        }
    };
    proxy.heal();
    assert!(found.len() == 5 << 20 && bytes.starts_with(&found), "{} bytes", found.len());
    assert_eq!(reader.read(1 << 20).expect_err("it keeps failing"), error);
}

#[test]
fn a_size_hint_does_not_determine_memory_use() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = persist_test_support::server::adapter(&proxy.endpoint());
    let options = WriteOptions { object_size_hint: Some(u64::MAX), ..WriteOptions::default() };
    let mut writer = adapter.open_write("x", options).expect("it opens");
    for _ in 0..130 {
        writer.write(&[7; 1 << 20]).expect("it is written");
    }
    // Parts of 64 MiB are sent, instead of one of 5 GiB held in memory.
    writer.commit().expect("it is committed");
    assert_eq!(proxy.seen().iter().filter(|seen| seen.operation == Operation::UploadPart).count(), 3);
}

#[test]
fn connections_are_reused() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let samples = persist_test_support::server::adapter(&proxy.endpoint());
    let engine = Engine::builder().storage(samples).build().expect("it runs");
    for number in 0..10 {
        let key = format!("{number}.json.gz");
        engine.snapshot(&key, b"{}", &SnapshotOptions::default()).expect("it is saved");
        assert_eq!(engine.restore(&key).expect("it is restored"), b"{}");
        assert!(engine.exists(&key).expect("it is asked"));
    }
    assert!(proxy.seen().len() >= 30 && proxy.connections() == 1, "{} connections", proxy.connections());
}

#[test]
fn an_upload_that_cannot_be_aborted_is_named() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = persist_test_support::server::adapter(&proxy.endpoint());
    proxy.inject(Operation::UploadPart, Fault::Answer(500, "InternalError"), When::Always);
    proxy.inject(Operation::AbortUpload, Fault::Answer(500, "InternalError"), When::Always);
    let error = put_if(&adapter, "large", &vec![1; 20 << 20], Precondition::None).expect_err("no part arrives");
    let left = server.unfinished_uploads();
    let id = error.detail().facts.iter().find(|(name, _)| name == "upload_id").map(|(_, id)| id.clone()).expect("the id is a fact");
    assert!(left.iter().any(|name| name.contains(&id)), "{id}: {left:?}");
    assert!(error.detail().hint.as_ref().is_some_and(|hint| hint.contains(&id)), "{error:?}");
}

#[test]
fn parts_in_progress_end_before_their_upload_is_aborted() {
    // A service may store a part while its upload is being aborted, and keep it.
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    proxy.inject(Operation::UploadPart, Fault::Answer(403, "AccessDenied"), When::First);
    proxy.inject(Operation::UploadPart, Fault::LateReply, When::Always);
    let mut writer = adapter.open_write("large", WriteOptions::default()).expect("it opens");
    writer.write(&vec![1; 6 << 20]).expect("its first part is sent");
    while proxy.hits() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    writer.write(&vec![1; 10 << 20]).expect("two more are");
    assert_eq!(writer.commit().expect_err("the first was refused").code(), ErrorCode::AccessDenied);
    let seen = proxy.seen();
    let aborted = seen.iter().find(|seen| seen.operation == Operation::AbortUpload).expect("it is aborted").arrived;
    let parts: Vec<_> = seen.iter().filter(|seen| seen.operation == Operation::UploadPart).collect();
    let ended = parts.iter().filter(|part| part.ended.is_some_and(|ended| ended <= aborted)).count();
    // All except the one that was refused.
    assert!(parts.len() > 1 && ended == parts.len() - 1, "{ended} of {} parts: {seen:?}", parts.len());
}

#[test]
fn an_upload_that_begins_while_its_write_is_stopped_is_aborted() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let cancel = persist_host::CancelToken::new();
    let adapter = persist_test_support::server::adapter(&proxy.endpoint()).with_cancel(&cancel).expect("it can be cancelled");
    proxy.inject(Operation::CreateUpload, Fault::LateReply, When::Always);
    let mut writer = adapter.open_write("large", WriteOptions::default()).expect("it opens");
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.unfinished_uploads().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            cancel.cancel();
        });
        writer.write(&vec![1; 20 << 20])
    });
    assert_eq!(outcome.expect_err("it was cancelled").code(), ErrorCode::Cancelled);
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
    assert!(proxy.seen().iter().all(|seen| seen.operation != Operation::UploadPart), "a part was sent after the abort");
}

#[test]
fn the_outcome_of_a_cancelled_commit_is_reported() {
    let (samples, server) = (Samples::new(), Server::start());
    let proxy = Proxy::start(server.address);
    for (fault, is_known) in [(Fault::LateReply, true), (Fault::Delay, false)] {
        for (size, operation) in [(1, Operation::PutObject), (9 << 20, Operation::CompleteUpload)] {
            let cancel = persist_host::CancelToken::new();
            let engine = samples.on(persist_test_support::server::adapter(&proxy.endpoint())).with_cancel(&cancel);
            let key = format!("{fault}-{size}.zst");
            let met = proxy.hits();
            proxy.inject(operation, fault, When::Always);
            // If the upload cannot be aborted either, the error reports both.
            proxy.inject(Operation::AbortUpload, Fault::Answer(403, "AccessDenied"), When::Always);
            let outcome = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while proxy.hits() == met {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    cancel.cancel();
                });
                engine.snapshot(&key, &persist_test_support::command::noise(size), &SnapshotOptions::default())
            });
            proxy.heal();
            match outcome {
                Ok(_) => assert!(is_known && read(&server.adapter(), &key).len() > size, "{key}"),
                Err(error) => {
                    assert!(!is_known && error.code() == ErrorCode::OutcomeUnknown, "{key}: {error:?}");
                    assert!(error.detail().message.contains("not known"), "{key}: {error:?}");
                    let hint = error.detail().hint.clone().unwrap_or_default();
                    assert_eq!(hint.contains("incomplete upload"), operation == Operation::CompleteUpload, "{key}: {error:?}");
                }
            }
        }
    }
}

#[test]
fn a_stopped_write_is_aborted() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let cancel = persist_host::CancelToken::new();
    let adapter = persist_test_support::server::adapter(&proxy.endpoint()).with_cancel(&cancel).expect("it can be cancelled");
    proxy.inject(Operation::UploadPart, Fault::Delay, When::Always);
    let mut writer = adapter.open_write("large", WriteOptions::default()).expect("it opens");
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            cancel.cancel();
        });
        writer.write(&vec![1; 100 << 20])
    });
    assert_eq!(outcome.expect_err("it was cancelled").code(), ErrorCode::Cancelled);
    assert!(began.elapsed() < DELAY, "before the parts are through: {:?}", began.elapsed());
    // Parts in transit at the time of the abort may still arrive, and are refused.
    std::thread::sleep(DELAY + Duration::from_secs(1));
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
    assert_eq!(adapter.stat("large").expect_err("cancelled for good").code(), ErrorCode::Cancelled);
}

#[test]
fn retry_after_is_respected() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = persist_test_support::server::adapter(&proxy.endpoint());
    proxy.inject(Operation::PutObject, Fault::Answer(503, "SlowDown"), When::First);
    let began = Instant::now();
    put_if(&adapter, "x", b"1", Precondition::None).expect("the second attempt");
    assert!(began.elapsed() >= Duration::from_secs(1), "the answer asked for a second: {:?}", began.elapsed());
}

#[test]
fn every_fault_in_every_request_is_overcome_or_reported() {
    check_all(false);
}

#[test]
fn every_fault_in_every_request_through_tls_is_overcome_or_reported() {
    persist_test_support::tls::trust();
    check_all(true);
}

fn check_all(over_tls: bool) {
    let samples = Samples::new();
    let mut cases = Vec::new();
    for operation in OPERATIONS {
        for fault in FAULTS {
            for when in [When::First, When::Second, When::Always] {
                cases.extend(actions(operation).iter().map(|action| (operation, *action, fault, when)));
            }
        }
    }
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    // In parallel, since the cases mostly wait.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((operation, action, fault, when)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let checked =
                        std::panic::catch_unwind(AssertUnwindSafe(|| check(&samples, *operation, *action, *fault, *when, over_tls)));
                    let outcome = checked.unwrap_or_else(|_| {
                        eprintln!("in the case: {action:?}, {fault:?} in {operation:?}, {when:?}");
                        "WRONG"
                    });
                    *outcomes.lock().unwrap().entry(outcome).or_insert(0) += 1;
                }
            });
        }
    });
    let way = if over_tls { "through TLS" } else { "plain" };
    println!("{way}: {} faults, {} requests, {} cases: {:?}", FAULTS.len(), OPERATIONS.len(), cases.len(), outcomes.lock().unwrap());
    assert!(cases.len() >= 300 && !outcomes.lock().unwrap().contains_key("WRONG"));
    persist_test_support::command::assert_page_says("reliability.md", &format!("{} cases each", cases.len()));
    persist_test_support::command::assert_page_says("security.md", &format!("{} faults in every request", FAULTS.len()));
}
