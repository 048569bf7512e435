//! Listing a folder, and deleting what is in it.

use std::fs;

use persist_test_support::command::{files, json, ok_in, run_in};

use crate::helpers::folder;

#[test]
fn a_name_that_is_not_a_key_is_reported_by_list_and_copy() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "s/a.gz"]);
    ok_in(folder, &["snapshot", "state.json", "s/z.gz"]);
    for name in [&b"no text \xff"[..], b"odd\x07"] {
        fs::copy(folder.join("s/a.gz"), folder.join("s").join(OsStr::from_bytes(name))).expect("a copy");
    }
    for arguments in [&["list", "s"][..], &["copy", "--recursive", "s", "copied"]] {
        let done = run_in(folder, arguments);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stdout.contains("a.gz") && done.stdout.contains("z.gz"), "{done:?}");
        assert!(done.stderr.contains("no text \\xff") && done.stderr.contains("it is not UTF-8"), "{done:?}");
        assert!(done.stderr.contains("odd\\u{7}") && done.stderr.contains("it contains control characters"), "{done:?}");
    }
    assert_eq!(files(&folder.join("copied")), ["a.gz", "z.gz"]);
}

#[test]
fn a_listing_is_sorted_and_recursive() {
    let folder = folder();
    let folder = folder.path();
    for (index, key) in ["b/2.gz", "a-b.gz", "a/1.gz", "a/x/9.json.zst", "b/10.gz"].iter().enumerate() {
        let target = format!("agents/{key}");
        ok_in(
            folder,
            &[
                "snapshot",
                "state.json",
                &target,
                "--agent-id",
                "エージェント",
                "--index",
                &index.to_string(),
                "--timestamp",
                "2026-01-31T12:00:00Z",
            ],
        );
    }
    fs::write(folder.join("agents/notes.txt"), "not a snapshot").expect("a file");
    let listed = ok_in(folder, &["list", "agents"]);
    let expected = "\
KEY             AGENT         SESSION          INDEX  TIME                  SIZE  RATIO
a-b.gz          エージェント  default_session      1  2026-01-31T12:00:00Z  52 B   0.1x
a/1.gz          エージェント  default_session      2  2026-01-31T12:00:00Z  52 B   0.1x
a/x/9.json.zst  エージェント  default_session      3  2026-01-31T12:00:00Z  52 B   0.1x
b/2.gz          エージェント  default_session      0  2026-01-31T12:00:00Z  52 B   0.1x
b/10.gz         エージェント  default_session      4  2026-01-31T12:00:00Z  52 B   0.1x
";
    // The ratio of a tiny state is not fixed by the format.
    let digits = |text: &str| {
        text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(start, _)| start).trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(digits(&listed), digits(expected), "{listed}");
    let done = run_in(folder, &["list", "agents"]);
    assert_eq!(done.stderr, "1 other file is not a snapshot; 'persist show' says why\n");

    let done = run_in(folder, &["list", "agents", "--json"]);
    let keys: Vec<_> = done.stdout.lines().map(|line| json(line)["key"].clone()).collect();
    assert_eq!(keys, ["a-b.gz", "a/1.gz", "a/x/9.json.zst", "b/2.gz", "b/10.gz"]);
    assert_eq!(done.stderr, "");
    let first = json(done.stdout.lines().next().expect("a line"));
    let mut shown = json(&ok_in(folder, &["show", "agents/a-b.gz", "--json"]));
    shown["key"] = "a-b.gz".into();
    assert_eq!(first, shown);

    let mut damaged = fs::read(folder.join("agents/a/1.gz")).expect("a snapshot");
    let end = damaged.len() - 100;
    damaged[end] ^= 1;
    fs::write(folder.join("agents/a/1.gz"), damaged).expect("the damage");
    let done = run_in(folder, &["list", "agents"]);
    assert_eq!(done.code, 5);
    assert!(done.stderr.contains("agents/a/1.gz") && done.stdout.contains("b/10.gz"), "{done:?}");
}

#[test]
fn a_listing_of_nothing_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = run_in(folder.path(), &["list", "."]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", "no snapshots in .\n"));
    let done = run_in(folder.path(), &["list", "missing"]);
    assert_eq!(done.code, 3);
    fs::write(folder.path().join("file"), "").expect("a file");
    let done = run_in(folder.path(), &["list", "file"]);
    assert_eq!(done.code, 0);
    assert!(done.stderr.ends_with("1 other file is not a snapshot; 'persist show' says why\n"), "{done:?}");
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    let done = run_in(folder, &["delete", "x.gz"]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("--yes"), "{done:?}");
    assert!(folder.join("x.gz").exists());
    let done = run_in(folder, &["delete", "missing", "x.gz", "--yes"]);
    assert_eq!(done.code, 3);
    assert!(!folder.join("x.gz").exists());
    assert_eq!(run_in(folder, &["delete", ".", "--yes"]).code, 2);
}
