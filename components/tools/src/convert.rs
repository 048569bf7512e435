//! Converts between what the tools take and return, and what the component does.

use persist_model::error::HINT;
use persist_model::{ErrorCode, ErrorDetail, PersistError};

use crate::bindings::{diffs, generated as tools, snapshots, timelines};

persist_model::conversions!(crate::bindings::snapshots);
persist_model::timeline_conversions!(crate::bindings::timelines);
persist_model::code_conversions!(crate::bindings::generated);
persist_model::code_conversions!(crate::bindings::types);
persist_model::codec_conversions!(crate::bindings::generated, crate::bindings::snapshots::Codec);

impl From<snapshots::Error> for tools::Error {
    fn from(error: snapshots::Error) -> Self {
        let code = ErrorCode::from(error.code).into();
        let message = match &error.key {
            Some(key) => format!("{}: {}", error.message, key.escape_debug()),
            None => error.message,
        };
        let hint = error.details.into_iter().find(|(name, _)| name == HINT);
        Self { code, message: with_hint(message, hint.map(|(_, hint)| hint)), retryable: error.retryable }
    }
}

impl From<PersistError> for tools::Error {
    fn from(error: PersistError) -> Self {
        let ErrorDetail { code, message, retryable, hint, .. } = error.detail().clone();
        Self { code: code.into(), message: with_hint(message, hint), retryable }
    }
}

fn with_hint(message: String, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{message} ({hint})"),
        None => message,
    }
}

impl From<snapshots::Metadata> for tools::Metadata {
    fn from(metadata: snapshots::Metadata) -> Self {
        Self {
            key: metadata.key,
            snapshot_id: metadata.snapshot_id,
            agent_id: metadata.agent_id,
            session_id: metadata.session_id,
            snapshot_index: metadata.snapshot_index,
            timestamp: metadata.timestamp,
            description: metadata.description,
            labels: metadata.labels.into_iter().map(|(name, value)| tools::Label { name, value }).collect(),
            content_type: metadata.content_type,
            content_hash: metadata.content_hash,
            uncompressed_size: metadata.uncompressed_size,
            stored_size: metadata.stored_size,
            compression_algorithm: metadata.compression_algorithm.into(),
            digest: metadata.digest,
        }
    }
}

impl From<tools::ListFilter> for snapshots::ListFilter {
    fn from(filter: tools::ListFilter) -> Self {
        let tools::ListFilter { agent_id, session_id, labels, since, until } = filter;
        Self { agent_id, session_id, labels: pairs(labels), since, until }
    }
}

pub(crate) fn pairs(labels: Option<Vec<tools::Label>>) -> Vec<(String, String)> {
    labels.unwrap_or_default().into_iter().map(|label| (label.name, label.value)).collect()
}

impl From<tools::OnConflict> for timelines::OnConflict {
    fn from(on_conflict: tools::OnConflict) -> Self {
        match on_conflict {
            tools::OnConflict::Fail => Self::Fail,
            tools::OnConflict::Rebase => Self::Rebase,
        }
    }
}

impl From<timelines::Step> for tools::Step {
    fn from(step: timelines::Step) -> Self {
        let timelines::Step { number, metadata, restates } = step;
        Self { number, metadata: metadata.into(), restates }
    }
}

impl From<diffs::DiffKind> for tools::DiffKind {
    fn from(kind: diffs::DiffKind) -> Self {
        match kind {
            diffs::DiffKind::Equal => Self::Equal,
            diffs::DiffKind::Json => Self::Json,
            diffs::DiffKind::Text => Self::Text,
            diffs::DiffKind::Binary => Self::Binary,
        }
    }
}

/// Returns the error for an argument that breaks a documented rule.
pub(crate) fn wrong(message: String) -> tools::Error {
    PersistError::new(ErrorCode::InvalidArgument, message).into()
}
