//! What the command refuses to do without being told to, how it prints locations, and
//! what it does when it is stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Child;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use persist_test_support::command::{Done, chat_bytes, command_path, files, flip, json, ok_in, persist, pipe, read, run_in};
use persist_test_support::craft;
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
use tempfile::TempDir;

const STATE: &[u8] = br#"{"messages": []}"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), STATE).expect("a state");
    folder
}

/// Returns the command for a server, with short waits.
fn on(endpoint: &str) -> Command {
    let mut command = persist();
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
    command.env("PERSIST_S3_INITIAL_BACKOFF", "0.01").stdin(Stdio::null());
    command
}

/// A shell may have started the tests with SIGINT ignored, which children inherit.
fn default_signals(command: &mut Command) -> &mut Command {
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

fn damaged_files(folder: &Path) -> Vec<String> {
    ok_in(folder, &["snapshot", "state.json", "keep/a.json.gz"]);
    fs::write(folder.join("large.json"), chat_bytes(3_000_000)).expect("a state");
    let mut names = Vec::new();
    for (state, name) in [("state.json", "small.json"), ("large.json", "large.json")] {
        for ending in ["gz", "zst"] {
            let whole = format!("whole-{name}.{ending}");
            ok_in(folder, &["snapshot", state, &whole]);
            let bytes = read(folder, &whole);
            let end = bytes.len();
            for cut in [0, 4, 8, 12, 20, end / 2, end - 700, end - 300, end - 80, end - 1] {
                let cut_short = format!("keep/{name}.{cut}.{ending}");
                fs::write(folder.join(&cut_short), &bytes[..cut]).expect("a file");
                let mut zeroed = bytes[..cut].to_vec();
                zeroed.resize(end, 0);
                names.push(cut_short);
                if zeroed != bytes {
                    let zeroes = format!("keep/{name}.{cut}.zeros.{ending}");
                    fs::write(folder.join(&zeroes), zeroed).expect("a file");
                    names.push(zeroes);
                }
            }
        }
    }
    names
}

#[test]
fn a_truncated_snapshot_is_an_error_everywhere() {
    let folder = folder();
    let folder = folder.path();
    let names = damaged_files(folder);
    fs::write(folder.join("keep/notes.txt"), "notes").expect("a file");
    for arguments in [&["list", "keep"][..], &["copy", "-r", "keep", "to"]] {
        let done = run_in(folder, arguments);
        assert_eq!(done.code, 5, "{arguments:?}: {done:?}");
        for name in &names {
            let line = done.stderr.lines().find(|line| line.contains(&format!("{name} (")));
            assert!(line.is_some_and(|line| line.starts_with("error: ") && line.contains("persist salvage")), "{name}: {line:?}");
        }
        assert_eq!(done.stderr.lines().filter(|line| line.starts_with("error: ")).count(), names.len());
        assert!(done.stdout.contains("a.json.gz") && done.stderr.contains("1 other file"), "{done:?}");
    }
    assert_eq!(files(&folder.join("to")), ["a.json.gz"]);
    // Other files with such names are still not snapshots.
    fs::create_dir(folder.join("others")).expect("a folder");
    let mut gzip = flate2::GzBuilder::new().mtime(1).write(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"a log").expect("it compresses");
    fs::write(folder.join("others/log.gz"), gzip.finish().expect("it compresses")).expect("a file");
    fs::write(folder.join("others/text.gz"), "a text").expect("a file");
    fs::write(folder.join("others/empty"), "").expect("a file");
    let done = run_in(folder, &["list", "others"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, ""));
    assert!(done.stderr.contains("3 other files are not snapshots"), "{done:?}");
    assert_eq!(run_in(folder, &["copy", "-r", "others", "to"]).code, 0);
}

#[test]
fn a_state_never_overwrites_its_own_snapshot() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    symlink("x.gz", folder.join("link")).expect("a link");
    fs::hard_link(folder.join("x.gz"), folder.join("hard.gz")).expect("a link");
    symlink(".", folder.join("here")).expect("a link");
    let whole = read(folder, "x.gz");
    let cut = whole[..whole.len() - 1].to_vec();
    let absolute = folder.join("x.gz").display().to_string();
    let url = format!("file://{absolute}");
    for (command, bytes) in [("restore", &whole), ("salvage", &cut)] {
        fs::write(folder.join("x.gz"), bytes).expect("a snapshot");
        let before = files(folder);
        for (source, output) in [
            ("x.gz", "x.gz"),
            ("x.gz", "./x.gz"),
            ("x.gz", "here/x.gz"),
            ("x.gz", absolute.as_str()),
            ("x.gz", url.as_str()),
            ("x.gz", "link"),
            ("link", "x.gz"),
            ("x.gz", "hard.gz"),
            ("hard.gz", "x.gz"),
        ] {
            let done = run_in(folder, &[command, source, "-o", output]);
            assert_eq!(done.code, 2, "{command} {source} -o {output}: {done:?}");
            assert!(done.stderr.contains("the snapshot itself") && done.stderr.contains("give another file"), "{done:?}");
            assert_eq!(&read(folder, "x.gz"), bytes, "{command} {source} -o {output}");
            assert_eq!(files(folder), before);
        }
        // The shell's >> does not do it, either.
        let stdout = File::options().append(true).open(folder.join("x.gz")).expect("the snapshot");
        let done: Done = {
            let mut command_ = persist();
            command_.current_dir(folder).args([command, "x.gz", "-o", "-"]).stdout(stdout);
            command_.output().expect("persist starts").into()
        };
        assert_eq!(done.code, 2, "{done:?}");
        assert_eq!(&read(folder, "x.gz"), bytes);
    }
}

