//! Values as they were at one moment, kept where no garbage collector looks for them;
//! and whether what was made of a value is that value again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple, PyType};

use crate::stack;

/// How deep values may nest that are copied or compared here: deeper than pydantic writes.
const MAX_DEPTH: usize = 300;

/// What pydantic keeps of a model beside its fields; as in `persist._copies`.
const BESIDE_FIELDS: [&str; 3] = ["__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__"];

/// What `persist._copies` says of a class.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Times, of Python's own classes.
    Time,
    /// An enum, whose members never change.
    Enum,
    /// An instance is its attributes, and says nothing else.
    Attributes,
    /// The same of a dataclass.
    Dataclass,
    /// A model of pydantic's, which keeps more beside its attributes.
    Model,
    /// Nothing is known of it.
    Other,
}

/// The classes that were met, each of which is asked about once.
struct Classes<'py> {
    known: HashMap<usize, (Bound<'py, PyType>, Kind)>,
    kind_of: Bound<'py, PyAny>,
}

impl<'py> Classes<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        Ok(Self { known: HashMap::new(), kind_of: py.import("persist._copies")?.getattr("kind_of")? })
    }

    fn kind(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Kind> {
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
        // Kept, so that no other class comes to have its address.
        self.known.insert(class.as_ptr() as usize, (class, kind));
        Ok(kind)
    }
}

/// Whether a value is of a type that JSON has, and that never changes.
fn is_simple(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyString>().is_ok()
        || value.is_none()
        || value.cast_exact::<PyInt>().is_ok()
        || value.cast_exact::<PyBool>().is_ok()
        || value.cast_exact::<PyFloat>().is_ok()
}

fn too_deep() -> PyErr {
    PyRecursionError::new_err("the value is nested too deeply")
}

/// A part of a value.
enum Part {
    Whole(Py<PyAny>),
    List(Vec<Part>),
    Tuple(Vec<Part>),
    Set(Vec<Py<PyAny>>),
    Dict(Vec<(Py<PyAny>, Part)>),
    Instance { class: Py<PyType>, attributes: Vec<(Py<PyAny>, Part)>, beside: Vec<Part> },
}

/// A value as it was.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Frozen(Mutex<Option<Part>>);

#[pymethods]
impl Frozen {
    /// The copy of the value; there is one.
    fn thaw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let part = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let part = part.ok_or_else(|| pyo3::exceptions::PyValueError::new_err("the copy was given away"))?;
        Thawing::new(py)?.value(part)
    }
}

/// Keeps a value as it is now. It is copied as `copy.deepcopy` copies it, but for what
/// stands in it twice.
#[pyfunction]
pub(crate) fn freeze(value: &Bound<'_, PyAny>) -> PyResult<Frozen> {
    let mut freezing = Freezing::new(value.py())?;
    Ok(Frozen(Mutex::new(Some(freezing.part(value, 0)?))))
}

/// The items of a list as they were. One object has them all: the garbage collector looks
/// at each.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct FrozenItems(Mutex<std::vec::IntoIter<Part>>);

#[pymethods]
impl FrozenItems {
    /// The copies of the next items, as many as there are.
    fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyList>> {
        let parts: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).by_ref().take(count).collect();
        PyList::new(py, Thawing::new(py)?.values(parts)?)
    }
}

/// The same of each item of a list.
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
            // All at once: what is asked about a class may let other threads run.
            let items: Vec<_> = list.iter().collect();
            return Ok(Part::List(self.parts(&items, depth)?));
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            let entries: Vec<_> = dict.iter().collect();
            // What hash and equality other keys have may be another one later.
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

    /// Entries of a dict, which were taken all at once.
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
                // Neither the class's own constructor nor what it does when an attribute is set.
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

/// The numbers of those items of two lists for which it is not certain that they are the
/// same: of the same classes, with the same in them. Integers and floats may be equal.
#[pyfunction]
pub(crate) fn differing(one: &Bound<'_, PyList>, other: &Bound<'_, PyList>) -> PyResult<Vec<usize>> {
    let mut comparing = Comparing { classes: Classes::new(one.py())? };
    let mut found = Vec::new();
    for (number, (one, other)) in one.iter().zip(other.iter()).enumerate() {
        if !comparing.same(&one, &other, 0)? {
            found.push(number);
        }
    }
    Ok(found)
}

struct Comparing<'py> {
    classes: Classes<'py>,
}

