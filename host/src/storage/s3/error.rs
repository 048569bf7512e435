//! What a failed request means, in the words and codes of this library. One
//! word belongs to one kind of failure, so that callers who look for it in a
//! message are right: `credentials`, `bucket` or `network`.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::result::ConnectorError;
use http_body_util::LengthLimitError;

use super::transport::{MAX_ANSWER, TooManyTags};
use crate::error::{ErrorCode, PersistError};
use crate::storage::is_lost_upload;

/// What a failure leaves open about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// It was not carried out: it never left, or was refused.
    None,
    /// The service broke it off and said so: it may have been carried out, but not
    /// any more.
    Over,
    /// Nothing was heard of it: it may have been carried out, or still be.
    Open,
}

/// A failed request, before it is decided whether to send it again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: PersistError,
    /// The status of the answer; 0 if there was none.
    pub(super) status: u16,
    /// What the service called it; empty if it named nothing, as for every HEAD.
    pub(super) service_code: String,
    /// How long the service asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Whether the request may have been carried out all the same.
    pub(super) doubt: Doubt,
}

impl From<PersistError> for Failure {
    fn from(error: PersistError) -> Self {
        Self { error, status: 0, service_code: String::new(), retry_after: None, doubt: Doubt::None }
    }
}

impl Failure {
    /// No answer, or no more of it, within this time.
    pub(super) fn timeout(limit: Duration, was_sent: bool) -> Self {
        let message = format!("Request timeout: nothing came over the network for {} s", limit.as_secs_f64());
        let error = PersistError::new(ErrorCode::Timeout, message).hint("check the connection, or raise --s3-timeout");
        Self { doubt: if was_sent { Doubt::Open } else { Doubt::None }, ..Self::from(error) }
    }

    /// An answer that is not what the protocol promises: cut short, or made by
    /// something on the way.
    pub(super) fn bad_answer(problem: &str) -> Self {
        let error = PersistError::new(ErrorCode::Unavailable, format!("network error: {problem}"))
            .hint("try again; if it stays so, look at what is between here and the service");
        Self { doubt: Doubt::Open, ..Self::from(error) }
    }

