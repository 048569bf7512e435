//! Names of snapshots, and times, as the command reads and writes them.

use std::time::SystemTime;

use persist_host::{Codec, ErrorCode, PersistError};
use persist_model::{ids, naming, time};
use pyo3::prelude::*;

use crate::error::exception;
use crate::options;

/// The name of the folder that an id's snapshots are in.
#[pyfunction]
pub(crate) fn folder_name(text: &str) -> String {
    ids::folder_name(text)
}

/// The id whose name this is; `None` if it is that of no id, or was cut.
#[pyfunction]
pub(crate) fn id_of(name: &str) -> Option<String> {
    ids::id_of(name)
}

/// The folder of a session's snapshots, with a `/` behind it.
#[pyfunction]
pub(crate) fn session_folder(agent_id: &Bound<'_, PyAny>, session_id: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(naming::session_folder(&options::text("agent_id", agent_id)?, &options::text("session_id", session_id)?))
}

/// The name of a snapshot in its session's folder.
#[pyfunction]
pub(crate) fn file_name(index: &Bound<'_, PyAny>, codec: Option<&Bound<'_, PyAny>>, content_type: &str) -> PyResult<String> {
    let codec = codec.map_or(Ok(Codec::Zstd), |codec| options::codec("codec", codec))?;
    Ok(naming::file_name(options::integer("snapshot_index", index)?, Some(codec), Some(content_type)))
}

/// The index behind those of all names in a session's folder.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "that is how arguments come")]
pub(crate) fn next_index(names: Vec<String>) -> u64 {
    naming::next_index(names.iter().map(String::as_str))
}

/// The time that a text means, as times are stored.
#[pyfunction]
pub(crate) fn moment(py: Python<'_>, name: &str, text: &str) -> PyResult<String> {
    time::moment(text, SystemTime::now()).map_err(|advice| {
        let message = format!("{name} can't be '{}'", text.escape_debug());
        exception(py, &PersistError::new(ErrorCode::InvalidArgument, message).hint(advice))
    })
}
