//! The command where little is allowed, as in a container: no home, nothing that
//! can be written, no memory that is made executable.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use support::{Done, chat_bytes, files};

/// Saves and restores a state as both kinds, with the command that this makes.
fn saves_and_restores(folder: &Path, command: impl Fn() -> Command) {
    fs::write(folder.join("state.json"), chat_bytes(3_000_000)).unwrap();
    for name in ["x.gz", "x.zst"] {
        for arguments in [&["snapshot", "state.json", name][..], &["verify", name], &["restore", name, "-o", "out.json"]] {
            let done = Done::from(command().args(arguments).output().expect("it starts"));
            assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        }
        assert!(fs::read(folder.join("out.json")).unwrap() == chat_bytes(3_000_000));
    }
}

#[test]
fn it_writes_nothing_but_what_it_is_asked_for() {
    let [folder, home] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for variable in ["HOME", "XDG_CACHE_HOME", "TMPDIR"] {
        saves_and_restores(folder.path(), || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_persist"));
            command.current_dir(folder.path()).env_clear().env(variable, home.path());
            command
        });
    }
    assert_eq!(files(home.path()), Vec::<String>::new());
    assert_eq!(files(folder.path()), ["out.json", "state.json", "x.gz", "x.zst"]);
}

#[test]
fn a_root_that_can_not_be_written_is_enough() {
    /// Makes the folder that it begins in /mnt, /tmp empty and the root read-only.
    const MOUNTS: &str = "mount --bind . /mnt && mount -t tmpfs none /tmp && mount -o remount,bind,ro / && cd /mnt";
    let folder = tempfile::tempdir().unwrap();
    // A copy: the build's own folder may be below /tmp.
    fs::copy(env!("CARGO_BIN_EXE_persist"), folder.path().join("persist")).unwrap();
    // Root may have mounts of its own, and others where the system lets users be root
    // in a namespace; a container may forbid both.
    let ways = [&["--mount"][..], &["--user", "--map-root-user", "--mount"]];
    let shell = |way: &[&str], script: &str| {
        let mut command = Command::new("unshare");
        command.current_dir(folder.path()).args(way).args(["sh", "-c", &format!("{MOUNTS} || exit 70\n{script}"), "sh"]);
        command
    };
    let is_allowed = |way: &&&[&str]| shell(way, "exit 0").output().is_ok_and(|done| done.status.success());
    let Some(way) = ways.iter().find(is_allowed) else { return println!("this system allows no mounts of one's own") };
    assert!(!shell(way, "touch /probe").output().unwrap().status.success(), "the root can be written");
    saves_and_restores(folder.path(), || shell(way, r#"exec env -i ./persist "$@""#));
}

/// As systemd's `MemoryDenyWriteExecute` asks of the system.
#[test]
fn no_memory_has_to_be_made_executable() {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let folder = tempfile::tempdir().unwrap();
    saves_and_restores(folder.path(), || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_persist"));
        command.current_dir(folder.path()).env_clear();
        let deny = || {
            // SAFETY: it sets a flag of the process, and takes no pointers.
            let denied = unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) };
            if denied == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure makes a system call alone, and takes no memory.
        unsafe { command.pre_exec(deny) };
        command
    });
}
