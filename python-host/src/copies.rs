//! Copies of values as they were at one moment, invisible to the garbage collector.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySet, PyTuple, PyType};

use crate::classes::{BESIDE_FIELDS, Classes, Kind, MAX_DEPTH, is_simple, too_deep};
use crate::stack;

/// A part of a value.
enum Part {
    Whole(Py<PyAny>),
    List(Vec<Part>),
    Tuple(Vec<Part>),
    Set(Vec<Py<PyAny>>),
    Dict(Vec<(Py<PyAny>, Part)>),
    Instance { class: Py<PyType>, attributes: Vec<(Py<PyAny>, Part)>, beside: Vec<Part> },
}

/// A value as it was when it was frozen.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Frozen(Mutex<Option<Part>>);

#[pymethods]
impl Frozen {
    /// Returns the copy of the value. This works once.
    fn thaw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let part = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let part = part.ok_or_else(|| pyo3::exceptions::PyValueError::new_err("the copy was already taken"))?;
        Thawing::new(py)?.value(part)
    }
}

/// Freezes a value as it is now. The copy equals that of `copy.deepcopy`, except that an
/// object which occurs twice in the value is copied twice.
#[pyfunction]
pub(crate) fn freeze(value: &Bound<'_, PyAny>) -> PyResult<Frozen> {
    let mut freezing = Freezing::new(value.py())?;
    Ok(Frozen(Mutex::new(Some(freezing.part(value, 0)?))))
}

/// The items of a list as they were when it was frozen. They share one Python object,
/// since the garbage collector visits each object.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct FrozenItems(Mutex<std::vec::IntoIter<Part>>);

#[pymethods]
impl FrozenItems {
    /// Returns copies of the next `count` items, or of as many as are left.
    fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyList>> {
        let parts: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).by_ref().take(count).collect();
        PyList::new(py, Thawing::new(py)?.values(parts)?)
    }
}

/// Freezes each item of a list.
#[pyfunction]
pub(crate) fn freeze_each(list: &Bound<'_, PyList>) -> PyResult<FrozenItems> {
    let items: Vec<_> = list.iter().collect();
    let mut freezing = Freezing::new(list.py())?;
    let parts: Vec<_> = items.iter().map(|item| freezing.part(item, 0)).collect::<PyResult<_>>()?;
    Ok(FrozenItems(Mutex::new(parts.into_iter())))
}

struct Freezing<'py> {
    classes: Classes<'py>,
    deepcopy: Bound<'py, PyAny>,
}

impl<'py> Freezing<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        Ok(Self { classes: Classes::new(py)?, deepcopy: py.import("copy")?.getattr("deepcopy")? })
    }

    fn part(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> PyResult<Part> {
        if is_simple(value) || value.cast_exact::<PyBytes>().is_ok() {
            return Ok(Part::Whole(value.clone().unbind()));
        }
        if depth >= MAX_DEPTH || !stack::has_room() {
            return Err(too_deep());
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            // Copied at once, since asking about a class may let other threads run.
            let items: Vec<_> = list.iter().collect();
            return Ok(Part::List(self.parts(&items, depth)?));
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            let entries: Vec<_> = dict.iter().collect();
            // The hash and equality of other keys may change later.
            if !entries.iter().all(|(key, _)| is_simple(key)) {
                return Ok(Part::Whole(self.deepcopy.call1((value,))?.unbind()));
            }
            return Ok(Part::Dict(self.entries(entries, depth)?));
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            let items: Vec<_> = tuple.iter().collect();
            return Ok(Part::Tuple(self.parts(&items, depth)?));
        }
        if let Ok(set) = value.cast_exact::<PySet>() {
            let items: Vec<_> = set.iter().collect();
            if items.iter().all(is_simple) {
                return Ok(Part::Set(items.into_iter().map(Bound::unbind).collect()));
            }
        }
        match self.classes.kind(value)? {
            Kind::Time | Kind::Enum => Ok(Part::Whole(value.clone().unbind())),
            Kind::Other => Ok(Part::Whole(self.deepcopy.call1((value,))?.unbind())),
            kind => {
                let attributes = value.getattr("__dict__")?;
                let attributes = self.entries(attributes.cast::<PyDict>()?.iter().collect(), depth)?;
                let mut beside = Vec::new();
                if kind == Kind::Model {
                    for name in BESIDE_FIELDS {
                        beside.push(self.part(&value.getattr(name)?, depth + 1)?);
                    }
                }
                Ok(Part::Instance { class: value.get_type().unbind(), attributes, beside })
            }
        }
    }

    fn parts(&mut self, items: &[Bound<'py, PyAny>], depth: usize) -> PyResult<Vec<Part>> {
        items.iter().map(|item| self.part(item, depth + 1)).collect()
    }

    /// Freezes entries of a dict that were read all at once.
    fn entries(&mut self, entries: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>, depth: usize) -> PyResult<Vec<(Py<PyAny>, Part)>> {
        entries.into_iter().map(|(name, item)| Ok((name.unbind(), self.part(&item, depth + 1)?))).collect()
    }
}

struct Thawing<'py> {
    py: Python<'py>,
    new: Bound<'py, PyAny>,
    set: Bound<'py, PyAny>,
}

impl<'py> Thawing<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        let object = py.import("builtins")?.getattr("object")?;
        Ok(Self { py, new: object.getattr("__new__")?, set: object.getattr("__setattr__")? })
    }

    fn value(&self, part: Part) -> PyResult<Bound<'py, PyAny>> {
        if !stack::has_room() {
            return Err(too_deep());
        }
        match part {
            Part::Whole(value) => Ok(value.into_bound(self.py)),
            Part::List(parts) => Ok(PyList::new(self.py, self.values(parts)?)?.into_any()),
            Part::Tuple(parts) => Ok(PyTuple::new(self.py, self.values(parts)?)?.into_any()),
            Part::Set(items) => Ok(PySet::new(self.py, items)?.into_any()),
            Part::Dict(entries) => Ok(self.dict(entries)?.into_any()),
            Part::Instance { class, attributes, beside } => {
                // Bypasses the class's own `__new__` and `__setattr__`.
                let made = self.new.call1((class,))?;
                self.set.call1((&made, "__dict__", self.dict(attributes)?))?;
                for (name, part) in BESIDE_FIELDS.into_iter().zip(beside) {
                    self.set.call1((&made, name, self.value(part)?))?;
                }
                Ok(made)
            }
        }
    }

    fn values(&self, parts: Vec<Part>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        parts.into_iter().map(|part| self.value(part)).collect()
    }

    fn dict(&self, entries: Vec<(Py<PyAny>, Part)>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(self.py);
        for (name, part) in entries {
            dict.set_item(name, self.value(part)?)?;
        }
        Ok(dict)
    }
}
