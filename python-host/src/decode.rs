//! Decoding of JSON into Python values, the reverse of `encode`.

use std::collections::HashMap;

use jiter::{Jiter, JiterError, Peek};
use persist_host::{ErrorCode, PersistError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple};

use crate::encode::MAX_DEPTH;
use crate::error::exception;
use crate::output::MARK;
use crate::stack;

/// The maximum depth of the JSON. One level of Python values takes up to three levels of
/// JSON.
const MAX_LEVELS: usize = 3 * MAX_DEPTH + 10;

/// How many values are decoded before other Python threads may run: about a millisecond.
const TURN: usize = 10_000;

/// The maximum number of names that are cached, since they occur again in every record.
const MAX_NAMES: usize = 1024;

/// Decodes JSON into a value.
///
/// `rebuild` is called with the kind and the fields of each value that is not plain JSON.
/// Without it, all values are plain.
#[pyfunction]
#[pyo3(signature = (json, rebuild=None))]
pub(crate) fn decode<'py>(py: Python<'py>, json: &[u8], rebuild: Option<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    let mut jiter = Jiter::new(json);
    if rebuild.is_none() {
        // Python's own json module writes these.
        jiter = jiter.with_allow_inf_nan();
    }
    let mut decoder = Decoder { py, jiter, rebuild, names: HashMap::new(), turn: 0 };
    let value = decoder.jiter.peek().map_err(|error| decoder.invalid(&error)).and_then(|peek| decoder.value(peek, 0))?;
    decoder.jiter.finish().map_err(|error| decoder.invalid(&error))?;
    Ok(value)
}

struct Decoder<'j, 'py> {
    py: Python<'py>,
    jiter: Jiter<'j>,
    rebuild: Option<Bound<'py, PyAny>>,
    names: HashMap<String, Bound<'py, PyString>>,
    /// Values decoded since other threads could run.
    turn: usize,
}

impl<'py> Decoder<'_, 'py> {
    fn value(&mut self, peek: Peek, level: usize) -> PyResult<Bound<'py, PyAny>> {
        self.turn += 1;
        if self.turn >= TURN {
            self.turn = 0;
            self.py.detach(|| {});
            self.py.check_signals()?;
        }
        if level >= MAX_LEVELS {
            return Err(self.not_a_value(format!("it is nested more than {MAX_LEVELS} levels deep")));
        }
        if matches!(peek, Peek::Array | Peek::Object) && !stack::has_room() {
            return Err(self.not_a_value(format!("it is nested {level} levels deep, which is too deep for this thread's stack")));
        }
        match peek {
            Peek::Null => {
                self.jiter.known_null().map_err(|error| self.invalid(&error))?;
                Ok(PyNone::get(self.py).to_owned().into_any())
            }
            Peek::True | Peek::False => {
                let truth = self.jiter.known_bool(peek).map_err(|error| self.invalid(&error))?;
                Ok(PyBool::new(self.py, truth).to_owned().into_any())
            }
            Peek::String => match self.jiter.known_str() {
                Ok(text) => Ok(PyString::new(self.py, text).into_any()),
                Err(error) => Err(self.invalid(&error)),
            },
            Peek::Array => self.array(level),
            Peek::Object => self.object(level),
            _ => self.number(peek),
        }
    }

    fn array(&mut self, level: usize) -> PyResult<Bound<'py, PyAny>> {
        let list = PyList::empty(self.py);
        let mut next = self.jiter.known_array().map_err(|error| self.invalid(&error))?;
        while let Some(peek) = next {
            list.append(self.value(peek, level + 1)?)?;
            next = self.jiter.array_step().map_err(|error| self.invalid(&error))?;
        }
        Ok(list.into_any())
    }

    fn object(&mut self, level: usize) -> PyResult<Bound<'py, PyAny>> {
        let dict = PyDict::new(self.py);
        let mut name = match self.jiter.known_object() {
            Ok(name) => name.map(|name| key(self.py, &mut self.names, name)),
            Err(error) => return Err(self.invalid(&error)),
        };
        let is_marked = self.rebuild.is_some() && name.as_ref().is_some_and(|name| name.to_str().is_ok_and(|name| name == MARK));
        while let Some(known) = name {
            let peek = self.jiter.peek().map_err(|error| self.invalid(&error))?;
            dict.set_item(known, self.value(peek, level + 1)?)?;
            name = match self.jiter.next_key() {
                Ok(name) => name.map(|name| key(self.py, &mut self.names, name)),
                Err(error) => return Err(self.invalid(&error)),
            };
        }
        if is_marked { self.marked(&dict) } else { Ok(dict.into_any()) }
    }

    /// Rebuilds a value that is not plain JSON.
    fn marked(&self, fields: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let kind = fields.get_item(MARK)?;
        let kind = kind.as_ref().and_then(|kind| kind.cast::<PyString>().ok()).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind == "tuple" && fields.len() == 2 {
            let items = fields.get_item("value")?;
            let items = items.as_ref().and_then(|items| items.cast::<PyList>().ok());
            let items = items.ok_or_else(|| self.not_a_value("it holds an invalid tuple".to_owned()))?;
            return Ok(PyTuple::new(self.py, items.iter())?.into_any());
        }
        match &self.rebuild {
            Some(rebuild) => rebuild.call1((kind, fields)),
            None => Ok(fields.clone().into_any()),
        }
    }

    fn number(&mut self, peek: Peek) -> PyResult<Bound<'py, PyAny>> {
        let text = match self.jiter.known_number_bytes(peek) {
            Ok(text) => std::str::from_utf8(text).unwrap_or_default().to_owned(),
            Err(error) => return Err(self.invalid(&error)),
        };
        if let Ok(number) = text.parse::<i64>()
            && text != "-0"
        {
            return Ok(number.into_pyobject(self.py)?.into_any());
        }
        // An integer that does not fit is parsed by Python. That also turns -0 into 0, as
        // Python's json module does.
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return self.py.get_type::<PyInt>().call1((text,));
        }
        let number: f64 = text.parse().map_err(|_| self.not_a_value(format!("it has the invalid number {text}")))?;
        Ok(PyFloat::new(self.py, number).into_any())
    }

    fn invalid(&self, error: &JiterError) -> PyErr {
        let place = self.jiter.error_position(error.index);
        self.not_a_value(format!("{} at {place}", error.error_type))
    }

    fn not_a_value(&self, problem: String) -> PyErr {
        let error = PersistError::new(ErrorCode::InvalidFormat, format!("the state is not a valid value: {problem}"));
        exception(self.py, &error.hint("get its bytes with Store.load_bytes(key)"))
    }
}

/// Returns a name as a Python string, the same object each time.
fn key<'py>(py: Python<'py>, names: &mut HashMap<String, Bound<'py, PyString>>, name: &str) -> Bound<'py, PyString> {
    if let Some(known) = names.get(name) {
        return known.clone();
    }
    let new = PyString::new(py, name);
    if names.len() < MAX_NAMES && name.len() <= 64 {
        names.insert(name.to_owned(), new.clone());
    }
    new
}