#[test]
fn restore_and_salvage_respect_if_exists() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    for command in ["restore", "salvage"] {
        fs::write(folder.join("out"), "precious").expect("a file");
        symlink("nowhere", folder.join("dangling")).expect("a link");
        let done = run_in(folder, &[command, "x.gz", "-o", "out", "--if-exists", "fail"]);
        assert_eq!(done.code, 4, "{command}: {done:?}");
        assert_eq!(read(folder, "out"), b"precious");
        ok_in(folder, &[command, "x.gz", "-o", "new", "--if-exists", "fail"]);
        assert_eq!(read(folder, "new"), STATE);
        ok_in(folder, &[command, "x.gz", "-o", "out", "--if-exists", "replace"]);
        assert_eq!(read(folder, "out"), STATE);
        for name in ["new", "dangling"] {
            fs::remove_file(folder.join(name)).expect("it is there");
        }
    }
    assert_eq!(files(folder), ["out", "state.json", "x.gz"]);
    // A file that is created during the restore is kept, too: of several racers, one
    // wins.
    fs::write(folder.join("large.json"), chat_bytes(4_000_000)).expect("a state");
    ok_in(folder, &["snapshot", "large.json", "large.zst"]);
    for round in 0..5 {
        let name = format!("raced-{round}");
        let start = |_| {
            let mut command = persist();
            command.current_dir(folder).args(["restore", "large.zst", "-q", "-o", &name, "--if-exists", "fail"]);
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("persist starts")
        };
        let racers: Vec<_> = (0..4).map(start).collect();
        let mut codes: Vec<_> = racers.into_iter().map(|mut racer| racer.wait().expect("it ends").code()).collect();
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(4), Some(4), Some(4)]);
        assert!(read(folder, &name) == read(folder, "large.json"));
    }
}

/// Returns an intact object that Persist wrote, but of another kind.
fn of_another_kind() -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut frame = Vec::with_capacity(100);
    compress.compress_vec(b"state", &mut frame, flate2::FlushCompress::Sync).expect("it compresses");
    let data = craft::data(true, &frame, 5, 0);
    let row = craft::row(&frame, 5);
    let document = craft::document(true, 5, data.len() as u64, &row).replacen('{', "{\"kind\":\"step\",", 1);
    craft::file(true, &data, &row, document.as_bytes())
}

