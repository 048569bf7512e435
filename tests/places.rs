//! Every command works on local files and in buckets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod place_suite;

use persist_host::LocalFileStorage;
use persist_test_support::command::persist;
use persist_test_support::moto::Moto;
use persist_test_support::proxy::Proxy;
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, adapter};
use persist_test_support::tls;
use place_suite::{Place, every_command_works};

fn in_bucket(endpoint: &str) {
    let command = || {
        let mut command = persist();
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
        command.env("AWS_CA_BUNDLE", tls::authority());
        command
    };
    let folder = tempfile::tempdir().expect("a folder");
    every_command_works(&Place { at: format!("s3://{BUCKET}"), folder, command: &command, storage: &adapter(endpoint) });
}

#[test]
fn on_local_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = LocalFileStorage::new(folder.path().join("place"));
    let place = Place { at: "place".to_owned(), folder, command: &persist, storage: &storage };
    every_command_works(&place);
}

#[test]
fn in_a_bucket() {
    in_bucket(&Server::start().endpoint());
}

#[test]
fn in_a_bucket_through_tls() {
    tls::trust();
    let server = Server::start();
    in_bucket(&Proxy::start_tls(server.address).endpoint());
}

#[test]
fn in_a_bucket_of_another_server() {
    in_bucket(&Moto::start().endpoint());
}
