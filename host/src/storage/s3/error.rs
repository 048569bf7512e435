//! Explains failed requests with the messages and codes of this library. The words
//! `credentials`, `bucket` and `network` each belong to one kind of failure, so callers
//! may look for them in a message.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::result::ConnectorError;
use http_body_util::LengthLimitError;
use persist_model::{ErrorCode, PersistError};

use super::transport::{MAX_ANSWER, TooManyTags};
use crate::storage::is_lost_upload;

/// How certain it is that a failed request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// It was not carried out: it was never sent, or was refused.
    None,
    /// The service aborted it and said so. It may have been carried out, but is no
    /// longer in progress.
    Over,
    /// There was no response. It may have been carried out, or may still be.
    Open,
}

/// A failed request, before it is decided whether to retry it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: PersistError,
    /// The status of the response; 0 if there was none.
    pub(super) status: u16,
    /// The service's error code; empty if there was none, as for every HEAD.
    pub(super) service_code: String,
    /// How long the service asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Whether the request may have been carried out nevertheless.
    pub(super) doubt: Doubt,
}

impl From<PersistError> for Failure {
    fn from(error: PersistError) -> Self {
        Self { error, status: 0, service_code: String::new(), retry_after: None, doubt: Doubt::None }
    }
}

impl Failure {
    /// The failure of a request with no response, or no more of it, within this time.
    pub(super) fn timeout(limit: Duration, was_sent: bool) -> Self {
        let message = format!("Request timeout: no data was received over the network for {} s", limit.as_secs_f64());
        let error = PersistError::new(ErrorCode::Timeout, message).hint("check the connection, or raise --s3-timeout");
        Self { doubt: if was_sent { Doubt::Open } else { Doubt::None }, ..Self::from(error) }
    }

    /// The failure of a response that violates the protocol, for example because it was
    /// cut short or made by a proxy.
    pub(super) fn bad_answer(problem: &str) -> Self {
        let error = PersistError::new(ErrorCode::Unavailable, format!("network error: {problem}"))
            .hint("try again; if the problem persists, check proxies between this machine and the service");
        Self { doubt: Doubt::Open, ..Self::from(error) }
    }

    /// The failure of a response body that was being received.
    pub(super) fn body(error: &(dyn Error + 'static)) -> Self {
        Self::bad_answer(&format!("the response ended early ({})", root_cause(error)))
    }

    /// The failure of a request that may have been carried out nevertheless.
    pub(super) fn outcome_unknown(self, what: &str) -> Self {
        let mut detail = self.error.detail().clone();
        detail.facts.push(("cause".to_owned(), detail.code.as_str().to_owned()));
        detail.message = format!("{what}: {}", detail.message);
        detail.code = ErrorCode::OutcomeUnknown;
        detail.retryable = false;
        detail.hint = detail.code.advice().map(str::to_owned);
        Self { error: PersistError::from_detail(detail), ..self }
    }

    /// Returns whether another attempt may succeed.
    pub(super) fn retryable(&self) -> bool {
        // A lost upload stays lost and has to be started again.
        self.error.retryable() && !is_lost_upload(&self.error)
    }

    /// Returns whether the service refused without giving a reason, as in the response
    /// to a HEAD, which has no body.
    pub(super) fn is_unexplained(&self) -> bool {
        // The SDK itself turns a 404 into this code.
        self.status >= 300 && matches!(self.service_code.as_str(), "" | "NotFound") && !self.error.retryable()
    }
}

pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The bucket and region of a request.
pub(super) struct Target<'a> {
    pub(super) bucket: &'a str,
    pub(super) region: &'a str,
}

/// Explains the error of one object in a request for many.
pub(super) fn of_object(service_code: &str, service_message: &str, target: &Target<'_>) -> PersistError {
    // The status that a request for this object alone would have.
    let status = match service_code {
        "AccessDenied" => 403,
        "InternalError" => 500,
        "SlowDown" | "ServiceUnavailable" => 503,
        _ => 400,
    };
    meaning(status, service_code, &said(service_message), None, target)
}

