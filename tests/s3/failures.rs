//! What an error says and advises, and what `doctor` finds.

use std::fs;
use std::process::Command;

use persist_test_support::moto::Moto;
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{SECRET_KEY, Server};
use serde_json::Value;

use crate::helpers::{at, folder, json, ok, on, run};

/// A port that nobody listens on.
const DEAD: &str = "http://127.0.0.1:1";

#[test]
fn every_failure_says_what_it_is_and_what_to_do() {
    let (server, folder) = (Server::start(), folder());
    let proxy = Proxy::start(server.address);
    let state = folder.path().join("state.json");
    ok(on(&proxy.endpoint()).arg("snapshot").arg(&state).arg(at("x.gz")));
    // The service's response, the error code, the exit code, and a part of the message.
    for (answer, code, exit_code, says) in [
        (Fault::Answer(403, "AccessDenied"), "access-denied", 6, "Access denied to S3 bucket"),
        (Fault::Answer(403, "InvalidAccessKeyId"), "credentials", 6, "credentials"),
        (Fault::Answer(403, "SignatureDoesNotMatch"), "credentials", 6, "credentials"),
        (Fault::Answer(400, "ExpiredToken"), "credentials", 6, "credentials have expired"),
        (Fault::Answer(403, "RequestTimeTooSkewed"), "credentials", 6, "clock"),
        (Fault::Answer(404, "NoSuchBucket"), "no-such-bucket", 7, "Bucket 'snapshots' not found"),
        (Fault::Answer(404, "NoSuchKey"), "not-found", 3, "no object has this key"),
        (Fault::Answer(301, "PermanentRedirect"), "refused", 7, "the bucket is in region eu-west-1, not in us-east-1"),
        (Fault::Answer(400, "AuthorizationHeaderMalformed"), "refused", 7, "the bucket is in region eu-west-1, not in us-east-1"),
        (Fault::Answer(400, "InvalidRequest"), "refused", 7, "the bucket's service refused"),
        (Fault::Answer(403, "InvalidObjectState"), "refused", 7, "archive"),
        (Fault::Answer(503, "SlowDown"), "unavailable", 8, "network error: the service asks the client to slow down"),
        (Fault::Answer(500, "InternalError"), "unavailable", 8, "network error: the service failed"),
        (Fault::Answer(501, "NotImplemented"), "unsupported", 7, "does not support this"),
        (Fault::Answer(507, "InsufficientStorage"), "no-space", 8, "full"),
        (Fault::Delay, "timeout", 8, "Request timeout"),
    ] {
        proxy.inject(None, answer, When::Always);
        for arguments in [&["restore"][..], &["exists"], &["verify"], &["show"]] {
            let mut command = on(&proxy.endpoint());
            command.args(arguments).arg(at("x.gz")).args([
                "--json",
                "--s3-timeout",
                "0.5",
                "--s3-max-attempts",
                "2",
                "--s3-max-backoff",
                "0.01",
            ]);
            let done = run(&mut command);
            if arguments == ["exists"] && code == "not-found" {
                assert_eq!(done.code, 3, "{done:?}");
                continue;
            }
            let error = json(&done.stderr);
            assert_eq!((error["code"].as_str(), done.code), (Some(code), exit_code), "{answer}, {arguments:?}: {error}");
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains(says), "{message}");
            assert_eq!(error["location"], at("x.gz"));
            assert!(error["hint"].is_string(), "what to do: {error}");
            // Each of these words is reserved for one kind of failure.
            assert_eq!(message.contains("credentials"), code == "credentials", "{message}");
            let is_network = matches!(code, "unavailable" | "timeout");
            assert_eq!(message.contains("network"), is_network, "{message}");
            assert!(!is_network || !message.contains("bucket"), "{message}");
        }
        proxy.heal();
    }
    // Failures without a response.
    for (endpoint, says) in [
        (DEAD.to_owned(), "refused"),
        ("http://no-such-host.invalid".to_owned(), "name was not found (DNS)"),
        (proxy.endpoint().replace("http:", "https:"), "no secure connection could be made (TLS)"),
    ] {
        let done = run(on(&endpoint).args(["exists", &at("x.gz"), "--json"]));
        let error = json(&done.stderr);
        assert_eq!((error["code"].as_str(), done.code), (Some("unavailable"), 8), "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("network") && message.contains(says), "{message}");
    }
    // The log does not contain the secret.
    let done = run(on(&proxy.endpoint()).args(["exists", &at("x.gz")]).env("RUST_LOG", "trace"));
    assert!(done.stderr.len() > 1000 && !done.stderr.contains(SECRET_KEY), "{}", done.stderr);
}

