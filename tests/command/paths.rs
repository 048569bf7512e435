//! Which paths are accepted, and where they lead.

use std::fs;
use std::os::unix::fs::symlink;

use persist_test_support::command::{files, json, ok_in, persist, run_in};

use crate::helpers::{STATE, folder};

#[test]
fn a_snapshot_that_could_not_be_listed_is_refused() {
    let folder = folder();
    let folder = folder.path();
    let long = format!("{}/x.gz", [&*"n".repeat(200); 6].join("/"));
    assert_eq!(long.len(), 1_210);
    let absolute = folder.join(&long).display().to_string();
    for path in [long.as_str(), &absolute, "odd\u{7}.gz", "odd\nfolder/x.gz", ".persist-1.tmp/x.gz"] {
        let done = run_in(folder, &["snapshot", "state.json", path]);
        assert!(done.code == 2 && done.stderr.contains("would not be listable"), "{path}: {done:?}");
        let error = json(&run_in(folder, &["snapshot", "state.json", path, "--json"]).stderr);
        assert_eq!(error["code"], "invalid-key", "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("change to its folder first")), "{error}");
    }
    assert_eq!(files(folder), ["state.json"], "nothing is created");
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    for path in [&long, "odd\u{7}.gz"] {
        let done = run_in(folder, &["copy", "x.gz", path]);
        assert!(done.code == 2 && done.stderr.contains("would not be listable"), "{path}: {done:?}");
    }
    // An existing one can be read and deleted.
    fs::create_dir(folder.join("odd\nfolder")).expect("a folder");
    fs::copy(folder.join("x.gz"), folder.join("odd\nfolder/x.gz")).expect("a copy");
    assert_eq!(ok_in(folder, &["restore", "odd\nfolder/x.gz"]).as_bytes(), STATE);
    ok_in(folder, &["delete", "odd\nfolder/x.gz", "--yes"]);
}

#[test]
fn symlinks_are_followed_as_in_a_shell() {
    let folder = folder();
    let folder = folder.path();
    fs::create_dir(folder.join("elsewhere")).expect("a folder");
    symlink("elsewhere", folder.join("linked")).expect("a link");
    ok_in(folder, &["snapshot", "state.json", "linked/x.gz"]);
    symlink("elsewhere/x.gz", folder.join("latest.gz")).expect("a link");
    assert_eq!(ok_in(folder, &["restore", "latest.gz"]).as_bytes(), STATE);
    // Writing through the link keeps it.
    fs::write(folder.join("state.json"), b"{}").expect("another state");
    ok_in(folder, &["snapshot", "state.json", "latest.gz"]);
    assert!(folder.join("latest.gz").is_symlink());
    assert_eq!(ok_in(folder, &["restore", "elsewhere/x.gz"]), "{}");
    // Deleting removes the link and keeps its target.
    ok_in(folder, &["delete", "latest.gz", "--yes"]);
    assert!(!folder.join("latest.gz").is_symlink() && folder.join("elsewhere/x.gz").exists());
}

#[test]
fn keys_are_confined_to_the_base_path() {
    let outer = folder();
    let base = outer.path().join("base");
    fs::create_dir(&base).expect("a folder");
    let run = |arguments: &[&str]| -> persist_test_support::command::Done {
        persist().current_dir(outer.path()).env("PERSIST_LOCAL_PATH", &base).args(arguments).output().expect("persist starts").into()
    };
    assert_eq!(run(&["snapshot", "state.json", "s/x.gz"]).code, 0);
    assert!(base.join("s/x.gz").exists());
    assert!(run(&["list", "s"]).stdout.contains("s/x.gz"));
    let absolute = outer.path().join("y.gz").display().to_string();
    for key in ["../y.gz", "s/../../y.gz", &absolute, "s//y.gz"] {
        let done = run(&["snapshot", "state.json", key]);
        assert_eq!(done.code, 2, "{key}: {done:?}");
        assert!(done.stderr.contains("PERSIST_LOCAL_PATH"), "{done:?}");
    }
    // An absolute path has to be below the base path, too.
    let inside = base.join("s/x.gz");
    assert_eq!(run(&["show", &format!("file://{}", inside.display())]).code, 0);
    assert_eq!(run(&["list", &format!("file://{}", base.join("s").display())]).stdout.lines().count(), 2);
    for arguments in
        [&["snapshot", "state.json", &format!("file://{absolute}")][..], &["list", &format!("file://{}", outer.path().display())]]
    {
        let done = run(arguments);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains("not below PERSIST_LOCAL_PATH"), "{done:?}");
    }
    // As without a base path, a missing folder is not an empty one.
    assert_eq!(run(&["list", "missing"]).code, 3);
    assert_eq!(run(&["list", "s/x.gz"]).stdout.lines().count(), 2);
    assert_eq!(run(&["copy", "--recursive", "s", "copied"]).code, 0);
    assert!(base.join("copied/x.gz").exists());
    // A link must not lead out, either.
    fs::create_dir(outer.path().join("outside")).expect("a folder");
    symlink(outer.path().join("outside"), base.join("way-out")).expect("a link");
    let done = run(&["snapshot", "state.json", "way-out/y.gz"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert_eq!(files(&outer.path().join("outside")), Vec::<String>::new());
}
