//! What changed from step to step, for `persist log`.

use persist_model::{ChangeSummary, DiffKind, Result, Step, View};

use crate::host::{DiffSource, Host, Timeline};

/// The largest state that is read unless the user asks for changes, in bytes.
const MAX_UNASKED: u64 = 4 << 20;

/// Compares each step with the one that is listed after it, which is older. Each state is read
/// once.
pub(super) struct Changes<'a, H> {
    host: &'a H,
    timeline: &'a dyn Timeline,
    /// Whether the user has asked for changes.
    is_asked: bool,
    /// The number and the state of the step that was read last.
    last: Option<(u64, Vec<u8>)>,
}

impl<'a, H: Host> Changes<'a, H> {
    pub(super) fn new(host: &'a H, timeline: &'a dyn Timeline, is_asked: bool) -> Self {
        Self { host, timeline, is_asked, last: None }
    }

    fn is_small(&self, step: &Step) -> bool {
        self.is_asked || step.metadata.uncompressed_size <= MAX_UNASKED
    }

    /// Returns what changed from one step to a newer one, in one line; nothing if the states are
    /// not JSON, or are too large to read without being asked.
    pub(super) fn between(&mut self, older: Option<&Step>, newer: &Step) -> Result<String> {
        let Some(older) = older else { return Ok(String::new()) };
        if older.metadata.content_hash == newer.metadata.content_hash {
            return Ok("nothing".to_owned());
        }
        if !self.is_small(older) || !self.is_small(newer) {
            self.last = None;
            return Ok(String::new());
        }
        let after = match self.last.take() {
            Some((number, state)) if number == newer.number => state,
            _ => self.timeline.load(newer.number)?,
        };
        let before = self.timeline.load(older.number)?;
        let mut diff = self.host.diff(DiffSource::Bytes(before.clone()), DiffSource::Bytes(after))?;
        self.last = Some((older.number, before));
        if diff.kind() != DiffKind::Json {
            return Ok(String::new());
        }
        let view = View::of(&older.metadata.content_type, &newer.metadata.content_type);
        let mut summary = ChangeSummary::default();
        while let Some(change) = diff.next_change()? {
            if let Some(change) = view.shown(change) {
                summary.add(&change);
            }
        }
        let text = if summary.is_empty() { "nothing".to_owned() } else { summary.to_string() };
        Ok(if older.number + 1 == newer.number { text } else { format!("{text}, since step {}", older.number) })
    }
}
