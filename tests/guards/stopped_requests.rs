//! What a signal does to a command that waits for a bucket.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use persist_test_support::command::Done;
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{BUCKET, Server};

use crate::helpers::{default_signals, folder, on};

/// Waits until a request is in progress, sends a signal, and returns how the command
/// ended.
fn stop(proxy: &Proxy, operation: Operation, signal: Signal, command: &mut Command) -> Done {
    let child = default_signals(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("persist starts");
    let began = Instant::now();
    while !proxy.seen().iter().any(|seen| seen.operation == operation) {
        assert!(began.elapsed() < Duration::from_secs(30), "no request came");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Now the command waits for the response.
    std::thread::sleep(Duration::from_millis(100));
    let sent = Instant::now();
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it runs");
    let done = child.wait_with_output().expect("it ends").into();
    assert!(sent.elapsed() < Duration::from_secs(10), "{signal}: {:?} after {:?}", done, sent.elapsed());
    done
}

#[test]
fn a_stopped_command_says_so_by_its_exit_code() {
    let (server, folder) = (Server::start(), folder());
    let place = format!("s3://{BUCKET}/agents/x.json.gz");
    let done = on(&server.endpoint()).arg("snapshot").arg(folder.path().join("state.json")).arg(&place).output().expect("persist starts");
    assert!(done.status.success(), "{done:?}");
    let agents = format!("s3://{BUCKET}/agents/");
    let other = format!("s3://{BUCKET}/agents/y.json.gz");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        for (operation, arguments) in [
            (Operation::GetObject, &["verify", &place, &other][..]),
            (Operation::GetObject, &["show", &place]),
            (Operation::GetObject, &["restore", &place]),
            (Operation::HeadObject, &["exists", &place]),
            (Operation::ListObjects, &["list", &agents]),
            (Operation::GetObject, &["delete", "--yes", &place, &other]),
        ] {
            let proxy = Proxy::start(server.address);
            proxy.inject(operation, Fault::Delay, When::Always);
            let done = stop(&proxy, operation, signal, on(&proxy.endpoint()).args(arguments));
            assert_eq!((done.code, done.stdout.as_str()), (130, ""), "{arguments:?}, {signal}: {done:?}");
            // Writing to stdout may block forever, so that ends without a message.
            let says = if arguments[0] == "restore" { "" } else { "cancelled" };
            assert!(done.stderr.contains(says) && done.stderr.lines().count() <= 1, "{arguments:?}, {signal}: {done:?}");
        }
    }
    assert!(server.file("agents/x.json.gz").exists());
}

#[test]
fn a_stopped_doctor_deletes_its_object() {
    let server = Server::start();
    let place = format!("s3://{BUCKET}/agents/");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        for operation in [Operation::PutObject, Operation::GetObject, Operation::ListObjects] {
            let proxy = Proxy::start(server.address);
            // The first listing checks the bucket, before anything is written.
            let when = if operation == Operation::ListObjects { When::Second } else { When::First };
            proxy.inject(operation, Fault::Delay, when);
            let mut command = on(&proxy.endpoint());
            command.args(["doctor", &place]);
            let child = default_signals(&mut command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("persist starts");
            let began = Instant::now();
            while proxy.hits() == 0 {
                assert!(began.elapsed() < Duration::from_secs(30), "{operation:?}: no request came");
                std::thread::sleep(Duration::from_millis(10));
            }
            let sent = Instant::now();
            kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it runs");
            let done: Done = child.wait_with_output().expect("it ends").into();
            assert_eq!(done.code, 130, "{operation:?}: {done:?}");
            assert!(sent.elapsed() < Duration::from_secs(9), "{operation:?}: {:?}", sent.elapsed());
            let left = fs::read_dir(server.file("agents")).map(|found| found.flatten().count()).unwrap_or_default();
            assert_eq!(left, 0, "{operation:?}: {done:?}");
        }
    }
}
