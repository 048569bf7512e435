//! Snapshots in a bucket, as a user of the command sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use persist_host::{ErrorCode, ReadOptions, StorageAdapter};
use persist_test_support::command::{Done, chat_bytes, noise, persist};
use persist_test_support::moto::{Moto, aws};
use persist_test_support::proxy::{Fault, Operation, Proxy, Seen, When};
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
use serde_json::Value;
use tempfile::TempDir;

/// Returns the command for a server, with short waits.
fn on(endpoint: &str) -> Command {
    let mut command = persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
    command.env("PERSIST_S3_INITIAL_BACKOFF", "0.01").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Done {
    command.output().expect("persist starts").into()
}

fn ok(command: &mut Command) -> String {
    let done = run(command);
    assert!(done.code == 0, "{command:?}: {done:?}");
    done.stdout
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn at(key: &str) -> String {
    format!("s3://{BUCKET}/{key}")
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), chat_bytes(300_000)).expect("a state");
    folder
}

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
        (Fault::Answer(503, "SlowDown"), "unavailable", 8, "network error: the service asks to slow down"),
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
    let dead = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    for (endpoint, says) in [
        (format!("http://{dead}"), "refused"),
        ("http://no-such-host.invalid".to_owned(), "name was not found (DNS)"),
        (proxy.endpoint().replace("http:", "https:"), "no secure connection (TLS)"),
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
    let expected = ["credentials", "region", "bucket", "write", "read", "ranged read", "list", "if-absent", "if-match", "delete"];
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
            "dead" => endpoint = "http://127.0.0.1:1".to_owned(),
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

    // The same for a local folder.
    let folder = folder();
    let text = ok(on(&proxy.endpoint()).current_dir(folder.path()).args(["doctor", "new/folder"]));
    assert!(text.contains("ok       delete"), "{text}");
    assert_eq!(persist_test_support::command::files(&folder.path().join("new")), ["folder"]);
}

#[test]
fn a_folder_moves_to_a_bucket_and_back() {
    let (server, folder) = (Server::start(), folder());
    let persist = || {
        let mut command = on(&server.endpoint());
        command.current_dir(folder.path());
        command
    };
    for number in 0..40 {
        fs::write(folder.path().join("state.json"), chat_bytes(1000 + number)).expect("a state");
        ok(persist().args(["snapshot", "state.json", &format!("agents/{}/{number:04}.json.gz", number % 3)]));
    }
    fs::write(folder.path().join("agents/notes.txt"), "no snapshot").expect("a file");
    let copied = ok(persist().args(["copy", "--recursive", "agents", &at("moved/")]));
    assert_eq!(copied.lines().filter(|line| line.starts_with("copied ")).count(), 40, "{copied}");
    let again = run(persist().args(["copy", "--recursive", "agents", &at("moved/")]));
    assert!(again.code == 0 && again.stderr.contains("0 copied, 40 skipped, 1 other file left out"), "{again:?}");
    let listed = ok(persist().args(["list", &at("moved"), "--json"]));
    assert_eq!(listed.lines().count(), 40);
    ok(persist().args(["copy", "--recursive", &at("moved"), "back"]));
    for file in persist_test_support::command::files(&folder.path().join("back")) {
        let (there, back) = (folder.path().join("agents").join(&file), folder.path().join("back").join(&file));
        assert!(there.is_dir() || fs::read(there).expect("there") == fs::read(back).expect("back"), "{file}");
    }
    assert_eq!(persist_test_support::command::files(&folder.path().join("back")).len(), 43);
}

#[test]
fn a_listing_can_have_more_than_a_thousand_snapshots() {
    let (server, folder) = (Server::start(), folder());
    ok(on(&server.endpoint()).arg("snapshot").arg(folder.path().join("state.json")).arg(at("many/0000.json.gz")));
    for number in 1..1234 {
        fs::copy(server.file("many/0000.json.gz"), server.file(&format!("many/{number:04}.json.gz"))).expect("it is copied");
    }
    let listed = ok(on(&server.endpoint()).args(["list", &at("many/"), "--json"]));
    let keys: Vec<String> = listed.lines().map(|line| json(line)["key"].as_str().expect("a key").to_owned()).collect();
    let expected: Vec<String> = (0..1234).map(|number| format!("many/{number:04}.json.gz")).collect();
    assert_eq!(keys, expected);
}

