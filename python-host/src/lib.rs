//! The extension module of the Python package `persist`. It runs the host's operations
//! without the GIL, and converts Python values to states and back.

mod appender;
mod classes;
mod compare;
mod copies;
mod decode;
mod diff;
mod encode;
mod error;
mod forms;
mod json;
mod listing;
mod logs;
mod naming;
mod operation;
mod options;
mod output;
mod place;
mod policy;
mod process;
mod running;
mod saving;
mod stack;
mod storage;
mod stream;
mod timeline;

use std::ffi::OsString;

use pyo3::prelude::*;

/// The native part of the package `persist`.
#[pymodule]
mod _persist {
    #[pymodule_export]
    use super::appender::Appender;
    #[pymodule_export]
    use super::compare::{differing, is_plain};
    #[pymodule_export]
    use super::copies::{Frozen, FrozenItems, freeze, freeze_each};
    #[pymodule_export]
    use super::decode::decode;
    #[pymodule_export]
    use super::diff::Diff;
    #[pymodule_export]
    use super::encode::encode;
    #[pymodule_export]
    use super::error::error_codes;
    #[pymodule_export]
    use super::forms::Items;
    #[pymodule_export]
    use super::listing::Listing;
    #[pymodule_export]
    use super::logs::forward_logs;
    #[pymodule_export]
    use super::naming::{file_name, folder_name, id_of, moment, next_index, session_folder, step_name, step_of};
    #[pymodule_export]
    use super::operation::CancelToken;
    #[pymodule_export]
    use super::place::{Place, locate, open_folder, open_object};
    #[pymodule_export]
    use super::run_command;
    #[pymodule_export]
    use super::stream::{Reader, Writer};
    #[pymodule_export]
    use super::timeline::{History, Timeline};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // The first attachment sets up PyO3. If another thread did that during a fork, the
        // child would wait for it forever.
        module.py().detach(|| Python::attach(|_| ()));
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("FORMAT_VERSION", persist_host::FORMAT_VERSION)?;
        let hash: String = persist_host::component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
        module.add("COMPONENT_HASH", hash)
    }
}

/// Runs the command `persist` and returns its exit code.
#[pyfunction]
fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| persist_cli::main(arguments))
}