#[test]
fn the_doctor_names_the_cause() {
    let (server, moto) = (Server::start(), Moto::start());
    let doctor = |endpoint: &str, location: &str, change: &dyn Fn(&mut Command)| {
        let mut command = on(endpoint);
        command.args(["doctor", location, "--json", "--s3-max-attempts", "2"]);
        change(&mut command);
        let done = run(&mut command);
        (json(&done.stdout), done)
    };
    let failed = |report: &Value| {
        let checks = report["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["status"] == "failed").cloned().unwrap_or_default()
    };
    let same = |_: &mut Command| {};

    let (report, done) = doctor(&server.endpoint(), &at("some/prefix/"), &same);
    assert_eq!((done.code, &report["healthy"]), (0, &Value::Bool(true)), "{report}");
    let names: Vec<&str> = report["checks"].as_array().expect("checks").iter().filter_map(|check| check["check"].as_str()).collect();
    let expected = [
        "credentials",
        "region",
        "bucket",
        "lifecycle",
        "versioning",
        "write",
        "read",
        "ranged read",
        "list",
        "if-absent",
        "if-match",
        "delete",
    ];
    assert_eq!(names, expected);
    assert!(report["checks"].as_array().expect("checks").iter().all(|check| check["status"] == "ok" && check["ms"].is_number()));
    assert!(report["checks"][0]["message"].as_str().is_some_and(|message| message.contains("from the environment")), "{report}");
    assert!(!done.stdout.contains(SECRET_KEY));
    assert_eq!(fs::read_dir(server.file("")).expect("the bucket").count(), 1, "only the empty folder of the prefix is left");

    // The check that fails, its code, the set-up, the location, the message and the exit
    // code.
    type Change<'a> = &'a dyn Fn(&mut Command);
    let cases: [(&str, &str, Change<'_>, &str, &str, i32); 6] = [
        (
            "credentials",
            "credentials",
            &|command| {
                command.env_remove("AWS_SECRET_ACCESS_KEY").env_remove("AWS_ACCESS_KEY_ID");
            },
            "s3",
            "not found",
            6,
        ),
        (
            "bucket",
            "credentials",
            &|command| {
                command.env("AWS_SECRET_ACCESS_KEY", "wrong");
            },
            "s3",
            "secret access key",
            6,
        ),
        ("bucket", "no-such-bucket", &same, "s3://no-such-bucket-here", "Bucket 'no-such-bucket-here' not found", 7),
        ("bucket", "access-denied", &same, "denied", "Access denied", 6),
        ("bucket", "refused", &same, "region", "the bucket is in region eu-west-1, not in us-east-1", 7),
        ("bucket", "unavailable", &same, "dead", "refused", 8),
    ];
    for (check, code, change, place, says, exit_code) in cases {
        let proxy = Proxy::start(server.address);
        let mut endpoint = proxy.endpoint();
        match place {
            "denied" => proxy.inject(None, Fault::Answer(403, "AccessDenied"), When::Always),
            "region" => proxy.inject(None, Fault::Answer(301, "PermanentRedirect"), When::Always),
            "dead" => endpoint = DEAD.to_owned(),
            _ => {}
        }
        let location = if place.starts_with("s3://") { place.to_owned() } else { at("") };
        let (report, done) = doctor(&endpoint, &location, change);
        let failed = failed(&report);
        assert_eq!((failed["check"].as_str(), failed["code"].as_str()), (Some(check), Some(code)), "{report}");
        assert!(failed["message"].as_str().is_some_and(|message| message.contains(says)), "{failed}");
        assert_eq!((done.code, report["exit_code"].as_i64()), (exit_code, Some(exit_code.into())), "{report}");
    }

    // Ignored preconditions are only a warning, since snapshots can be stored there.
    let proxy = Proxy::start(moto.address());
    proxy.inject(None, Fault::StripConditions, When::Always);
    let (report, done) = doctor(&proxy.endpoint(), &at(""), &same);
    let warned: Vec<&Value> = report["checks"].as_array().expect("checks").iter().filter(|check| check["status"] == "warning").collect();
    assert_eq!((done.code, warned.len()), (0, 2), "{report}");
    assert!(warned.iter().all(|check| check["code"] == "unsupported"), "{report}");
    let text = ok(on(&proxy.endpoint()).args(["doctor", &at("")]));
    assert!(text.contains("warning  if-absent") && text.contains("ok       write"), "{text}");

    // Settings of the bucket that lose steps, or keep what was deleted.
    const RULES: &str = "<LifecycleConfiguration><Rule><ID>tidy</ID><Status>Enabled</Status><Filter><Prefix>agents/</Prefix></Filter>\
                         <Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    const ARCHIVE: &str = "<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter/><Transition><Days>90</Days>\
                           <StorageClass>GLACIER_IR</StorageClass></Transition><Transition><Days>180</Days><StorageClass>DEEP_ARCHIVE\
                           </StorageClass></Transition></Rule></LifecycleConfiguration>";
    const NONCURRENT: &str = "<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter/><NoncurrentVersionExpiration>\
                              <NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>";
    const TAGGED: &str = "<LifecycleConfiguration><Rule><Status>Enabled</Status><Filter><Tag><Key>old</Key><Value>1</Value></Tag></Filter>\
                          <Expiration><Days>1</Days></Expiration></Rule><Rule><Status>Enabled</Status><Filter><Prefix>other/a/</Prefix></Filter>\
                          <NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>";
    const SUSPENDED: &str = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    const ON: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    for (rules, versions, place, expected) in [
        (
            Some(RULES),
            None,
            "agents/a/",
            [("warning", "the lifecycle rule 'tidy' deletes objects below agents/ after 30 days"), ("ok", "")],
        ),
        (Some(RULES), None, "", [("warning", "destroys timelines"), ("ok", "")]),
        (Some(ARCHIVE), None, "", [("warning", "moves objects after 180 days to DEEP_ARCHIVE, where they can't be read"), ("ok", "")]),
        (Some(RULES), Some(ON), "other/", [("ok", "no rule expires or archives objects"), ("warning", "the bucket keeps every version")]),
        (Some(TAGGED), Some(ON), "other/", [("ok", "no rule expires or archives objects"), ("warning", "the bucket keeps every version")]),
        (None, Some(SUSPENDED), "other/", [("ok", "can't be read"), ("ok", "suspended: earlier versions stay")]),
        (Some(NONCURRENT), Some(ON), "other/", [("ok", "no rule"), ("ok", "on: what is deleted or pruned is gone after 7 days")]),
        (None, Some(ON), "other/", [("ok", "can't be read"), ("ok", "on: deleting frees space only if")]),
    ] {
        let proxy = Proxy::start(server.address);
        for (operation, body) in [(Operation::GetLifecycle, rules), (Operation::GetVersioning, versions)] {
            let denied = Fault::Answer(403, "AccessDenied");
            proxy.inject(operation, body.map_or(denied, Fault::Body), When::Always);
        }
        let (report, done) = doctor(&proxy.endpoint(), &at(place), &same);
        assert_eq!(done.code, 0, "{report}");
        for (check, (status, says)) in ["lifecycle", "versioning"].into_iter().zip(expected) {
            let found = report["checks"].as_array().expect("checks").iter().find(|found| found["check"] == check).expect("it was made");
            assert_eq!(found["status"], status, "{found}");
            assert!(found["message"].as_str().is_some_and(|message| message.contains(says)), "{found}");
        }
    }

    // The same for a local folder.
    let folder = folder();
    let text = ok(on(&proxy.endpoint()).current_dir(folder.path()).args(["doctor", "new/folder"]));
    assert!(text.contains("ok       delete"), "{text}");
    assert_eq!(persist_test_support::command::files(&folder.path().join("new")), ["folder"]);
}