#[test]
fn only_snapshots_are_deleted_unless_told_otherwise() {
    let folder = folder();
    let folder = folder.path();
    let prepare = || {
        ok_in(folder, &["snapshot", "state.json", "a.gz"]);
        ok_in(folder, &["snapshot", "state.json", "b.gz"]);
        let whole = read(folder, "a.gz");
        fs::write(folder.join("cut.gz"), &whole[..whole.len() - 10]).expect("a file");
        fs::write(folder.join("notes.txt"), "notes").expect("a file");
        fs::write(folder.join("step.gz"), of_another_kind()).expect("a file");
        let mut newer = whole.clone();
        let version = whole.len() - 74 + 8;
        newer[version] = 9;
        newer[version + 24] ^= 1;
        fs::write(folder.join("newer.gz"), newer).expect("a file");
        symlink("nowhere", folder.join("dangling")).expect("a link");
    };
    prepare();
    // The others are deleted, and the exit code is the worst.
    let done = run_in(folder, &["delete", "--yes", "a.gz", "notes.txt", "missing", "cut.gz", "newer.gz", "step.gz", "dangling", "b.gz"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert_eq!(files(folder), ["notes.txt", "state.json", "step.gz"]);
    for (name, says) in [("notes.txt", "not a snapshot"), ("step.gz", "of the kind 'step'")] {
        let refused = done.stderr.lines().find(|line| line.contains(name)).expect("it is named");
        assert!(refused.contains(says) && refused.contains("--force"), "{done:?}");
        assert!(!fs::read(folder.join(name)).expect("it is there").is_empty());
    }
    let error = json(&run_in(folder, &["delete", "--yes", "--json", "notes.txt"]).stderr);
    assert_eq!((error["code"].as_str(), error["exit_code"].as_i64()), (Some("not-a-snapshot"), Some(5)), "{error}");
    ok_in(folder, &["delete", "--yes", "--force", "notes.txt", "step.gz"]);
    prepare();
    ok_in(folder, &["delete", "--yes", "--force", "a.gz", "notes.txt", "cut.gz", "newer.gz", "step.gz", "dangling", "b.gz"]);
    assert_eq!(files(folder), ["state.json"]);
}

/// Reading each object takes a request, which --force saves.
#[test]
fn a_forced_delete_reads_nothing() {
    let (server, folder) = (Server::start(), folder());
    let proxy = Proxy::start(server.address);
    let state = folder.path().join("state.json");
    let looks = |arguments: &[&str]| {
        let place = format!("s3://{BUCKET}/x.json.gz");
        let done = on(&proxy.endpoint()).arg("snapshot").arg(&state).arg(&place).output().expect("persist starts");
        assert!(done.status.success(), "{done:?}");
        proxy.forget();
        let done = on(&proxy.endpoint()).args(["delete", "--yes", &place]).args(arguments).output().expect("persist starts");
        assert!(done.status.success(), "{done:?}");
        assert!(!server.file("x.json.gz").exists());
        proxy.seen().iter().filter(|seen| seen.operation == Operation::GetObject).count()
    };
    assert_eq!((looks(&[]), looks(&["--force"])), (1, 0));
}

#[test]
fn a_copy_replaces_only_snapshots_unless_told_otherwise() {
    let folder = folder();
    let folder = folder.path();
    for name in ["src/a.gz", "src/b.gz", "src/c.gz"] {
        ok_in(folder, &["snapshot", "state.json", name]);
    }
    fs::create_dir(folder.join("to")).expect("a folder");
    fs::write(folder.join("to/b.gz"), "notes").expect("a file");
    let done = run_in(folder, &["copy", "src/b.gz", "to/b.gz"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stderr.contains("to/b.gz") && done.stderr.contains("not a snapshot") && done.stderr.contains("--force"), "{done:?}");
    let done = run_in(folder, &["copy", "-r", "src", "to"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stderr.contains("to/b.gz") && done.stderr.contains("2 copied"), "{done:?}");
    assert_eq!(read(folder, "to/b.gz"), b"notes");
    assert_eq!((read(folder, "to/a.gz"), read(folder, "to/c.gz")), (read(folder, "src/a.gz"), read(folder, "src/c.gz")));
    let done = run_in(folder, &["copy", "src/b.gz", "to/b.gz", "--if-exists", "fail"]);
    assert_eq!(done.code, 4, "{done:?}");
    ok_in(folder, &["copy", "-r", "src", "to", "--force"]);
    assert_eq!(read(folder, "to/b.gz"), read(folder, "src/b.gz"));
    // A source that is not a snapshot is an error even with --force.
    assert_eq!(run_in(folder, &["copy", "state.json", "to/d.gz", "--force"]).code, 5);
    fs::write(folder.join("to/b.gz"), of_another_kind()).expect("a file");
    assert_eq!(run_in(folder, &["copy", "src/b.gz", "to/b.gz"]).code, 5);
    assert_eq!(read(folder, "to/b.gz"), of_another_kind());
    // Damaged snapshots and those with another digest are still replaced.
    let end = read(folder, "to/a.gz").len() - 100;
    flip(folder, "to/a.gz", end);
    ok_in(folder, &["copy", "src/a.gz", "to/a.gz"]);
    assert_eq!(read(folder, "to/a.gz"), read(folder, "src/a.gz"));
}

/// Go, flate2 and Java write gzip files with the same header as Persist.
#[test]
fn a_gzip_file_that_looks_like_a_truncated_snapshot_is_kept_unless_told_otherwise() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&chat_bytes(1000)).expect("it compresses");
    let foreign = encoder.finish().expect("it compresses");
    assert_eq!(foreign[..10], read(folder, "x.gz")[..10]);
    // A truncated snapshot looks the same.
    fs::write(folder.join("large.json"), chat_bytes(100_000)).expect("a state");
    ok_in(folder, &["snapshot", "large.json", "large.gz"]);
    let cut = read(folder, "large.gz")[..1000].to_vec();
    for (name, bytes) in [("foreign.gz", &foreign), ("cut.gz", &cut)] {
        fs::write(folder.join(name), bytes).expect("a file");
        for arguments in [&["delete", "--yes", name][..], &["copy", "x.gz", name]] {
            let done = run_in(folder, arguments);
            assert_eq!(done.code, 5, "{arguments:?}: {done:?}");
            assert!(done.stderr.contains(name) && done.stderr.contains("--force"), "{arguments:?}: {done:?}");
            assert_eq!(&read(folder, name), bytes, "{arguments:?}");
        }
        assert_eq!(run_in(folder, &["copy", "x.gz", name, "--if-exists", "fail"]).code, 4);
        assert_eq!(&read(folder, name), bytes);
        ok_in(folder, &["copy", "x.gz", name, "--force"]);
        assert_eq!(read(folder, name), read(folder, "x.gz"));
        fs::write(folder.join(name), bytes).expect("a file");
        ok_in(folder, &["delete", "--yes", "--force", name]);
        assert!(!folder.join(name).exists());
    }
    // With zstd, there is no doubt.
    ok_in(folder, &["snapshot", "large.json", "large.zst"]);
    fs::write(folder.join("cut.zst"), &read(folder, "large.zst")[..1000]).expect("a file");
    ok_in(folder, &["copy", "x.gz", "cut.zst"]);
    fs::write(folder.join("cut.zst"), &read(folder, "large.zst")[..1000]).expect("a file");
    ok_in(folder, &["delete", "--yes", "cut.zst"]);
}

#[test]
fn a_copy_does_not_replace_what_it_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    const NOBODY: u32 = 65_534;
    let folder = folder();
    ok_in(folder.path(), &["snapshot", "state.json", "x.gz"]);
    fs::write(folder.path().join("notes"), "notes").expect("a file");
    // A copy, since the user `nobody` may have no access to the build folder.
    let command = folder.path().join("persist");
    fs::copy(command_path(), &command).expect("a copy");
    let set_mode = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).expect("permissions");
    };
    for (name, mode) in [("x.gz", 0o644), ("notes", 0o000), ("persist", 0o755), ("", 0o777)] {
        set_mode(name, mode);
    }
    let run = |arguments: &[&str]| -> Done {
        let mut command = Command::new(&command);
        command.current_dir(folder.path()).args(arguments).stdin(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().expect("persist starts").into()
    };
    let done = run(&["copy", "x.gz", "notes"]);
    assert_eq!(done.code, 6, "{done:?}");
    assert!(done.stderr.contains("access denied") && done.stderr.contains("--force"), "{done:?}");
    let done = run(&["copy", "x.gz", "notes", "--if-exists", "fail"]);
    assert_eq!(done.code, 4, "{done:?}");
    set_mode("notes", 0o644);
    assert_eq!(read(folder.path(), "notes"), b"notes");
    set_mode("notes", 0o000);
    let done = run(&["copy", "x.gz", "notes", "--force"]);
    assert_eq!(done.code, 0, "{done:?}");
    set_mode("notes", 0o644);
    assert_eq!(read(folder.path(), "notes"), read(folder.path(), "x.gz"));
}

