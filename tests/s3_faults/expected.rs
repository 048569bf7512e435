//! The faults, and what each may lead to.

use persist_host::{ErrorCode, PersistError};
use persist_test_support::proxy::{Fault, Operation};

pub(crate) const FAULTS: [Fault; 19] = [
    Fault::Delay,
    Fault::Refuse,
    Fault::ResetRequest,
    Fault::ResetResponse,
    Fault::CutBody,
    Fault::ShortenBody,
    Fault::FlipRequest,
    Fault::FlipResponse,
    Fault::LoseReply,
    Fault::ErrorIn200,
    Fault::Answer(400, "InvalidRequest"),
    Fault::Answer(403, "AccessDenied"),
    Fault::Answer(404, "NoSuchKey"),
    Fault::Answer(408, "RequestTimeout"),
    Fault::Answer(409, "OperationAborted"),
    Fault::Answer(412, "PreconditionFailed"),
    Fault::Answer(429, "TooManyRequests"),
    Fault::Answer(500, "InternalError"),
    Fault::Answer(503, "SlowDown"),
];

/// Returns whether sending the request again overcomes the fault.
pub(crate) fn is_transient(fault: Fault) -> bool {
    match fault {
        Fault::Answer(status, _) => matches!(status, 408 | 409 | 429 | 500 | 503),
        Fault::ShortenBody | Fault::FlipRequest | Fault::FlipResponse | Fault::StripConditions => false,
        _ => true,
    }
}

/// Returns whether the response is lost, so that the outcome of the request is unknown.
fn loses_answer(fault: Fault) -> bool {
    matches!(fault, Fault::Delay | Fault::Refuse | Fault::ResetRequest | Fault::ResetResponse | Fault::CutBody | Fault::LoseReply)
}

/// Returns whether the request creates or removes an object.
fn changes_object(operation: Operation) -> bool {
    matches!(operation, Operation::PutObject | Operation::CompleteUpload | Operation::DeleteObject)
}

/// Returns whether the error is correct for the fault.
pub(crate) fn is_right(operation: Operation, fault: Fault, error: &PersistError) -> bool {
    use ErrorCode as E;
    let allowed: &[ErrorCode] = match fault {
        // The request may be carried out later, or its result may have been replaced.
        _ if loses_answer(fault) && changes_object(operation) => &[E::OutcomeUnknown],
        Fault::Delay => &[E::Timeout],
        Fault::Refuse | Fault::ResetRequest | Fault::ResetResponse | Fault::CutBody | Fault::LoseReply | Fault::ErrorIn200 => {
            &[E::Unavailable]
        }
        // Damaged data may cause various errors.
        Fault::ShortenBody => &[E::Unavailable, E::Refused, E::NotFound, E::Integrity, E::OutcomeUnknown],
        Fault::FlipRequest => &[E::Unavailable, E::Credentials, E::Refused],
        Fault::FlipResponse => {
            &[E::Integrity, E::InvalidFormat, E::NotASnapshot, E::Unavailable, E::Refused, E::AccessDenied, E::NotFound, E::OutcomeUnknown]
        }
        Fault::Answer(400, _) => &[E::Refused],
        Fault::Answer(403, _) => &[E::AccessDenied],
        Fault::Answer(404, _) => &[E::NotFound, E::PreconditionFailed, E::Unavailable],
        Fault::Answer(408, _) => &[E::Timeout],
        Fault::Answer(412, _) => &[E::PreconditionFailed, E::AlreadyExists],
        Fault::Answer(..) => &[E::Unavailable],
        Fault::StripConditions
        | Fault::RefuseConditions
        | Fault::LateReply
        | Fault::Slow
        | Fault::Earlier
        | Fault::Endless(_)
        | Fault::Body(_) => &[],
    };
    allowed.contains(&error.code()) && error.location().is_some_and(|location| location.starts_with("s3://"))
}

/// Returns whether the upload cannot be known, since its ID never arrived.
pub(crate) fn hides_upload(operation: Operation, fault: Fault) -> bool {
    let damages_answer =
        matches!(fault, Fault::Delay | Fault::ResetResponse | Fault::CutBody | Fault::ShortenBody | Fault::FlipResponse | Fault::LoseReply);
    operation == Operation::CreateUpload && damages_answer
}