#[test]
fn an_invalid_key_of_another_client_is_reported() {
    let (server, folder) = (Server::start(), folder());
    ok(on(&server.endpoint()).arg("snapshot").arg(folder.path().join("state.json")).arg(at("many/0000.json.gz")));
    // Longer than AWS allows.
    let long = [&*"n".repeat(200); 6].join("/");
    let (first, second) = (format!("many/0000-{long}"), format!("many/0001-{long}"));
    for name in ["many/0001.json.gz", &first, &second] {
        fs::create_dir_all(server.file(name).parent().unwrap()).expect("a folder");
        fs::copy(server.file("many/0000.json.gz"), server.file(name)).expect("it is copied");
    }
    let copied = folder.path().join("copied").display().to_string();
    for arguments in [&["list", &at("many/")][..], &["copy", "--recursive", &at("many/"), &copied]] {
        let done = run(on(&server.endpoint()).args(arguments));
        assert_eq!(done.code, 2, "{done:?}");
        assert_eq!(done.stderr.matches("it is longer than 1,024 bytes").count(), 2, "{done:?}");
        assert!(done.stdout.contains("0000.json.gz") && done.stdout.contains("0001.json.gz"), "{done:?}");
    }
    // A page contains them as entries, and reading one returns the error.
    let storage = server.adapter();
    let keys: Vec<String> = storage.list_objects("many/", None, 1000).unwrap().into_iter().map(|info| info.key).collect();
    assert_eq!(keys, [&first, "many/0000.json.gz", &second, "many/0001.json.gz"]);
    let error = storage.open_read(&keys[0], ReadOptions::default()).map(drop).expect_err("it is not a valid key");
    assert_eq!(error.code(), ErrorCode::InvalidKey);
}

#[test]
fn snapshots_moved_by_another_client_restore_unchanged() {
    let (moto, folder) = (Moto::start(), folder());
    let state = fs::read(folder.path().join("state.json")).expect("the state");
    for name in ["a/1.json.gz", "a/b/2.json.zst"] {
        ok(on(&moto.endpoint()).current_dir(folder.path()).args(["snapshot", "state.json", &format!("here/{name}")]));
    }
    let sync = |from: &str, to: &str| {
        let done = aws(&moto.endpoint()).current_dir(folder.path()).args(["s3", "sync", from, to]).output().expect("aws runs");
        assert!(done.status.success(), "{done:?}");
    };
    sync("here", &at("synced"));
    for name in ["a/1.json.gz", "a/b/2.json.zst"] {
        assert_eq!(ok(on(&moto.endpoint()).args(["restore", &at(&format!("synced/{name}"))])).as_bytes(), state);
        ok(on(&moto.endpoint()).current_dir(folder.path()).args(["copy", &format!("here/{name}"), &at(&format!("ours/{name}"))]));
    }
    sync(&at("ours"), "there");
    for name in ["a/1.json.gz", "a/b/2.json.zst"] {
        assert_eq!(ok(on(&moto.endpoint()).current_dir(folder.path()).args(["restore", &format!("there/{name}")])).as_bytes(), state);
    }
}

