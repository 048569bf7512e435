//! The outcome of a write to a bucket is reported correctly, whatever happens to its
//! requests. Ending a write takes no longer, and a response no more memory, than
//! documented.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use persist_host::{
    CancelToken, Engine, ErrorCode, PersistError, Precondition, ReadOptions, ReadRequest, Result, S3StorageAdapter, SnapshotOptions,
    StorageAdapter, StorageWriter, WriteOptions,
};
use persist_test_support::command::Done;
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, adapter_with};

const MIB: usize = 1 << 20;

/// How long ending a write may take: the documented time, plus a margin for a busy
/// machine.
const ENDED: Duration = Duration::from_millis(4500);

fn writer(adapter: &dyn StorageAdapter, key: &str, precondition: Precondition) -> Box<dyn StorageWriter> {
    adapter.open_write(key, WriteOptions { precondition, ..WriteOptions::default() }).expect("it opens")
}

fn put(adapter: &dyn StorageAdapter, key: &str, bytes: &[u8], precondition: Precondition) -> Result<()> {
    let mut writer = writer(adapter, key, precondition);
    writer.write(bytes)?;
    writer.commit().map(drop)
}

fn small_parts(proxy: &Proxy) -> S3StorageAdapter {
    adapter_with(&proxy.endpoint(), |options| options.part_size = 5 * MIB)
}

fn read(server: &Server, key: &str) -> Vec<u8> {
    let adapter = server.adapter();
    adapter.load(&adapter.locate(key).parse().expect("a location")).expect("it is there")
}

fn count(proxy: &Proxy, operation: Operation) -> usize {
    proxy.seen().iter().filter(|seen| seen.operation == operation).count()
}

/// Returns the command with the tests' credentials for a server.
fn persist(endpoint: &str) -> Command {
    let mut command = persist_test_support::command::persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_REGION", "us-east-1");
    command.env("PERSIST_S3_ENDPOINT", endpoint);
    command
}

fn run(command: &mut Command) -> Done {
    command.output().expect("persist starts").into()
}

/// Runs a command, and returns its peak memory in MiB.
fn run_measured(command: &mut Command) -> (Done, u64) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    persist_test_support::command::peak_of(command.spawn().expect("persist starts"))
}

