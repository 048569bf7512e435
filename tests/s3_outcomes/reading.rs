//! Listings that are incomplete, and many small reads at once.

use persist_host::{ErrorCode, Precondition, ReadRequest, Result, StorageAdapter};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_with};

use crate::helpers::{put, small_parts};

#[test]
fn an_incomplete_listing_is_an_error() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.max_attempts = std::num::NonZeroU32::new(1));
    let whole = "<Contents><Key>x</Key><Size>1</Size><ETag>&quot;1&quot;</ETag></Contents>";
    let many = "<Contents/>".repeat(2000);
    for (body, is_right) in [
        (format!("<IsTruncated>false</IsTruncated>{whole}"), true),
        (format!("<IsTruncated>true</IsTruncated>{whole}"), false),
        ("<IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents>".to_owned(), false),
        (format!("<IsTruncated>false</IsTruncated>{many}"), false),
        (whole.to_owned(), false),
    ] {
        let answer: &'static str = Box::leak(format!("<ListBucketResult>{body}</ListBucketResult>").into_boxed_str());
        proxy.inject(Operation::ListObjects, Fault::Body(answer), When::Always);
        let listed = adapter.list_objects("", None, 100);
        proxy.heal();
        match listed {
            Ok(found) => assert!(is_right && found.len() == 1, "{body:.200}: {found:?}"),
            Err(error) => assert!(!is_right && error.code() == ErrorCode::Unavailable, "{body:.200}: {error:?}"),
        }
    }
}

#[test]
fn many_ends_of_objects_are_read_at_once_unless_the_service_slows_down() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = small_parts(&proxy);
    for number in 0..40 {
        put(&adapter, &format!("{number:04}"), format!("object {number}").as_bytes(), Precondition::None).expect("it is written");
    }
    let request = |number: usize| ReadRequest::new(format!("{:04}", number % 40), persist_host::ByteRange::Suffix(100));
    let requests: Vec<ReadRequest> = (0..1000).map(request).collect();
    let is_right = |answers: &[Result<persist_host::ReadAnswer>]| {
        let expected = (0..1000).map(|number| format!("object {}", number % 40).into_bytes());
        answers.iter().zip(expected).all(|(answer, expected)| answer.as_ref().is_ok_and(|answer| answer.bytes == expected))
    };
    proxy.inject(None, Fault::Slow, When::Always);
    proxy.forget();
    assert!(is_right(&adapter.read_many(&requests).expect("they are read")));
    let at_once = proxy.most_under_way();
    assert!((32..=128).contains(&at_once), "{at_once} at once");
    // If the service asks the client to slow down now and then, everything is read with fewer
    // requests at once.
    proxy.heal();
    proxy.inject(None, Fault::Answer(503, "SlowDown"), When::Of(1, 50));
    let adapter = adapter_with(&proxy.endpoint(), |options| options.max_attempts = std::num::NonZeroU32::new(5));
    assert!(is_right(&adapter.read_many(&requests).expect("they are read")));
}
