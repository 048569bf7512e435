//! Names that would be taken for a step of a timeline, and names that only look like one.

use std::fs;
use std::os::unix::fs::symlink;

use persist_test_support::command::{Done, files, flip, persist};

use crate::lines::{content, ok, run, with_steps};

/// A folder with a state, a snapshot of it, and a timeline with two steps.
fn folder() -> tempfile::TempDir {
    let folder = with_steps(2);
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
        "copy x.json.gz runs/a/s/000000000002.hidden --dry-run",
        // A folder would take the place of a step, too.
        "append state.json runs/a/s@2/",
        "append state.json runs/a/s@2/t",
        "append state.json runs/a/s@2 --agent a",
        "snapshot state.json runs/a/s@2/",
        "snapshot state.json runs/a/s@2/x.json.gz",
        "copy x.json.gz runs/a/s@2/",
        "copy x.json.gz runs/a/s runs/a/s@2",
        "copy -r runs/a runs/a/s@2",
        "restore x.json.gz -o runs/a/s@2/state.json",
        "restore -r runs -o runs/a/s@2",
        "salvage x.json.gz -o runs/a/s@2/state.json",
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
fn a_name_that_comes_from_elsewhere_takes_no_place_of_a_step() {
    let folder = folder();
    let folder = folder.path();
    ok(folder, "snapshot state.json others/s@2");
    ok(folder, "snapshot state.json others/s@1.zst");
    ok(folder, "snapshot state.json others/head");
    for (link, target) in [("step", "runs/a/s/000000000002.step"), ("at", "runs/a/s@2"), ("hint", "runs/a/s/head")] {
        symlink(target, folder.join(link)).expect("a link");
    }
    let before = content(folder);
    for line in [
        "copy others/s@2 runs/a/",
        "copy others/s@2 runs/a",
        "copy others/head runs/a/s --force",
        "copy others/head others/head runs/a/s --force",
        "restore x.json.gz -o step",
        "restore x.json.gz -o at",
        "restore x.json.gz -o hint",
        "salvage x.json.gz -o step",
        "snapshot state.json step",
        "snapshot state.json at",
        "snapshot state.json hint",
        "copy x.json.gz at",
    ] {
        let done = run(folder, line);
        assert!(done.code == 2 && done.stderr.contains("name"), "persist {line}: {done:?}");
        assert!(content(folder) == before, "persist {line} changed something");
    }
    // Of several, the others are done.
    for line in ["restore -r others -o runs/a", "copy -r others runs/a --force"] {
        let done = run(folder, line);
        assert!(done.code == 2 && done.stderr.contains("a step of the timeline runs/a/s,"), "persist {line}: {done:?}");
    }
    assert!(folder.join("runs/a/head").exists());
    for (step, state) in [(1, "{\"turn\":1}"), (2, "{\"turn\":2}")] {
        assert_eq!(ok(folder, &format!("restore runs/a/s@{step}")).stdout, state);
    }
}

/// Where a state is written to depends on no setting, unlike a location.
#[test]
fn settings_do_not_hide_the_timeline_beside_an_output() {
    let folder = folder();
    let folder = folder.path();
    let at = folder.to_str().expect("UTF-8");
    let settings = [
        vec![("PERSIST_STORAGE", "memory")],
        vec![("PERSIST_STORAGE", "s3"), ("PERSIST_S3_BUCKET", "bucket"), ("PERSIST_S3_ENDPOINT", "http://127.0.0.1:9")],
        vec![("PERSIST_LOCAL_PATH", at)],
    ];
    let source = [format!("file://{at}/x.json.gz"), format!("file://{at}/x.json.gz"), "x.json.gz".to_owned()];
    for (settings, source) in settings.into_iter().zip(source) {
        for output in ["s@2", "s/head", "s/000000000001.hidden"] {
            let mut command = persist();
            command.envs(settings.clone()).current_dir(folder.join("runs/a")).args(["restore", &source, "-o", output]);
            let done = Done::from(command.output().expect("it starts"));
            assert!(done.code == 2 && done.stderr.contains("name"), "{settings:?} {output}: {done:?}");
        }
    }
}

#[test]
fn damage_neither_frees_the_names_of_steps_nor_blocks_sessions() {
    let folder = folder();
    let folder = folder.path();
    for _ in 0..2 {
        ok(folder, "append state.json runs --agent a --session s@2");
    }
    for timeline in ["s", "s@2"] {
        flip(folder, &format!("runs/a/{timeline}/000000000002.step"), 20);
    }
    for line in ["append state.json runs/a/s@1", "snapshot state.json runs/a/s@1", "restore x.json.gz -o runs/a/s@1"] {
        let done = run(folder, line);
        assert!(done.code == 2 && done.stderr.contains("a step of the timeline runs/a/s,"), "persist {line}: {done:?}");
    }
    ok(folder, "append state.json runs/a/s@2");
    ok(folder, "append state.json runs --agent a --session s@2");
    ok(folder, "append state.json runs --agent a --session s@3");
    ok(folder, "copy -r runs/a/s@3 backup/s");
    ok(folder, "copy -r runs/a/s@3 backup/a/s@3");
    ok(folder, "copy -r runs/a/s@3 backup/a/s@3");
    // A deleted timeline has no steps.
    ok(folder, "delete -r runs/a/s --yes --force");
    ok(folder, "append state.json runs/a/s@1");
}

/// A tree in which the names of sessions look like steps is copied as it is.
#[test]
fn sessions_that_look_like_steps_are_copied() {
    let folder = folder();
    let folder = folder.path();
    ok(folder, "append state.json runs --agent a --session s@2");
    ok(folder, "snapshot state.json runs --agent a --session s@3");
    for _ in 0..2 {
        ok(folder, "copy -r runs backup");
    }
    let has = |name: &str| files(&folder.join("backup/a")).contains(&name.to_owned());
    assert!(has("s/000000000002.step") && has("s@2/000000000001.step") && has("s@3/0.json.zst"));
}

#[test]
fn states_of_several_steps_get_names_that_select_nothing() {
    let folder = folder();
    let folder = folder.path();
    ok(folder, "restore -r runs -o runs");
    assert_eq!(fs::read_to_string(folder.join("runs/a/s.2")).expect("the state"), "{\"turn\":2}");
    ok(folder, "restore runs/a/s@1 runs/a/s@2 -o out");
    ok(folder, "copy runs/a/s@1 runs/a/s@2 copies");
    for line in ["copy runs/a/s@1 one/", "copy -r runs/a/s@1 two", "copy runs/a/s@2 two"] {
        ok(folder, line);
    }
    let found = files(folder);
    for name in
        ["out/s.1", "out/s.2", "copies/s.1.json.zst", "copies/s.2.json.zst", "one/s.1.json.zst", "two/s.1.json.zst", "two/s.2.json.zst"]
    {
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
    for line in ["exists runs/zz/", "exists runs/", "exists runs", "exists .", "exists ./", "exists x.json.gz/", "exists memory://a/"] {
        assert_eq!(run(folder, line).code, 3, "{line}");
    }
    ok(folder, "exists runs/a/s/");
    ok(folder, "delete -r runs --yes");
    for line in ["exists runs/a/s/", "exists runs/a/s"] {
        assert_eq!(run(folder, line).code, 3, "{line}");
    }
}
