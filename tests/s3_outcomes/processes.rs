//! Forked and killed processes, and the probes of preconditions that they leave or share.

use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use persist_host::{ErrorCode, PersistError, Precondition, ReadOptions, StorageAdapter, WriteOptions};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::Server;

use crate::helpers::{MIB, put, read, small_parts, writer};

/// Returns how a child ended, or `StillAlive` if it has not ended by then.
fn ended_within(child: Pid, time: Duration) -> WaitStatus {
    let began = Instant::now();
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).expect("it is known") {
            WaitStatus::StillAlive if began.elapsed() < time => std::thread::sleep(Duration::from_millis(20)),
            ended => return ended,
        }
    }
}

#[test]
fn an_adapter_of_the_parent_is_refused_in_a_forked_child() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = small_parts(&proxy);
    put(&adapter, "x", b"1", Precondition::None).expect("it is written");
    let mut unfinished = writer(&adapter, "y", Precondition::None);
    unfinished.write(&vec![1; 12 * MIB]).expect("two parts are under way");
    // SAFETY: the child only uses what it has and exits without running anything else.
    // The only lock that another thread may have held is the allocator's, which the C
    // library keeps usable.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Child => {
            let refused = |outcome: std::result::Result<(), PersistError>| {
                outcome.is_err_and(|error| error.code() == ErrorCode::InvalidArgument && error.detail().message.contains("forked"))
            };
            let is_right = refused(adapter.stat("x").map(drop))
                && refused(adapter.list_objects("", None, 1).map(drop))
                && refused(adapter.delete_object("x", Precondition::None))
                && refused(adapter.open_read("x", ReadOptions::default()).map(drop))
                && refused(adapter.read_many(&[]).map(drop).and_then(|()| adapter.stat("x").map(drop)))
                && refused(put(&adapter, "z", b"1", Precondition::None))
                && refused(unfinished.write(&vec![1; 12 * MIB]));
            drop((unfinished, adapter));
            // SAFETY: the call ends the process at once.
            unsafe { nix::libc::_exit(i32::from(!is_right)) };
        }
        ForkResult::Parent { child } => {
            assert_eq!(ended_within(child, Duration::from_secs(20)), WaitStatus::Exited(child, 0));
            // The parent's upload is unaffected.
            unfinished.write(&vec![1; 12 * MIB]).expect("it goes on");
            unfinished.commit().expect("it is stored");
            assert_eq!(read(&server, "y").len(), 24 * MIB);
        }
    }
}

#[test]
fn a_services_preconditions_are_probed_once_per_process() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let proxy = &proxy;
            scope.spawn(move || {
                let adapter = small_parts(proxy);
                for round in 0..3 {
                    put(&adapter, &format!("{number}/{round}"), b"1", Precondition::IfAbsent).expect("nothing is there");
                }
            });
        }
    });
    let probes: std::collections::BTreeSet<String> =
        proxy.seen().into_iter().map(|seen| seen.path).filter(|path| path.contains("persist-probe")).collect();
    assert_eq!(probes.len(), 1, "{probes:?}");
    assert!(persist_test_support::command::files(server.file("").as_path()).iter().all(|file| !file.contains("persist-probe")));
}

#[test]
fn the_probe_of_a_killed_process_is_not_listed_and_is_swept() {
    let server = Server::start();
    let adapter = server.adapter();
    let probe = |digit: &str| format!("a/.persist-probe-{}.tmp", digit.repeat(32));
    // Objects of other programs with similar names.
    let others = ["a/.persist-probe-mine.json.gz".to_owned(), format!("a/.persist-probe-{}/x.gz", "0".repeat(32))];
    put(&adapter, "a/there", b"", Precondition::None).expect("it is written");
    std::fs::create_dir_all(server.file(&others[1]).parent().expect("a folder")).expect("a folder");
    let day_before = std::time::SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    for (key, is_old) in [(&probe("0"), true), (&probe("1"), false), (&others[0], true), (&others[1], true)] {
        // As another client would, since the adapter refuses such names.
        std::fs::copy(server.file("a/there"), server.file(key)).expect("it is stored");
        let file = std::fs::File::options().write(true).open(server.file(key)).expect("the file");
        file.set_modified(if is_old { day_before } else { std::time::SystemTime::now() }).expect("it has a time");
    }
    let listed = || -> Vec<String> { adapter.list_objects("", None, 10).expect("it is listed").into_iter().map(|info| info.key).collect() };
    assert_eq!(listed(), [&others[1], &others[0], "a/there"]);
    put(&adapter, "a/x", b"1", Precondition::IfAbsent).expect("nothing is there");
    assert_eq!(listed(), [&others[1], &others[0], "a/there", "a/x"]);
    assert!(!server.file(&probe("0")).exists(), "it is swept");
    assert!(server.file(&probe("1")).exists(), "it may still be in use");
    let refused = adapter.open_write(&probe("2"), WriteOptions::default()).err().expect("it would not be listed");
    assert_eq!(refused.code(), ErrorCode::InvalidKey);
}

#[test]
fn a_forked_child_does_not_wait_for_its_parents_probe() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    proxy.inject(Operation::PutObject, Fault::LateReply, When::Always);
    std::thread::scope(|scope| {
        let trying = scope.spawn(|| put(&small_parts(&proxy), "parent", b"1", Precondition::IfAbsent));
        while proxy.hits() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        // SAFETY: as above; the child makes its own connections.
        match unsafe { fork() }.expect("a child") {
            ForkResult::Child => {
                let done = put(&small_parts(&proxy), "child", b"1", Precondition::IfAbsent);
                // SAFETY: the call ends the process at once.
                unsafe { nix::libc::_exit(i32::from(done.is_err())) };
            }
            ForkResult::Parent { child } => {
                assert_eq!(ended_within(child, Duration::from_secs(40)), WaitStatus::Exited(child, 0));
                trying.join().expect("it ends").expect("nothing is there");
            }
        }
    });
}
