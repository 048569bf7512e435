//! Storages for Python, and the operations on them.

use std::sync::Arc;

use persist_host::{
    CopyOptions, Engine, ErrorCode, PersistError, Precondition, SnapshotOptions, SnapshotWriter, StorageAdapter, StorageConfig,
    StorageLocation,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::encode;
use crate::error::exception;
use crate::json::Sink;
use crate::listing::Listing;
use crate::operation::{CancelToken, Operation};
use crate::options;
use crate::process;
use crate::saving::{CHUNK, commit, metadata_json, read_state};
use crate::storage::PyStorage;
use crate::stream::{Reader, Writer};
use crate::timeline::{Timeline, folders};

/// A storage, for one operation or a few.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Place {
    storage: Arc<dyn StorageAdapter>,
}

/// Returns the storage and the key of a snapshot. With `to_write`, a listing has to be
/// able to find the snapshot.
#[pyfunction]
#[pyo3(signature = (path, settings, to_write=false))]
pub(crate) fn locate(path: &Bound<'_, PyAny>, settings: &Bound<'_, PyDict>, to_write: bool) -> PyResult<(Place, String)> {
    let (text, config) = options::place(path, settings)?;
    let text = text.as_os_str();
    Place::open(path.py(), &config, if to_write { config.locate_to_write(text) } else { config.locate_followed(text) })
}

/// Returns the storage and the key prefix of a folder. A local folder need not exist yet.
#[pyfunction]
pub(crate) fn open_folder(path: &Bound<'_, PyAny>, settings: &Bound<'_, PyDict>) -> PyResult<(Place, String)> {
    let (text, config) = options::place(path, settings)?;
    Place::open(path.py(), &config, config.locate_folder(text.as_os_str()))
}

/// Wraps a Python object that implements the protocol `persist.Storage`.
#[pyfunction]
pub(crate) fn open_object(storage: Py<PyAny>) -> Place {
    Place { storage: Arc::new(PyStorage::new(storage)) }
}

impl Place {
    /// Opens the storage of a location, and returns it with the location's key.
    fn open(py: Python<'_>, config: &StorageConfig, location: Result<StorageLocation, PersistError>) -> PyResult<(Self, String)> {
        let open = |location: StorageLocation| Ok((Self { storage: process::storage(config, &location)? }, location.key().to_owned()));
        location.and_then(open).map_err(|error| exception(py, &error))
    }

    fn engine(&self, token: &persist_host::CancelToken) -> Result<Engine, PersistError> {
        Ok(process::engine(Arc::clone(&self.storage))?.with_cancel(token))
    }

    /// Runs an operation on an engine with its cancel token.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        operation: &Operation,
        work: impl FnOnce(&Engine) -> Result<T, PersistError> + Send,
    ) -> PyResult<T> {
        operation.run(py, || work(&self.engine(&operation.token)?))
    }
}

#[pymethods]
impl Place {
    /// Returns a description of the storage for people.
    fn summary(&self) -> String {
        self.storage.summary()
    }

    /// Returns the location of a key, as a user would write it.
    fn location(&self, key: &str) -> String {
        self.storage.locate(key)
    }

