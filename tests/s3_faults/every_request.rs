//! Each request meets each fault, in every operation that sends it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use persist_host::{
    Engine, ListEntry, PersistError, Precondition, Result, S3StorageAdapter, SnapshotOptions, StorageAdapter, WriteOptions,
};
use persist_test_support::command::{assert_page_says, in_soak};
use persist_test_support::proxy::{DELAY, Fault, OPERATIONS, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_with};

use crate::expected::{FAULTS, hides_upload, is_right, is_transient};
use crate::helpers::{KEY, Samples};

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
        Operation::GetLifecycle | Operation::GetVersioning => &[],
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
            let mut writer = self.adapter.open_write("agents/one/probe", WriteOptions::default().precondition(precondition))?;
            writer.write(b"1")?;
            writer.commit()
        };
        match action {
            Action::SaveIfAbsent => drop(probe(Precondition::IfAbsent).expect("nothing is there")),
            Action::SaveIfMatch => drop(probe(Precondition::IfMatch("0".to_owned())).expect_err("nothing is there")),
            Action::SaveLargeIfAbsent => {
                let mut writer = self
                    .adapter
                    .open_write("agents/one/probe", WriteOptions::default().precondition(Precondition::IfAbsent))
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
            let options = SnapshotOptions::default().precondition(precondition);
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
    for (row, operation) in OPERATIONS.into_iter().enumerate() {
        for (column, fault) in FAULTS.into_iter().enumerate() {
            for (turn, when) in [When::First, When::Second, When::Always].into_iter().enumerate() {
                // Through TLS, each fault meets each request at one of the three moments.
                if !over_tls || (row + column + turn) % 3 == 0 || in_soak(false, true) {
                    cases.extend(actions(operation).iter().map(|action| (operation, *action, fault, when)));
                }
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
    assert!(cases.len() >= 250 && !outcomes.lock().unwrap().contains_key("WRONG"));
    if !in_soak(false, true) {
        assert_page_says("reliability.md", &format!("{} cases {way}", cases.len()));
    }
    assert_page_says("security.md", &format!("{} faults in every request", FAULTS.len()));
}
