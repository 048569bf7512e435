//! The command in a restricted environment such as a container: no home, a read-only file
//! system, no memory that is made executable.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use persist_host::{Engine, LocalFileStorage, MemoryStorage, SnapshotOptions};
use persist_test_support::command::{Done, chat_bytes, command_path, copy_program, files};

/// The log messages of the fallbacks for little address space and for memory that cannot
/// be shared.
const FALLBACKS: [&str; 2] = ["each gets its own", "it is copied"];

/// Saves and restores a state with both codecs, using the given command.
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
fn it_writes_only_what_it_is_asked_to() {
    let [folder, home] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for variable in ["HOME", "XDG_CACHE_HOME", "TMPDIR"] {
        saves_and_restores(folder.path(), || {
            let mut command = Command::new(command_path());
            command.current_dir(folder.path()).env_clear().env(variable, home.path());
            command
        });
    }
    assert_eq!(files(home.path()), Vec::<String>::new());
    assert_eq!(files(folder.path()), ["out.json", "state.json", "x.gz", "x.zst"]);
}

#[test]
fn a_read_only_root_is_enough() {
    /// Mounts the current folder as /mnt, empties /tmp and makes the root read-only.
    const MOUNTS: &str = "mount --bind . /mnt && mount -t tmpfs none /tmp && mount -o remount,bind,ro / && cd /mnt";
    let folder = tempfile::tempdir().unwrap();
    // A copy, since the build folder may be below /tmp.
    copy_program(command_path(), folder.path(), "persist");
    // Root may mount, and so may other users if the system lets them be root in a
    // namespace. A container may forbid both.
    let ways = [&["--mount"][..], &["--user", "--map-root-user", "--mount"]];
    let shell = |way: &[&str], script: &str| {
        let mut command = Command::new("unshare");
        command.current_dir(folder.path()).args(way).args(["sh", "-c", &format!("{MOUNTS} || exit 70\n{script}"), "sh"]);
        command
    };
    let is_allowed = |way: &&&[&str]| shell(way, "exit 0").output().is_ok_and(|done| done.status.success());
    let Some(way) = ways.iter().find(is_allowed) else { return println!("this system does not allow private mounts") };
    assert!(!shell(way, "touch /probe").output().unwrap().status.success(), "the root can be written");
    saves_and_restores(folder.path(), || shell(way, r#"exec env -i RUST_LOG="$RUST_LOG" ./persist "$@""#));
    // The library, too, in a separate program: the test below.
    copy_program(&std::env::current_exe().unwrap(), folder.path(), "library");
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

/// With S3 and all other default features. With symbols it would have 35 MB.
#[test]
fn the_command_is_small() {
    let size = fs::metadata(command_path()).unwrap().len();
    println!("the command has {size} bytes");
    // 11 MB of it are the component's code, compiled for three kinds of machines.
    assert!(size <= 31_000_000, "{size} bytes");
}

/// Engines that several threads build at once share the addresses of one copy of the
/// code, which runs where it is linked.
#[test]
fn engines_built_at_the_same_time_share_one_copy() {
    let start = Barrier::new(8);
    let build = || {
        start.wait();
        Engine::builder().storage(MemoryStorage::new()).build().unwrap()
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
    // Not with all tests in one process, since others may be dropping their engines.
    if std::env::var_os("PERSIST_TEST_ALONE").is_some() {
        assert_eq!((copies, maps.contains("memfd:persist")), (1, false), "{maps}");
        return drop(engines);
    }
    for _ in 0..40 {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let alone = alone.args(["--exact", "engines_built_at_the_same_time_share_one_copy"]).env("PERSIST_TEST_ALONE", "1");
        let done = Done::from(alone.output().unwrap());
        assert!(done.code == 0 && done.stdout.contains("1 passed"), "{done:?}");
    }
}

/// Runs a command, and returns the processor time that it took, which does not depend on
/// what else runs. The benchmark has the times that a user waits.
#[allow(clippy::zombie_processes, reason = "wait4 waits for it")]
fn processor_time_of(command: &mut Command) -> Duration {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let (mut status, id) = (0, child.id().try_into().unwrap());
    // SAFETY: all bytes of an rusage may be zero, since it consists of numbers.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to variables of the right types, and the child is ours and
    // was not waited for.
    let waited = unsafe { libc::wait4(id, &raw mut status, 0, &raw mut used) };
    assert_eq!((waited, status), (id, 0), "{command:?}");
    let time = |time: libc::timeval| Duration::from_micros((time.tv_sec * 1_000_000 + time.tv_usec).try_into().unwrap());
    time(used.ru_utime) + time(used.ru_stime)
}

#[test]
fn a_first_call_takes_little_longer_than_the_version() {
    const MORE: Duration = Duration::from_millis(60);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.json"), "{}").unwrap();
    let least = |arguments: &[&str]| {
        let time = |_| processor_time_of(Command::new(command_path()).current_dir(folder.path()).env_clear().args(arguments));
        (0..10).map(time).min().unwrap()
    };
    let (version, save, restore) = (least(&["--version"]), least(&["snapshot", "state.json", "x.zst"]), least(&["restore", "x.zst"]));
    println!("processor time: --version {version:?}, snapshot {save:?}, restore {restore:?}");
    assert!(save < version + MORE && restore < version + MORE, "{save:?} and {restore:?}, --version {version:?}");
}

/// As with systemd's `MemoryDenyWriteExecute`.
#[test]
fn it_works_without_making_memory_executable() {
    const PR_SET_MDWE: libc::c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let folder = tempfile::tempdir().unwrap();
    saves_and_restores(folder.path(), || {
        let mut command = Command::new(command_path());
        command.current_dir(folder.path()).env_clear();
        let deny = || {
            // SAFETY: the call sets a flag of the process and takes no pointers.
            let denied = unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) };
            if denied == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure only makes a system call and does not allocate.
        unsafe { command.pre_exec(deny) };
        command
    });
}
