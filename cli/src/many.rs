//! Work on several snapshots, in parallel.

use std::collections::BTreeMap;
use std::iter::Enumerate;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use persist_model::{ErrorCode, Result};

use crate::host::{Done, Host, Progress, TotalProgress};
use crate::output::{Failure, Output, short_bytes, worse};
use crate::sources::{Expanded, How, Source, Sources, Task};

/// The outcome for one snapshot.
pub(crate) struct Report {
    /// The line to print, if any.
    pub line: Option<String>,
    /// The bytes processed.
    pub bytes: u64,
    /// Whether there was nothing to do.
    pub is_skipped: bool,
}

impl Report {
    /// Creates the report of a snapshot that was processed.
    pub(crate) fn new(line: Option<String>, bytes: u64) -> Self {
        Self { line, bytes, is_skipped: false }
    }
}

/// The outcomes so far, reported in the order of the sources.
struct Outcomes<'a> {
    output: &'a Output,
    waiting: BTreeMap<usize, Result<Report>>,
    next: usize,
    count: u64,
    bytes: u64,
    skipped: u64,
    failed: u64,
    exit_code: u8,
    /// The failure that ends the whole command.
    failure: Option<Failure>,
}

impl Outcomes<'_> {
    fn add(&mut self, number: usize, outcome: Result<Report, Failure>) {
        let outcome = match outcome {
            Ok(report) => Ok(report),
            // A cancelled command does not wait for the other snapshots.
            Err(Failure::Error(error)) if error.code() == ErrorCode::Cancelled => return self.end(Failure::Error(error)),
            Err(Failure::Error(error)) => Err(*error),
            Err(other) => return self.end(other),
        };
        self.waiting.insert(number, outcome);
        while let Some(outcome) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.report(outcome);
        }
    }

    fn report(&mut self, outcome: Result<Report>) {
        match outcome {
            Ok(report) => {
                *if report.is_skipped { &mut self.skipped } else { &mut self.count } += 1;
                self.bytes += report.bytes;
                if let Some(line) = report.line
                    && let Err(failure) = self.output.print(&line)
                {
                    self.end(failure);
                }
            }
            Err(error) => {
                self.failed += 1;
                self.output.error(&error);
                self.exit_code = worse(self.exit_code, error.exit_code());
            }
        }
    }

    fn end(&mut self, failure: Failure) {
        match (&self.failure, failure) {
            (None, failure) => self.failure = Some(failure),
            // Every error that says what was left behind or is unknown has to be printed.
            (Some(_), Failure::Error(error)) if error.detail().hint.is_some() || !error.detail().facts.is_empty() => {
                self.output.error(&error);
            }
            _ => {}
        }
    }
}

/// The combined progress of all snapshots.
struct Meter {
    show: TotalProgress,
    done: Done,
}

impl Meter {
    fn add(&mut self, snapshots: u64, bytes: u64) {
        self.done.snapshots += snapshots;
        self.done.bytes = self.done.bytes.wrapping_add(bytes);
        (self.show)(self.done);
    }
}

/// Returns the progress callback for one of the snapshots.
fn share(meter: &Mutex<Meter>) -> Progress<'_> {
    let mut before = 0_u64;
    Box::new(move |bytes| {
        // Lower than before if the work starts over.
        locked(meter).add(0, bytes.wrapping_sub(before));
        before = bytes;
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on each snapshot, like [`run_with`].
pub(crate) fn run(
    task: &Task,
    host: &impl Host,
    output: &Output,
    sources: &Sources,
    work: impl Fn(&Source, Progress<'_>) -> Result<Report, Failure> + Sync,
) -> Result<(), Failure> {
    run_with(task, host, output, (&sources.how, &sources.src), work)
}

/// Runs `work` on each snapshot of the sources, in parallel, and prints the outcomes in
/// the order of the sources. An error is reported and the other snapshots are still
/// processed.
///
/// # Errors
/// The worst exit code of all snapshots, or a failure that ends the whole command.
pub(crate) fn run_with(
    task: &Task,
    host: &impl Host,
    output: &Output,
    (how, src): (&How, &[String]),
    work: impl Fn(&Source, Progress<'_>) -> Result<Report, Failure> + Sync,
) -> Result<(), Failure> {
    let others = AtomicU64::new(0);
    let sources: Mutex<Enumerate<Expanded<'_>>> = Mutex::new(how.expand(host, src, &others).enumerate());
    let meter = task.is_many.then(|| Mutex::new(Meter { show: host.total_progress(output, task.doing), done: Done::default() }));
    let outcomes = Mutex::new(Outcomes {
        output,
        waiting: BTreeMap::new(),
        next: 0,
        count: 0,
        bytes: 0,
        skipped: 0,
        failed: 0,
        exit_code: 0,
        failure: None,
    });
    let work_on = || {
        loop {
            if locked(&outcomes).failure.is_some() {
                return;
            }
            let Some((number, source)) = locked(&sources).next() else { return };
            let outcome = source.map_err(Failure::from).and_then(|source| match &meter {
                None => work(&source, host.progress(output, task.doing, None)),
                Some(meter) => work(&source, share(meter)),
            });
            if let Some(meter) = &meter {
                locked(meter).add(1, 0);
            }
            locked(&outcomes).add(number, outcome);
        }
    };
    if task.jobs > 1 {
        host.prepare();
    }
    thread::scope(|scope| {
        // This thread is one of the workers, and the only one if no other can be started.
        for _ in 1..task.jobs {
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, work_on) {
                tracing::debug!(%error, "could not start another thread");
                break;
            }
        }
        work_on();
    });
    drop((meter, sources));
    finish(task, output, outcomes.into_inner().unwrap_or_else(PoisonError::into_inner), others.load(Ordering::Relaxed))
}

fn finish(task: &Task, output: &Output, outcomes: Outcomes<'_>, others: u64) -> Result<(), Failure> {
    if let Some(failure) = outcomes.failure {
        return Err(failure);
    }
    if task.is_many {
        let mut summary = format!("{} {}", outcomes.count, task.done);
        if outcomes.bytes > 0 {
            summary.push_str(&format!(" ({})", short_bytes(outcomes.bytes)));
        }
        if outcomes.skipped > 0 {
            summary.push_str(&format!(", {} skipped", outcomes.skipped));
        }
        if outcomes.failed > 0 {
            summary.push_str(&format!(", {} failed", outcomes.failed));
        }
        if others > 0 {
            summary.push_str(&format!(", {others} other {} left out", if others == 1 { "file" } else { "files" }));
        }
        output.note(summary);
    }
    match outcomes.exit_code {
        0 => Ok(()),
        exit_code => Err(Failure::Reported(exit_code)),
    }
}
