//! Values that are encoded without calling Python for each: ordinary instances of a
//! framework's classes, and lists whose items are created while they are written.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyString};

/// A list whose items come in parts, which are lists. It can be read once.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Items(Mutex<Option<Py<PyAny>>>);

#[pymethods]
impl Items {
    #[new]
    fn new(parts: Py<PyAny>) -> Self {
        Self(Mutex::new(Some(parts)))
    }

    /// Takes the parts. Fails if they were already taken, since an empty list would be
    /// written instead.
    pub(crate) fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        parts.map(|parts| parts.into_bound(py)).ok_or_else(|| PyValueError::new_err("the items were already taken"))
    }
}

/// The default of a field that is omitted if it was not set.
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

/// How the instances of a class are written, as determined by `persist._agents.form_of`.
pub(crate) enum Written<'py> {
    /// The reducer decides for each instance.
    Asked,
    /// As Python's `datetime`.
    Datetime(Datetimes<'py>),
    /// As a pydantic model of a framework, in the form set by the framework's adapter.
    Model(Form<'py>),
}

impl<'py> Written<'py> {
    /// Determines how instances of a value's class are written.
    pub(crate) fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let found = value.py().import("persist._agents")?.getattr("form_of")?.call1((value,))?;
        if found.is_none() {
            return Ok(Self::Asked);
        }
        if found.cast_exact::<PyString>().is_ok() {
            return Ok(Self::Datetime(Datetimes::new(value.py())?));
        }
        Form::new(&found).map(Self::Model)
    }
}

/// The form of times, which occur in each message.
pub(crate) struct Datetimes<'py> {
    utc: Bound<'py, PyAny>,
}

impl<'py> Datetimes<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        Ok(Self { utc: py.import("datetime")?.getattr("timezone")?.getattr("utc")? })
    }

    /// Returns the text of a time without its zone, and whether the zone is UTC. Returns
    /// `None` for a time in another zone or with `fold` set.
    pub(crate) fn fit(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<(String, bool)>> {
        let zone = value.getattr("tzinfo")?;
        let is_utc = zone.is(&self.utc);
        if !(is_utc || zone.is_none()) || value.getattr("fold")?.is_truthy()? {
            return Ok(None);
        }
        let mut text: String = value.call_method0("isoformat")?.extract()?;
        if is_utc {
            // Removes the "+00:00" that Python writes.
            text.truncate(text.len().saturating_sub(6));
        }
        Ok(Some((text, is_utc)))
    }
}

/// The form of the pydantic models of one class.
pub(crate) struct Form<'py> {
    /// The JSON up to the first field.
    head: String,
    fields: Vec<(String, Bound<'py, PyString>, Unset)>,
}

/// The parts of an instance that are written.
pub(crate) struct Kept<'form, 'py> {
    pub(crate) fields: Vec<(&'form str, Bound<'py, PyAny>)>,
    /// The names of the fields that were set, unless they are exactly the fields that are
    /// written.
    pub(crate) given: Option<BTreeSet<String>>,
}

impl<'py> Form<'py> {
    fn new(found: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (head, unset): (String, Bound<'py, PyDict>) = found.extract()?;
        let field = |(name, default): (Bound<'py, PyAny>, Bound<'py, PyAny>)| {
            let name = name.cast_into::<PyString>()?;
            Ok((name.to_str()?.to_owned(), name, Unset::of(&default)))
        };
        Ok(Self { head, fields: unset.iter().map(field).collect::<PyResult<_>>()? })
    }

    pub(crate) fn head(&self) -> &[u8] {
        self.head.as_bytes()
    }

    /// Returns the parts of an instance that are written, or `None` if it has anything
    /// besides its fields.
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
            // Frameworks have subclasses of str with attributes of their own.
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