#[test]
fn deleting_a_link_depends_on_its_target() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "kept/x.gz"]);
    fs::write(folder.join("kept/notes"), "notes").expect("a file");
    fs::create_dir(folder.join("links")).expect("a folder");
    for (target, name) in [("../kept/x.gz", "x.gz"), ("../kept/notes", "notes"), ("../nowhere/x.gz", "dangling")] {
        symlink(target, folder.join("links").join(name)).expect("a link");
    }
    // These lead out of their folder, where the storage itself does not follow links.
    ok_in(folder, &["delete", "--yes", "links/x.gz", "links/dangling"]);
    let done = run_in(folder, &["delete", "--yes", "links/notes"]);
    assert_eq!(done.code, 5, "{done:?}");
    assert!(done.stderr.contains("not a snapshot") && done.stderr.contains("--force"), "{done:?}");
    assert_eq!(files(&folder.join("links")), ["notes"]);
    ok_in(folder, &["delete", "--yes", "--force", "links/notes"]);
    assert_eq!(files(&folder.join("links")), Vec::<String>::new());
    assert_eq!(files(&folder.join("kept")), ["notes", "x.gz"]);
}

#[test]
fn a_damaged_copy_is_not_skipped() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("large.json"), chat_bytes(3_000_000)).expect("a state");
    for name in ["src/x.gz", "src/x.zst"] {
        ok_in(folder, &["snapshot", "large.json", name]);
        ok_in(folder, &["copy", name, "to/"]);
        let copied = name.replace("src", "to");
        assert!(ok_in(folder, &["copy", name, "to/"]).starts_with("skipped "), "it is whole");
        let middle = read(folder, &copied).len() / 2;
        flip(folder, &copied, middle);
        let damaged = read(folder, &copied);
        let done = run_in(folder, &["copy", name, "to/", "--if-exists", "fail"]);
        assert_eq!(done.code, 4, "{done:?}");
        assert!(done.stderr.contains("is damaged"), "{done:?}");
        assert_eq!(read(folder, &copied), damaged);
        assert!(ok_in(folder, &["copy", name, "to/"]).starts_with("copied "), "it is damaged");
        assert_eq!(read(folder, &copied), read(folder, name));
    }
}

