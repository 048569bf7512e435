//! A folder with a state, a server, and a shell, which the tests of the command share.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use persist_test_support::command::{Done, command_path, persist};
use persist_test_support::craft;
use persist_test_support::server::{ACCESS_KEY, SECRET_KEY};
use tempfile::TempDir;

pub(crate) const STATE: &[u8] = br#"{"messages": []}"#;

pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), STATE).expect("a state");
    folder
}

/// Returns the command for a server, with short waits.
pub(crate) fn on(endpoint: &str) -> Command {
    let mut command = persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
    command.env("PERSIST_S3_INITIAL_BACKOFF", "0.01").stdin(Stdio::null());
    command
}

/// A shell may have started the tests with SIGINT ignored, which children inherit.
pub(crate) fn default_signals(command: &mut Command) -> &mut Command {
    let reset = || {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: setting a signal to its default action is safe between fork and
            // exec.
            unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl)? };
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls and does not allocate.
    unsafe { command.pre_exec(reset) }
}

/// Returns an intact object that Persist wrote, but of another kind.
pub(crate) fn of_another_kind() -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut frame = Vec::with_capacity(100);
    compress.compress_vec(b"state", &mut frame, flate2::FlushCompress::Sync).expect("it compresses");
    let data = craft::data(true, &frame, 5, 0);
    let row = craft::row(&frame, 5);
    let document = craft::document(true, 5, data.len() as u64, &row).replacen('{', "{\"kind\":\"step\",", 1);
    craft::file(true, &data, &row, document.as_bytes())
}

/// Runs a script in a folder, where `$0` is the command.
pub(crate) fn shell(folder: &Path, script: &str) -> Done {
    let mut command = Command::new("bash");
    command.current_dir(folder).args(["-c", script]).arg(command_path());
    command.stdin(Stdio::null()).output().expect("bash starts").into()
}
