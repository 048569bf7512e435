//! What a copy replaces, skips and reports.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use persist_test_support::command::{Done, chat_bytes, command_path, copy_program, files, flip, ok_in, read, run_in};

use crate::helpers::{folder, of_another_kind};

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
    let command = copy_program(command_path(), folder.path(), "persist");
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
