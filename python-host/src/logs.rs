//! What the host logs, in Python's `logging`.

use log::{LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

use crate::operation;

/// Has what the host logs arrive in `logging`, under `persist_host`; with
/// RUST_LOG set, on stderr as that says, as the command does it.
#[pyfunction]
pub(crate) fn forward_logs(py: Python<'_>) -> PyResult<()> {
    if std::env::var_os("RUST_LOG").is_some() {
        persist_host::cli::start_logging(false);
        return Ok(());
    }
    // What the libraries below log is theirs, and much.
    let logger = Logger::new(py, Caching::Loggers)?.filter(LevelFilter::Off).filter_target("persist_host".to_owned(), LevelFilter::Debug);
    // Fails where another extension has set up its own logging in Rust.
    if log::set_boxed_logger(Box::new(Forwarded(logger))).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    Ok(())
}

/// A logger that runs Python, where a handler may raise, and a signal's, too.
/// pyo3-log leaves such an exception behind in the interpreter, which is fatal
/// to whoever returns something next; here the operation gets it.
struct Forwarded(Logger);

impl Log for Forwarded {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        Python::attach(|py| {
            self.0.log(record);
            if let Some(raised) = PyErr::take(py) {
                operation::interrupt(py, raised);
            }
        });
    }

    fn flush(&self) {}
}