fn json_error(done: &Done) -> serde_json::Value {
    serde_json::from_str(done.stderr.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{done:?}"))
}

// ---- Conflicts ----------------------------------------------------------------

#[test]
fn a_conflict_of_two_writes_is_retried_and_is_not_an_existing_object() {
    for (code, expected) in [("ConditionalRequestConflict", ErrorCode::Conflict), ("", ErrorCode::Unavailable)] {
        for (size, operation) in [(1, Operation::PutObject), (6 * MIB, Operation::CompleteUpload)] {
            for condition in [Precondition::IfAbsent, Precondition::None] {
                let server = Server::start();
                let proxy = Proxy::start(server.address);
                let adapter = small_parts(&proxy);
                put(&adapter, "probe", &vec![0; size], condition.clone()).expect("nothing is there");
                proxy.inject(operation, Fault::Answer(409, code), When::First);
                put(&adapter, "x", &vec![1; size], condition.clone()).expect("the next attempt");
                proxy.heal();
                proxy.inject(operation, Fault::Answer(409, code), When::Always);
                let error = put(&adapter, "y", &vec![1; size], condition.clone()).expect_err("each attempt is refused");
                assert_eq!(error.code(), expected, "{code} {condition:?}: {error:?}");
                assert!(error.retryable() && error.detail().hint.as_deref() == Some("try again"), "{error:?}");
                assert_eq!(server.adapter().stat("y").expect_err("it is not stored").code(), ErrorCode::NotFound);
                assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn a_refusal_that_cannot_be_verified_is_an_unknown_outcome() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = small_parts(&proxy);
    for size in [1, 6 * MIB] {
        put(&adapter, &format!("probe/{size}"), &vec![0; size], Precondition::IfAbsent).expect("nothing is there");
    }
    // Another writer's object is there, and asking whose it is fails.
    for (size, operation) in [(1, Operation::PutObject), (6 * MIB, Operation::CompleteUpload)] {
        let key = format!("x/{size}");
        let mut writer = writer(&adapter, &key, Precondition::IfAbsent);
        writer.write(&vec![1; size]).expect("it is written");
        put(&server.adapter(), &key, b"another's", Precondition::None).expect("it is written");
        proxy.inject(operation, Fault::LoseReply, When::First);
        proxy.inject(Operation::HeadObject, Fault::Answer(500, "InternalError"), When::Always);
        let error = writer.commit().expect_err("the outcome is unknown");
        proxy.heal();
        assert_eq!(error.code(), ErrorCode::OutcomeUnknown, "{error:?}");
        assert_eq!(read(&server, &key), b"another's");
    }
}

// ---- Uploads that are gone ------------------------------------------------------

#[test]
fn a_lost_upload_is_restarted_once() {
    let bytes = persist_test_support::command::noise(17 * MIB);
    for (operation, when) in [
        (Operation::UploadPart, When::First),
        (Operation::UploadPart, When::Nth(3)),
        (Operation::UploadPart, When::Nth(4)),
        (Operation::CompleteUpload, When::First),
    ] {
        let server = Server::start();
        let proxy = Proxy::start(server.address);
        let adapter = small_parts(&proxy);
        proxy.inject(operation, Fault::Answer(404, "NoSuchUpload"), when);
        put(&adapter, "x", &bytes, Precondition::None).unwrap_or_else(|error| panic!("{operation:?} {when:?}: {error:?}"));
        assert!(read(&server, "x") == bytes, "{operation:?} {when:?}");
        assert_eq!(count(&proxy, Operation::CreateUpload), 2, "{operation:?} {when:?}");
        // The service was wrong: it still has the first upload.
        assert_eq!(server.unfinished_uploads(), Vec::<String>::new(), "{operation:?} {when:?}");
    }
}

#[test]
fn an_upload_that_keeps_getting_lost_is_not_a_missing_object() {
    let bytes = persist_test_support::command::noise(17 * MIB);
    for operation in [Operation::UploadPart, Operation::CompleteUpload] {
        let server = Server::start();
        let proxy = Proxy::start(server.address);
        let adapter = small_parts(&proxy);
        proxy.inject(operation, Fault::Answer(404, "NoSuchUpload"), When::Always);
        for condition in [Precondition::None, Precondition::IfAbsent] {
            let error = put(&adapter, "x", &bytes, condition).expect_err("it is gone each time");
            assert_eq!((error.code(), error.retryable()), (ErrorCode::Refused, true), "{error:?}");
            assert!(error.detail().message.contains("no longer has the upload"), "{error:?}");
            assert!(error.detail().hint.as_ref().is_some_and(|hint| hint.contains("lifecycle rule")), "{error:?}");
            assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
        }
        assert_eq!(server.adapter().stat("x").expect_err("it is not stored").code(), ErrorCode::NotFound);
    }
}

#[test]
fn a_large_state_in_memory_and_a_copy_are_sent_again_completely() {
    // More than the part of an upload that is kept: two parts of 5 MiB.
    let state = persist_test_support::command::noise(25 * MIB);
    let (server, other) = (Server::start(), Server::start());
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| {
        options.part_size = 5 * MIB;
        options.parallel = std::num::NonZeroUsize::new(2).expect("it is more than 0");
    });
    let engine = Engine::builder().build().expect("it runs");
    let (here, there) = (engine.with_storage(Arc::new(adapter)), engine.with_storage(Arc::new(other.adapter())));
    let options = SnapshotOptions { level: Some(1), ..SnapshotOptions::default() };
    proxy.inject(Operation::CompleteUpload, Fault::Answer(404, "NoSuchUpload"), When::First);
    here.snapshot("x.gz", &state, &options).expect("the second upload");
    assert!(here.restore("x.gz").expect("it is there") == state);
    there.snapshot("x.gz", &state, &options).expect("it is saved");
    proxy.heal();
    proxy.inject(Operation::CompleteUpload, Fault::Answer(404, "NoSuchUpload"), When::First);
    there.copy("x.gz", &here, "copy.gz", Precondition::None, |_| {}).expect("the second upload");
    assert!(here.restore("copy.gz").expect("it is there") == state);
}

// ---- Memory -------------------------------------------------------------------------

#[test]
fn copying_a_folder_takes_no_more_memory_than_documented() {
    let (from, to) = (Server::start(), Server::start());
    let engine = Engine::builder().build().expect("it runs");
    let source = engine.with_storage(Arc::new(from.adapter()));
    let options = SnapshotOptions { level: Some(1), ..SnapshotOptions::default() };
    // Large enough that eight copies at once would exceed the limit.
    let state = persist_test_support::command::noise(100 * MIB);
    source.snapshot("a/0.gz", &state, &options).expect("it is saved");
    for number in 1..8 {
        source.copy("a/0.gz", &source, &format!("a/{number}.gz"), Precondition::None, |_| {}).expect("it is copied");
    }
    drop((state, source, engine));
    let folder = tempfile::tempdir().expect("a folder");
    let (here, there) = (folder.path().join("here").display().to_string(), format!("s3://{BUCKET}/a"));
    for (endpoint, from, to) in [(from.endpoint(), &there, &here), (to.endpoint(), &here, &there)] {
        let (done, memory) = run_measured(persist(&endpoint).args(["copy", "--recursive", from, to, "--s3-part-size", "33554432"]));
        assert_eq!(done.code, 0, "{done:?}");
        println!("8 snapshots of 100 MiB from {from} to {to}: {memory} MiB");
        // The limit, plus the memory of the command itself.
        assert!(memory < 512 + 64, "{memory} MiB");
    }
    assert_eq!(to.adapter().list_objects("a/", None, 100).expect("it is listed").len(), 8);
}

// ---- Deletes --------------------------------------------------------------------

#[test]
fn the_outcome_of_a_delete_whose_reply_was_lost_is_determined() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let (adapter, direct) = (small_parts(&proxy), server.adapter());
    let etag = |key: &str| direct.stat(key).expect("it is there").etag.expect("an etag");
    // Probes the server's preconditions first.
    put(&direct, "probe", b"1", Precondition::None).expect("it is written");
    adapter.delete_object("probe", Precondition::IfMatch(etag("probe"))).expect("it is deleted");
    for is_conditional in [false, true] {
        for lost in [When::First, When::Of(2, 3), When::Always] {
            put(&direct, "x", b"1", Precondition::None).expect("it is written");
            let condition = if is_conditional { Precondition::IfMatch(etag("x")) } else { Precondition::None };
            proxy.inject(Operation::DeleteObject, Fault::LoseReply, lost);
            adapter.delete_object("x", condition).expect("it was carried out");
            proxy.heal();
            assert_eq!(direct.stat("x").expect_err("it is gone").code(), ErrorCode::NotFound);
        }
        // Apparently not carried out, but that may still happen.
        put(&direct, "x", b"1", Precondition::None).expect("it is written");
        let condition = if is_conditional { Precondition::IfMatch(etag("x")) } else { Precondition::None };
        proxy.inject(Operation::DeleteObject, Fault::Refuse, When::Always);
        assert_eq!(adapter.delete_object("x", condition).expect_err("the outcome is unknown").code(), ErrorCode::OutcomeUnknown);
        proxy.heal();
    }
    // A clear refusal is reported as such.
    let error = adapter.delete_object("x", Precondition::IfMatch("0".to_owned())).expect_err("it is another");
    assert_eq!(error.code(), ErrorCode::PreconditionFailed);
    assert_eq!(read(&server, "x"), b"1");
}

// ---- Credentials ------------------------------------------------------------------

#[test]
fn slow_credentials_are_not_missing_credentials() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    // Slow sources of credentials: a program, and a server.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("http://{}/role", silent.local_addr().expect("an address"));
    let config = folder.path().join("config");
    std::fs::write(&config, "[default]\ncredential_process = sleep 60\n").expect("it is written");
    let command = || {
        let mut command = persist_test_support::command::persist();
        command.env("PERSIST_S3_ENDPOINT", server.endpoint()).env("AWS_REGION", "us-east-1").args(["--json", "--s3-max-attempts", "1"]);
        command.args(["exists", &format!("s3://{BUCKET}/x")]);
        command
    };
    for done in [run(command().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)), run(command().env("AWS_CONFIG_FILE", config))] {
        let error = json_error(&done);
        assert_eq!((done.code, &error["code"], &error["retryable"]), (8, &"timeout".into(), &true.into()), "{done:?}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.starts_with("Storage I/O error: Request timeout") && !message.contains("credentials"), "{message}");
    }
}

// ---- Checksums ----------------------------------------------------------------------

#[test]
fn parts_carry_the_checksums_of_the_aws_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    std::fs::write(&state, persist_test_support::command::noise(12 * MIB)).expect("it is written");
    let profile = folder.path().join("config");
    std::fs::write(&profile, "[default]\nrequest_checksum_calculation = when_required\n").expect("it is written");
    let variable = ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required");
    let file = ("AWS_CONFIG_FILE", profile.to_str().expect("a path"));
    let ours = ("PERSIST_S3_CHECKSUMS", "when-supported");
    for (settings, expected) in [(&[][..], true), (&[variable], false), (&[file], false), (&[variable, ours], true)] {
        let server = Server::start();
        let proxy = Proxy::start(server.address);
        let location = format!("s3://{BUCKET}/x.gz");
        let save = ["snapshot", state.to_str().expect("a path"), &location, "--level", "1", "--s3-part-size", "5242880"];
        let done = run(persist(&proxy.endpoint()).envs(settings.iter().copied()).args(save));
        assert_eq!(done.code, 0, "{settings:?}: {done:?}");
        let has_checksum = |operation, name: &str| {
            let seen = proxy.seen();
            let requests: Vec<_> = seen.iter().filter(|seen| seen.operation == operation).collect();
            assert!(!requests.is_empty(), "{operation:?}");
            requests.iter().all(|request| request.headers.keys().any(|header| header.contains(name)))
        };
        assert_eq!(has_checksum(Operation::CreateUpload, "x-amz-checksum-algorithm"), expected, "{settings:?}");
        assert_eq!(has_checksum(Operation::UploadPart, "checksum"), expected || has_checksum(Operation::UploadPart, "x-amz-trailer"));
        assert_eq!(has_checksum(Operation::UploadPart, "checksum-crc32") || has_checksum(Operation::UploadPart, "x-amz-trailer"), expected);
        let done = run(persist(&proxy.endpoint()).envs(settings.iter().copied()).args(["verify", &location]));
        assert_eq!(done.code, 0, "{settings:?}: {done:?}");
    }
}