#[test]
fn an_old_version_can_be_restored_from_a_versioned_bucket() {
    let (moto, folder) = (Moto::start(), folder());
    let aws = |arguments: &[&str]| {
        let done = aws(&moto.endpoint()).args(arguments).output().expect("aws runs");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    aws(&["s3api", "put-bucket-versioning", "--bucket", BUCKET, "--versioning-configuration", "Status=Enabled"]);
    let state = folder.path().join("state.json");
    let first = fs::read(&state).expect("the state");
    ok(on(&moto.endpoint()).arg("snapshot").arg(&state).arg(at("x.json.gz")));
    fs::write(&state, "{}").expect("a state");
    ok(on(&moto.endpoint()).arg("snapshot").arg(&state).arg(at("x.json.gz")));
    let oldest = ["--query", "Versions[-1].VersionId", "--output", "text"];
    let version = aws(&[&["s3api", "list-object-versions", "--bucket", BUCKET, "--prefix", "x.json.gz"], &oldest[..]].concat());
    let old = folder.path().join("old.json.gz");
    let old = old.to_str().expect("a path");
    aws(&["s3api", "get-object", "--bucket", BUCKET, "--key", "x.json.gz", "--version-id", &version, old]);
    assert_eq!(ok(persist().args(["restore", old])).as_bytes(), first);
}

#[test]
fn a_gibibyte_survives_broken_connections() {
    const COPIES: usize = 64;
    const MAX_RESIDENT: u64 = 256;
    let (server, folder) = (Server::start(), tempfile::tempdir().expect("a folder"));
    let proxy = Proxy::start(server.address);
    // Longer than the window of a codec, so that the snapshot has 1 GiB, too.
    let block = noise(16 << 20);
    for number in [10, 60, 110] {
        proxy.inject(Operation::UploadPart, Fault::ResetRequest, When::Nth(number));
        proxy.inject(Operation::GetObject, Fault::ResetResponse, When::Nth(number));
    }
    let mut command = on(&proxy.endpoint());
    command.args(["snapshot", "-", &at("big.json.zst"), "--level", "-7"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("persist starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let (done, peak) = std::thread::scope(|scope| {
        let block = &block;
        scope.spawn(move || (0..COPIES).for_each(|_| std::io::Write::write_all(&mut stdin, block).expect("persist reads")));
        persist_test_support::command::peak_of(child)
    });
    let hits = proxy.hits();
    println!("saved 1 GiB: {peak} MiB resident, {hits} broken connections");
    assert!(done.code == 0 && peak < MAX_RESIDENT && hits == 3, "{done:?}");
    assert!(fs::metadata(server.file("big.json.zst")).expect("it is there").len() > 1 << 30);
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());

    let target = folder.path().join("state");
    let mut command = on(&proxy.endpoint());
    command.args(["restore", &at("big.json.zst"), "-o"]).arg(&target).stderr(Stdio::piped());
    let (done, peak) = persist_test_support::command::peak_of(command.spawn().expect("persist starts"));
    let hits = proxy.hits() - hits;
    println!("restored 1 GiB: {peak} MiB resident, {hits} broken connections");
    assert!(done.code == 0 && peak < MAX_RESIDENT && hits == 3, "{done:?}");
    let mut state = fs::File::open(&target).expect("the state");
    let mut found = vec![0; block.len()];
    for number in 0..COPIES {
        std::io::Read::read_exact(&mut state, &mut found).expect("it is long enough");
        assert!(found == block, "the {number}th part");
    }
    assert_eq!(std::io::Read::read(&mut state, &mut [0]).expect("the end"), 0);
}

#[test]
fn ctrl_c_leaves_no_upload_and_no_file() {
    let (server, folder) = (Server::start(), folder());
    let local = folder.path().join("out/x.json.gz").display().to_string();
    // Also if Ctrl-C is ignored, as for background jobs of a shell.
    for (place, ignores_sigint) in [(at("x.json.gz"), false), (local, false), (at("x.json.gz"), true)] {
        // From a pipe that stays open, so that the command would wait forever.
        let mut command = on(&server.endpoint());
        if ignores_sigint {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(command.get_program());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            command = shell;
        }
        command.args(["snapshot", "-", &place, "--codec", "zstd", "--level", "-7", "--s3-part-size", "5242880", "--workers", "2"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("persist starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // One part, plus what two workers may hold.
        std::io::Write::write_all(&mut stdin, &noise(16_000_000)).expect("it reads");
        let is_begun = || match place.starts_with("s3") {
            true => !server.unfinished_uploads().is_empty(),
            false => folder.path().join("out").is_dir(),
        };
        let began = Instant::now();
        while !is_begun() {
            assert!(began.elapsed() < Duration::from_secs(30), "{place}: nothing is written");
            std::thread::sleep(Duration::from_millis(20));
        }
        let id = nix::unistd::Pid::from_raw(child.id() as i32);
        if ignores_sigint {
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("it runs");
            std::thread::sleep(Duration::from_millis(200));
            assert!(child.try_wait().expect("it is asked").is_none(), "it goes on");
        }
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        let done: Done = child.wait_with_output().expect("it ends").into();
        assert_eq!((done.code, done.stderr.contains("cancelled")), (130, true), "{place}: {done:?}");
        assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
        drop(stdin);
    }
    assert_eq!(persist_test_support::command::files(&folder.path().join("out")), Vec::<String>::new());
    assert!(!Path::new(&server.file("x.json.gz")).exists());
}

#[test]
fn settings_come_from_options_environment_and_profile() {
    let (server, folder) = (Server::start(), folder());
    let state = folder.path().join("state.json");
    let profile = folder.path().join("credentials");
    fs::write(&profile, format!("[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")).expect("a file");
    let persist = || {
        let mut command = persist();
        command.env("AWS_SHARED_CREDENTIALS_FILE", &profile).env("AWS_PROFILE", "work").stdin(Stdio::null());
        command
    };
    // The bucket by an option and the endpoint by the environment, then the other way
    // round.
    ok(persist()
        .args(["snapshot"])
        .arg(&state)
        .args(["a/x.json.gz", "--storage", "s3", "--s3-bucket", BUCKET])
        .env("PERSIST_S3_ENDPOINT", server.endpoint()));
    let mut command = persist();
    command.env("PERSIST_STORAGE", "s3").env("PERSIST_S3_BUCKET", BUCKET);
    let shown = json(&ok(command.args(["show", "a/x.json.gz", "--json", "--s3-endpoint", &server.endpoint()])));
    assert_eq!(shown["key"], "a/x.json.gz");
    // The printed etag works as a precondition.
    let etag = shown["etag"].as_str().expect("an etag").to_owned();
    let replace = |etag: &str| {
        run(persist().args(["snapshot"]).arg(&state).args([&at("a/x.json.gz"), "--if-match", etag, "--s3-endpoint", &server.endpoint()]))
    };
    fs::write(&state, "{}").expect("a state");
    assert_eq!(replace(&etag).code, 0);
    assert_eq!(replace(&etag).code, 4);
    for (arguments, says) in [
        (&["--s3-max-attempts", "0"][..], "--s3-max-attempts"),
        (&["--s3-addressing", "sideways"], "path or virtual"),
        (&["--s3-part-size", "1000"], "5 MiB"),
        (&["--s3-tags", "nothing"], "NAME=VALUE"),
        (&["--s3-sse", "AES256", "--s3-kms-key-id", "x"], "aws:kms"),
        (&["--s3-metadata", "persist-write=1"], "is reserved"),
        (&["--s3-accelerate", "--s3-addressing", "path"], "virtual"),
        (&["--s3-endpoint", "127.0.0.1:9000"], "with its scheme"),
    ] {
        let done = run(persist().args(["exists", &at("x")]).args(arguments));
        assert!(done.code == 2 && done.stderr.contains(says), "{done:?}");
    }
}

/// Returns the first server that the command connects to, through a proxy that refuses
/// every connection.
fn asked_for(command: &mut Command) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the command connects");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("it asks");
        line
    });
    command.env("HTTPS_PROXY", &proxy).env("https_proxy", &proxy).env_remove("NO_PROXY").env_remove("no_proxy");
    let done = command.args(["--s3-max-attempts", "1"]).output().expect("persist starts");
    assert!(!done.status.success(), "{done:?}");
    asked.join().expect("it asked")
}

#[test]
fn an_access_point_is_reached_by_its_arn() {
    let folder = folder();
    let mut command = persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command.args(["exists", "s3://arn:aws:s3:eu-central-1:123456789012:accesspoint/my-point/agents/0001.json.gz"]);
    let asked = asked_for(command.current_dir(folder.path()));
    assert_eq!(asked, "CONNECT my-point-123456789012.s3-accesspoint.eu-central-1.amazonaws.com:443 HTTP/1.1\r\n");
}

#[test]
fn a_profile_is_chosen_by_an_option() {
    let folder = folder();
    let config = folder.path().join("config");
    fs::write(&config, "[profile other]\nregion = ap-south-1\naws_access_key_id = AKIAOTHER\naws_secret_access_key = secret\n")
        .expect("a file");
    for (option, server) in
        [("--profile", "my-bucket.s3.ap-south-1.amazonaws.com"), ("--s3-profile", "my-bucket.s3.ap-south-1.amazonaws.com")]
    {
        let mut command = persist();
        command.env("AWS_CONFIG_FILE", &config).args(["exists", "s3://my-bucket/x.gz", option, "other"]);
        assert_eq!(asked_for(&mut command), format!("CONNECT {server}:443 HTTP/1.1\r\n"));
    }
    let mut command = persist();
    let done = command
        .env("AWS_CONFIG_FILE", &config)
        .args(["exists", "s3://my-bucket/x.gz", "--profile", "missing"])
        .output()
        .expect("it starts");
    assert_eq!(done.status.code(), Some(6), "{done:?}");
}
