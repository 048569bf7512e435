//! Stdout, pipes, and what a signal does to a command that waits for one.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use persist_test_support::command::{chat_bytes, files, ok_in, persist, read};

use crate::helpers::{default_signals, folder, shell};

/// Creates a named pipe.
fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
}

/// Waits until the command handles SIGTERM. Returns false if it ended before that was
/// observed.
fn wait_until_it_listens(child: &mut Child) -> bool {
    let began = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        if u64::from_str_radix(caught.trim(), 16).is_ok_and(|caught| caught & (1 << 14) != 0) {
            return true;
        }
        if child.try_wait().expect("it is a child").is_some() {
            return false;
        }
        if began.elapsed() > Duration::from_secs(20) {
            let _ = child.kill();
            panic!("it does not listen: {:?}", child.wait());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends SIGTERM once, and returns the exit code.
fn code_after_sigterm(mut child: Child, what: &str) -> Option<i32> {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    let sent = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it is a child") {
            return status.code();
        }
        if sent.elapsed() > Duration::from_secs(10) {
            let _ = child.kill();
            panic!("{what} goes on: {:?}", child.wait());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn signals_are_handled_from_the_start() {
    let folder = folder();
    let folder = folder.path();
    for arguments in [&["verify", "x.gz"][..], &["list", "."], &["show", "x.gz"], &["copy", "x.gz", "y.gz"], &["delete", "-y", "x.gz"]] {
        ok_in(folder, &["snapshot", "state.json", "x.gz"]);
        let mut command = persist();
        command.current_dir(folder).args(arguments);
        let command = default_signals(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("persist starts");
        let listens = wait_until_it_listens(&mut child);
        let code = if listens { code_after_sigterm(child, arguments[0]) } else { child.wait().expect("it ended").code() };
        // The command may have finished before the signal: it did everything or nothing.
        let expected = match (code, arguments[0]) {
            (Some(0), "copy") => &["state.json", "x.gz", "y.gz"][..],
            (Some(0), "delete") => &["state.json"],
            (Some(0 | 130), _) => &["state.json", "x.gz"],
            _ => panic!("{arguments:?}: {code:?}"),
        };
        assert_eq!(files(folder), expected, "{arguments:?}: {code:?}");
        let _ = fs::remove_file(folder.join("y.gz"));
    }
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    // Nobody opens the other end of this pipe.
    fifo(&folder.join("fifo"));
    let mut command = persist();
    command.current_dir(folder).args(["snapshot", "fifo", "new.gz"]);
    let mut child = default_signals(&mut command).stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("persist starts");
    assert!(wait_until_it_listens(&mut child));
    assert_eq!(code_after_sigterm(child, "snapshot"), Some(130));
    assert_eq!(files(folder), ["fifo", "state.json", "x.gz"]);
}

/// Returns the exit code of a command that gets SIGTERM while the reader of its stdout,
/// or of the pipe `read_from`, has read one byte and stops reading.
fn code_when_held_up(folder: &Path, arguments: &[&str], read_from: Option<&str>) -> Option<i32> {
    use std::io::Read;

    let mut command = persist();
    command.current_dir(folder).args(arguments);
    let command = default_signals(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("persist starts");
    let mut reader: Box<dyn Read> = match read_from {
        Some(name) => Box::new(File::open(folder.join(name)).expect("the pipe")),
        None => Box::new(child.stdout.take().expect("it is piped")),
    };
    // Output has begun, and much more than a pipe holds follows.
    reader.read_exact(&mut [0]).expect("a byte");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().expect("it can be asked").is_none(), "{arguments:?}: a pipe holds more than it prints");
    let code = code_after_sigterm(child, &arguments.join(" "));
    drop(reader);
    code
}

/// Output to a stream cannot be rolled back, and its reader may never continue.
#[test]
fn the_first_signal_ends_a_command_that_its_reader_blocks() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("large.json"), chat_bytes(3_000_000)).expect("a state");
    ok_in(folder, &["snapshot", "large.json", "x.gz"]);
    fifo(&folder.join("fifo"));
    for output in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "fifo"] {
        for operation in ["restore", "salvage"] {
            let read_from = (output == "fifo").then_some("fifo");
            assert_eq!(code_when_held_up(folder, &[operation, "x.gz", "-o", output], read_from), Some(130), "{operation} -o {output}");
        }
    }
}

/// The same for the reader of a command's report.
#[test]
fn a_signal_ends_a_command_that_cannot_report() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "many/0.gz", "--description", &"d".repeat(4000)]);
    let all: Vec<String> = (0..60).map(|number| format!("many/{number}.gz")).collect();
    all.iter().skip(1).for_each(|name| {
        fs::copy(folder.join("many/0.gz"), folder.join(name)).expect("a copy");
    });
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for arguments in [&["list", "--json", "many"][..], &[&["verify", "--json"][..], &all].concat(), &["copy", "--json", "-r", "many", "to"]]
    {
        assert_eq!(code_when_held_up(folder, arguments, None), Some(130), "{}", arguments[0]);
    }
}

/// By any name, stdout gets the state and nothing else.
#[test]
fn stdout_carries_only_the_state() {
    let folder = folder();
    let folder = folder.path();
    let state = chat_bytes(300_000);
    fs::write(folder.join("large.json"), &state).expect("a state");
    ok_in(folder, &["snapshot", "large.json", "x.gz"]);
    std::os::unix::fs::symlink("/dev/stdout", folder.join("out")).expect("a link");
    let shell = |script: &str| shell(folder, script);
    for output in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "out"] {
        for operation in ["restore", "salvage"] {
            for (redirected, before, after) in [("> got", "", ""), (">> got", "head\n", ""), ("| cat > got", "", "")] {
                fs::write(folder.join("got"), before).expect("a file");
                let done = shell(&format!("set -o pipefail; \"$0\" {operation} x.gz -o {output} {redirected}"));
                assert_eq!(done.code, 0, "{operation} -o {output} {redirected}: {done:?}");
                let expected = [before.as_bytes(), &state, after.as_bytes()].concat();
                assert!(read(folder, "got") == expected, "{operation} -o {output} {redirected}");
            }
            // In order with the output of other programs.
            let done = shell(&format!("(echo head; \"$0\" {operation} x.gz -o {output}; echo tail) > got"));
            assert_eq!(done.code, 0, "{done:?}");
            assert!(read(folder, "got") == [b"head\n", &state[..], b"tail\n"].concat(), "{operation} -o {output}");
        }
    }
    // What others write after it would overwrite the state.
    let done = shell("\"$0\" restore x.gz -o /dev/fd/3 3> other");
    assert!(done.code == 2 && done.stderr.contains("a regular file that is already open"), "{done:?}");
    // A pipe has no position.
    let done = shell("\"$0\" restore x.gz -o >(cat > piped); sleep 0.2");
    assert_eq!(done.code, 0, "{done:?}");
    assert!(read(folder, "piped") == state);
}