// ---- Ending -------------------------------------------------------------------------

#[test]
fn a_write_ends_in_three_seconds_whatever_hangs() {
    let hangs: [&[Operation]; 4] =
        [&[Operation::CreateUpload], &[Operation::UploadPart], &[Operation::AbortUpload], &[Operation::UploadPart, Operation::AbortUpload]];
    for operations in hangs {
        for is_dropped in [false, true] {
            let server = Server::start();
            let proxy = Proxy::start(server.address);
            let cancel = CancelToken::new();
            let adapter = small_parts(&proxy).with_cancel(&cancel).expect("it can be cancelled");
            let mut writer = writer(&*adapter, "x", Precondition::None);
            if is_dropped && operations == [Operation::CreateUpload] {
                // Beginning the upload blocks the write, so there is nothing to drop.
                continue;
            }
            for operation in operations {
                proxy.inject(*operation, Fault::Delay, When::Always);
            }
            let began = std::thread::scope(|scope| {
                if is_dropped {
                    writer.write(&vec![1; 12 * MIB]).expect("two parts are under way");
                    let began = Instant::now();
                    drop(writer);
                    return began;
                }
                let stopping = scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    cancel.cancel();
                    Instant::now()
                });
                let written = writer.write(&vec![1; 60 * MIB]).and_then(|()| writer.write(&vec![1; 60 * MIB]));
                let error = match written {
                    Ok(()) => writer.commit().expect_err("it is cancelled"),
                    Err(error) => {
                        drop(writer);
                        error
                    }
                };
                assert_eq!(error.code(), ErrorCode::Cancelled, "{operations:?}: {error:?}");
                stopping.join().expect("it ends")
            });
            assert!(began.elapsed() < ENDED, "{operations:?}, dropped: {is_dropped}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn an_upload_that_was_not_aborted_in_time_is_named() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let cancel = CancelToken::new();
    let adapter = small_parts(&proxy).with_cancel(&cancel).expect("it can be cancelled");
    let mut writer = writer(&*adapter, "x", Precondition::None);
    writer.write(&vec![1; 12 * MIB]).expect("two parts are under way");
    proxy.inject(Operation::AbortUpload, Fault::Delay, When::Always);
    cancel.cancel();
    let error = writer.commit().expect_err("it is cancelled");
    let hint = error.detail().hint.clone().unwrap_or_default();
    assert!(error.code() == ErrorCode::Cancelled && hint.contains("abort-multipart-upload"), "{error:?}");
}

// ---- Answers without end --------------------------------------------------------------

#[test]
fn an_endless_response_is_an_error_in_bounded_memory() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    std::fs::write(&state, "{}").expect("it is written");
    let (location, bucket) = (format!("s3://{BUCKET}/x.gz"), format!("s3://{BUCKET}/"));
    assert_eq!(run(persist(&proxy.endpoint()).args(["snapshot", state.to_str().unwrap(), &location])).code, 0);
    // Not endless, but much larger once parsed.
    let dense: &'static str = Box::leak(format!("<ListBucketResult>{}</ListBucketResult>", "<Contents/>".repeat(370_000)).into_boxed_str());
    let mut most = 0;
    let cases: [(Operation, Fault, &[&str]); 6] = [
        (Operation::ListObjects, Fault::Endless(200), &["list", &bucket]),
        (Operation::ListObjects, Fault::Endless(500), &["list", &bucket]),
        (Operation::ListObjects, Fault::Body(dense), &["list", &bucket]),
        (Operation::GetObject, Fault::Endless(206), &["restore", &location]),
        (Operation::GetObject, Fault::Endless(403), &["restore", &location]),
        (Operation::PutObject, Fault::Endless(500), &["snapshot", state.to_str().unwrap(), &location]),
    ];
    for (number, (operation, fault, arguments)) in cases.into_iter().enumerate() {
        proxy.inject(operation, fault, When::Always);
        let (done, memory) = run_measured(persist(&proxy.endpoint()).arg("--json").args(arguments));
        proxy.heal();
        println!("{operation:?}, answer {number}: {memory} MiB");
        most = most.max(memory);
        assert!(matches!(done.code, 6 | 8 | 13), "{operation:?}, answer {number}: {done:?}");
        assert!(json_error(&done)["message"].is_string(), "{done:?}");
    }
    assert!(most < 64, "{most} MiB");
}

