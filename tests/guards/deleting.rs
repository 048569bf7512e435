//! What is deleted, and what only with `--force`.

use std::fs;
use std::os::unix::fs::symlink;

use persist_test_support::command::{files, json, ok_in, read, run_in};
use persist_test_support::proxy::{Operation, Proxy};
use persist_test_support::server::{BUCKET, Server};

use crate::helpers::{folder, of_another_kind, on};

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
    for (name, says) in [("notes.txt", "not a snapshot"), ("step.gz", "of kind 'step'")] {
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
