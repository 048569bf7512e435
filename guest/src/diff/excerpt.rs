//! The beginnings of values, for people.

use persist_model::Excerpt;

use crate::diff::cursor::Cursor;
use crate::diff::scan::Value;
use crate::diff::state::Side;
use crate::error::Result;
use crate::storage::Storage;

/// The longest excerpt, in bytes.
const MAX_EXCERPT: usize = 200;

/// Returns a value as JSON without white space, or its beginning.
pub(super) fn excerpt<S: Storage>(state: &Side<S>, value: Value) -> Result<Excerpt> {
    let mut cursor = Cursor::new(state, value.start);
    let (mut bytes, mut in_string, mut is_escaped) = (Vec::new(), false, false);
    while cursor.at() < value.end && bytes.len() <= MAX_EXCERPT {
        let Some(byte) = cursor.take()? else { break };
        if !in_string && byte.is_ascii_whitespace() {
            continue;
        }
        bytes.push(byte);
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    let is_cut = bytes.len() > MAX_EXCERPT;
    bytes.truncate(MAX_EXCERPT);
    let size = value.end - value.start;
    // A character may be cut, too.
    let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
    bytes.truncate(whole);
    Ok(Excerpt { text: String::from_utf8(bytes).unwrap_or_default(), is_cut, size })
}
