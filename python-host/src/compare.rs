//! Comparison of a value with its copy, and the check whether a value is plain.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple, PyType};

use crate::classes::{BESIDE_FIELDS, Classes, Kind, MAX_DEPTH, is_simple};
use crate::stack;

/// Returns the indexes of the items of two lists that are not certainly the same, that
/// is, of the same classes with the same contents. An integer and an equal float count as
/// the same.
#[pyfunction]
pub(crate) fn differing(one: &Bound<'_, PyList>, other: &Bound<'_, PyList>) -> PyResult<Vec<usize>> {
    let mut comparing = Comparing { classes: Classes::new(one.py())?, defaults: HashMap::new() };
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
    /// The defaults of dataclasses, by the address of the class, which is kept alive here.
    /// Python makes a new tuple of fields at each question.
    defaults: HashMap<usize, (Bound<'py, PyType>, Bound<'py, PyDict>)>,
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
        if let (Ok(one), Ok(other)) = (one.cast_exact::<PySet>(), other.cast_exact::<PySet>()) {
            // Only sets of str, since 1, 1.0 and True are equal.
            let are_texts = one.iter().chain(other.iter()).all(|item| item.cast_exact::<PyString>().is_ok());
            return Ok(are_texts && one.eq(other)?);
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
        // Another thread may have shortened one of them in the meantime.
        Ok(alike == length)
    }

    /// Returns whether `other` has all entries of `one`. Dicts with keys other than `str`
    /// are not compared.
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

    /// Returns whether a dataclass instance has these attributes. If the instance lacks
    /// one, its class may have the field's default.
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
                None => self.defaults(&other.get_type())?.get_item(&name)?,
            };
            match found {
                Some(found) if self.same(&item, &found, depth + 1)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Returns the defaults that a dataclass has as attributes, by field.
    fn defaults(&mut self, class: &Bound<'py, PyType>) -> PyResult<&Bound<'py, PyDict>> {
        let (_, defaults) = match self.defaults.entry(class.as_ptr().addr()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let defaults = PyDict::new(class.py());
                for field in class.py().import("dataclasses")?.getattr("fields")?.call1((class,))?.try_iter()? {
                    let name = field?.getattr("name")?.cast_into::<PyString>()?;
                    if let Some(default) = class.getattr_opt(&name)? {
                        defaults.set_item(name, default)?;
                    }
                }
                unknown.insert((class.clone(), defaults))
            }
        };
        Ok(defaults)
    }
}

fn is_number(value: &Bound<'_, PyAny>) -> bool {
    value.cast_exact::<PyInt>().is_ok() || value.cast_exact::<PyFloat>().is_ok()
}

/// Returns the UTC offset of a time, or `None` if the value has no time zone.
fn zone<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match value.getattr_opt("utcoffset")? {
        Some(offset) => offset.call0(),
        None => Ok(value.py().None().into_bound(value.py())),
    }
}

/// Returns whether a value consists only of lists, dicts with `str` keys and immutable
/// values, all of exactly these types.
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
