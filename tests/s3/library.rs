//! A bucket as an embedding program reaches it.

use std::error::Error;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use persist_host::{Engine, ErrorCode, PersistError, S3Credentials, S3Options, S3StorageAdapter, SdkConfig, SnapshotOptions};
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, adapter};

fn config(endpoint: &str, secret: &str) -> SdkConfig {
    let provider = SharedCredentialsProvider::new(Credentials::new(ACCESS_KEY, secret, None, None, "a test"));
    SdkConfig::builder().endpoint_url(endpoint).credentials_provider(provider).build()
}

fn fails<T>(result: Result<T, PersistError>) -> PersistError {
    result.err().expect("it fails")
}

#[test]
fn a_program_brings_its_own_configuration() {
    let server = Server::start();
    let options = || {
        let mut options = S3Options::default();
        options.addressing = Some(persist_host::S3Addressing::Path);
        options
    };
    let storage = |secret: &str| S3StorageAdapter::with_config(BUCKET, &config(&server.endpoint(), secret), options());
    let engine = |secret: &str| Engine::builder().storage(storage(secret).expect("the options are valid")).build().expect("an engine");
    engine(SECRET_KEY).snapshot("x.json.gz", b"{}", &SnapshotOptions::default()).expect("it is stored");
    assert_eq!(engine(SECRET_KEY).restore("x.json.gz").expect("it is there"), b"{}");
    let refused = fails(engine("another secret key, which is as long").restore("x.json.gz"));
    assert_eq!(refused.code(), ErrorCode::Credentials, "{refused:?}");
    // One of them would be ignored.
    let mut both = options();
    both.credentials = Some(S3Credentials::new(ACCESS_KEY, SECRET_KEY, None));
    let both = S3StorageAdapter::with_config(BUCKET, &config(&server.endpoint(), SECRET_KEY), both);
    assert_eq!(fails(both).code(), ErrorCode::InvalidArgument);
}

#[test]
fn an_error_says_what_led_to_it() {
    // Nobody listens there.
    let engine = Engine::builder().storage(adapter("http://127.0.0.1:1")).build().expect("an engine");
    let error = fails(engine.restore("x.json.gz"));
    let mut cause = error.source();
    let mut refused = false;
    while let Some(error) = cause {
        refused |= error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        cause = error.source();
    }
    assert!(refused, "{error:?}");
}
