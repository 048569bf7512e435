//! Where settings come from, and the servers that they lead to.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use persist_test_support::command::persist;
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};

use crate::helpers::{at, folder, json, ok, run};

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
