//! Commands that process many snapshots.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use persist_host::{StorageAdapter, WriteOptions};
use persist_test_support::command::{Done, files};
use persist_test_support::moto::Moto;
use persist_test_support::proxy::Proxy;
use persist_test_support::server::Server;

use crate::helpers::{Place, counted, saved};

fn many_are_processed_at_once(place: &Place) {
    saved(place, &["1.json.gz", "a/2.json.zst", "a/b/3.gz"]);
    let done = place.run("verify @ -r --jobs 3");
    let lines: Vec<&str> = done.stdout.lines().map(|line| line.split(':').next().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!((done.code, lines.len()), (0, 3), "{done:?}");
    let in_order = |typed: &str| place.ok(typed).lines().filter(|line| line.contains(": ok, ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(in_order("verify @ -r -j 3"), in_order("verify @ -r -j 1"));
    assert!(place.run("restore @ -r").stderr.contains("--output FOLDER"));
    let done = place.run("restore @ -r -o states");
    assert!(done.code == 0 && done.stderr == "3 restored (297 B)\n", "{done:?}");
    let restored = files(&place.folder.path().join("states"));
    assert_eq!(restored, ["1.json", "a", "a/2.json", "a/b", "a/b/3"]);
    // Two with the same name.
    let done = place.run("restore @/1.json.gz @/1.json.gz -o twice");
    assert!(done.code == 4 && done.stderr.contains("1 restored (100 B), 1 failed"), "{done:?}");
    // A folder needs --recursive.
    for command in ["verify", "show", "delete --yes", "copy"] {
        let dest = if command == "copy" { " elsewhere" } else { "" };
        let done = place.run(&format!("{command} @/a/{dest}"));
        assert!(done.code == 2 && done.stderr.contains("--recursive"), "{command}: {done:?}");
    }
    // Locations listed by another command.
    for (list, verify) in [("list @ --session s1 -0", "verify -0 -"), ("list @ --session s1 -0", "show -0 - --json")] {
        let listed = place.run(list);
        let mut command = place.command();
        let mut child = command.args(verify.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().unwrap().write_all(listed.stdout.as_bytes()).expect("it reads");
        let done: Done = child.wait_with_output().expect("it ends").into();
        assert!(done.code == 0 && done.stdout.lines().count() == 1, "{done:?}");
    }
    // The worst exit code counts, and the others are processed.
    let done = place.run("verify @/missing.gz @/1.json.gz");
    assert!(done.code == 3 && done.stderr.contains("1 verified (100 B), 1 failed"), "{done:?}");
    let dry = place.run("copy @ copied -r --dry-run");
    assert!(dry.code == 0 && dry.stdout.matches("would copy ").count() == 3 && !place.folder.path().join("copied").exists(), "{dry:?}");
    let done = place.run("copy @/1.json.gz @/a/2.json.zst copied");
    assert!(done.code == 0 && done.stderr.starts_with("2 copied"), "{done:?}");
    assert_eq!(files(&place.folder.path().join("copied")), ["1.json.gz", "2.json.zst"]);
    // Not the expected snapshot.
    for typed in [
        "verify @/1.json.gz",
        "restore @/1.json.gz -o other",
        "copy @/1.json.gz @/other.gz",
        "show @/1.json.gz",
        "delete @/1.json.gz --yes",
    ] {
        for wrong in ["--session s1", "--agent x", "--index 7", "--label a=b", "--until 2020-01-01"] {
            let done = place.run(&format!("{typed} {wrong}"));
            assert!(done.code == 5 && done.stderr.contains("not the snapshot that was asked for"), "{typed} {wrong}: {done:?}");
        }
        let done = place.run(&format!("{typed} --digest {}", "0".repeat(64)));
        assert_eq!(done.code, 5, "{typed}: {done:?}");
    }
    assert!(!place.folder.path().join("other").exists());
    assert_eq!(place.run("exists @/other.gz").code, 3);
    place.ok("verify @/1.json.gz --session s0 --index 0");
    // Everything is deleted, whatever it is.
    assert_eq!(place.run("delete @ -r --force --yes").stderr, "3 deleted\n");
    assert!(place.run("list @").stdout.is_empty());
}

#[test]
fn many_files_are_processed_at_once() {
    let place = Place::local();
    many_are_processed_at_once(&place);
    assert!(!place.folder.path().join("agents").exists());
    fs::create_dir_all(place.folder.path().join("agents/x")).expect("a folder");
    fs::write(place.folder.path().join("agents/x/notes.txt"), "no snapshot").expect("a file");
    let done = place.run("delete @ -r --yes");
    assert!(done.code == 0 && done.stderr == "1 other file is not a snapshot and is kept\n0 deleted\n", "{done:?}");
    assert_eq!(place.run("delete @ -r --force --yes --session x").code, 2);
    assert_eq!(place.run("delete @ -r --force").code, 2);
    place.ok("delete @ -r --force --yes --durability none");
    assert!(!place.folder.path().join("agents").exists());
}

#[test]
fn many_objects_are_processed_at_once() {
    many_are_processed_at_once(&Place::bucket(Server::start().endpoint()));
}

#[test]
fn many_objects_are_deleted_in_few_requests() {
    let moto = Moto::start();
    let proxy = Proxy::start(moto.endpoint().trim_start_matches("http://").parse().expect("an address"));
    let place = Place::bucket(proxy.endpoint());
    let storage = moto.adapter();
    for number in 0..1100 {
        let mut writer = storage.open_write(&format!("agents/{number:04}.gz"), WriteOptions::default()).expect("it opens");
        writer.write(b"what is there").expect("it is written");
        writer.commit().expect("it is stored");
    }
    counted(&proxy);
    assert_eq!(place.run("delete @ --recursive --force --yes").stderr, "1100 deleted\n");
    let requests = counted(&proxy);
    println!("1,100 objects are deleted in {requests:?}");
    assert_eq!((requests["DeleteObject"], requests["ListObjects"], requests.len()), (2, 2, 2));
    assert!(place.ok("list @").is_empty());
}