#[test]
fn an_empty_pipe_replaces_nothing() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "good.gz"]);
    fs::write(folder.join("nothing"), "").expect("a file");
    let good = read(folder, "good.gz");
    let shell = |script: &str| shell(folder, script);
    for (link, target) in [("in", "/dev/stdin"), ("also-in", "in")] {
        std::os::unix::fs::symlink(target, folder.join(link)).expect("a link");
    }
    let before = files(folder);
    for (script, says) in [
        ("false | \"$0\" snapshot - good.gz", "may have failed"),
        ("false | \"$0\" snapshot - new/x.gz", "may have failed"),
        ("\"$0\" snapshot - good.gz <&-", "stdin is closed"),
        ("\"$0\" snapshot - new/x.gz < /dev/null", "/dev/null"),
        ("\"$0\" snapshot <(false) good.gz", "may have failed"),
        ("\"$0\" snapshot /dev/null good.gz", "the state is empty"),
        // A descriptor stands for the contents of the file, not for its name.
        ("\"$0\" snapshot - good.gz < nothing", "may have failed"),
        ("\"$0\" snapshot /dev/stdin good.gz < nothing", "may have failed"),
        ("\"$0\" snapshot /dev/fd/3 good.gz 3< nothing", "may have failed"),
        ("\"$0\" snapshot /proc/self/fd/3 new/x.gz 3< nothing", "may have failed"),
        ("false | \"$0\" snapshot /dev/stdin good.gz", "may have failed"),
        // By any name.
        ("\"$0\" snapshot in good.gz < nothing", "may have failed"),
        ("\"$0\" snapshot also-in good.gz < nothing", "may have failed"),
        ("F=$PWD; cd /dev && \"$0\" snapshot ./stdin \"$F/good.gz\" < \"$F/nothing\"", "may have failed"),
        ("F=$PWD; cd /dev && \"$0\" snapshot fd/0 \"$F/good.gz\" < \"$F/nothing\"", "may have failed"),
    ] {
        let done = shell(script);
        assert_eq!(done.code, 2, "{script}: {done:?}");
        assert!(done.stderr.contains(says) && done.stderr.contains("--allow-empty"), "{script}: {done:?}");
        assert_eq!(files(folder), before, "{script}");
        assert_eq!(read(folder, "good.gz"), good, "{script}");
    }
    for script in ["\"$0\" snapshot - good.gz < good.gz", "\"$0\" snapshot /dev/stdin good.gz < good.gz"] {
        let done = shell(script);
        assert_eq!(done.code, 2, "{script}: {done:?}");
        assert!(done.stderr.contains("DEST is the state itself"), "{script}: {done:?}");
        assert_eq!(read(folder, "good.gz"), good, "{script}");
    }
    let done = shell("\"$0\" snapshot /dev/fd/3 opened.gz --allow-empty -q 3< nothing");
    assert_eq!(done.code, 0, "{done:?}");
    let saved = pipe(
        {
            let mut command = persist();
            command.current_dir(folder).args(["snapshot", "-", "empty.gz", "--allow-empty", "-q"]);
            command
        },
        b"",
    );
    assert!(saved.status.success(), "{saved:?}");
    // An empty file that is named is saved.
    fs::write(folder.join("empty.json"), "").expect("a file");
    ok_in(folder, &["snapshot", "empty.json", "named.gz"]);
    for name in ["empty.gz", "named.gz", "opened.gz"] {
        assert_eq!(ok_in(folder, &["restore", name]), "");
    }
}

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