// ---- Processes ------------------------------------------------------------------------

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
fn a_change_that_was_not_begun_is_cancelled_not_unknown() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    put(&server.adapter(), "x", b"1", Precondition::None).expect("it is written");
    type Act<'a> = &'a dyn Fn(&dyn StorageAdapter) -> Result<()>;
    let cases: [(Operation, Act<'_>); 2] = [
        // Requests that are sent before the change itself.
        (Operation::PutObject, &|adapter| put(adapter, "new", b"1", Precondition::IfAbsent)),
        (Operation::HeadObject, &|adapter| adapter.delete_object("x", Precondition::None)),
    ];
    for (operation, act) in cases {
        let cancel = CancelToken::new();
        let adapter = small_parts(&proxy).with_cancel(&cancel).expect("it can be cancelled");
        proxy.inject(operation, Fault::Delay, When::Always);
        let hits = proxy.hits();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                while proxy.hits() == hits {
                    std::thread::sleep(Duration::from_millis(5));
                }
                cancel.cancel();
            });
            act(&*adapter)
        });
        proxy.heal();
        assert_eq!(outcome.expect_err("it is cancelled").code(), ErrorCode::Cancelled, "{operation:?}");
    }
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

#[test]
fn an_incomplete_listing_is_an_error() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = adapter_with(&proxy.endpoint(), |options| options.max_attempts = std::num::NonZeroU32::new(1));
    let whole = "<Contents><Key>x</Key><Size>1</Size><ETag>&quot;1&quot;</ETag></Contents>";
    let many = "<Contents/>".repeat(2000);
    for (body, is_right) in [
        (format!("<IsTruncated>false</IsTruncated>{whole}"), true),
        (format!("<IsTruncated>true</IsTruncated>{whole}"), false),
        ("<IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents>".to_owned(), false),
        (format!("<IsTruncated>false</IsTruncated>{many}"), false),
        (whole.to_owned(), false),
    ] {
        let answer: &'static str = Box::leak(format!("<ListBucketResult>{body}</ListBucketResult>").into_boxed_str());
        proxy.inject(Operation::ListObjects, Fault::Body(answer), When::Always);
        let listed = adapter.list_objects("", None, 100);
        proxy.heal();
        match listed {
            Ok(found) => assert!(is_right && found.len() == 1, "{body:.200}: {found:?}"),
            Err(error) => assert!(!is_right && error.code() == ErrorCode::Unavailable, "{body:.200}: {error:?}"),
        }
    }
}

