//! What the commands say of a fork, whose steps are those of another session.

use std::fs;

use crate::lines::run;

/// A folder with a timeline of three steps, and a fork at the second.
fn forked() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for turn in 1..=3 {
        fs::write(folder.path().join("state.json"), format!("{{\"turn\":{turn}}}")).expect("a state");
        let time = format!("append state.json runs/a/one --timestamp 2026-01-0{turn}T00:00:00Z");
        assert_eq!(run(folder.path(), &time).code, 0);
    }
    assert_eq!(run(folder.path(), "fork runs/a/one@2 runs/a/two").code, 0);
    folder
}

#[test]
fn the_log_of_a_fork_has_all_its_steps() {
    let folder = forked();
    for line in ["log runs/a/two --json", "log runs --agent a --session two --json"] {
        let done = run(folder.path(), line);
        assert_eq!((done.code, done.stdout.lines().count()), (0, 2), "{line}: {done:?}");
    }
}

#[test]
fn a_fork_is_a_session_of_its_own() {
    let folder = forked();
    let done = run(folder.path(), "prune runs --keep-sessions 1 --dry-run");
    assert!(done.stdout.contains("the session one of a") && done.stdout.contains("the session two of a"), "{done:?}");
    assert_eq!(run(folder.path(), "prune runs --keep-sessions 1 --yes").code, 0);
    assert_eq!(run(folder.path(), "exists runs/a/one@3").code, 0);
    let done = run(folder.path(), "restore runs/a/two@latest");
    assert!(done.code == 3 && done.stderr.contains("deleted"), "{done:?}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = forked();
    for line in ["fork runs/a/none@2 runs/a/new", "restore runs/a/none@2"] {
        let done = run(folder.path(), line);
        assert!(done.code == 3 && done.stderr.contains("the timeline has no steps"), "{line}: {done:?}");
    }
    assert_eq!(run(folder.path(), "delete runs/a/one --recursive --yes").code, 0);
    let done = run(folder.path(), "fork runs/a/two@1 runs/a/one");
    assert!(done.code == 4 && done.stderr.contains("a timeline was deleted here"), "{done:?}");
    let done = run(folder.path(), "check runs");
    assert_eq!((done.code, done.stdout.as_str()), (0, "checked 2 steps in 1 timeline: none damaged, data not read\n"));
}

#[test]
fn what_can_not_be_whole_is_not_left_behind() {
    let folder = forked();
    let step = folder.path().join("runs/a/one/000000000003.step");
    let mut bytes = fs::read(&step).expect("a step");
    // In the data, so that only reading it finds the damage.
    bytes[30] ^= 1;
    fs::write(&step, bytes).expect("a step");
    for line in ["fork runs/a/one@3 new/a/b", "copy -r runs new"] {
        let done = run(folder.path(), line);
        assert!(done.code == 5 && done.stderr.contains("runs/a/one/000000000003.step"), "{line}: {done:?}");
        assert_eq!(run(folder.path(), "exists new/a/b").code, 3);
        assert_eq!(run(folder.path(), "exists new/a/one").code, 3);
        assert!(!folder.path().join("new/a/one/head").exists() && !folder.path().join("new/a/b/head").exists(), "{line}");
    }
    // The other timeline was copied.
    assert_eq!(run(folder.path(), "exists new/a/two@2").code, 0);
    for line in ["fork runs/a/two@1 /", "copy -r runs /"] {
        assert_eq!(run(folder.path(), line).code, 2, "{line}");
    }
}

#[test]
fn a_fork_keeps_the_id_that_is_not_given() {
    let folder = forked();
    for (line, made) in [
        ("fork runs/a/one@2 new --session three", "new/a/three@2"),
        ("fork runs/a/one@2 new --agent b", "new/b/one@2"),
        ("fork runs/a/one@1 new --agent c --session d", "new/c/d@1"),
    ] {
        let done = run(folder.path(), line);
        assert_eq!(done.code, 0, "{line}: {done:?}");
        assert_eq!(run(folder.path(), &format!("exists {made}")).code, 0, "{line}");
    }
}

#[test]
fn a_step_is_no_place_for_a_fork() {
    let folder = forked();
    let done = run(folder.path(), "fork runs/a/one @2");
    assert!(done.code == 2 && done.stderr.contains("persist fork runs/a/one@2 NEW"), "{done:?}");
    assert!(!folder.path().join("@2").exists());
    assert_eq!(run(folder.path(), "fork runs/a/one @mine").code, 0);
}