/// Creates a named pipe.
#[cfg(target_os = "linux")]
fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
}

/// Waits until the command handles SIGTERM. Returns false if it ended before that was
/// observed.
#[cfg(target_os = "linux")]
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
#[cfg(target_os = "linux")]
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

#[cfg(target_os = "linux")]
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

/// Runs a script in a folder, where `$0` is the command.
fn shell(folder: &Path, script: &str) -> Done {
    let mut command = Command::new("bash");
    command.current_dir(folder).args(["-c", script]).arg(command_path());
    command.stdin(Stdio::null()).output().expect("bash starts").into()
}

/// Returns the exit code of a command that gets SIGTERM while the reader of its stdout,
/// or of the pipe `read_from`, has read one byte and stops reading.
#[cfg(target_os = "linux")]
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
#[cfg(target_os = "linux")]
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
#[cfg(target_os = "linux")]
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
#[cfg(target_os = "linux")]
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

#[test]
fn one_long_text_does_not_widen_all_rows() {
    let folder = folder();
    let folder = folder.path();
    let long = "エ".repeat(13_000);
    ok_in(folder, &["snapshot", "state.json", "s/a.gz", "--agent-id", &long, "--session-id", &"x".repeat(60)]);
    ok_in(folder, &["snapshot", "state.json", &format!("s/{}/{}.gz", "k".repeat(200), "k".repeat(200))]);
    let listed = ok_in(folder, &["list", "s"]);
    for line in listed.lines() {
        let width: usize = line.chars().map(|character| if character == 'エ' { 2 } else { 1 }).sum();
        assert!(width < 250, "{width}: {line}");
    }
    assert!(listed.contains(&format!(" {}…", "エ".repeat(29))), "{listed}");
    assert!(listed.contains(&"x".repeat(60)) && listed.contains(&format!("{}…", "k".repeat(59))), "{listed}");
    // 'show' and JSON output are not cut.
    assert!(ok_in(folder, &["show", "s/a.gz"]).contains(&long));
    assert_eq!(json(ok_in(folder, &["list", "s", "--json"]).lines().next().expect("a line"))["agent_id"], long.as_str());
}

