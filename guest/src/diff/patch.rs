//! Writes differences as a JSON Patch (RFC 6902).

use persist_model::Operation;

use crate::diff::ready::taken;
use crate::diff::state::Side;
use crate::diff::walk::{Found, Walker};
use crate::error::{Error, Result};
use crate::storage::Storage;

/// A patch being written.
#[derive(Default)]
pub(super) struct Patch {
    /// Bytes to return next.
    ready: Vec<u8>,
    /// Then, the bytes from here up to there of the second state.
    value: Option<(u64, u64)>,
    /// Whether a value was begun that the brace after it has not ended yet.
    in_operation: bool,
    began: bool,
    ended: bool,
}

impl Patch {
    /// Returns the next bytes: at most `max`, which is not 0, and none only at the end.
    pub(super) fn read<S: Storage>(&mut self, walker: &mut Walker<S>, after: &Side<S>, max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < max {
            let room = max - bytes.len();
            if !self.ready.is_empty() {
                bytes.append(&mut taken(&mut self.ready, room));
            } else if let Some((start, end)) = self.value.filter(|(start, end)| start < end) {
                let copied = after.copy(start, (end - start).min(room as u64))?;
                self.value = Some((start + copied.len() as u64, end));
                bytes.extend_from_slice(&copied);
            } else if self.ended {
                break;
            } else {
                self.go_on(walker.next()?)?;
            }
        }
        Ok(bytes)
    }

    fn go_on(&mut self, found: Option<Found>) -> Result<()> {
        if std::mem::take(&mut self.in_operation) {
            self.ready.push(b'}');
        }
        let Some(found) = found else {
            self.ended = true;
            self.ready.extend_from_slice(if self.began { b"\n]\n" } else { b"[]\n" });
            return Ok(());
        };
        self.ready.extend_from_slice(if self.began { b",\n  " } else { b"[\n  " });
        self.began = true;
        self.in_operation = true;
        let operation = match found.operation {
            Operation::Add => "add",
            Operation::Remove => "remove",
            Operation::Replace => "replace",
        };
        let path = serde_json::to_string(&found.path).map_err(|error| Error::format(error.to_string()))?;
        self.ready.extend_from_slice(format!("{{\"op\": \"{operation}\", \"path\": {path}").as_bytes());
        self.value = None;
        if let Some(value) = found.after {
            self.ready.extend_from_slice(b", \"value\": ");
            self.value = Some((value.start, value.end));
        }
        Ok(())
    }
}
