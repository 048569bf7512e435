//! The requests that a proxy tells apart, what can go wrong with one, and when.

use std::fmt;
use std::time::Duration;

/// The S3 requests that Persist sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    ListObjects,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
    /// Only `persist doctor` sends these two.
    GetLifecycle,
    GetVersioning,
}

/// The requests that read and write objects.
pub const OPERATIONS: [Operation; 9] = [
    Operation::PutObject,
    Operation::GetObject,
    Operation::HeadObject,
    Operation::DeleteObject,
    Operation::ListObjects,
    Operation::CreateUpload,
    Operation::UploadPart,
    Operation::CompleteUpload,
    Operation::AbortUpload,
];

/// How much [`Fault::Delay`] delays a response.
pub const DELAY: Duration = Duration::from_secs(5);

/// How much [`Fault::LateReply`] delays a response.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// How much [`Fault::Slow`] delays a response.
pub(crate) const FAR_AWAY: Duration = Duration::from_millis(30);

/// How far [`Fault::Earlier`] moves the date of a response.
pub const AGO: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What can go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The response comes after the timeout of every client.
    Delay,
    /// The connection is closed before the request is read.
    Refuse,
    /// The connection is reset while the request is read.
    ResetRequest,
    /// The connection is reset while the response is sent.
    ResetResponse,
    /// The connection is closed normally before the end of the response.
    CutBody,
    /// The response is shorter, and its headers say so.
    ShortenBody,
    /// A bit of the request's body is flipped.
    FlipRequest,
    /// A bit of the response's body is flipped.
    FlipResponse,
    /// The request is carried out, and its response is lost.
    LoseReply,
    /// The request is carried out, and its response comes a moment later.
    LateReply,
    /// The same, with the latency of a distant service.
    Slow,
    /// The response has a date of [`AGO`] before.
    Earlier,
    /// The preconditions are removed from the request.
    StripConditions,
    /// The service refuses a request with a precondition as one that it does not implement.
    RefuseConditions,
    /// The service returns this error and does nothing.
    Answer(u16, &'static str),
    /// The service returns status 200 with an error in the body.
    ErrorIn200,
    /// The service returns this status and an endless body.
    Endless(u16),
    /// The service returns status 200 and this body.
    Body(&'static str),
}

/// Which of the matching requests get the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    First,
    Second,
    Always,
    /// The request with this number, counted from 1.
    Nth(u32),
    /// The first requests of each group: `Of(2, 5)` is 2 of every 5.
    Of(u32, u32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
