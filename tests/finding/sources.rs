//! The sources of one command: names, patterns, lists and folders, mixed.

use std::fs;

use persist_test_support::command::files;
use persist_test_support::server::Server;

use crate::helpers::{Place, saved, with_stdin};

fn existing_names_are_not_taken_for_patterns(place: &Place) {
    saved(place, &["a[1].zst", "a1.zst"]);
    place.ok("delete @/a[1].zst --yes");
    assert_eq!(place.keys("list @"), ["a1.zst"]);
    saved(place, &["a[1].zst"]);
    assert_eq!(place.ok("restore @/a[1].zst").len(), 100);
    // A line of a list is never a pattern.
    let listed = place.ok("list -0 @/a[1].zst");
    place.ok("delete @/a[1].zst --yes");
    let done = with_stdin(place, "delete -r -0 --yes -", &listed);
    assert_eq!((done.code, place.keys("list @")), (3, vec!["a1.zst".to_owned()]), "{done:?}");
    let done = with_stdin(place, "delete -r --force -0 --yes -", &listed);
    assert_eq!((done.code, place.keys("list @")), (3, vec!["a1.zst".to_owned()]), "{done:?}");
    // A precondition applies to a single snapshot.
    for pattern in ["@/a*.zst", "@ -r"] {
        assert_eq!(place.run(&format!("delete {pattern} --if-match x --yes")).code, 2);
    }
    assert_eq!(place.run("delete @/b*.zst --yes").code, 3);
    assert_eq!(place.run("verify @/b*.zst").code, 3);
    assert_eq!(place.run("verify @ -r --session none").code, 0);
}

#[test]
fn an_existing_file_is_not_taken_for_a_pattern() {
    existing_names_are_not_taken_for_patterns(&Place::local());
}

#[test]
fn an_existing_object_is_not_taken_for_a_pattern() {
    existing_names_are_not_taken_for_patterns(&Place::bucket(Server::start().endpoint()));
}

fn sources_can_be_mixed(place: &Place) {
    saved(place, &["d/1.zst", "d/2.zst", "x/1.zst", "x.zst"]);
    assert_eq!(place.ok("verify -r @/d @/x.zst").matches(": ok, ").count(), 3);
    // Two with the same name.
    for typed in ["copy @/d/1.zst @/x/1.zst @/to", "copy -r @/d @/x @/to"] {
        let done = place.run(typed);
        assert!(done.code == 4 && done.stderr.contains("another snapshot was copied to this name"), "{done:?}");
        place.ok("delete -r @/to --yes");
    }
    // A missing one is reported, and the others are deleted.
    let done = place.run("delete -r @/missing.zst @/d --yes --json");
    assert_eq!((done.code, done.stdout.lines().count()), (3, 2), "{done:?}");
    saved(place, &["d/1.zst"]);
    let done = place.run("delete -r @/d @/d/1.zst --yes --json");
    assert_eq!((done.code, done.stdout.lines().count()), (0, 1), "{done:?}");
    let list = format!("{}/x.zst\n\n{}/missing.zst\n", place.at, place.at);
    let done = with_stdin(place, "delete -r --force --yes -", &list);
    assert_eq!((done.code, place.keys("list @")), (3, vec!["x/1.zst".to_owned()]), "{done:?}");
}

#[test]
fn files_and_folders_can_be_mixed() {
    let place = Place::local();
    sources_can_be_mixed(&place);
    // An empty location does not select everything.
    let folder = place.folder.path();
    for text in ["", "/"] {
        let mut command = place.command();
        command.env("PERSIST_LOCAL_PATH", folder.join("agents")).args(["delete", "-r", "--yes", text]);
        assert_eq!(command.output().expect("it starts").status.code(), Some(2), "{text}");
        let mut command = place.command();
        command.env("PERSIST_LOCAL_PATH", folder.join("agents")).args(["delete", "-r", "--force", "--yes", text]);
        assert_eq!(command.output().expect("it starts").status.code(), Some(2), "{text}");
    }
    assert!(folder.join("agents/x/1.zst").exists());
    // Only folders that were named and their subfolders are removed.
    saved(&place, &["b/c/1.zst", "b/c.zst"]);
    place.ok("delete -r @/b/c*/ --yes");
    assert_eq!(files(&folder.join("agents/b")), ["c.zst"]);
    place.ok("delete -r @/b/* --yes");
    assert!(folder.join("agents/b").exists());
    saved(&place, &["b/c/1.zst"]);
    place.ok("delete -r @/b --yes --force");
    assert!(!folder.join("agents/b").exists());
    // A state does not overwrite a snapshot.
    saved(&place, &["w/a.gz", "w/a.gz.zst"]);
    let done = place.run("restore -r @/w -o agents/w");
    assert!(done.code == 4 && done.stderr.contains("a snapshot already exists at this path"), "{done:?}");
    place.ok("verify -r @/w");
    // A dangling link can be deleted.
    std::os::unix::fs::symlink("nowhere", folder.join("dangling.zst")).expect("a link");
    assert_eq!(place.ok("delete dangling.zst --dry-run"), "would delete dangling.zst\n");
    place.ok("delete dangling.zst --yes");
    // Other files do not affect the next index.
    place.ok("save state.json @/s/");
    fs::write(folder.join("agents/s/default_agent/default_session/a\nb"), "").expect("a file");
    assert!(place.ok("save state.json @/s/").contains("/1.json.zst"));
    for (dest, code) in [("s3://", 2), ("file://", 2), ("memory://", 0)] {
        assert_eq!(place.run(&format!("save state.json {dest}")).code, code, "{dest}");
    }
    assert_eq!(files(folder).iter().filter(|name| name.contains(':')).count(), 0);
    let done = with_stdin(&place, "verify -", &"x".repeat(20_000));
    assert!(done.code == 2 && done.stderr.contains("16,384"), "{done:?}");
}

#[test]
fn objects_and_folders_can_be_mixed() {
    sources_can_be_mixed(&Place::bucket(Server::start().endpoint()));
}
