//! The command with scarce resources: few threads, little address space, unreadable
//! folders. It works with less or reports what is missing, and never panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use persist_test_support::command::{Done, chat_bytes, command_path, copy_program, files, ok_in};
use tempfile::TempDir;

/// Users without other processes, whose number of threads can be limited. Root has no
/// limit.
const ALONE: u32 = 64_993;
const ALSO_ALONE: u32 = 64_994;
const ALONE_TOO: u32 = 64_995;

/// A folder that any user can work in, with the command and a state.
struct Place {
    folder: TempDir,
    command: PathBuf,
    user: u32,
}

impl Place {
    fn new(user: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = copy_program(command_path(), folder.path(), "persist");
        fs::create_dir(folder.path().join("work")).unwrap();
        fs::write(folder.path().join("work/state.json"), chat_bytes(3_000_000)).unwrap();
        for (name, mode) in [("", 0o755), ("persist", 0o755), ("work", 0o777), ("work/state.json", 0o644)] {
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { folder, command, user }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Returns the command under a limit, run as a separate user if this user is root.
    fn command(&self, limit: Option<(Resource, u64)>, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.current_dir(self.work()).args(arguments).stdin(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(self.user).gid(self.user);
        }
        if let Some((resource, most)) = limit {
            // SAFETY: the closure only sets a limit, which is safe between fork and exec.
            unsafe { command.pre_exec(move || Ok(setrlimit(resource, most, most)?)) };
        }
        command
    }

    fn run(&self, limit: Option<(Resource, u64)>, arguments: &[&str]) -> Done {
        Done::from(self.command(limit, arguments).output().expect("it starts"))
    }
}

fn assert_works_or_says_why(done: &Done, what: &str, codes: &[&str]) {
    assert!(!done.stderr.contains("panicked"), "{what}: {done:?}");
    if done.code == 0 {
        return;
    }
    assert!(!done.stderr.is_empty(), "{what}: {done:?}");
    for line in done.stderr.lines() {
        let error: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {done:?}"));
        assert!(codes.iter().any(|code| error["code"] == **code), "{what}: {done:?}");
        assert_eq!(error["exit_code"], done.code, "{what}: {done:?}");
        assert!(error["hint"].is_string(), "{what}: {done:?}");
    }
}

#[test]
fn few_threads_are_enough_or_an_error_says_so() {
    let place = Place::new(ALONE);
    fs::write(place.work().join("small.json"), "{}").unwrap();
    for (state, name) in [("state.json", "a.gz"), ("small.json", "many/x.zst")] {
        let done = place.run(None, &["snapshot", state, name]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    let x = fs::read(place.work().join("many/x.zst")).unwrap();
    for number in 0..300 {
        fs::write(place.work().join(format!("many/{number}.zst")), &x).unwrap();
    }
    let commands: [&[&str]; 6] = [
        &["snapshot", "state.json", "new.zst"],
        &["snapshot", "state.json", "new.gz", "--workers", "8"],
        &["restore", "a.gz", "-o", "out.json"],
        &["list", "many"],
        &["verify", "a.gz", "many/1.zst"],
        &["copy", "--recursive", "many", "copied"],
    ];
    // Without root, the user's other processes count, too.
    let is_root = nix::unistd::geteuid().is_root();
    let (mut tried, mut worked) = (0, 0);
    for threads in 1..=5 {
        for arguments in commands {
            let arguments = [arguments, &["--json"]].concat();
            let done = place.run(Some((Resource::RLIMIT_NPROC, threads)), &arguments);
            let what = format!("{threads} threads, {arguments:?}");
            assert_works_or_says_why(&done, &what, &["limit-exceeded"]);
            // One thread for the command and one for its clock are enough.
            assert!(done.code == 0 || threads < 2 || !is_root, "{what}: {done:?}");
            tried += 1;
            worked += u32::from(done.code == 0);
            let _ = fs::remove_dir_all(place.work().join("copied"));
        }
    }
    println!("{worked} of {tried} commands worked");
    assert!(worked < tried, "the limit has no effect");
}

/// Without a thread that listens for signals, they keep their default action.
#[test]
fn a_signal_ends_the_command_if_no_thread_listens() {
    use std::os::unix::process::ExitStatusExt;

    let place = Place::new(ALONE_TOO);
    assert_eq!(place.run(None, &["snapshot", "state.json", "a.gz"]).code, 0);
    let is_root = nix::unistd::geteuid().is_root();
    for threads in 2..=5 {
        let mut command = place.command(Some((Resource::RLIMIT_NPROC, threads)), &["snapshot", "-", "new.gz"]);
        let reset = || {
            // SAFETY: setting a signal to its default action is safe between fork and
            // exec.
            unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGTERM, nix::sys::signal::SigHandler::SigDfl)? };
            Ok(())
        };
        // SAFETY: the closure only makes a system call and does not allocate.
        unsafe { command.pre_exec(reset) };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        // Nothing comes through the pipe, so by now the command waits for the state.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), nix::sys::signal::Signal::SIGTERM);
        let sent = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is a child") {
                break Some(status);
            }
            if sent.elapsed().as_secs() > 10 {
                break None;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        if status.is_none() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
        let status = status.unwrap_or_else(|| panic!("{threads} threads: the signal was swallowed"));
        let is_stopped = status.signal() == Some(15) || status.code() == Some(130);
        // Without root, the user's other processes count, too, and the command may not
        // have got that far.
        assert!(is_stopped || !is_root && status.code() == Some(9), "{threads} threads: {status:?}");
        // The second thread is the engine's clock.
        assert!(threads > 2 || !is_root || status.signal() == Some(15), "{threads} threads: {status:?}");
        assert!(!place.work().join("new.gz").exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn little_address_space_is_enough_or_an_error_says_so() {
    let place = Place::new(ALSO_ALONE);
    for limit in [14_000_000, 9_000_000, 7_000_000, 5_000_000, 4_000_000, 2_000_000, 1_000_000] {
        for arguments in [
            &["snapshot", "state.json", "x.gz"][..],
            &["show", "x.gz"],
            &["restore", "x.gz", "-o", "out.json"],
            &["verify", "x.gz"],
            &["list", "."],
            &["copy", "x.gz", &format!("copied-{limit}.gz")],
        ] {
            let arguments = [arguments, &["--json"]].concat();
            let done = place.run(Some((Resource::RLIMIT_AS, limit * 1024)), &arguments);
            assert_works_or_says_why(&done, &format!("{limit} KiB, {arguments:?}"), &["memory-limit"]);
            assert!(limit < 2_000_000 || done.code == 0, "{limit} KiB, {arguments:?}: {done:?}");
        }
    }
    assert_eq!(fs::read(place.work().join("out.json")).unwrap(), chat_bytes(3_000_000));
}

#[test]
fn a_closed_folder_is_reported_and_the_rest_is_listed_and_copied() {
    let place = Place::new(ALSO_ALONE);
    for key in ["s/a.gz", "s/closed/x.gz", "s/d.gz", "s/unsearchable/y.gz"] {
        let done = place.run(None, &["snapshot", "state.json", key]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    let set_mode = |name: &str, mode| fs::set_permissions(place.work().join(name), fs::Permissions::from_mode(mode)).unwrap();
    set_mode("s/closed", 0o000);
    // This folder can be opened, but nothing in it.
    set_mode("s/unsearchable", 0o444);
    for (arguments, given) in [(["list", "s", "--json"], 2), (["copy", "s", "copied"], 0)] {
        let arguments = if given == 0 { vec!["copy", "--recursive", "s", "copied", "--json"] } else { arguments.to_vec() };
        let done = place.run(None, &arguments);
        assert_eq!(done.code, 6, "{done:?}");
        assert_eq!(done.stdout.lines().count(), 2, "{done:?}");
        for part in ["s/closed/", "s/unsearchable/"] {
            assert!(done.stderr.lines().any(|line| line.contains(part) && line.contains("access-denied")), "{part}: {done:?}");
        }
    }
    assert_eq!(files(&place.work().join("copied")), ["a.gz", "d.gz"]);
    // The folder to list has to be readable.
    let done = place.run(None, &["list", "s/closed"]);
    assert!(done.code == 6 && done.stdout.is_empty(), "{done:?}");
    for name in ["s/closed", "s/unsearchable"] {
        set_mode(name, 0o755);
    }
    assert!(ok_in(&place.work(), &["list", "s"]).contains("unsearchable/y.gz"));
}