/// The locations that commands print are passed to the next command unchanged.
#[test]
fn a_printed_location_works_in_the_next_command() {
    let outer = folder();
    let base = outer.path().join("base");
    fs::create_dir(&base).expect("a folder");
    fs::copy(outer.path().join("state.json"), base.join("state.json")).expect("a copy");
    let names = ["x.gz", "with space.gz", "-dash.gz", "100%25.gz", "s3:/x.gz", "q?'\"\\.gz", "-d/-x.zst", "ü/エ.gz", "~.gz"];
    for name in names {
        ok_in(&base, &["snapshot", "state.json", &format!("./in/{name}")]);
    }
    ok_in(&base, &["snapshot", "state.json", "./-in/-x.gz"]);
    let absolute = base.join("in").display().to_string();
    let url = format!("file://{absolute}");
    let relative = |place: &Path| -> Vec<(&'static str, String)> { vec![("PERSIST_LOCAL_PATH", place.display().to_string())] };
    let bucket = vec![("PERSIST_STORAGE", "s3".to_owned()), ("PERSIST_S3_BUCKET", BUCKET.to_owned())];
    let in_base = base.join("in");
    for (place, folder, variables) in [
        (in_base.as_path(), ".", vec![]),
        (&in_base, "./", vec![]),
        (&base, "in", vec![]),
        (&base, "in/", vec![]),
        (&base, "./in", vec![]),
        (&base, &absolute, vec![]),
        (&base, &url, vec![]),
        (&base, "-in", vec![]),
        (outer.path(), "in", relative(&base)),
        (outer.path(), "in", relative(Path::new("base"))),
        (outer.path(), "-in", relative(Path::new("base"))),
        (&in_base, ".", relative(&in_base)),
        (&in_base, ".", relative(Path::new("."))),
        (&base, &url, bucket),
    ] {
        let run = |arguments: &[&str]| -> String {
            let mut command = persist();
            command.current_dir(place).envs(variables.clone()).args(arguments).stdin(Stdio::null());
            let done: Done = command.output().expect("persist starts").into();
            assert_eq!(done.code, 0, "{folder} {variables:?} {arguments:?}: {done:?}");
            done.stdout
        };
        let listed = run(&["list", "--json", "--", folder]);
        let count = if folder.ends_with("-in") { 1 } else { names.len() };
        assert_eq!(listed.lines().count(), count, "{folder} {variables:?}: {listed}");
        for line in listed.lines() {
            let found = json(line);
            let location = found["location"].as_str().expect("a location");
            let shown = json(&run(&["show", "--json", location]));
            assert_eq!((&shown["location"], &shown["snapshot_id"]), (&found["location"], &found["snapshot_id"]));
            assert_eq!(json(&run(&["verify", "--json", location]))["location"], location);
            assert_eq!(json(&run(&["exists", "--json", location]))["location"], location);
            assert_eq!(run(&["restore", location]).as_bytes(), STATE);
            let restored = json(&run(&["restore", "--json", location, "-o", "out.json"]));
            assert_eq!(restored["location"], location);
        }
    }
    // Saving, copying and deleting print locations in the same form.
    let saved = json(&ok_in(&base, &["snapshot", "--json", "state.json", "./-y.gz"]));
    let location = saved["location"].as_str().expect("a location").to_owned();
    let copied = json(&ok_in(&base, &["copy", "--json", &location, "--", "-z.gz"]));
    assert_eq!(copied["source"], location.as_str());
    let copied = copied["location"].as_str().expect("a location");
    assert_eq!(json(&ok_in(&base, &["delete", "--json", "--yes", copied]))["location"], copied);
    for line in ok_in(&base, &["copy", "-r", "--json", "in", "./-to"]).lines() {
        let copied = json(line);
        for name in ["source", "location"] {
            ok_in(&base, &["show", copied[name].as_str().expect("a location")]);
        }
    }
    // A snapshot cannot claim to be elsewhere.
    let lie = r#"{"location": "elsewhere.gz"}"#;
    let options = persist_host::SnapshotOptions { extra: Some(lie.to_owned()), ..persist_host::SnapshotOptions::default() };
    let engine = persist_host::Engine::builder().storage(persist_host::LocalFileStorage::new(&base)).build().expect("an engine");
    engine.snapshot("liar.gz", b"{}", &options).expect("it is saved");
    let shown = ok_in(&base, &["show", "liar.gz", "--json"]);
    assert_eq!(shown.matches("\"location\"").count(), 1, "{shown}");
    assert_eq!(json(&shown)["location"], "liar.gz");
}

#[test]
fn a_printed_location_in_a_bucket_works_in_the_next_command() {
    let (server, folder) = (Server::start(), folder());
    let run = |variables: &[(&str, &str)], arguments: &[&str]| -> String {
        let mut command = on(&server.endpoint());
        let done: Done =
            command.current_dir(folder.path()).envs(variables.iter().copied()).args(arguments).output().expect("it starts").into();
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done.stdout
    };
    let plain = [("PERSIST_STORAGE", "s3"), ("PERSIST_S3_BUCKET", BUCKET)];
    for key in ["a/x.gz", "a/with space.gz", "a/-x.gz", "a/100%25.gz"] {
        run(&plain, &["snapshot", "state.json", key]);
    }
    let whole = format!("s3://{BUCKET}/a");
    for (variables, place) in [(&plain[..], "a"), (&plain, "a/"), (&[], whole.as_str())] {
        let listed = run(variables, &["list", "--json", place]);
        assert_eq!(listed.lines().count(), 4, "{listed}");
        for line in listed.lines() {
            let found = json(line);
            let location = found["location"].as_str().expect("a location");
            assert!(location.starts_with(&format!("{}/", whole)), "{location}");
            assert_eq!(json(&run(variables, &["show", "--json", location]))["snapshot_id"], found["snapshot_id"]);
        }
    }
}

/// The advice in errors works.
#[test]
fn advice_can_be_followed() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    ok_in(folder, &["snapshot", "state.json", "./-x.gz"]);
    let bytes = read(folder, "x.gz");
    fs::write(folder.join("stub.gz"), &bytes[..10]).expect("a file");
    fs::write(folder.join("zeros.gz"), [0; 1000]).expect("a file");
    fs::create_dir(folder.join("folder")).expect("a folder");
    for (arguments, code, says, never) in [
        (&["snapshot", "state.json", "y.gz", "--index", "-1"][..], 2, "0 or more", "-- -1"),
        (&["snapshot", "state.json", "y.gz", "--index", "many"], 2, "0 or more", "digit"),
        (&["snapshot", "state.json", "y.gz", "--agent-id", "-x"], 2, "--agent-id=-x", "-- -x"),
        (&["snapshot", "state.json", "y.gz", "--description", "-x"], 2, "--description=-x", "-- -x"),
        (&["restore", "x.gz", "-o", "-x"], 2, "-o-x", "-- -x"),
        (&["show", "-x.gz"], 2, "./-x.gz", "-- -x"),
        (&["show", "x.gz", "--workers", "-1"], 2, "a number from 1 to 64", "-- -1"),
        (&["show", "x.gz", "--storage", "tape"], 2, "expected local, s3 or memory", "the storage 'tape'"),
        (&["salvage", "stub.gz", "-o", "out"], 5, "use another copy", "persist salvage"),
        (&["salvage", "zeros.gz", "-o", "out"], 5, "use another copy", "persist salvage"),
        (&["copy", "folder", "to"], 2, "--recursive", "check the path"),
        (&["snapshot", "state.json", "y.gz", "--bogus"], 2, "'--bogus'", "-- --bogus"),
        (&["doctor", "x.gz"], 2, "give a folder", "look at one"),
    ] {
        for arguments in [arguments.to_vec(), [&["--json"], arguments].concat()] {
            let done = run_in(folder, &arguments);
            assert_eq!(done.code, code, "{arguments:?}: {done:?}");
            assert!(done.stderr.contains(says) && !done.stderr.contains(never), "{arguments:?}: {done:?}");
        }
    }
    // Similar options are still suggested.
    let done = run_in(folder, &["snapshot", "state.json", "y.gz", "--lable=a=b"]);
    assert!(done.code == 2 && done.stderr.contains("'--label'") && !done.stderr.contains("-- --lable"), "{done:?}");
    // As advised.
    ok_in(folder, &["show", "./-x.gz"]);
    ok_in(folder, &["snapshot", "state.json", "y.gz", "--agent-id=-x", "--description=-x"]);
    ok_in(folder, &["restore", "x.gz", "-o-x"]);
    assert_eq!(read(folder, "-x"), STATE);
}