// ---- Many small reads -------------------------------------------------------------------

#[test]
fn many_ends_of_objects_are_read_at_once_unless_the_service_slows_down() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let adapter = small_parts(&proxy);
    for number in 0..40 {
        put(&adapter, &format!("{number:04}"), format!("object {number}").as_bytes(), Precondition::None).expect("it is written");
    }
    let request =
        |number: usize| ReadRequest { key: format!("{:04}", number % 40), range: persist_host::ByteRange::Suffix(100), if_match: None };
    let requests: Vec<ReadRequest> = (0..1000).map(request).collect();
    let is_right = |answers: &[Result<persist_host::ReadAnswer>]| {
        let expected = (0..1000).map(|number| format!("object {}", number % 40).into_bytes());
        answers.iter().zip(expected).all(|(answer, expected)| answer.as_ref().is_ok_and(|answer| answer.bytes == expected))
    };
    proxy.inject(None, Fault::Slow, When::Always);
    proxy.forget();
    assert!(is_right(&adapter.read_many(&requests).expect("they are read")));
    let at_once = proxy.most_under_way();
    assert!((32..=128).contains(&at_once), "{at_once} at once");
    // If the service asks to slow down now and then, everything is read with fewer
    // requests at once.
    proxy.heal();
    proxy.inject(None, Fault::Answer(503, "SlowDown"), When::Of(1, 50));
    let adapter = adapter_with(&proxy.endpoint(), |options| options.max_attempts = std::num::NonZeroU32::new(5));
    assert!(is_right(&adapter.read_many(&requests).expect("they are read")));
}
