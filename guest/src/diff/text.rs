//! Compares texts line by line, and writes the hunks of a unified diff.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::Range;

use imara_diff::Hunk;

use crate::diff::align::hunks;
use crate::diff::cursor::Cursor;
use crate::diff::ready::taken;
use crate::diff::state::Side;
use crate::error::Result;
use crate::storage::Storage;

/// How many equal lines a hunk shows before and after its changes.
const CONTEXT: u32 = 3;

/// The most lines that are compared with each other.
pub(super) const MAX_LINES: usize = 1 << 20;

/// What comes after a last line that does not end with a line feed.
const NO_LINE_FEED: &[u8] = b"\n\\ No newline at end of file\n";

/// The lines of a text: where each begins and, at last, where the text ends.
struct Lines {
    starts: Vec<u64>,
    hashes: Vec<u64>,
    /// Whether the last line ends with a line feed.
    is_whole: bool,
}

impl Lines {
    /// Reads lines; none if there are too many.
    fn read<S: Storage>(state: &Side<S>, key: &RandomState) -> Result<Option<Self>> {
        let mut cursor = Cursor::new(state, 0);
        let mut lines = Self { starts: vec![0], hashes: Vec::new(), is_whole: true };
        let mut hasher = key.build_hasher();
        loop {
            let rest = cursor.rest()?;
            if rest.is_empty() {
                break;
            }
            let end = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let now = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            hasher.write(now);
            let length = now.len();
            cursor.skip(length);
            if end.is_some() {
                lines.starts.push(cursor.at());
                lines.hashes.push(std::mem::replace(&mut hasher, key.build_hasher()).finish());
            }
            if lines.hashes.len() > MAX_LINES {
                return Ok(None);
            }
        }
        if lines.starts.last() != Some(&state.size()) {
            lines.starts.push(state.size());
            lines.hashes.push(hasher.finish());
            lines.is_whole = false;
        }
        Ok(Some(lines))
    }

    fn count(&self) -> u32 {
        u32::try_from(self.hashes.len()).unwrap_or(u32::MAX)
    }

    /// The bytes of a line, with its line feed.
    fn bytes(&self, line: u32) -> Range<u64> {
        let start = |line: usize| self.starts.get(line).copied().unwrap_or_default();
        start(line as usize)..start(line as usize + 1)
    }

    fn ends_with_line_feed(&self, line: u32) -> bool {
        self.is_whole || line + 1 < self.count()
    }
}

/// A run of lines to write.
struct Run {
    sign: u8,
    lines: Range<u32>,
    in_after: bool,
}

/// The differences of two texts.
pub(super) struct TextDiff<S: Storage> {
    before: (Side<S>, Lines),
    after: (Side<S>, Lines),
    /// Differences that share a hunk, for all hunks that were not written yet, the next one
    /// last.
    groups: Vec<Vec<Hunk>>,
    /// Runs of the current hunk, the next one last.
    runs: Vec<Run>,
    ready: Vec<u8>,
    /// Then, these bytes of a line; of the second state, if it says so.
    line: Range<u64>,
    in_after: bool,
    /// Then, this.
    ending: &'static [u8],
}

impl<S: Storage> TextDiff<S> {
    /// Compares two texts; none if they have too many lines.
    pub(super) fn new(before: Side<S>, after: Side<S>) -> Result<Option<Self>> {
        let key = RandomState::new();
        let Some(old) = Lines::read(&before, &key)? else { return Ok(None) };
        let Some(new) = Lines::read(&after, &key)? else { return Ok(None) };
        let mut groups: Vec<Vec<Hunk>> = Vec::new();
        for hunk in hunks(old.hashes.iter().copied(), new.hashes.iter().copied()) {
            match groups.last_mut() {
                // Otherwise their contexts would overlap.
                Some(group) if group.last().is_some_and(|last| hunk.before.start - last.before.end <= 2 * CONTEXT) => group.push(hunk),
                _ => groups.push(vec![hunk]),
            }
        }
        groups.reverse();
        let (before, after) = ((before, old), (after, new));
        Ok(Some(Self { before, after, groups, runs: Vec::new(), ready: Vec::new(), line: 0..0, in_after: false, ending: b"" }))
    }

    /// Returns the next bytes: at most `max`, which is not 0, and none only at the end.
    pub(super) fn read(&mut self, max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < max {
            let room = max - bytes.len();
            if !self.ready.is_empty() {
                bytes.append(&mut taken(&mut self.ready, room));
            } else if !self.line.is_empty() {
                let state = if self.in_after { &self.after.0 } else { &self.before.0 };
                let copied = state.copy(self.line.start, (self.line.end - self.line.start).min(room as u64))?;
                self.line.start += copied.len() as u64;
                bytes.extend_from_slice(&copied);
            } else if !self.ending.is_empty() {
                self.ready = std::mem::take(&mut self.ending).to_vec();
            } else if !self.go_on() {
                break;
            }
        }
        Ok(bytes)
    }

    /// Prepares the next line or hunk. Returns false at the end.
    fn go_on(&mut self) -> bool {
        if let Some(run) = self.runs.last_mut() {
            let Some(line) = run.lines.next() else {
                self.runs.pop();
                return true;
            };
            let (sign, in_after) = (run.sign, run.in_after);
            let lines = if in_after { &self.after.1 } else { &self.before.1 };
            self.ready.push(sign);
            self.line = lines.bytes(line);
            self.in_after = in_after;
            self.ending = if lines.ends_with_line_feed(line) { b"" } else { NO_LINE_FEED };
            return true;
        }
        let Some(group) = self.groups.pop() else { return false };
        self.begin(&group);
        true
    }

    /// Prepares a hunk.
    fn begin(&mut self, group: &[Hunk]) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
        let lead = CONTEXT.min(first.before.start);
        let trail = CONTEXT.min(self.before.1.count() - last.before.end);
        let (mut old, mut new) = (first.before.start - lead, first.after.start - lead);
        let range = |start: u32, end: u32| {
            // A range without lines is after a line, and others begin at one.
            let (count, start) = (end - start, if end == start { start } else { start + 1 });
            if count == 1 { start.to_string() } else { format!("{start},{count}") }
        };
        let (old_range, new_range) = (range(old, last.before.end + trail), range(new, last.after.end + trail));
        self.ready = format!("@@ -{old_range} +{new_range} @@\n").into_bytes();
        let mut runs = Vec::new();
        for hunk in group {
            runs.push(Run { sign: b' ', lines: old..hunk.before.start, in_after: false });
            runs.push(Run { sign: b'-', lines: hunk.before.clone(), in_after: false });
            runs.push(Run { sign: b'+', lines: hunk.after.clone(), in_after: true });
            (old, new) = (hunk.before.end, hunk.after.end);
        }
        runs.push(Run { sign: b' ', lines: old..old + trail, in_after: false });
        runs.reverse();
        self.runs = runs;
        let _ = new;
    }
}
