//! What is written without asking Python about each value: instances of a framework's
//! classes that hold nothing unusual, and lists whose items are made while they are written.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyString};

/// A list whose items come in parts, which are lists. They come once.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Items(Mutex<Option<Py<PyAny>>>);

#[pymethods]
impl Items {
    #[new]
    fn new(parts: Py<PyAny>) -> Self {
        Self(Mutex::new(Some(parts)))
    }

    /// The parts, which are given away. Fails where they were taken: a list of nothing would be written in their place.
    pub(crate) fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        parts.map(|parts| parts.into_bound(py)).ok_or_else(|| PyValueError::new_err("the items were given away"))
    }
}

/// What a field holds that is left out where nobody set it.
enum Unset {
    Never,
    Nothing,
    EmptyList,
    EmptyDict,
}

impl Unset {
    fn of(default: &Bound<'_, PyAny>) -> Self {
        if default.is_none() {
            Self::Nothing
        } else if default.cast_exact::<PyList>().is_ok() {
            Self::EmptyList
        } else if default.cast_exact::<PyDict>().is_ok() {
            Self::EmptyDict
        } else {
            Self::Never
        }
    }

    fn is(&self, item: &Bound<'_, PyAny>) -> bool {
        match self {
            Self::Never => false,
            Self::Nothing => item.is_none(),
            Self::EmptyList => item.cast_exact::<PyList>().is_ok_and(|list| list.is_empty()),
            Self::EmptyDict => item.cast_exact::<PyDict>().is_ok_and(|dict| dict.is_empty()),
        }
    }
}

/// How the pydantic models of one class of a framework are written: `persist._agents.form_of`
/// says so for the class, as the framework's adapter does.
pub(crate) struct Form<'py> {
    /// The JSON up to the first field.
    head: String,
    fields: Vec<(String, Bound<'py, PyString>, Unset)>,
}

/// What is written of one instance.
pub(crate) struct Kept<'form, 'py> {
    pub(crate) fields: Vec<(&'form str, Bound<'py, PyAny>)>,
    /// The names of the fields that were set, where they are not those that are written.
    pub(crate) given: Option<BTreeSet<String>>,
}

impl<'py> Form<'py> {
    /// The form of a value's class.
    pub(crate) fn of(value: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let found = value.py().import("persist._agents")?.getattr("form_of")?.call1((value,))?;
        if found.is_none() {
            return Ok(None);
        }
        let (head, unset): (String, Bound<'py, PyDict>) = found.extract()?;
        let field = |(name, default): (Bound<'py, PyAny>, Bound<'py, PyAny>)| {
            let name = name.cast_into::<PyString>()?;
            Ok((name.to_str()?.to_owned(), name, Unset::of(&default)))
        };
        Ok(Some(Self { head, fields: unset.iter().map(field).collect::<PyResult<_>>()? }))
    }

    pub(crate) fn head(&self) -> &[u8] {
        self.head.as_bytes()
    }

    /// What is written of an instance; none if it holds anything else than its fields.
    pub(crate) fn fit(&self, value: &Bound<'py, PyAny>) -> Option<Kept<'_, 'py>> {
        let attributes = value.getattr("__dict__").ok()?;
        let attributes = attributes.cast_exact::<PyDict>().ok()?;
        let has_more =
            |name: &str| value.getattr(name).map_or(true, |more| !more.is_none() && more.len().map_or(true, |length| length > 0));
        if attributes.len() != self.fields.len() || has_more("__pydantic_extra__") || has_more("__pydantic_private__") {
            return None;
        }
        let given = value.getattr("__pydantic_fields_set__").ok()?;
        let given = given.cast_exact::<PySet>().ok()?;
        let mut fields = Vec::with_capacity(self.fields.len());
        let mut set_and_kept = 0;
        for (name, key, unset) in &self.fields {
            let item = attributes.get_item(key).ok()??;
            // A framework gives its text attributes of its own.
            if item.cast::<PyString>().is_ok() && item.cast_exact::<PyString>().is_err() {
                return None;
            }
            let is_given = given.contains(key).ok()?;
            if is_given || !unset.is(&item) {
                set_and_kept += usize::from(is_given);
                fields.push((name.as_str(), item));
            }
        }
        if set_and_kept == fields.len() && given.len() == fields.len() {
            return Some(Kept { fields, given: None });
        }
        let names = given.iter().map(|name| name.cast_into_exact::<PyString>().ok()?.to_str().ok().map(str::to_owned));
        Some(Kept { fields, given: Some(names.collect::<Option<_>>()?) })
    }
}
