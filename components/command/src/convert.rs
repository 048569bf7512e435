//! Conversions between the types of the contract and those of the command.

use persist_model::error::{ErrorDetail, HINT};
use persist_model::{ErrorCode, PersistError};
use persist_paths::timeline::{STEP_ADVICE, is_step};

use crate::bindings::wit;

persist_model::code_conversions!(crate::bindings::wit);
persist_model::conversions!(crate::bindings::wit);
persist_model::diff_conversions!(crate::bindings::diffs);
persist_model::timeline_conversions!(crate::bindings::timelines);

pub(crate) fn error(error: wit::Error) -> PersistError {
    let code = ErrorCode::from(error.code);
    let mut facts = error.details;
    let told = facts.iter().position(|(name, _)| name == HINT).map(|index| facts.remove(index).1);
    let is_damaged_step = matches!(code, ErrorCode::Integrity | ErrorCode::InvalidFormat) && error.key.as_deref().is_some_and(is_step);
    let told = told.or_else(|| is_damaged_step.then(|| STEP_ADVICE.to_owned()));
    let is_step = error.key.as_deref().is_some_and(is_step);
    let for_file = || if is_step { None } else { code.file_advice() };
    let hint = told.or_else(|| code.advice().or_else(for_file).map(str::to_owned));
    let mut detail = ErrorDetail::new(code, error.message);
    (detail.retryable, detail.hint, detail.facts) = (error.retryable, hint, facts);
    PersistError::from_detail(detail)
}
