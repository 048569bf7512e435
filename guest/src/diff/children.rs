//! The members of an object, or the elements of an array.

use crate::diff::cursor::Cursor;
use crate::diff::pointer::decoded;
use crate::diff::scan::{Fault, Scanner, Shape, Value};
use crate::diff::state::Side;
use crate::error::{Error, ErrorCode, Result};
use crate::storage::Storage;

/// A member or an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    /// Where the name of a member begins; 0 for an element.
    pub(super) name_at: u64,
    /// The hash of the name; 0 for an element.
    pub(super) name: u64,
    pub(super) value: Value,
}

/// The children of a value, from the first to the last.
pub(super) struct Children<S: Storage> {
    cursor: Cursor<S>,
    is_object: bool,
    is_first: bool,
    ended: bool,
}

impl<S: Storage> Clone for Children<S> {
    fn clone(&self) -> Self {
        Self { cursor: self.cursor.clone(), ..*self }
    }
}

impl<S: Storage> Children<S> {
    /// The children of an array or object.
    pub(super) fn new(state: &Side<S>, value: Value) -> Self {
        let cursor = Cursor::new(state, value.start + 1);
        Self { cursor, is_object: value.shape == Shape::Object, is_first: true, ended: false }
    }

    /// Reads the next child; none at the end.
    pub(super) fn next(&mut self, scanner: &Scanner) -> Result<Option<Child>> {
        self.read(scanner).map_err(|fault| match fault {
            Fault::Failed(error) => error,
            Fault::NotJson => changed(),
        })
    }

    fn read(&mut self, scanner: &Scanner) -> std::result::Result<Option<Child>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let token = self.cursor.token()?;
        if matches!(token, Some(b']' | b'}')) {
            self.ended = true;
            return Ok(None);
        }
        if !self.is_first {
            // The comma.
            self.cursor.skip(1);
            self.cursor.token()?;
        }
        self.is_first = false;
        let (mut name_at, mut name) = (0, 0);
        if self.is_object {
            name_at = self.cursor.at();
            name = scanner.name(&mut self.cursor)?;
        }
        let value = scanner.value(&mut self.cursor)?;
        Ok(Some(Child { name_at, name, value }))
    }
}

/// Reads the name of a member; `None` if it is too long for a path, or is not Unicode.
pub(super) fn name_of<S: Storage>(state: &Side<S>, name_at: u64) -> Result<Option<String>> {
    decoded(&mut Cursor::new(state, name_at)).map_err(|fault| match fault {
        Fault::Failed(error) => error,
        Fault::NotJson => changed(),
    })
}

/// The state was JSON when it was read the first time.
fn changed() -> Error {
    Error::new(ErrorCode::Conflict, "the state was changed while it was being compared")
}
