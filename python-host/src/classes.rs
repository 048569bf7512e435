//! The kinds of classes, as determined by `persist._copies`.

use std::collections::HashMap;

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString, PyType};

/// The maximum depth of values that are copied or compared here: deeper than pydantic
/// writes.
pub(crate) const MAX_DEPTH: usize = 300;

/// What pydantic keeps of a model besides its fields, as in `persist._copies`.
pub(crate) const BESIDE_FIELDS: [&str; 3] = ["__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__"];

/// The kind of a class.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// One of Python's own classes for times.
    Time,
    /// An enum, whose members never change.
    Enum,
    /// A class whose instances consist of their attributes alone.
    Attributes,
    /// A dataclass whose instances consist of their attributes alone.
    Dataclass,
    /// A pydantic model, which keeps more than its attributes.
    Model,
    /// Any other class.
    Other,
}

/// The kinds of the classes seen so far, so that Python is asked once per class.
pub(crate) struct Classes<'py> {
    known: HashMap<usize, (Bound<'py, PyType>, Kind)>,
    kind_of: Bound<'py, PyAny>,
}

impl<'py> Classes<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Self> {
        Ok(Self { known: HashMap::new(), kind_of: py.import("persist._copies")?.getattr("kind_of")? })
    }

    pub(crate) fn kind(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Kind> {
        let class = value.get_type();
        if let Some((_, kind)) = self.known.get(&(class.as_ptr() as usize)) {
            return Ok(*kind);
        }
        let kind = match self.kind_of.call1((&class,))?.extract::<Option<String>>()?.as_deref() {
            Some("time") => Kind::Time,
            Some("enum") => Kind::Enum,
            Some("attributes") => Kind::Attributes,
            Some("dataclass") => Kind::Dataclass,
            Some("model") => Kind::Model,
            _ => Kind::Other,
        };
        // The class is kept alive so that no other class gets its address.
        self.known.insert(class.as_ptr() as usize, (class, kind));
        Ok(kind)
    }
}

/// Returns whether a value has a JSON type and is immutable.
pub(crate) fn is_simple(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyString>().is_ok()
        || value.is_none()
        || value.cast_exact::<PyInt>().is_ok()
        || value.cast_exact::<PyBool>().is_ok()
        || value.cast_exact::<PyFloat>().is_ok()
}

pub(crate) fn too_deep() -> PyErr {
    PyRecursionError::new_err("the value is nested too deeply")
}
