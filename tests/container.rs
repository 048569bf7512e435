//! The command where little is allowed, as in a container: no home, nothing that
//! can be written, no memory that is made executable.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use persist_host::{Engine, LocalFileStorage, SnapshotOptions};
use support::{Done, chat_bytes, files};

/// What the log has where code for few addresses is run, or a copy of it.
const FALLBACKS: [&str; 2] = ["each gets its own", "it is copied"];

/// Saves and restores a state as both kinds, with the command that this makes.
fn saves_and_restores(folder: &Path, command: impl Fn() -> Command) {
    fs::write(folder.join("state.json"), chat_bytes(3_000_000)).unwrap();
    for name in ["x.gz", "x.zst"] {
        for arguments in [&["snapshot", "state.json", name][..], &["verify", name], &["restore", name, "-o", "out.json"]] {
            let done = Done::from(command().args(arguments).env("RUST_LOG", "persist_host=debug").output().expect("it starts"));
            assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
            assert!(done.stderr.contains("the component is loaded"), "it logs: {done:?}");
            assert!(!FALLBACKS.iter().any(|fallback| done.stderr.contains(fallback)), "{arguments:?}: {done:?}");
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
    saves_and_restores(folder.path(), || shell(way, r#"exec env -i RUST_LOG="$RUST_LOG" ./persist "$@""#));
    // And the library, in a program of its own: the test below.
    fs::copy(std::env::current_exe().unwrap(), folder.path().join("library")).unwrap();
    let inner = r#"exec env -i PERSIST_TEST_FOLDER=. ./library --exact "$@""#;
    let done = Done::from(shell(way, inner).arg("the_library_saves_and_restores").output().unwrap());
    assert!(done.code == 0 && done.stdout.contains("1 passed"), "{done:?}");
    assert!(files(folder.path()).contains(&"library.zst".to_owned()));
}

#[test]
fn the_library_saves_and_restores() {
    let temporary = tempfile::tempdir();
    let folder = std::env::var_os("PERSIST_TEST_FOLDER").map_or_else(|| temporary.unwrap().keep(), Into::into);
    let engine = Engine::builder().storage(LocalFileStorage::new(&folder)).build().unwrap();
    for _ in 0..10 {
        engine.snapshot("library.zst", &chat_bytes(3_000_000), &SnapshotOptions::default()).unwrap();
        assert!(engine.restore("library.zst").unwrap() == chat_bytes(3_000_000));
    }
}

/// With S3 and all that is on by default; with its symbols it would have 35 MB.
#[test]
fn the_command_is_small() {
    let size = fs::metadata(env!("CARGO_BIN_EXE_persist")).unwrap().len();
    println!("the command has {size} bytes");
    assert!(size <= 26_000_000, "{size} bytes");
}

/// Built by several threads at once, engines share the addresses of one copy, which
/// runs where it is linked.
#[test]
fn engines_that_are_the_first_share_one_copy() {
    let start = Barrier::new(8);
    let build = || {
        start.wait();
        Engine::builder().build().unwrap()
    };
    let engines: Vec<Engine> = thread::scope(|scope| {
        let building: Vec<_> = (0..8).map(|_| scope.spawn(build)).collect();
        building.into_iter().map(|built| built.join().unwrap()).collect()
    });
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let length = |line: &str| {
        let (begin, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        u64::from_str_radix(end, 16).unwrap() - u64::from_str_radix(begin, 16).unwrap()
    };
    let copies = maps.lines().filter(|line| length(line) > 1 << 40).count();
    // Not with all tests in one process: others may be dropping what they had.
    if std::env::var_os("PERSIST_TEST_ALONE").is_some() {
        assert_eq!((copies, maps.contains("memfd:persist")), (1, false), "{maps}");
        return drop(engines);
    }
    for _ in 0..40 {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let alone = alone.args(["--exact", "engines_that_are_the_first_share_one_copy"]).env("PERSIST_TEST_ALONE", "1");
        let done = Done::from(alone.output().unwrap());
        assert!(done.code == 0 && done.stdout.contains("1 passed"), "{done:?}");
    }
}

/// The least of several, of which other work on the machine slows some down.
fn least_of(times: usize, mut run: impl FnMut()) -> Duration {
    let time = |_| {
        let began = Instant::now();
        run();
        began.elapsed()
    };
    (0..times).map(time).min().unwrap()
}

#[test]
fn the_first_call_takes_little_more_than_none() {
    const MORE: Duration = Duration::from_millis(60);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.json"), "{}").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_persist"));
        let done = Done::from(command.current_dir(folder.path()).env_clear().args(arguments).output().unwrap());
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
    };
    let version = least_of(10, || run(&["--version"]));
    let save = least_of(10, || run(&["snapshot", "state.json", "x.zst"]));
    let restore = least_of(10, || run(&["restore", "x.zst"]));
    println!("--version {version:?}, snapshot {save:?}, restore {restore:?}");
    assert!(save < version + MORE && restore < version + MORE, "{save:?} and {restore:?}, --version {version:?}");
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