/// Returns the service's own message, within bounds.
pub(super) fn said(message: &str) -> String {
    message.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

/// Explains a failed request. `was_sent` says whether it was handed to a connection.
/// Only that decides whether its outcome is in doubt, not the text of the error.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>, was_sent: bool, target: &Target<'_>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(found) = chain(error).find_map(|cause| cause.downcast_ref::<CredentialsError>()) {
        return no_credentials(found).into();
    }
    match error {
        SdkError::ServiceError(answer) => refused(answer.err().code(), answer.err().message(), answer.raw(), target),
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            // A refusal without an S3 error, for example from a proxy.
            if status >= 300 { refused(None, None, answer.raw(), target) } else { unreadable(error) }
        }
        SdkError::ConstructionFailure(_) => {
            PersistError::new(ErrorCode::InvalidArgument, format!("the request could not be built: {}", root_cause(error)))
                .hint("check the region and endpoint")
                .into()
        }
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) if !was_sent => no_credentials_in_time(error).into(),
        SdkError::TimeoutError(_) => unreachable_service(error, true),
        SdkError::DispatchFailure(failure) => unreachable_service(error, failure.is_timeout()),
        _ => {
            let doubt = if was_sent { Doubt::Open } else { Doubt::None };
            let error = PersistError::new(ErrorCode::Other, format!("the request failed: {}", root_cause(error)));
            Failure { doubt, ..Failure::from(error) }
        }
    }
}

/// The failure of a successful response that ends early or is too large.
fn unreadable(error: &(dyn Error + 'static)) -> Failure {
    if chain(error).any(|cause| cause.is::<LengthLimitError>()) {
        return Failure::bad_answer(&format!("the response exceeds the limit of {} MiB", MAX_ANSWER >> 20));
    }
    if let Some(many) = chain(error).find_map(|cause| cause.downcast_ref::<TooManyTags>()) {
        return Failure::bad_answer(&format!("the response has too many elements ({many})"));
    }
    Failure::bad_answer("the response could not be read")
}

/// Returns whether any cause of an error was a timeout.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
            || cause.downcast_ref::<ConnectorError>().is_some_and(ConnectorError::is_timeout)
            || cause.to_string().contains("timed out")
    })
}

/// Explains why there are no credentials.
pub(super) fn no_credentials(error: &CredentialsError) -> PersistError {
    const HINT: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, set AWS_PROFILE to an existing profile, log in again, \
        or run with a role";
    match error {
        CredentialsError::CredentialsNotLoaded(_) => PersistError::new(ErrorCode::Credentials, "AWS credentials not found").hint(HINT),
        error if matches!(error, CredentialsError::ProviderTimedOut(_)) || is_timeout(error) => slow_provider(error),
        error => {
            let cause: String = root_cause(error).chars().take(200).collect();
            PersistError::new(ErrorCode::Credentials, format!("AWS credentials not found: {cause}")).hint(HINT)
        }
    }
}