#[test]
fn every_page_says_what_the_exit_codes_mean() {
    let folder = folder();
    let help = ok_in(folder.path(), &["--help-all"]);
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 12, "{commands:?}");
    let pages = commands.iter().map(|name| ok_in(folder.path(), &["man", name])).chain([ok_in(folder.path(), &["man"])]);
    let codes: Vec<u8> = (0..=13).chain([130, 141]).collect();
    for page in pages {
        let (_, section) =
            page.split_once(".SH \"EXIT CODES\"").or_else(|| page.split_once(".SH EXIT CODES")).unwrap_or_else(|| panic!("{page}"));
        for code in &codes {
            assert!(section.contains(&format!("\\fB{code}\\fR")), "{code} in {section}");
        }
        assert!(!page.contains("Exit codes:") && !page.contains("EXTRA"), "the exit codes are there twice: {page}");
        // Each option has its text below it.
        let lines: Vec<&str> = page.lines().collect();
        for found in lines.windows(3).filter(|found| found[0] == ".TP") {
            assert!(!found[2].is_empty() && found[2] != ".TP", "{found:?}");
        }
    }
    let helps = commands.iter().map(|name| ok_in(folder.path(), &[name, "--help-all"])).chain([help.clone()]);
    for help in helps {
        let (_, section) = help.split_once("Exit codes:\n").unwrap_or_else(|| panic!("{help}"));
        let listed: Vec<&str> =
            section.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next()).collect();
        assert!(codes.iter().all(|code| listed.contains(&code.to_string().as_str())) && listed.len() == codes.len(), "{help}");
        assert_eq!(help.matches("Exit codes:").count(), 1, "{help}");
    }
}
