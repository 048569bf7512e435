//! Encoding of Python values as JSON. Values that JSON can represent are written as plain
//! JSON. Values that JSON would change are written as an object whose first name is
//! `$persist`. Values that cannot be kept are refused. docs/python.md describes the
//! forms.

use std::collections::HashMap;
use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType};

use crate::error::wrong_type;
use crate::forms::{Items, Written};
use crate::json::{Sink, Yielding, changed, shown, type_name, write};
use crate::output::{MARK, Output};
use crate::stack;

/// The maximum depth of a value.
pub(crate) const MAX_DEPTH: usize = 1000;

/// How many of the deepest levels are remembered, to distinguish a state that contains
/// itself from one that is just deep.
const REMEMBERED: usize = 200;

/// The maximum number of steps in the path of an error.
const MAX_SHOWN: usize = 20;

/// Encodes a value as JSON. No other Python thread runs in the meantime, so that the
/// value is encoded as it is at one moment, unless it is private, so that nothing else
/// can change it.
#[pyfunction]
#[pyo3(signature = (value, reducer=None, is_private=false))]
pub(crate) fn encode<'py>(
    value: &Bound<'py, PyAny>,
    reducer: Option<Bound<'py, PyAny>>,
    is_private: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut json = Yielding(Vec::new());
    let sink: &mut dyn Sink = if is_private { &mut json } else { &mut json.0 };
    to_sink(value, reducer, sink)?;
    Ok(PyBytes::new(value.py(), &json.0))
}

/// Encodes a value into a sink. Pass a reducer to inspect it afterwards.
pub(crate) fn to_sink<'py>(value: &Bound<'py, PyAny>, reducer: Option<Bound<'py, PyAny>>, sink: &mut dyn Sink) -> PyResult<()> {
    let py = value.py();
    let mut encoder = Encoder::new(sink, reducer)?;
    encoder.value(value, 0).map_err(|error| encoder.explain(py, error))?;
    encoder.out.finish(py)
}

/// How Python code accesses an entry of a dict.
#[derive(Clone, Copy)]
enum Access {
    /// `state['name']`
    Item,
    /// `state.name`
    Attribute,
}

impl Access {
    fn step(self, key: &Bound<'_, PyAny>) -> String {
        match self {
            Self::Item => format!("[{}]", shown(key)),
            Self::Attribute => format!(".{}", key.cast::<PyString>().map_or_else(|_| shown(key), |name| name.to_string())),
        }
    }
}

struct Encoder<'a, 'py> {
    out: Output<'a>,
    /// A `persist._values.Reducer`, created when it is needed. It decides how values of
    /// other types are written.
    reducer: Option<Bound<'py, PyAny>>,
    /// The path of a value that cannot be saved, from the inside out.
    path: Vec<String>,
    /// The values being written at the deepest levels.
    deepest: Vec<*mut pyo3::ffi::PyObject>,
    /// How instances of each class are written without a reducer.
    forms: Forms<'py>,
    /// Whether forms are used. They are not if the reducer has to see every name.
    has_forms: bool,
}

/// The forms of the classes seen so far. The classes are kept alive so that no other
/// class gets the address of one.
type Forms<'py> = HashMap<usize, (Bound<'py, PyType>, Rc<Written<'py>>)>;

impl<'a, 'py> Encoder<'a, 'py> {
    fn new(sink: &'a mut dyn Sink, reducer: Option<Bound<'py, PyAny>>) -> PyResult<Self> {
        // An exception here may be that of a signal handler.
        let redacts = reducer.as_ref().map_or(Ok(false), |reducer| reducer.getattr("redacts")?.is_truthy())?;
        let has_forms = !redacts;
        let (path, deepest, forms) = (Vec::new(), Vec::new(), Forms::new());
        Ok(Self { out: Output::new(sink), reducer, path, deepest, forms, has_forms })
    }

