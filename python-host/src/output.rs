//! JSON on its way to a sink: the values that contain no others, and the beginnings of
//! objects that are not plain JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};

use crate::json::{Sink, write};

/// The first name of an object that is not plain JSON.
pub(crate) const MARK: &str = "$persist";

/// The size of the longest integer that is written in decimal. Longer ones are written in
/// base 16, since Python may be configured to parse no decimal number of more than 640
/// digits.
const MAX_DECIMAL_BITS: u64 = 2048;

/// The approximate size of a piece of JSON in bytes, after which other Python threads may
/// run. Encoding a piece takes about a millisecond.
const PIECE: usize = 256 << 10;

/// The JSON of a value. What it collects goes to the sink piece by piece.
pub(crate) struct Output<'a> {
    pub(crate) json: Vec<u8>,
    scratch: Vec<u8>,
    sink: &'a mut dyn Sink,
}

impl<'a> Output<'a> {
    pub(crate) fn new(sink: &'a mut dyn Sink) -> Self {
        Self { json: Vec::new(), scratch: Vec::new(), sink }
    }

    /// Writes the beginning of an object that is not plain JSON, up to its value.
    pub(crate) fn open(&mut self, kind: &str) {
        self.json.extend_from_slice(b"{\"");
        self.json.extend_from_slice(MARK.as_bytes());
        self.json.extend_from_slice(b"\":\"");
        self.json.extend_from_slice(kind.as_bytes());
        self.json.extend_from_slice(b"\",\"value\":");
    }

    /// Hands the JSON to the sink once there is enough of it.
    pub(crate) fn give(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.json.len() >= PIECE {
            self.sink.take(py, &self.json, false)?;
            self.json.clear();
        }
        Ok(())
    }

    pub(crate) fn text(&mut self, text: &Bound<'_, PyString>) -> PyResult<()> {
        let Ok(characters) = text.to_str() else {
            // Lone surrogates are not valid Unicode, and JSON would join two of them.
            let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
            return self.bytes(text.py(), "str", bytes.cast::<PyBytes>()?.as_bytes());
        };
        if characters.len() <= PIECE {
            return write(&mut self.json, characters);
        }
        self.json.push(b'"');
        let mut rest = characters;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
            self.scratch.clear();
            write(&mut self.scratch, piece)?;
            // Without the quotation marks.
            self.json.extend_from_slice(self.scratch.get(1..self.scratch.len() - 1).unwrap_or_default());
            self.give(text.py())?;
            rest = after;
        }
        self.json.push(b'"');
        Ok(())
    }

    pub(crate) fn bytes(&mut self, py: Python<'_>, kind: &str, bytes: &[u8]) -> PyResult<()> {
        self.open(kind);
        self.json.push(b'"');
        // Three bytes become four characters.
        for piece in bytes.chunks(PIECE / 4 * 3) {
            self.json.extend_from_slice(BASE64.encode(piece).as_bytes());
            self.give(py)?;
        }
        self.json.extend_from_slice(b"\"}");
        Ok(())
    }

    pub(crate) fn integer(&mut self, number: &Bound<'_, PyInt>) -> PyResult<()> {
        if let Ok(number) = number.extract::<i64>() {
            return write(&mut self.json, &number);
        }
        let bits: u64 = number.call_method0("bit_length")?.extract()?;
        if bits <= MAX_DECIMAL_BITS {
            let digits = number.str()?;
            self.json.extend_from_slice(digits.to_str()?.as_bytes());
            return Ok(());
        }
        let digits: String = number.call_method1("__format__", ("x",))?.extract()?;
        self.open("int");
        write(&mut self.json, &digits)?;
        self.json.push(b'}');
        Ok(())
    }

    /// Writes a float. Infinities and NaNs are written as their bits, such as
    /// 7ff8000000000000.
    pub(crate) fn float(&mut self, number: f64) {
        if number.is_finite() {
            // The shortest text that parses as the same number. Writing to a vector
            // cannot fail.
            let _ = serde_json::to_writer(&mut self.json, &number);
            return;
        }
        self.open("float");
        self.json.extend_from_slice(format!("\"{:016x}\"}}", number.to_bits()).as_bytes());
    }

    /// Hands the rest of the JSON to the sink.
    pub(crate) fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        let rest = std::mem::take(&mut self.json);
        self.sink.take(py, &rest, true)
    }
}
