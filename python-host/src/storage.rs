//! Storages written in Python: objects that implement the protocol `persist.Storage`.

use std::fmt;
use std::sync::Arc;

use persist_host::{
    ByteRange, Capabilities, ErrorCode, ObjectInfo, PersistError, Precondition, ReadOptions, Result, StorageAdapter, StorageReader,
    StorageWriter, WriteOptions,
};
use persist_model::files::DELETE_IF_ABSENT;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::error::from_exception;

/// The maximum number of bytes requested from Python at a time.
const MAX_READ: u32 = 8 << 20;

/// A storage written in Python.
pub(crate) struct PyStorage {
    object: Arc<Py<PyAny>>,
}

impl fmt::Debug for PyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

impl PyStorage {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self { object: Arc::new(object) }
    }

    /// Calls Python, and converts an exception to an error at this key.
    fn call<T>(&self, key: &str, work: impl FnOnce(Python<'_>, &Bound<'_, PyAny>) -> PyResult<T>) -> Result<T> {
        attached(|py| work(py, self.object.bind(py))).map_err(|error| error.at(self.locate(key)))
    }

    /// Like [`call`](Self::call), for changes to the storage. If the call is interrupted,
    /// the outcome is unknown.
    fn change(&self, key: &str, done: &str, work: impl FnOnce(Python<'_>, &Bound<'_, PyAny>) -> PyResult<()>) -> Result<()> {
        self.call(key, work).map_err(|error| match error.code() {
            ErrorCode::Cancelled => {
                let code = ErrorCode::OutcomeUnknown;
                let message = format!("it is not known whether the object was {done}: the storage was interrupted");
                PersistError::new(code, message).at(self.locate(key)).hint(code.advice().unwrap_or_default())
            }
            _ => error,
        })
    }

    fn check_key(&self, key: &str) -> Result<()> {
        persist_host::check_key(key).map_err(|error| error.at(self.locate(key)))
    }
}

/// Runs Python code, and converts an exception to an error. Unexpected exceptions are
/// logged.
fn attached<T>(work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
    Python::attach(|py| {
        work(py).map_err(|raised| {
            let error = from_exception(py, &raised);
            if error.code() == ErrorCode::Other {
                log::debug!(target: "persist_host::storage", "a storage in Python raised {raised}");
            }
            error
        })
    })
}

/// Converts a storage's description of an object: anything with `size` and `etag`.
fn info(key: &str, found: &Bound<'_, PyAny>) -> PyResult<ObjectInfo> {
    let size = found.getattr("size")?.extract()?;
    let etag = match found.getattr_opt("etag")? {
        Some(etag) => etag.extract()?,
        None => None,
    };
    Ok(ObjectInfo::new(key, size).etag(etag))
}

impl StorageAdapter for PyStorage {
    fn summary(&self) -> String {
        let name = attached(|py| Ok(self.object.bind(py).repr()?.to_string()));
        format!("objects in {}", name.unwrap_or_else(|_| "a Python storage".to_owned()))
    }

    fn locate(&self, key: &str) -> String {
        key.to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        // The protocol supports neither conditional writes nor attributes of objects.
        Capabilities::default()
    }

    fn open_write(&self, key: &str, options: WriteOptions) -> Result<Box<dyn StorageWriter>> {
        self.check_key(key)?;
        if options.precondition != Precondition::None {
            return Err(unsupported().at(self.locate(key)));
        }
        let writer = self.call(key, |_, storage| Ok(storage.call_method1("open_write", (key,))?.unbind()))?;
        Ok(Box::new(PyWriter { storage: Self { object: Arc::clone(&self.object) }, key: key.to_owned(), writer: Some(writer), size: 0 }))
    }

    fn open_read(&self, key: &str, options: ReadOptions) -> Result<Box<dyn StorageReader>> {
        let found = self.stat(key)?;
        if options.if_match.is_some() && options.if_match != found.etag {
            return Err(
                PersistError::new(ErrorCode::PreconditionFailed, "the object was replaced while it was being read").at(self.locate(key))
            );
        }
        let (start, end) = options.range.within(found.size);
        let file = self.call(key, |_, storage| {
            let file = storage.call_method1("open_read", (key,))?;
            if start > 0 {
                file.call_method1("seek", (start,))?;
            }
            Ok(file.unbind())
        })?;
        let is_whole = options.range == ByteRange::All;
        Ok(Box::new(PyReader { info: found, file, left: end - start, is_whole }))
    }

