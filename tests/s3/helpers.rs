//! Running the command on a server, and a folder with a state.

use std::fs;
use std::process::{Command, Stdio};

use persist_test_support::command::{Done, chat_bytes, persist};
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY};
use serde_json::Value;
use tempfile::TempDir;

/// Returns the command for a server, with short waits.
pub(crate) fn on(endpoint: &str) -> Command {
    let mut command = persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
    command.env("PERSIST_S3_INITIAL_BACKOFF", "0.01").stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> Done {
    command.output().expect("persist starts").into()
}

pub(crate) fn ok(command: &mut Command) -> String {
    let done = run(command);
    assert!(done.code == 0, "{command:?}: {done:?}");
    done.stdout
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(crate) fn at(key: &str) -> String {
    format!("s3://{BUCKET}/{key}")
}

pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), chat_bytes(300_000)).expect("a state");
    folder
}
