//! Forwarding of the host's log to Python's `logging`.

use log::{LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

use crate::running;

/// Forwards the host's log to `logging`, under `persist_host`. If RUST_LOG is set, logs
/// to stderr instead, as the command does.
#[pyfunction]
pub(crate) fn forward_logs(py: Python<'_>) -> PyResult<()> {
    if std::env::var_os("RUST_LOG").is_some() {
        persist_cli::start_logging(false);
        return Ok(());
    }
    // The libraries below log too much to forward.
    let logger = Logger::new(py, Caching::Loggers)?.filter(LevelFilter::Off).filter_target("persist_host".to_owned(), LevelFilter::Debug);
    // Fails if another extension has set up its own Rust logger.
    if log::set_boxed_logger(Box::new(Forwarded(logger))).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    Ok(())
}

/// A logger that calls Python, where handlers of logs and of signals may raise. pyo3-log
/// leaves such an exception set in the interpreter, which makes the next successful
/// return a fatal error. Here the operation raises it.
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
                running::interrupt(py, raised);
            }
        });
    }

    fn flush(&self) {}
}
