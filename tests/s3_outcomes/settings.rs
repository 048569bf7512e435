//! Credentials and checksums, as the AWS configuration sets them.

use std::net::TcpListener;

use persist_test_support::proxy::{Operation, Proxy};
use persist_test_support::server::{BUCKET, Server};

use crate::helpers::{MIB, json_error, persist, run};

#[test]
fn slow_credentials_are_not_missing_credentials() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    // Slow sources of credentials: a program, and a server.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("http://{}/role", silent.local_addr().expect("an address"));
    let config = folder.path().join("config");
    std::fs::write(&config, "[default]\ncredential_process = sleep 60\n").expect("it is written");
    let command = || {
        let mut command = persist_test_support::command::persist();
        command.env("PERSIST_S3_ENDPOINT", server.endpoint()).env("AWS_REGION", "us-east-1").args(["--json", "--s3-max-attempts", "1"]);
        command.args(["exists", &format!("s3://{BUCKET}/x")]);
        command
    };
    for done in [run(command().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)), run(command().env("AWS_CONFIG_FILE", config))] {
        let error = json_error(&done);
        assert_eq!((done.code, &error["code"], &error["retryable"]), (8, &"timeout".into(), &true.into()), "{done:?}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.starts_with("Storage I/O error: Request timeout") && !message.contains("credentials"), "{message}");
    }
}

#[test]
fn parts_carry_the_checksums_of_the_aws_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    std::fs::write(&state, persist_test_support::command::noise(12 * MIB)).expect("it is written");
    let profile = folder.path().join("config");
    std::fs::write(&profile, "[default]\nrequest_checksum_calculation = when_required\n").expect("it is written");
    let variable = ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required");
    let file = ("AWS_CONFIG_FILE", profile.to_str().expect("a path"));
    let ours = ("PERSIST_S3_CHECKSUMS", "when-supported");
    for (settings, expected) in [(&[][..], true), (&[variable], false), (&[file], false), (&[variable, ours], true)] {
        let server = Server::start();
        let proxy = Proxy::start(server.address);
        let location = format!("s3://{BUCKET}/x.gz");
        let save = ["snapshot", state.to_str().expect("a path"), &location, "--level", "1", "--s3-part-size", "5242880"];
        let done = run(persist(&proxy.endpoint()).envs(settings.iter().copied()).args(save));
        assert_eq!(done.code, 0, "{settings:?}: {done:?}");
        let has_checksum = |operation, name: &str| {
            let seen = proxy.seen();
            let requests: Vec<_> = seen.iter().filter(|seen| seen.operation == operation).collect();
            assert!(!requests.is_empty(), "{operation:?}");
            requests.iter().all(|request| request.headers.keys().any(|header| header.contains(name)))
        };
        assert_eq!(has_checksum(Operation::CreateUpload, "x-amz-checksum-algorithm"), expected, "{settings:?}");
        assert_eq!(has_checksum(Operation::UploadPart, "checksum"), expected || has_checksum(Operation::UploadPart, "x-amz-trailer"));
        assert_eq!(has_checksum(Operation::UploadPart, "checksum-crc32") || has_checksum(Operation::UploadPart, "x-amz-trailer"), expected);
        let done = run(persist(&proxy.endpoint()).envs(settings.iter().copied()).args(["verify", &location]));
        assert_eq!(done.code, 0, "{settings:?}: {done:?}");
    }
}
