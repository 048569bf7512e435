//! Times, and the one form in which they are stored.

use time::OffsetDateTime;

use crate::error::{Error, Result, quoted};

/// Reads a time in RFC 3339. `what` names it in the error.
pub(crate) fn parse_time(what: &str, text: &str) -> Result<OffsetDateTime> {
    persist_model::time::parse(text).map_err(|error| {
        Error::argument(format!("the {what} '{}' is not an RFC 3339 time such as 2026-01-31T12:00:00Z: {error}", quoted(text)))
    })
}

/// Converts a time in RFC 3339 to the stored form. `what` names it in the error.
pub(crate) fn stored_time(what: &str, text: &str) -> Result<String> {
    stored_form(parse_time(what, text)?)
}

/// Returns a time in the stored form.
pub(super) fn stored_form(time: OffsetDateTime) -> Result<String> {
    persist_model::time::stored(time).ok_or_else(|| Error::argument("the timestamp is not in the years 1 to 9999 in UTC"))
}