    fn stat(&self, key: &str) -> Result<ObjectInfo> {
        self.check_key(key)?;
        self.call(key, |_, storage| info(key, &storage.call_method1("stat", (key,))?))
    }

    fn delete_object(&self, key: &str, precondition: Precondition) -> Result<()> {
        self.check_key(key)?;
        match precondition {
            Precondition::None => self.change(key, "deleted", |_, storage| storage.call_method1("delete", (key,)).map(drop)),
            Precondition::IfMatch(_) => Err(unsupported().at(self.locate(key))),
            Precondition::IfAbsent => Err(PersistError::new(ErrorCode::InvalidArgument, DELETE_IF_ABSENT).at(self.locate(key))),
        }
    }

    fn list_objects(&self, prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Vec<ObjectInfo>> {
        let mut found: Vec<ObjectInfo> = self.call(prefix, |_, storage| {
            let mut found = Vec::new();
            for entry in storage.call_method1("list", (prefix,))?.try_iter()? {
                let entry = entry?;
                let key: String = entry.getattr("key")?.extract()?;
                if key.starts_with(prefix) && start_after.is_none_or(|after| key.as_str() > after) {
                    found.push(info(&key, &entry)?);
                }
            }
            Ok(found)
        })?;
        found.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        found.truncate(limit as usize);
        Ok(found)
    }
}

fn unsupported() -> PersistError {
    PersistError::new(ErrorCode::Unsupported, "a storage written in Python does not support preconditions")
        .hint("leave out if_exists and if_match, or use a local folder or S3")
}

struct PyWriter {
    storage: PyStorage,
    key: String,
    writer: Option<Py<PyAny>>,
    size: u64,
}

impl StorageWriter for PyWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        let Some(writer) = &self.writer else { return Err(PersistError::new(ErrorCode::Other, "this write has already failed")) };
        let written = self.storage.call(&self.key, |py, _| writer.call_method1(py, "write", (PyBytes::new(py, chunk),)).map(drop));
        self.size += chunk.len() as u64;
        written.inspect_err(|_| self.abort())
    }

    fn commit(mut self: Box<Self>) -> Result<ObjectInfo> {
        let Some(writer) = &self.writer else { return Err(PersistError::new(ErrorCode::Other, "this write has already failed")) };
        let committed = self.storage.change(&self.key, "stored", |py, _| writer.call_method0(py, "commit").map(drop));
        match &committed {
            // The object is stored, so there is nothing to roll back.
            Ok(()) | Err(PersistError::NotDurable(_)) => self.writer = None,
            Err(_) => self.abort(),
        }
        committed?;
        Ok(ObjectInfo::new(self.key.clone(), self.size))
    }
}

impl PyWriter {
    fn abort(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if let Err(error) = attached(|py| writer.call_method0(py, "abort").map(drop)) {
            log::warn!(target: "persist_host::storage", "an unfinished object was left behind: {error}");
        }
    }
}

impl Drop for PyWriter {
    fn drop(&mut self) {
        self.abort();
    }
}

struct PyReader {
    info: ObjectInfo,
    file: Py<PyAny>,
    left: u64,
    is_whole: bool,
}

impl StorageReader for PyReader {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn read(&mut self, max: u32) -> Result<Vec<u8>> {
        let wanted = u64::from(max.min(MAX_READ)).min(if self.is_whole { u64::MAX } else { self.left });
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let chunk = attached(|py| {
            let chunk = self.file.call_method1(py, "read", (wanted,))?;
            Ok(chunk.bind(py).cast::<PyBytes>()?.as_bytes().to_vec())
        });
        let chunk = chunk.map_err(|error| error.at(&self.info.key))?;
        if chunk.len() as u64 > wanted {
            return Err(PersistError::new(ErrorCode::Other, "the storage returned more bytes than requested").at(&self.info.key));
        }
        self.left = self.left.saturating_sub(chunk.len() as u64);
        Ok(chunk)
    }
}

impl Drop for PyReader {
    fn drop(&mut self) {
        // The data has been read, so a failure to close the file does not matter.
        let _ = attached(|py| {
            let file = self.file.bind(py);
            if file.hasattr("close")? {
                file.call_method("close", (), None::<&Bound<'_, PyDict>>)?;
            }
            Ok(())
        });
    }
}