    /// The failure of a body that was coming in.
    pub(super) fn body(error: &(dyn Error + 'static)) -> Self {
        Self::bad_answer(&format!("the answer broke off ({})", root_cause(error)))
    }

    /// The failure of something that may have been done all the same.
    pub(super) fn outcome_unknown(self, what: &str) -> Self {
        let mut detail = self.error.detail().clone();
        detail.facts.push(("cause".to_owned(), detail.code.as_str().to_owned()));
        detail.message = format!("{what}: {}", detail.message);
        detail.code = ErrorCode::OutcomeUnknown;
        detail.retryable = false;
        detail.hint = detail.code.advice().map(str::to_owned);
        Self { error: PersistError::from_detail(detail), ..self }
    }

    /// Whether another attempt may fare better.
    pub(super) fn retryable(&self) -> bool {
        // An upload that is gone stays so; it has to be begun again.
        self.error.retryable() && !is_lost_upload(&self.error)
    }

    /// Whether the service said that no, without saying why: the answer to a
    /// HEAD has no body.
    pub(super) fn is_unexplained(&self) -> bool {
        // The SDK itself makes a 404 of it.
        self.status >= 300 && matches!(self.service_code.as_str(), "" | "NotFound") && !self.error.retryable()
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Which bucket and region the request was for.
pub(super) struct Target<'a> {
    pub(super) bucket: &'a str,
    pub(super) region: &'a str,
}

/// What the service says of one object of a request for many.
pub(super) fn of_object(service_code: &str, service_message: &str, target: &Target<'_>) -> PersistError {
    // As if it had been asked for by itself: the status that goes with it.
    let status = match service_code {
        "AccessDenied" => 403,
        "InternalError" => 500,
        "SlowDown" | "ServiceUnavailable" => 503,
        _ => 400,
    };
    meaning(status, service_code, &said(service_message), None, target)
}

/// The service's own words, within bounds.
fn said(message: &str) -> String {
    message.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

/// What the failure of a request means. `was_sent` says whether it was handed over
/// to a connection; by that, and not by the words of an error, it is in doubt.
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
            // A refusal that comes without the words of S3, as from a proxy.
            if status >= 300 { refused(None, None, answer.raw(), target) } else { unreadable(error) }
        }
        SdkError::ConstructionFailure(_) => {
            PersistError::new(ErrorCode::InvalidArgument, format!("the request could not be made: {}", root_cause(error)))
                .hint("check region and endpoint")
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

/// An answer that says yes, and breaks off or has no end.
fn unreadable(error: &(dyn Error + 'static)) -> Failure {
    if chain(error).any(|cause| cause.is::<LengthLimitError>()) {
        return Failure::bad_answer(&format!("the answer is larger than any that S3 gives ({} MiB)", MAX_ANSWER >> 20));
    }
    if let Some(many) = chain(error).find_map(|cause| cause.downcast_ref::<TooManyTags>()) {
        return Failure::bad_answer(&format!("the answer has more in it than any that S3 gives ({many})"));
    }
    Failure::bad_answer("the answer could not be read")
}

/// Whether something on the way to an error took too long.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
            || cause.downcast_ref::<ConnectorError>().is_some_and(ConnectorError::is_timeout)
            || cause.to_string().contains("timed out")
    })
}

/// Why there are no credentials.
pub(super) fn no_credentials(error: &CredentialsError) -> PersistError {
    const HINT: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile that exists with AWS_PROFILE, log in again, \
        or run where there is a role";
    match error {
        CredentialsError::CredentialsNotLoaded(_) => PersistError::new(ErrorCode::Credentials, "AWS credentials not found").hint(HINT),
        error if matches!(error, CredentialsError::ProviderTimedOut(_)) || is_timeout(error) => slow_provider(error),
        error => {
            let cause: String = root_cause(error).chars().take(200).collect();
            PersistError::new(ErrorCode::Credentials, format!("AWS credentials not found: {cause}")).hint(HINT)
        }
    }
}

/// Why a request was not sent: what it needs first did not come in time.
fn no_credentials_in_time(error: &(dyn Error + 'static)) -> PersistError {
    if is_timeout(error) {
        return slow_provider(error);
    }
    PersistError::new(ErrorCode::Other, format!("the request could not be made: {}", root_cause(error)))
}

fn slow_provider(error: &(dyn Error + 'static)) -> PersistError {
    // What they are called here belongs to errors that say they are wrong.
    let cause: String = root_cause(error).replace("credentials", "keys").chars().take(200).collect();
    PersistError::new(ErrorCode::Timeout, format!("Request timeout: whoever gives the AWS access key was too slow ({cause})"))
        .hint("try again; if it stays so, look at the profile's credential_process, the role's endpoint or the login")
}

/// The service was not reached, or the connection broke.
fn unreachable_service(error: &(dyn Error + 'static), is_timeout: bool) -> Failure {
    let io_kind = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let words: Vec<String> = chain(error).map(ToString::to_string).collect();
    let says = |part: &str| words.iter().any(|word| word.contains(part));
    let root = words.last().map_or("", String::as_str);
    // A connection that was never made has carried nothing.
    let was_connected =
        !chain(error).any(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect()));
    let (code, message, hint) = if says("minimum throughput") {
        (ErrorCode::Timeout, "Request timeout: nothing went out over the network".to_owned(), "check the connection, or raise --s3-timeout")
    } else if is_timeout || io_kind == Some(io::ErrorKind::TimedOut) {
        let message = if was_connected { "nothing came over the network in time" } else { "no connection over the network in time" };
        (ErrorCode::Timeout, format!("Request timeout: {message}"), "check the endpoint and the way to it")
    } else if was_connected {
        (ErrorCode::Unavailable, format!("network error: the connection broke ({root})"), "try again")
    } else if io_kind == Some(io::ErrorKind::ConnectionRefused) {
        let message = "network error: the connection was refused".to_owned();
        (ErrorCode::Unavailable, message, "check the endpoint, and that its server is running")
    } else if says("dns error") || says("lookup address") {
        let message = "network error: the server's name was not found (DNS)".to_owned();
        (ErrorCode::Unavailable, message, "check the spelling of endpoint and region, and the name service")
    } else if ["certificate", "CertificateRequired", "InvalidContentType", "tls", "TLS"].iter().any(|word| says(word)) {
        let message = format!("network error: no secure connection (TLS): {root}");
        let hint = "check the endpoint's scheme; a certificate authority of your own goes into AWS_CA_BUNDLE";
        (ErrorCode::Unavailable, message, hint)
    } else {
        (ErrorCode::Unavailable, format!("network error: no connection was made ({root})"), "try again")
    };
    let error = PersistError::new(code, message).hint(hint);
    Failure { doubt: if was_connected { Doubt::Open } else { Doubt::None }, ..Failure::from(error) }
}

/// The service answered with an error.
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

/// What an answer leaves open. What stands between here and the service answers
/// without its words, and knows no more of the request than we do.
fn doubt_of_answer(status: u16, service_code: &str) -> Doubt {
    match status {
        0..=299 | 408 => Doubt::Over,
        501 | 505 | 507 => Doubt::None,
        500.. if service_code.is_empty() => Doubt::Open,
        500.. => Doubt::Over,
        _ => Doubt::None,
    }
}

/// The region that an answer names: `…the region 'us-east-1' is wrong;
/// expecting 'eu-west-1'`, or `<Region>eu-west-1</Region>`.
fn named_region(said: &str, answer: &HttpResponse) -> Option<String> {
    let between = |text: &str, before: &str, behind: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once(behind).map(|(region, _)| region.to_owned())
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
            credentials("the access key id is not known", "check AWS_ACCESS_KEY_ID or the profile")
        }
        (_, "SignatureDoesNotMatch") => {
            credentials("the secret access key is not the one of the access key id", "check AWS_SECRET_ACCESS_KEY or the profile")
        }
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired") => {
            new(ErrorCode::Credentials, "AWS credentials have expired").hint("log in again, or get new ones")
        }
        (_, "InvalidToken") => credentials("the session token is not valid", "check AWS_SESSION_TOKEN, or log in again"),
        (_, "RequestTimeTooSkewed") => {
            credentials("the clock of this machine differs too much from the service's", "set the clock, best by NTP")
        }
        // Where no region is named it is the key's form that is wrong.
        (_, "AuthorizationHeaderMalformed") if region.is_none() => credentials("their form is not valid", "check the access key id"),
        (301 | 307 | 308, _)
        | (_, "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            wrong_region(region, target)
        }
        (400, "") if region.is_some() => wrong_region(region, target),
        (401, _) | (_, "MissingSecurityHeader" | "CredentialsNotSupported" | "NotSignedUp") => {
            credentials(&format!("the service answered {named}"), "check the profile or the environment")
        }
        (_, "InvalidObjectState") => new(ErrorCode::Refused, "the object is in an archive class of the bucket")
            .hint("restore it to a class that can be read first, with 'aws s3api restore-object'"),
        (_, "KeyTooLongError" | "InvalidObjectName" | "XMinioInvalidObjectName") => {
            new(ErrorCode::InvalidKey, "the key is not valid: the bucket's service refuses it").hint("choose a shorter or plainer one")
        }
        (_, "InvalidBucketName") => new(ErrorCode::InvalidArgument, "the S3 bucket's name is not valid")
            .hint("a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens"),
        (412, _) => new(ErrorCode::PreconditionFailed, "the object is not the one expected")
            .hint("look at what is there now ('persist show --json' gives its etag), and decide anew"),
        (_, "ConditionalRequestConflict") => new(ErrorCode::Conflict, "another write of this object is under way").hint("try again"),
        (_, "NoSuchUpload") => retry(new(ErrorCode::Refused, "the bucket's service has no such upload any more"))
            .hint("try again; a lifecycle rule that aborts uploads has to leave them the time that a save takes"),
        // Not every service says with what.
        (_, "OperationAborted") | (409, "") => {
            new(ErrorCode::Unavailable, &format!("network error: the service is busy with another request ({named})")).hint("try again")
        }
        (_, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "IncompleteBody") => {
            new(ErrorCode::Unavailable, &format!("network error: the request arrived damaged ({named})"))
                .hint("try again; if it stays so, look at what is between here and the service")
        }
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded") => {
            new(ErrorCode::NoSpace, "the storage is full, or a quota is used up").hint("delete what is not needed, or raise the quota")
        }
        (501, _) | (_, "NotImplemented") => new(ErrorCode::Unsupported, &format!("the bucket's service cannot do this ({named})"))
            .hint("see docs/s3.md for what a service has to support"),
        (408, _) | (_, "RequestTimeout" | "RequestTimeoutException") => {
            new(ErrorCode::Timeout, &format!("Request timeout: the network was too slow for the service ({named})"))
                .hint("try again, or send less at once with --s3-parallel")
        }
        (429 | 503, _) | (_, "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException") => {
            retry(new(ErrorCode::Unavailable, &format!("network error: the service asks to slow down ({named})")))
                .hint("try again later, or do less at once")
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
        // Not an error's status: the words of one in an answer that said 200.
        (0..=299, _) => Failure::bad_answer(&format!("the service failed after it had begun to answer ({named})")).error,
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
            .hint("give its region with --s3-region, or set AWS_REGION"),
    }
}