impl<'py> Comparing<'py> {
    fn same(&mut self, one: &Bound<'py, PyAny>, other: &Bound<'py, PyAny>, depth: usize) -> PyResult<bool> {
        if one.is(other) {
            return Ok(true);
        }
        if depth >= MAX_DEPTH || !stack::has_room() {
            return Ok(false);
        }
        if is_number(one) && is_number(other) {
            return Ok(one.eq(other)? || (one.ne(one)? && other.ne(other)?));
        }
        if !one.get_type().is(other.get_type()) {
            return Ok(false);
        }
        if is_simple(one) || one.cast_exact::<PyBytes>().is_ok() {
            return one.eq(other);
        }
        if let (Ok(one), Ok(other)) = (one.cast_exact::<PyList>(), other.cast_exact::<PyList>()) {
            return self.all(one.iter(), other.iter(), depth);
        }
        if let (Ok(one), Ok(other)) = (one.cast_exact::<PyTuple>(), other.cast_exact::<PyTuple>()) {
            return self.all(one.iter(), other.iter(), depth);
        }
        if let (Ok(one), Ok(other)) = (one.cast_exact::<PyDict>(), other.cast_exact::<PyDict>()) {
            return Ok(one.len() == other.len() && self.within(one, other, depth)?);
        }
        match self.classes.kind(one)? {
            Kind::Time => Ok(one.eq(other)? && zone(one)?.eq(zone(other)?)?),
            Kind::Dataclass => {
                let (one_has, other_has) = (one.getattr("__dict__")?, other.getattr("__dict__")?);
                let (one_has, other_has) = (one_has.cast::<PyDict>()?, other_has.cast::<PyDict>()?);
                Ok(self.fields(one_has, other, other_has, depth)? && self.fields(other_has, one, one_has, depth)?)
            }
            Kind::Model => {
                let (one_has, other_has) = (one.getattr("__dict__")?, other.getattr("__dict__")?);
                let (one_has, other_has) = (one_has.cast::<PyDict>()?, other_has.cast::<PyDict>()?);
                let [extra, ..] = BESIDE_FIELDS;
                Ok(one_has.len() == other_has.len()
                    && self.within(one_has, other_has, depth)?
                    && self.same(&one.getattr(extra)?, &other.getattr(extra)?, depth + 1)?)
            }
            Kind::Enum | Kind::Attributes | Kind::Other => Ok(false),
        }
    }

    fn all(
        &mut self,
        one: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
        other: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> PyResult<bool> {
        let length = one.len();
        if length != other.len() {
            return Ok(false);
        }
        let mut alike = 0;
        for (one, other) in one.zip(other) {
            if !self.same(&one, &other, depth + 1)? {
                return Ok(false);
            }
            alike += 1;
        }
        // Another thread may have made one shorter meanwhile.
        Ok(alike == length)
    }

    /// Whether another dict has all entries of one. Only names are looked for.
    fn within(&mut self, one: &Bound<'py, PyDict>, other: &Bound<'py, PyDict>, depth: usize) -> PyResult<bool> {
        let entries: Vec<_> = one.iter().collect();
        for (name, item) in entries {
            if name.cast_exact::<PyString>().is_err() {
                return Ok(false);
            }
            match other.get_item(&name)? {
                Some(found) if self.same(&item, &found, depth + 1)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether a dataclass's instance has what these attributes are of another one. The
    /// class has a field's default where the instance has nothing.
    fn fields(
        &mut self,
        attributes: &Bound<'py, PyDict>,
        other: &Bound<'py, PyAny>,
        other_has: &Bound<'py, PyDict>,
        depth: usize,
    ) -> PyResult<bool> {
        let entries: Vec<_> = attributes.iter().collect();
        for (name, item) in entries {
            let found = match other_has.get_item(&name)? {
                Some(found) => Some(found),
                None => default_of(&other.get_type(), &name)?,
            };
            match found {
                Some(found) if self.same(&item, &found, depth + 1)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The default that a dataclass itself has of a field.
fn default_of<'py>(class: &Bound<'py, PyType>, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Ok(name) = name.cast_exact::<PyString>() else { return Ok(None) };
    for field in class.py().import("dataclasses")?.getattr("fields")?.call1((class,))?.try_iter()? {
        if field?.getattr("name")?.eq(name)? {
            return class.getattr_opt(name);
        }
    }
    Ok(None)
}

fn is_number(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyInt>().is_ok() || value.cast_exact::<PyFloat>().is_ok()
}

/// How far a time is from UTC; none where it is no time, or of no zone.
fn zone<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match value.getattr_opt("utcoffset")? {
        Some(offset) => offset.call0(),
        None => Ok(value.py().None().into_bound(value.py())),
    }
}

/// Whether a value has lists, dicts with names, and what never changes, all of exactly
/// these types.
#[pyfunction]
pub(crate) fn is_plain(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    plain(value, &mut Classes::new(value.py())?, 0)
}

fn plain<'py>(value: &Bound<'py, PyAny>, classes: &mut Classes<'py>, depth: usize) -> PyResult<bool> {
    if is_simple(value) || value.cast_exact::<PyBytes>().is_ok() {
        return Ok(true);
    }
    if depth >= MAX_DEPTH || !stack::has_room() {
        return Ok(false);
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        for item in list.iter() {
            if !plain(&item, classes, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        let entries: Vec<_> = dict.iter().collect();
        for (name, item) in entries {
            if name.cast_exact::<PyString>().is_err() || !plain(&item, classes, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    Ok(classes.kind(value)? == Kind::Time)
}