/// Explains why a request was not sent: what it needs first did not arrive in time.
fn no_credentials_in_time(error: &(dyn Error + 'static)) -> PersistError {
    if is_timeout(error) {
        return slow_provider(error);
    }
    PersistError::new(ErrorCode::Other, format!("the request could not be built: {}", root_cause(error)))
}

fn slow_provider(error: &(dyn Error + 'static)) -> PersistError {
    // The word `credentials` is reserved for errors about missing or wrong credentials.
    let cause: String = root_cause(error).replace("credentials", "keys").chars().take(200).collect();
    PersistError::new(ErrorCode::Timeout, format!("Request timeout: the source of the AWS access key was too slow ({cause})"))
        .hint("try again; if the problem persists, check the profile's credential_process, the role's endpoint or the login")
}

/// Explains why the service was not reached, or the connection broke.
fn unreachable_service(error: &(dyn Error + 'static), is_timeout: bool) -> Failure {
    let io_kind = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let words: Vec<String> = chain(error).map(ToString::to_string).collect();
    let says = |part: &str| words.iter().any(|word| word.contains(part));
    let root = words.last().map_or("", String::as_str);
    // A connection that was never made has sent nothing.
    let was_connected =
        !chain(error).any(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect()));
    let (code, message, hint) = if says("minimum throughput") {
        (ErrorCode::Timeout, "Request timeout: no data was sent over the network".to_owned(), "check the connection, or raise --s3-timeout")
    } else if is_timeout || io_kind == Some(io::ErrorKind::TimedOut) {
        let message = if was_connected { "no data was received over the network in time" } else { "no connection could be made in time" };
        (ErrorCode::Timeout, format!("Request timeout: {message}"), "check the endpoint and the connection to it")
    } else if was_connected {
        (ErrorCode::Unavailable, format!("network error: the connection broke ({root})"), "try again")
    } else if io_kind == Some(io::ErrorKind::ConnectionRefused) {
        let message = "network error: the connection was refused".to_owned();
        (ErrorCode::Unavailable, message, "check the endpoint, and that its server is running")
    } else if says("dns error") || says("lookup address") {
        let message = "network error: the server's name was not found (DNS)".to_owned();
        (ErrorCode::Unavailable, message, "check the spelling of the endpoint and region, and DNS")
    } else if ["certificate", "CertificateRequired", "InvalidContentType", "tls", "TLS"].iter().any(|word| says(word)) {
        let message = format!("network error: no secure connection could be made (TLS): {root}");
        let hint = "check the endpoint's scheme; for your own certificate authority, set AWS_CA_BUNDLE";
        (ErrorCode::Unavailable, message, hint)
    } else {
        (ErrorCode::Unavailable, format!("network error: no connection could be made ({root})"), "try again")
    };
    let error = PersistError::new(code, message).hint(hint);
    Failure { doubt: if was_connected { Doubt::Open } else { Doubt::None }, ..Failure::from(error) }
}

/// Explains an error response of the service.
fn refused(service_code: Option<&str>, service_message: Option<&str>, answer: &HttpResponse, target: &Target<'_>) -> Failure {
    let status = answer.status().as_u16();
    let header = |name: &str| answer.headers().get(name).map(str::to_owned);
    let service_code = service_code.unwrap_or_default();
    let said = said(service_message.unwrap_or_default());
    let region = header("x-amz-bucket-region").or_else(|| named_region(&said, answer)).filter(|region| region != target.region);
    let mut error = meaning(status, service_code, &said, region.as_deref(), target);
    let mut fact = |name: &str, value: Option<String>| error.detail_mut().facts.extend(value.map(|value| (name.to_owned(), value)));
    fact("status", Some(status.to_string()));
    fact("service_code", Some(service_code.to_owned()).filter(|code| !code.is_empty()));
    fact("service_message", Some(said).filter(|said| !said.is_empty()));
    fact("request_id", header("x-amz-request-id"));
    fact("bucket_region", region);
    Failure {
        status,
        service_code: service_code.to_owned(),
        retry_after: header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs),
        doubt: doubt_of_answer(status, service_code),
        error,
    }
}

/// Returns what a response leaves in doubt. A proxy responds without an S3 error code,
/// and knows no more about the request than we do.
fn doubt_of_answer(status: u16, service_code: &str) -> Doubt {
    match status {
        0..=299 | 408 => Doubt::Over,
        501 | 505 | 507 => Doubt::None,
        500.. if service_code.is_empty() => Doubt::Open,
        500.. => Doubt::Over,
        _ => Doubt::None,
    }
}

/// Returns the region that a response names: `…the region 'us-east-1' is wrong;
/// expecting 'eu-west-1'`, or `<Region>eu-west-1</Region>`.
fn named_region(said: &str, answer: &HttpResponse) -> Option<String> {
    let between = |text: &str, before: &str, after: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once(after).map(|(region, _)| region.to_owned())
    };
    let is_region = |region: &String| !region.is_empty() && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let body = answer.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
    between(said, "expecting '", "'").or_else(|| between(&body, "<Region>", "</Region>")).filter(is_region)
}

