//! A place in a state from which its bytes are read in order.

use std::rc::Rc;

use crate::diff::state::{Part, Side, State};
use crate::error::Result;
use crate::storage::Storage;

/// A place in a state.
pub(super) struct Cursor<S: Storage> {
    state: Rc<State<S>>,
    part: Part,
    /// Where it is in the part.
    index: usize,
}

impl<S: Storage> Clone for Cursor<S> {
    fn clone(&self) -> Self {
        Self { state: Rc::clone(&self.state), part: self.part.clone(), index: self.index }
    }
}

impl<S: Storage> Cursor<S> {
    pub(super) fn new(state: &Side<S>, at: u64) -> Self {
        Self { state: Rc::clone(state), part: Part { start: at, bytes: Rc::default() }, index: 0 }
    }

    /// Where it is in the state.
    pub(super) fn at(&self) -> u64 {
        self.part.start + self.index as u64
    }

    /// Returns the bytes from here on that are at hand, and none only at the end.
    pub(super) fn rest(&mut self) -> Result<&[u8]> {
        if self.index >= self.part.bytes.len() {
            let at = self.at();
            if at < self.state.size() {
                self.part = self.state.part(at)?;
                self.index = usize::try_from(at - self.part.start).unwrap_or_default();
            }
        }
        Ok(self.part.bytes.get(self.index..).unwrap_or_default())
    }

    /// Skips bytes that [`rest`](Self::rest) returned.
    pub(super) fn skip(&mut self, count: usize) {
        self.index += count;
    }

    /// Returns the byte here; none at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>> {
        match self.part.bytes.get(self.index) {
            Some(byte) => Ok(Some(*byte)),
            None => Ok(self.rest()?.first().copied()),
        }
    }

    /// Returns the byte here, and goes on to the next.
    pub(super) fn take(&mut self) -> Result<Option<u8>> {
        let byte = self.peek()?;
        self.index += usize::from(byte.is_some());
        Ok(byte)
    }

    /// Skips white space, and returns the byte after it.
    pub(super) fn token(&mut self) -> Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.index += 1,
                byte => return Ok(byte),
            }
        }
    }
}
