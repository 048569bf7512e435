//! The beginnings of values, for people.

use persist_model::Excerpt;

use crate::diff::cursor::Cursor;
use crate::diff::scan::Value;
use crate::diff::state::Side;
use crate::error::Result;
use crate::storage::Storage;

/// The longest excerpt, in bytes.
const MAX_EXCERPT: usize = 200;

/// The bits of an index among the values of a page.
const PAGE_BITS: u32 = 10;

/// Returns the excerpt of each of at most 1,024 values, if there is one. They are read in the order in which the
/// state has them: a large state is read in parts, and each of them once.
pub(super) fn excerpts<S: Storage>(state: &Side<S>, values: &[Option<Value>]) -> Result<Vec<Option<Excerpt>>> {
    // Where a value begins, then its index. Sorting anything but numbers would add 10 KB to the
    // component.
    let place = |(index, value): (u64, &Option<Value>)| value.map(|value| value.start << PAGE_BITS | index);
    let mut order: Vec<u64> = (0..1 << PAGE_BITS).zip(values).filter_map(place).collect();
    order.sort_unstable();
    let mut excerpts: Vec<Option<Excerpt>> = vec![None; values.len()];
    for place in order {
        let index = (place & ((1 << PAGE_BITS) - 1)) as usize;
        if let (Some(Some(value)), Some(place)) = (values.get(index), excerpts.get_mut(index)) {
            *place = Some(excerpt(state, *value)?);
        }
    }
    Ok(excerpts)
}

/// Returns a value as JSON without white space, or its beginning.
fn excerpt<S: Storage>(state: &Side<S>, value: Value) -> Result<Excerpt> {
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
    Ok(Excerpt::new(String::from_utf8(bytes).unwrap_or_default(), is_cut, size))
}
