//! How many requests to S3 a long timeline takes, and how many of them one after the other.

use std::process::Command;
use std::sync::Arc;

use persist_host::timeline::{OnConflict, StepSelector};
use persist_host::{Durability, LocalFileStorage, SnapshotOptions};
use persist_test_support::command::{Done, chat_bytes, in_soak, persist};
use persist_test_support::proxy::{Fault, Operation, Proxy, Seen, When};
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, adapter};

use crate::helpers::{TIMELINE, on};

/// Returns how many requests came one after the other: the longest chain of requests of which
/// each began when the one before had ended.
fn serial(seen: &[Seen]) -> usize {
    let mut spans: Vec<_> = seen.iter().map(|seen| (seen.ended.expect("it was answered"), seen.arrived)).collect();
    spans.sort();
    let (mut count, mut last) = (0, None);
    for (ended, arrived) in spans {
        if last.is_none_or(|last| arrived >= last) {
            (count, last) = (count + 1, Some(ended));
        }
    }
    count
}

/// Returns how much of the state each step has.
const STEP: usize = 300;

fn run(endpoint: &str, arguments: &[&str]) -> Done {
    let mut command: Command = persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
    let done: Done = command.args(arguments).output().expect("it starts").into();
    assert_eq!(done.code, 0, "{done:?}");
    done
}

#[test]
fn a_long_timeline_takes_few_requests() {
    let steps = in_soak(1_000, 10_000);
    let server = Server::start();
    let states = chat_bytes(steps as u64 * STEP as u64);
    // The bucket of this server is a folder, into which steps go faster without requests.
    let bucket = LocalFileStorage::new(server.file("")).durability(Durability::None);
    let mut timeline = on(Arc::new(bucket)).timeline(TIMELINE).expect("a folder");
    for step in 1..=steps {
        timeline.append(&states[..step * STEP], &SnapshotOptions::default(), OnConflict::Fail).expect("it is appended");
    }
    timeline.finish().expect("it is finished");
    let proxy = Proxy::start(server.address);
    // Requests at the same time are seen as such only if they take a while.
    proxy.inject(None, Fault::Slow, When::Always);
    // On a busy machine, requests that do not wait for each other may still not overlap. One
    // try in which they do shows that they need not wait.
    let counted = |what: &str, max_serial: usize, max_requests: usize, act: &dyn Fn()| {
        for is_last in [false, false, false, false, true] {
            proxy.forget();
            act();
            let seen = proxy.seen();
            let (serial, bytes) = (serial(&seen), seen.iter().map(|seen| seen.answered).sum::<usize>());
            let lists = seen.iter().filter(|seen| seen.operation == Operation::ListObjects).count();
            println!("{steps} steps, {what}: {} requests, {lists} of them lists, {serial} one after the other, {bytes} bytes", seen.len());
            assert!(seen.len() <= max_requests, "{what}: {seen:#?}");
            if serial <= max_serial {
                return;
            }
            assert!(!is_last, "{what}: {seen:#?}");
        }
    };
    let location = format!("s3://{BUCKET}/{TIMELINE}");
    let cold = || on(Arc::new(adapter(&proxy.endpoint()))).timeline(TIMELINE).expect("a folder");
    let is_whole = |state: &[u8]| assert!(state == states);
    counted("loading the newest", 4, 100, &|| is_whole(&cold().load(&StepSelector::Newest).expect("it loads")));
    counted("loading one in the middle", 4, 100, &|| {
        let number = steps / 2;
        assert!(cold().load(&StepSelector::Number(number as u64)).expect("it loads") == states[..number * STEP]);
    });
    counted("restore", 4, 100, &|| is_whole(run(&proxy.endpoint(), &["restore", &format!("{location}@latest")]).stdout.as_bytes()));
    counted("log -n 20", 3, 25, &|| {
        let lines = run(&proxy.endpoint(), &["log", "-n", "20", "--json", &location]).stdout;
        assert_eq!(lines.lines().count(), 20);
        assert!(lines.contains(&format!("\"number\":{steps},")), "{lines}");
    });
    counted("log", usize::MAX, 320, &|| {
        let lines = run(&proxy.endpoint(), &["log", "--json", &location]).stdout;
        assert_eq!(lines.lines().count(), steps);
    });
    counted("one more append", 12, 120, &|| {
        let mut timeline = cold();
        timeline.append(&states, &SnapshotOptions::default(), OnConflict::Fail).expect("it is appended");
    });
}
