//! A location in a folder or a bucket, and the snapshots that are saved there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use persist_test_support::command::{Done, persist};
use persist_test_support::proxy::Proxy;
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY};
use tempfile::TempDir;

/// A location for snapshots, and how the command reaches it.
pub(crate) struct Place {
    pub(crate) at: String,
    pub(crate) folder: TempDir,
    pub(crate) endpoint: Option<String>,
}

impl Place {
    pub(crate) fn local() -> Self {
        Self { at: "agents".to_owned(), folder: state(), endpoint: None }
    }

    pub(crate) fn bucket(endpoint: String) -> Self {
        Self { at: format!("s3://{BUCKET}/agents"), folder: state(), endpoint: Some(endpoint) }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = persist();
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some(endpoint) = &self.endpoint {
            command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
        }
        command
    }

    /// Runs the command; `@` stands for the location.
    pub(crate) fn run(&self, typed: &str) -> Done {
        self.command().args(typed.split(' ').map(|word| word.replace('@', &self.at))).output().expect("persist starts").into()
    }

    /// Runs the command, which has to succeed, and returns its stdout.
    pub(crate) fn ok(&self, typed: &str) -> String {
        let done = self.run(typed);
        assert!(done.code == 0, "persist {typed}: {done:?}");
        done.stdout
    }

    /// Returns the first word of each line of a listing, without the headings.
    pub(crate) fn keys(&self, typed: &str) -> Vec<String> {
        // In a bucket, keys include the folder.
        let key = |line: &str| line.split(' ').next().map(|key| key.strip_prefix("agents/").unwrap_or(key).to_owned());
        self.ok(typed).lines().skip(1).filter_map(key).collect()
    }
}

fn state() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), br#"{"messages": []}"#).expect("a state");
    folder
}

pub(crate) fn saved(place: &Place, keys: &[&str]) {
    for (index, key) in keys.iter().enumerate() {
        fs::write(place.folder.path().join("state.json"), "x".repeat(100 - index)).expect("a state");
        place.ok(&format!("snapshot state.json @/{key} --index {index} --session s{index} --timestamp 2026-01-{:02}T00:00:00Z", index + 1));
    }
}

/// Returns how often each kind of request was seen.
pub(crate) fn counted(proxy: &Proxy) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in proxy.seen() {
        *counts.entry(format!("{:?}", seen.operation)).or_default() += 1;
    }
    proxy.forget();
    counts
}

/// Runs the command with something on its stdin.
pub(crate) fn with_stdin(place: &Place, typed: &str, stdin: &str) -> Done {
    let mut command = place.command();
    command.args(typed.split(' ').map(|word| word.replace('@', &place.at)));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends").into()
}
