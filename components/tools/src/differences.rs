//! Compares the states of snapshots and steps.

use crate::bindings::diffs::{self, Source};
use crate::bindings::{generated as tools, snapshots};
use crate::convert::wrong;
use crate::timeline;

/// The most bytes of text in an answer, unless another number is given.
const DEFAULT_BYTES: u32 = 32 << 10;

/// The largest number that can be given.
const MAX_BYTES: u32 = 1 << 20;

/// Returns the state that a key names; or a timeline and a step with an `@` between them, if
/// there is no object with this key.
fn source(name: String) -> Result<Source, tools::Error> {
    match name.rsplit_once('@') {
        Some((timeline, step)) if !step.contains('/') && !snapshots::exists(&name)? => timeline::find(timeline, step).map(Source::Stored),
        _ => Ok(Source::Stored(name)),
    }
}

pub(crate) fn diff(before: String, after: String, max_bytes: Option<u32>) -> Result<tools::Differences, tools::Error> {
    let max = max_bytes.unwrap_or(DEFAULT_BYTES);
    if !(1..=MAX_BYTES).contains(&max) {
        return Err(wrong(format!("max-bytes is 1 to {MAX_BYTES}, not {max}")));
    }
    let diff = diffs::open_diff(&source(before)?, &source(after)?)?;
    let mut bytes = Vec::new();
    // One more, to see whether there is more.
    while let Some(left) = (max as usize + 1).checked_sub(bytes.len()).filter(|left| *left > 0) {
        let part = diff.read(u32::try_from(left).unwrap_or(max))?;
        if part.is_empty() {
            break;
        }
        bytes.extend(part);
    }
    let is_cut = bytes.len() > max as usize;
    bytes.truncate(max as usize);
    // What was cut in the middle of a character is left out.
    let text = bytes.utf8_chunks().next().map(|chunk| chunk.valid().to_owned()).unwrap_or_default();
    Ok(tools::Differences { kind: diff.kind().into(), text, is_cut })
}
