//! Names that would be taken for a step of a timeline, and names that only look like one.

use std::fs;
use std::path::Path;

use persist_test_support::command::{Done, files, run_in};

fn run(folder: &Path, line: &str) -> Done {
    run_in(folder, &line.split(' ').collect::<Vec<_>>())
}

fn ok(folder: &Path, line: &str) -> Done {
    let done = run(folder, line);
    assert_eq!(done.code, 0, "persist {line}: {done:?}");
    done
}

/// A folder with a state, a snapshot of it, and a timeline with two steps.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for turn in 1..=2 {
        fs::write(folder.path().join("state.json"), format!("{{\"turn\":{turn}}}")).expect("a state");
        ok(folder.path(), "append state.json runs/a/s");
    }
    ok(folder.path(), "snapshot state.json x.json.gz");
    folder
}

#[test]
fn nothing_new_has_the_name_of_a_step() {
    let folder = folder();
    let folder = folder.path();
    let before = files(folder);
    for line in [
        "snapshot state.json runs/a/s@latest",
        "snapshot state.json runs/a/s@2",
        "copy runs/a/s@1 runs/a/s@2",
        "copy x.json.gz runs/a/s@7d",
        "restore x.json.gz -o runs/a/s@2",
        "salvage x.json.gz -o runs/a/s@2",
        "append state.json runs/a/s@2",
        "snapshot state.json runs/a/s/head",
        "restore x.json.gz -o runs/a/s/head",
        "copy x.json.gz runs/a/s/head",
        "restore x.json.gz -o runs/a/s/000000000002.hidden",
        "salvage x.json.gz -o runs/a/s/000000000256.catalogue",
        "snapshot state.json runs/a/s/000000000002.0123456789abcdef.label",
        "copy x.json.gz runs/a/s/000000000002.hidden",
    ] {
        let done = run(folder, line);
        assert!(done.code == 2 && done.stderr.contains("name"), "persist {line}: {done:?}");
        assert_eq!(files(folder), before, "persist {line}");
    }
    assert_eq!(ok(folder, "restore runs/a/s@2").stdout, "{\"turn\":2}");
    // Where there is no timeline, they are names like any other.
    for line in ["snapshot state.json other@2", "snapshot state.json head", "restore x.json.gz -o runs/head"] {
        ok(folder, line);
    }
}

#[test]
fn states_of_several_steps_get_names_that_select_nothing() {
    let folder = folder();
    let folder = folder.path();
    ok(folder, "restore -r runs -o runs");
    assert_eq!(fs::read_to_string(folder.join("runs/a/s.2")).expect("the state"), "{\"turn\":2}");
    ok(folder, "restore runs/a/s@1 runs/a/s@2 -o out");
    ok(folder, "copy runs/a/s@1 runs/a/s@2 copies");
    let found = files(folder);
    for name in ["out/s.1", "out/s.2", "copies/s.1.json.zst", "copies/s.2.json.zst"] {
        assert!(found.iter().any(|found| found == name), "{name}: {found:?}");
    }
    for (line, state) in [("restore runs/a/s@2", 2), ("restore runs/a/s@1", 1), ("restore copies/s.1.json.zst", 1)] {
        assert_eq!(ok(folder, line).stdout, format!("{{\"turn\":{state}}}"), "{line}");
    }
    // In the folder of the timeline itself.
    let inside = folder.join("runs/a/s");
    ok(&inside, "restore .@1 .@2 -o ../../../inside");
    assert_eq!(fs::read_to_string(folder.join("inside/s.1")).expect("the state"), "{\"turn\":1}");
}

#[test]
fn a_session_may_have_any_name() {
    let folder = folder();
    let folder = folder.path();
    for session in ["s@2", "s@latest", "s@2026-01-31", "s@x=y"] {
        for turn in 1..=2 {
            ok(folder, &format!("append state.json runs --agent a --session {session}"));
            ok(folder, &format!("log runs --agent a --session {session} -n {turn}"));
        }
        // It is there, so it may be named.
        ok(folder, &format!("append state.json runs/a/{session}"));
        assert_eq!(ok(folder, &format!("restore runs/a/{session}@3")).stdout, "{\"turn\":2}");
    }
    assert_eq!(ok(folder, "restore runs/a/s --at 2").stdout, "{\"turn\":2}");
}

#[test]
fn a_step_and_several_timelines_are_not_selected_together() {
    let folder = folder();
    let folder = folder.path();
    for line in ["restore -r runs/a/s --at 1 -o out", "verify -r runs --at 1", "show -r runs --at 1", "copy -r runs copy --at 1"] {
        let done = run(folder, line);
        assert!(done.code == 2 && done.stderr.contains("--at selects a step of one timeline"), "{line}: {done:?}");
    }
    for line in ["exists runs/zz/", "exists runs/", "exists runs"] {
        assert_eq!(run(folder, line).code, 3, "{line}");
    }
    ok(folder, "exists runs/a/s/");
    ok(folder, "delete -r runs --yes");
    for line in ["exists runs/a/s/", "exists runs/a/s"] {
        assert_eq!(run(folder, line).code, 3, "{line}");
    }
}