    /// Saves a value, and returns the metadata as JSON.
    #[pyo3(signature = (key, value, reducer, arguments, progress=None, token=None))]
    fn save(
        &self,
        key: &str,
        value: &Bound<'_, PyAny>,
        reducer: Bound<'_, PyAny>,
        arguments: &Bound<'_, PyDict>,
        progress: Option<Py<PyAny>>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<String> {
        let py = value.py();
        let options = options::snapshot_options(arguments)?;
        let mut operation = Operation::new(token, progress);
        let mut writing = Writing { place: self, key, options: Some(options), writer: None, written: 0, operation: &mut operation };
        let encoded = encode::to_sink(value, Some(reducer), &mut writing);
        let (writer, written) = (writing.writer.take(), writing.written);
        if let Err(error) = encoded {
            // Cleaning up may wait for a storage that logs, which takes the GIL.
            py.detach(|| drop(writer));
            return Err(error);
        }
        // Before the commit, so that nothing is stored if the callback raises.
        let told = operation.tell(written, Some(written));
        let metadata = operation.run(py, || {
            told?;
            let writer = writer.ok_or_else(|| PersistError::new(ErrorCode::Other, "nothing was written"))?;
            commit(writer, &operation)
        })?;
        metadata_json(py, &metadata)
    }

    /// Saves bytes, and returns the metadata as JSON.
    #[pyo3(signature = (key, state, arguments, progress=None, token=None))]
    fn save_bytes(
        &self,
        py: Python<'_>,
        key: &str,
        state: &[u8],
        arguments: &Bound<'_, PyDict>,
        progress: Option<Py<PyAny>>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<String> {
        let total = state.len() as u64;
        let options = options::snapshot_options(arguments)?.size_hint(Some(total));
        let mut operation = Operation::new(token, progress);
        let token = operation.token.clone();
        let metadata = operation.run_telling(py, |operation| {
            let mut writer = self.engine(&token)?.writer(key, options)?;
            let mut written = 0;
            for chunk in state.chunks(CHUNK) {
                writer.write_state(chunk)?;
                written += chunk.len() as u64;
                operation.tell(written, Some(total))?;
            }
            commit(writer, operation)
        })?;
        metadata_json(py, &metadata)
    }

    /// Begins a snapshot that is written in pieces.
    #[pyo3(signature = (key, arguments, token=None))]
    fn writer(&self, py: Python<'_>, key: &str, arguments: &Bound<'_, PyDict>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<Writer> {
        let options = options::snapshot_options(arguments)?;
        let operation = Operation::new(token, None);
        let writer = self.run(py, &operation, |engine| engine.writer(key, options))?;
        Ok(Writer::new(writer, operation))
    }

    /// Returns a state of at most `max_size` bytes, and the metadata as JSON.
    #[pyo3(signature = (key, max_size=None, progress=None, token=None))]
    fn load<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        max_size: Option<u64>,
        progress: Option<Py<PyAny>>,
        token: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let mut operation = Operation::new(token, progress);
        let token = operation.token.clone();
        let (state, metadata) = operation.run_telling(py, |operation| {
            let reader = self.engine(&token)?.reader(key)?;
            read_state(reader, &self.location(key), max_size.unwrap_or(u64::MAX), operation)
        })?;
        Ok((PyBytes::new(py, &state), metadata_json(py, &metadata)?))
    }

    /// Begins to read a state in pieces.
    fn reader(&self, py: Python<'_>, key: &str) -> PyResult<Reader> {
        let operation = Operation::new(None, None);
        let reader = self.run(py, &operation, |engine| engine.reader(key))?;
        let metadata = metadata_json(py, reader.metadata())?;
        Ok(Reader::new(reader, operation, metadata))
    }

    /// Returns the metadata of a snapshot as JSON.
    #[pyo3(signature = (key, token=None))]
    fn metadata(&self, py: Python<'_>, key: &str, token: Option<&Bound<'_, CancelToken>>) -> PyResult<String> {
        let metadata = self.run(py, &Operation::new(token, None), |engine| engine.metadata(key))?;
        metadata_json(py, &metadata)
    }

    /// Checks every byte of a snapshot, and returns its metadata as JSON.
    #[pyo3(signature = (key, progress=None, token=None))]
    fn verify(&self, py: Python<'_>, key: &str, progress: Option<Py<PyAny>>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<String> {
        let mut operation = Operation::new(token, progress);
        let token = operation.token.clone();
        let metadata = operation.run_telling(py, |operation| {
            let engine = self.engine(&token)?;
            let total = engine.metadata(key)?.stored_size;
            let mut told = Ok(());
            let verified = engine.verify_with(key, |done| {
                if told.is_ok() {
                    told = operation.tell(done, Some(total));
                    if told.is_err() {
                        token.cancel();
                    }
                }
            });
            told.and(verified)
        })?;
        metadata_json(py, &metadata)
    }

    /// Returns whether an object has this key.
    #[pyo3(signature = (key, token=None))]
    fn exists(&self, py: Python<'_>, key: &str, token: Option<&Bound<'_, CancelToken>>) -> PyResult<bool> {
        self.run(py, &Operation::new(token, None), |engine| engine.exists(key))
    }

    /// Deletes an object.
    #[pyo3(signature = (key, if_match=None, token=None))]
    fn delete(
        &self,
        py: Python<'_>,
        key: &str,
        if_match: Option<&Bound<'_, PyAny>>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let precondition = match if_match {
            Some(etag) => Precondition::IfMatch(options::text("if_match", etag)?),
            None => Precondition::None,
        };
        let operation = Operation::new(token, None);
        self.run(py, &operation, |engine| {
            engine.delete(key, precondition)?;
            operation.note_change("the snapshot was deleted all the same");
            Ok(())
        })
    }

    /// Lists the snapshots whose keys begin with the prefix and that match the filter, in
    /// natural order.
    #[pyo3(signature = (prefix, wanted, token=None))]
    fn list(&self, py: Python<'_>, prefix: &str, wanted: &Bound<'_, PyDict>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<Listing> {
        let (operation, filter) = (Operation::new(token, None), options::list_filter(wanted)?);
        let snapshots = self.run(py, &operation, |engine| Ok(engine.list_filtered(prefix, filter).naturally()))?;
        Ok(Listing::new(snapshots, operation))
    }

    /// Returns all keys that begin with the prefix, whatever the objects contain.
    #[pyo3(signature = (prefix, token=None))]
    fn keys(&self, py: Python<'_>, prefix: &str, token: Option<&Bound<'_, CancelToken>>) -> PyResult<Vec<String>> {
        let operation = Operation::new(token, None);
        // Names that are not valid keys cannot conflict with a snapshot.
        let is_key = |key: &Result<String, PersistError>| !matches!(key, Err(error) if error.code() == ErrorCode::InvalidKey);
        self.run(py, &operation, |engine| engine.keys(prefix).filter(is_key).collect())
    }

    /// Returns the timeline in a folder.
    fn timeline(&self, folder: String) -> Timeline {
        Timeline::new(Arc::clone(&self.storage), folder)
    }

    /// Returns the folders of the timelines whose keys begin with the prefix.
    #[pyo3(signature = (prefix, token=None))]
    fn timelines(&self, py: Python<'_>, prefix: &str, token: Option<&Bound<'_, CancelToken>>) -> PyResult<Vec<String>> {
        let operation = Operation::new(token, None);
        self.run(py, &operation, |engine| folders(engine.storage().as_ref(), prefix, &operation.token))
    }

    /// Deletes objects in bulk. Missing objects are ignored. Returns the keys of those
    /// that could not be deleted, and why.
    #[pyo3(signature = (keys, token=None))]
    #[allow(clippy::needless_pass_by_value, reason = "PyO3 passes arguments by value")]
    fn delete_many(&self, py: Python<'_>, keys: Vec<String>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<Vec<(String, Py<PyAny>)>> {
        let operation = Operation::new(token, None);
        let mut failures = Vec::new();
        for keys in keys.chunks(DELETED_AT_ONCE) {
            failures.extend(self.run(py, &operation, |engine| {
                let failures = engine.storage().delete_many(keys)?;
                operation.note_change("some snapshots were deleted all the same");
                Ok(failures)
            })?);
        }
        Ok(failures.into_iter().map(|failure| (failure.key, exception(py, &failure.error).into_value(py).into_any())).collect())
    }

    /// Removes the empty folders of these keys below `folder`, which ends with `/` or is
    /// empty.
    #[allow(clippy::needless_pass_by_value, reason = "PyO3 passes arguments by value")]
    fn remove_empty_folders(&self, py: Python<'_>, folder: &str, keys: Vec<String>) {
        py.detach(|| self.storage.remove_empty_folders(folder, &keys));
    }

    /// Copies a snapshot to a key of another storage, verifying it on the way. Returns
    /// its metadata as JSON, and whether it was copied and not already there.
    #[pyo3(signature = (key, target, arguments, progress=None, token=None))]
    fn copy(
        &self,
        py: Python<'_>,
        key: &str,
        target: (Bound<'_, Self>, String),
        arguments: &Bound<'_, PyDict>,
        progress: Option<Py<PyAny>>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<(String, bool)> {
        let mut operation = Operation::new(token, progress);
        let (token, (target, target_key)) = (operation.token.clone(), target);
        let target = target.get();
        let options = CopyOptions::from(options::snapshot_options(arguments)?.precondition);
        let copied = operation.run_telling(py, |operation| {
            let (source, target) = (self.engine(&token)?, target.engine(&token)?);
            let mut told = Ok(());
            let copied = source.copy(key, &target, &target_key, options, |done| {
                if told.is_ok() {
                    told = operation.tell(done, None);
                    if told.is_err() {
                        token.cancel();
                    }
                }
            });
            told.and(copied).inspect(|_| operation.note_change("the snapshot was copied all the same"))
        })?;
        Ok((metadata_json(py, &copied.metadata)?, copied.is_new))
    }

    /// Returns what is left of a damaged snapshot, at most `max_size` bytes, and the
    /// report as JSON.
    #[pyo3(signature = (key, max_size, token=None))]
    fn salvage<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        max_size: u64,
        token: Option<&Bound<'py, CancelToken>>,
    ) -> PyResult<(Bound<'py, PyBytes>, String)> {
        let operation = Operation::new(token, None);
        let (state, report) = self.run(py, &operation, |engine| {
            let mut salvager = engine.salvage(key)?;
            let mut state = Vec::new();
            while let Some(chunk) = salvager.next_chunk()? {
                if (state.len() + chunk.len()) as u64 > max_size {
                    let error = PersistError::new(ErrorCode::LimitExceeded, format!("more than {max_size} bytes can be salvaged"));
                    return Err(error.at(self.location(key)).hint("pass a larger max_size, or use the command persist salvage"));
                }
                state.extend(chunk);
            }
            Ok((state, salvager.report()?))
        })?;
        Ok((PyBytes::new(py, &state), report.to_json().to_string()))
    }
}

/// How many objects are deleted between two checks for signals.
const DELETED_AT_ONCE: usize = 1000;

/// Writes a value into a snapshot. The snapshot is begun with the first bytes, since most
/// values that cannot be saved are found before that.
struct Writing<'a> {
    place: &'a Place,
    key: &'a str,
    options: Option<SnapshotOptions>,
    writer: Option<SnapshotWriter>,
    written: u64,
    operation: &'a mut Operation,
}

impl Sink for Writing<'_> {
    fn take(&mut self, py: Python<'_>, state: &[u8], is_last: bool) -> PyResult<()> {
        let (place, key, token) = (self.place, self.key, self.operation.token.clone());
        let (writer, options) = (&mut self.writer, self.options.take());
        self.operation.run(py, || {
            if let Some(options) = options {
                let size_hint = is_last.then_some(state.len() as u64);
                *writer = Some(place.engine(&token)?.writer(key, options.size_hint(size_hint))?);
            }
            writer.as_mut().map_or(Ok(()), |writer| writer.write_state(state))
        })?;
        self.written += state.len() as u64;
        let told = self.operation.tell(self.written, None);
        self.operation.run(py, || told)
    }
}