    fn value(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> PyResult<()> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.out.text(text);
        }
        if let Ok(number) = value.cast_exact::<PyInt>() {
            return self.out.integer(number);
        }
        if value.is_none() {
            self.out.json.extend_from_slice(b"null");
            return Ok(());
        }
        if let Ok(truth) = value.cast_exact::<PyBool>() {
            self.out.json.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
            return Ok(());
        }
        if let Ok(number) = value.cast_exact::<PyFloat>() {
            self.out.float(number.value());
            return Ok(());
        }
        if !stack::has_room() {
            let message = format!("the state is nested more than {depth} levels deep, which is too deep for this thread's stack");
            return Err(wrong_type(value.py(), &message, "save flatter data, or save it in a thread with a larger stack"));
        }
        if depth >= MAX_DEPTH - REMEMBERED {
            self.deepest.truncate(depth + REMEMBERED - MAX_DEPTH);
            if depth >= MAX_DEPTH {
                return Err(self.too_deep(value));
            }
            self.deepest.push(value.as_ptr());
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            return self.list(list, depth);
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            return self.dict(dict, depth, Access::Item);
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.out.open("tuple");
            self.out.json.push(b'[');
            for (index, item) in tuple.iter().enumerate() {
                self.item(index, &item, depth)?;
            }
            self.out.json.extend_from_slice(b"]}");
            return Ok(());
        }
        if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            return self.out.bytes(value.py(), "bytes", bytes.as_bytes());
        }
        if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            return self.out.bytes(value.py(), "bytearray", &bytes.to_vec());
        }
        if let Ok(set) = value.cast_exact::<PySet>() {
            return self.set("set", set.iter().collect(), depth);
        }
        if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            return self.set("frozenset", set.iter().collect(), depth);
        }
        if let Ok(items) = value.cast_exact::<Items>() {
            return self.items(items, depth);
        }
        if self.formed(value, depth)? {
            return Ok(());
        }
        // The kind, its fields, and whether the fields are attributes of the value.
        let (kind, fields, is_instance): (String, Bound<'py, PyDict>, bool) = self.reducer(value)?.call1((value,))?.extract()?;
        self.out.json.extend_from_slice(b"{\"");
        self.out.json.extend_from_slice(MARK.as_bytes());
        self.out.json.extend_from_slice(b"\":\"");
        self.out.json.extend_from_slice(kind.as_bytes());
        self.out.json.push(b'"');
        for (name, field) in fields.iter() {
            self.out.json.push(b',');
            self.out.text(name.cast::<PyString>()?)?;
            self.out.json.push(b':');
            match field.cast_exact::<PyDict>() {
                Ok(attributes) if is_instance => self.dict(attributes, depth + 1, Access::Attribute)?,
                _ => self.value(&field, depth + 1)?,
            }
        }
        self.out.json.push(b'}');
        Ok(())
    }

    /// Writes an instance in the form of its class. Returns false if the class has no
    /// form or the instance does not fit it.
    fn formed(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> PyResult<bool> {
        if !self.has_forms {
            return Ok(false);
        }
        let class = value.get_type();
        let written = match self.forms.get(&(class.as_ptr() as usize)) {
            Some((_, written)) => written.clone(),
            None => {
                let written = Rc::new(Written::of(value)?);
                self.forms.insert(class.as_ptr() as usize, (class, written.clone()));
                written
            }
        };
        let form = match &*written {
            Written::Asked => return Ok(false),
            Written::Datetime(times) => {
                let Some((text, is_utc)) = times.fit(value)? else { return Ok(false) };
                self.out.open("datetime");
                write(&mut self.out.json, &text)?;
                self.out.json.extend_from_slice(if is_utc { b",\"offset\":[0,0,0]}" } else { b"}" });
                return Ok(true);
            }
            Written::Model(form) => form,
        };
        // An instance takes two levels, as with a reducer. The deepest are left to the
        // reducer.
        let kept = if depth + 2 < MAX_DEPTH - REMEMBERED { form.fit(value) } else { None };
        let Some(kept) = kept else { return Ok(false) };
        self.out.json.extend_from_slice(form.head());
        for (index, (name, item)) in kept.fields.iter().enumerate() {
            if index > 0 {
                self.out.json.push(b',');
            }
            write(&mut self.out.json, *name)?;
            self.out.json.push(b':');
            self.value(item, depth + 2).inspect_err(|_| self.path.push(Access::Item.step(&PyString::new(item.py(), name))))?;
            self.out.give(item.py())?;
        }
        self.out.json.push(b'}');
        if let Some(names) = &kept.given {
            self.out.json.extend_from_slice(b",\"set\":");
            write(&mut self.out.json, names)?;
        }
        self.out.json.push(b'}');
        Ok(true)
    }

    /// Writes a list whose items are created while it is written.
    fn items(&mut self, items: &Bound<'py, Items>, depth: usize) -> PyResult<()> {
        self.out.json.push(b'[');
        let mut index = 0;
        for some in items.get().parts(items.py())?.try_iter()? {
            for item in some?.cast::<PyList>()?.iter() {
                self.item(index, &item, depth)?;
                index += 1;
            }
        }
        self.out.json.push(b']');
        Ok(())
    }

    fn too_deep(&self, value: &Bound<'py, PyAny>) -> PyErr {
        let (message, hint) = if self.deepest.contains(&value.as_ptr()) {
            let message = format!("the state contains itself: {} is inside itself", type_name(value));
            (message, "remove the circular reference, or save the index or name of what it refers to")
        } else {
            (
                format!("the state is nested more than {MAX_DEPTH} levels deep (an instance counts as two)"),
                "save flatter data, for example a list with references by index",
            )
        };
        wrong_type(value.py(), &message, hint)
    }

    /// Refuses sets and dicts that would take long to restore; see `persist._hashes`.
    /// Those of only strings and numbers need no check.
    fn check_hashes(&self, py: Python<'py>, items: Vec<Bound<'py, PyAny>>, kind: &str) -> PyResult<()> {
        let is_simple = |item: &Bound<'py, PyAny>| {
            item.cast_exact::<PyString>().is_ok()
                || item.is_none()
                || item.cast_exact::<PyFloat>().is_ok()
                || (item.cast_exact::<PyInt>().is_ok() && item.extract::<i64>().is_ok())
        };
        if !items.iter().all(is_simple) {
            py.import("persist._hashes")?.getattr("check")?.call1((items, kind))?;
        }
        Ok(())
    }

    fn reducer(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(known) = &self.reducer {
            return Ok(known.clone());
        }
        let new = value.py().import("persist._values")?.getattr("Reducer")?.call1((value.get_type(),))?;
        Ok(self.reducer.insert(new).clone())
    }

    fn item(&mut self, index: usize, item: &Bound<'py, PyAny>, depth: usize) -> PyResult<()> {
        if index > 0 {
            self.out.json.push(b',');
        }
        self.value(item, depth + 1).inspect_err(|_| self.path.push(format!("[{index}]")))?;
        self.out.give(item.py())
    }

    fn list(&mut self, list: &Bound<'py, PyList>, depth: usize) -> PyResult<()> {
        self.out.json.push(b'[');
        let length = list.len();
        for index in 0..length {
            let item = list.get_item(index).map_err(|_| changed(list.py()))?;
            self.item(index, &item, depth)?;
        }
        if list.len() != length {
            return Err(changed(list.py()));
        }
        self.out.json.push(b']');
        Ok(())
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>, depth: usize, access: Access) -> PyResult<()> {
        // Read at once, since other threads may change the dict later.
        let entries = dict.items();
        let mut is_plain = true;
        for entry in entries.iter() {
            let key = entry.cast::<PyTuple>()?.get_borrowed_item(0)?.to_owned();
            is_plain &= key.cast_exact::<PyString>().is_ok_and(|key| key.to_str().is_ok_and(|key| key != MARK));
            if !is_plain {
                break;
            }
        }
        if !is_plain {
            let keys = entries.iter().map(|entry| entry.get_item(0)).collect::<PyResult<_>>()?;
            self.check_hashes(dict.py(), keys, "dict")?;
            self.out.open("dict");
            self.out.json.push(b'[');
            for (index, entry) in entries.iter().enumerate() {
                let (key, value) = entry.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
                self.out.json.extend_from_slice(if index > 0 { b",[" } else { b"[" });
                self.value(&key, depth + 1).inspect_err(|_| self.path.push(format!(" (a key: {})", shown(&key))))?;
                self.out.json.push(b',');
                self.value(&value, depth + 1).inspect_err(|_| self.path.push(access.step(&key)))?;
                self.out.json.push(b']');
                self.out.give(key.py())?;
            }
            self.out.json.extend_from_slice(b"]}");
            return Ok(());
        }
        self.out.json.push(b'{');
        for (index, entry) in entries.iter().enumerate() {
            let (key, value) = entry.extract::<(Bound<'py, PyString>, Bound<'py, PyAny>)>()?;
            if index > 0 {
                self.out.json.push(b',');
            }
            self.out.text(&key)?;
            self.out.json.push(b':');
            self.value(&value, depth + 1).inspect_err(|_| self.path.push(access.step(&key)))?;
            self.out.give(key.py())?;
        }
        self.out.json.push(b'}');
        Ok(())
    }

    /// Writes the items in the order of their JSON, so that equal sets give equal bytes.
    fn set(&mut self, kind: &str, items: Vec<Bound<'py, PyAny>>, depth: usize) -> PyResult<()> {
        if let Some(first) = items.first() {
            self.check_hashes(first.py(), items.clone(), kind)?;
        }
        let mut encoded = Vec::with_capacity(items.len());
        for item in &items {
            let mut whole = Vec::new();
            let reducer = Some(self.reducer(item)?);
            let mut encoder = Encoder { forms: std::mem::take(&mut self.forms), ..Encoder::new(&mut whole, reducer)? };
            let done = encoder.value(item, depth + 1);
            self.forms = std::mem::take(&mut encoder.forms);
            let (rest, path) = (std::mem::take(&mut encoder.out.json), std::mem::take(&mut encoder.path));
            if let Err(error) = done {
                self.path.extend(path);
                self.path.push(format!(" (in a {kind})"));
                return Err(error);
            }
            whole.extend_from_slice(&rest);
            encoded.push(whole);
        }
        encoded.sort_unstable();
        self.out.open(kind);
        self.out.json.push(b'[');
        self.out.json.extend_from_slice(&encoded.join(&b','));
        self.out.json.extend_from_slice(b"]}");
        Ok(())
    }

    /// Adds to an error where in the state the value is.
    fn explain(&mut self, py: Python<'py>, error: PyErr) -> PyErr {
        if self.path.is_empty() {
            return error;
        }
        let mut path: String = self.path.iter().rev().map(String::as_str).take(MAX_SHOWN).collect();
        if self.path.len() > MAX_SHOWN {
            path.push('…');
        }
        let place = format!("state{path}");
        let explained = py.import("persist.errors").and_then(|errors| errors.getattr("within")?.call1((error.value(py), place)));
        explained.map_or(error, PyErr::from_value)
    }
}
