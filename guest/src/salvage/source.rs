//! What a source of salvaged bytes returns: bytes, a hole, a break or the end.

use super::report::{Break, Hole};
use crate::error::ErrorCode;

/// The next part of a source.
pub(super) enum Next {
    /// Bytes of the state.
    Bytes,
    /// No bytes here, but perhaps later.
    Hole(Hole, Break),
    /// The end of the data, at this byte of the object.
    End { offset: u64, proof: Proof },
    /// No more bytes.
    Break(Break),
}

/// What shows that all of a state was read if the metadata is lost.
pub(super) enum Proof {
    /// Nothing.
    None,
    /// CRC-32 and size match.
    Checksum,
    /// The state must have this SHA-256, according to a document after the data that
    /// could not itself be checked.
    ContentHash(String),
}

/// Whether an error is about the object's bytes, not about reaching them.
pub(super) fn is_about_content(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Integrity | ErrorCode::NotASnapshot | ErrorCode::InvalidFormat | ErrorCode::LimitExceeded)
}