fn meaning(status: u16, code: &str, said: &str, region: Option<&str>, target: &Target<'_>) -> PersistError {
    let named = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
    let new = |code, message: &str| PersistError::new(code, message);
    let retry = |mut error: PersistError| {
        error.detail_mut().retryable = true;
        error
    };
    let credentials = |problem: &str, hint: &str| new(ErrorCode::Credentials, &format!("AWS credentials refused: {problem}")).hint(hint);
    match (status, code) {
        (_, "NoSuchKey" | "NoSuchVersion") => new(ErrorCode::NotFound, "no object has this key").hint("see 'persist list'"),
        (_, "NoSuchBucket") => new(ErrorCode::NoSuchBucket, &format!("Bucket '{}' not found", target.bucket))
            .hint("create it, or check its name, the region and the endpoint"),
        (_, "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException") => {
            credentials("the access key ID is not known", "check AWS_ACCESS_KEY_ID or the profile")
        }
        (_, "SignatureDoesNotMatch") => {
            credentials("the secret access key does not match the access key ID", "check AWS_SECRET_ACCESS_KEY or the profile")
        }
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired") => {
            new(ErrorCode::Credentials, "AWS credentials have expired").hint("log in again, or get new ones")
        }
        (_, "InvalidToken") => credentials("the session token is not valid", "check AWS_SESSION_TOKEN, or log in again"),
        (_, "RequestTimeTooSkewed") => {
            credentials("the clock of this machine differs too much from the service's", "set the clock, for example with NTP")
        }
        // If no region is named, the format of the key is wrong.
        (_, "AuthorizationHeaderMalformed") if region.is_none() => credentials("their format is not valid", "check the access key ID"),
        (301 | 307 | 308, _)
        | (_, "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            wrong_region(region, target)
        }
        (400, "") if region.is_some() => wrong_region(region, target),
        (401, _) | (_, "MissingSecurityHeader" | "CredentialsNotSupported" | "NotSignedUp") => {
            credentials(&format!("the service answered {named}"), "check the profile or the environment")
        }
        (_, "InvalidObjectState") => new(ErrorCode::Refused, "the object is in an archive class of the bucket")
            .hint("first restore it with 'aws s3api restore-object'"),
        (_, "KeyTooLongError" | "InvalidObjectName" | "XMinioInvalidObjectName") => {
            new(ErrorCode::InvalidKey, "the key is not valid: the bucket's service refuses it").hint("choose a shorter or simpler key")
        }
        (_, "InvalidBucketName") => new(ErrorCode::InvalidArgument, "the S3 bucket name is not valid")
            .hint("a bucket name has 3 to 63 lower-case letters, digits, dots and hyphens"),
        (412, _) => new(ErrorCode::PreconditionFailed, "the object does not have the expected etag")
            .hint("check the current object ('persist show --json' prints its etag) before you try again"),
        (_, "ConditionalRequestConflict") => new(ErrorCode::Conflict, "another write of this object is in progress").hint("try again"),
        (_, "NoSuchUpload") => retry(new(ErrorCode::Refused, "the bucket's service no longer has the upload"))
            .hint("try again; a lifecycle rule that aborts uploads must allow enough time for a save"),
        // Not every service says what the conflict is.
        (_, "OperationAborted") | (409, "") => {
            new(ErrorCode::Unavailable, &format!("network error: the service is busy with another request ({named})")).hint("try again")
        }
        (_, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "IncompleteBody") => {
            new(ErrorCode::Unavailable, &format!("network error: the request arrived damaged ({named})"))
                .hint("try again; if the problem persists, check proxies between this machine and the service")
        }
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded") => {
            new(ErrorCode::NoSpace, "the storage is full, or a quota is used up").hint("delete what is not needed, or raise the quota")
        }
        (501, _) | (_, "NotImplemented") => new(ErrorCode::Unsupported, &format!("the bucket's service does not support this ({named})"))
            .hint("see docs/s3.md for what a service has to support"),
        (408, _) | (_, "RequestTimeout" | "RequestTimeoutException") => {
            new(ErrorCode::Timeout, &format!("Request timeout: the network was too slow for the service ({named})"))
                .hint("try again, or send less at once with a lower --s3-parallel")
        }
        (429 | 503, _) | (_, "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException") => {
            retry(new(ErrorCode::Unavailable, &format!("network error: the service asks the client to slow down ({named})")))
                .hint("try again later, or send fewer requests at once")
        }
        (500.., _) | (_, "InternalError") => {
            retry(new(ErrorCode::Unavailable, &format!("network error: the service failed ({named})"))).hint("try again later")
        }
        (403, _) | (_, "AccessDenied" | "AllAccessDisabled" | "AccountProblem") => new(
            ErrorCode::AccessDenied,
            "Access denied to S3 bucket",
        )
        .hint("allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket, in the policies of the user or role and of the bucket"),
        (404, _) => new(ErrorCode::NotFound, "no object has this key").hint("see 'persist list'"),
        // A successful status: an error inside a response that began with 200.
        (0..=299, _) => Failure::bad_answer(&format!("the service failed after it began to respond ({named})")).error,
        _ if said.is_empty() => new(ErrorCode::Refused, &format!("the bucket's service refused the request ({named})")),
        _ => new(ErrorCode::Refused, &format!("the bucket's service refused the request ({named})")).hint(said),
    }
}

fn wrong_region(region: Option<&str>, target: &Target<'_>) -> PersistError {
    let asked = target.region;
    match region {
        Some(region) => PersistError::new(ErrorCode::Refused, format!("the bucket is in region {region}, not in {asked}"))
            .hint(format!("use --s3-region {region}, or set AWS_REGION")),
        None => PersistError::new(ErrorCode::Refused, format!("the bucket is not in region {asked}"))
            .hint("set its region with --s3-region or AWS_REGION"),
    }
}
