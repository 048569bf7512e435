//! Which requests are sent, and what they say.

use std::fs;
use std::process::Command;

use persist_test_support::command::chat_bytes;
use persist_test_support::proxy::{Operation, Proxy, Seen};
use persist_test_support::server::Server;

use crate::helpers::{at, folder, ok, on};

fn operations(seen: &[Seen]) -> Vec<Operation> {
    seen.iter().map(|seen| seen.operation).collect()
}

#[test]
fn only_needed_requests_are_sent() {
    let (server, folder) = (Server::start(), folder());
    let proxy = Proxy::start(server.address);
    let persist = || on(&proxy.endpoint());
    let state = folder.path().join("state.json");

    ok(persist().args(["snapshot"]).arg(&state).arg(at("small.json.gz")));
    assert_eq!(operations(&proxy.seen()), [Operation::PutObject]);
    proxy.forget();
    ok(persist().args(["exists", &at("small.json.gz")]));
    assert_eq!(operations(&proxy.seen()), [Operation::HeadObject]);
    proxy.forget();
    ok(persist().args(["show", &at("small.json.gz")]));
    assert_eq!(operations(&proxy.seen()), [Operation::GetObject]);

    // 20 MB of state, 5 MB of it stored.
    fs::write(&state, chat_bytes(20_000_000)).expect("a state");
    ok(persist().args(["snapshot", "--level", "1"]).arg(&state).arg(at("large.json.gz")));
    proxy.forget();
    ok(persist().args(["show", &at("large.json.gz")]));
    let seen = proxy.seen();
    assert_eq!(operations(&seen), [Operation::GetObject]);
    assert_eq!((seen[0].range.as_deref(), seen[0].answered <= 65_536), (Some("bytes=-65536"), true), "{seen:?}");
}

#[test]
fn written_objects_have_the_requested_settings() {
    let (server, folder) = (Server::start(), folder());
    let proxy = Proxy::start(server.address);
    let state = folder.path().join("state.json");
    let options = [
        "--s3-sse",
        "aws:kms",
        "--s3-kms-key-id",
        "alias/snapshots",
        "--s3-storage-class",
        "REDUCED_REDUNDANCY",
        "--s3-tags",
        "team=agents,purpose=a b",
        "--s3-metadata",
        "owner=someone",
    ];
    let small = |command: &mut Command| ok(command.arg("snapshot").arg(&state).arg(at("x.json.gz")).args(options));
    small(&mut on(&proxy.endpoint()));
    fs::write(&state, chat_bytes(20_000_000)).expect("a state");
    ok(on(&proxy.endpoint())
        .args(["snapshot", "--level", "1", "--s3-part-size", "5242880"])
        .arg(&state)
        .arg(at("y.json.zst"))
        .args(options));
    let seen = proxy.seen();
    for operation in [Operation::PutObject, Operation::CreateUpload] {
        let seen = seen.iter().find(|seen| seen.operation == operation).unwrap_or_else(|| panic!("{operation:?}"));
        for (name, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "alias/snapshots"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-tagging", "purpose=a%20b&team=agents"),
            ("x-amz-meta-owner", "someone"),
        ] {
            assert_eq!(seen.headers.get(name).map(String::as_str), Some(value), "{name} in {operation:?}");
        }
        assert_eq!(seen.headers.get("x-amz-meta-persist-write").map(String::len), Some(32));
        assert!(seen.headers["content-type"].starts_with("application/"), "{:?}", seen.headers);
    }
    let checksums =
        |seen: &[Seen]| seen.iter().filter(|seen| seen.headers.keys().any(|name| name.starts_with("x-amz-checksum-crc"))).count();
    assert!(checksums(&seen) >= 3, "each body has a checksum");
    proxy.forget();
    fs::write(&state, chat_bytes(1000)).expect("a state");
    small(on(&proxy.endpoint()).args(["--s3-checksums", "when-required"]));
    assert_eq!(checksums(&proxy.seen()), 0);
    assert_eq!(ok(on(&proxy.endpoint()).args(["restore", &at("x.json.gz")])).as_bytes(), chat_bytes(1000));
}
