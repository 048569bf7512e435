//! Bodies of responses: whole, cut short, endless, or an error of the service.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

pub(crate) type Body = BoxBody<Bytes, io::Error>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// Returns a body that fails after these bytes.
pub(crate) fn cut(bytes: Bytes) -> Body {
    let frames = vec![Ok(Frame::data(bytes)), Err(io::Error::other("cut"))];
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Returns an endless body of XML.
pub(crate) fn endless() -> Body {
    let frame = Bytes::from("<Contents><Key>and so on</Key></Contents>".repeat(2000));
    let frames = futures_util::stream::repeat_with(move || Ok(Frame::data(frame.clone())));
    BodyExt::boxed(StreamBody::new(frames))
}

pub(crate) fn error_body(code: &str) -> String {
    let message = match code {
        "AuthorizationHeaderMalformed" => "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
        _ => "as asked for",
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>")
}
