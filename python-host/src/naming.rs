//! Names of snapshots and times, in the same form as in the command.

use std::time::SystemTime;

use persist_host::{Codec, ErrorCode, PersistError};
use persist_model::time;
use persist_paths::{ids, naming, timeline};
use pyo3::prelude::*;

use crate::error::exception;
use crate::options;

/// Returns the name of the folder for an ID.
#[pyfunction]
pub(crate) fn folder_name(text: &str) -> String {
    ids::folder_name(text)
}

/// Returns the ID for a folder's name, or `None` if the name was cut or is not that of an
/// ID.
#[pyfunction]
pub(crate) fn id_of(name: &str) -> Option<String> {
    ids::id_of(name)
}

/// Returns the folder of a session's snapshots, with a trailing `/`.
#[pyfunction]
pub(crate) fn session_folder(agent_id: &Bound<'_, PyAny>, session_id: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(naming::session_folder(&options::text("agent_id", agent_id)?, &options::text("session_id", session_id)?))
}

/// Returns the name of a snapshot in its session's folder.
#[pyfunction]
pub(crate) fn file_name(index: &Bound<'_, PyAny>, codec: Option<&Bound<'_, PyAny>>, content_type: &str) -> PyResult<String> {
    let codec = codec.map_or(Ok(Codec::Zstd), |codec| options::codec("codec", codec))?;
    Ok(naming::file_name(options::integer("snapshot_index", index)?, Some(codec), Some(content_type)))
}

/// Returns the index after the highest one in a session's folder.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 passes arguments by value")]
pub(crate) fn next_index(names: Vec<String>) -> u64 {
    naming::next_index(names.iter().map(String::as_str))
}

/// Returns the folder and the number of the step that a key names, if it names one.
#[pyfunction]
pub(crate) fn step_of(key: &str) -> Option<(&str, u64)> {
    timeline::step_of(key)
}

/// Returns the name of the step with a number, in the folder of its timeline.
#[pyfunction]
pub(crate) fn step_name(number: u64) -> String {
    timeline::step_name(number)
}

/// Parses a time and returns it in stored form.
#[pyfunction]
pub(crate) fn moment(py: Python<'_>, name: &str, text: &str) -> PyResult<String> {
    time::moment(text, SystemTime::now()).map_err(|advice| {
        let message = format!("'{}' is not a valid value for {name}", text.escape_debug());
        exception(py, &PersistError::new(ErrorCode::InvalidArgument, message).hint(advice))
    })
}
