//! What commands say of a timeline whose deletion was broken off, or that has lost its end.

use std::fs;
use std::path::Path;

use persist_test_support::command::files;

use crate::lines::{run, with_steps};

const STEPS: usize = 12;

/// A folder with a timeline.
fn folder() -> tempfile::TempDir {
    with_steps(STEPS)
}

fn step(folder: &Path, number: usize) -> std::path::PathBuf {
    folder.join(format!("runs/a/s/{number:012}.step"))
}

#[test]
fn a_deletion_that_was_broken_off_is_finished_by_the_next() {
    for finish in ["delete runs --recursive --yes", "delete runs/a/s --recursive --yes", "prune runs --keep-last 1 --yes"] {
        let folder = folder();
        let folder = folder.path();
        let before: Vec<Vec<u8>> = (1..=STEPS).map(|number| fs::read(step(folder, number)).expect("a step")).collect();
        assert_eq!(run(folder, "delete runs --recursive --yes").code, 0);
        // As if no step had been removed yet.
        for (number, bytes) in (1..).zip(&before) {
            fs::write(step(folder, number), bytes).expect("a step");
        }
        assert_eq!(run(folder, "list runs").stdout, "");
        for command in ["restore runs/a/s@2", "show runs/a/s@2", "restore runs/a/s@latest"] {
            let done = run(folder, command);
            assert!(done.code == 3 && done.stderr.contains("was deleted"), "{command}: {done:?}");
        }
        let done = run(folder, finish);
        assert_eq!(done.code, 0, "{done:?}");
        for name in files(folder).iter().filter(|name| name.ends_with(".step")) {
            let size = fs::metadata(folder.join(name)).expect("it is there").len();
            assert!(size <= 208, "{finish}: {name} has {size} bytes");
        }
        let again = run(folder, "delete runs --recursive --yes");
        assert!(again.code == 0 && again.stderr.contains("0 deleted"), "{again:?}");
    }
}

#[test]
fn no_command_takes_an_older_step_for_the_newest() {
    let folder = folder();
    let folder = folder.path();
    let newest = fs::read(step(folder, STEPS)).expect("a step");
    // Lost, or cut to the size of what takes the place of a removed step.
    for size in [None, Some(100), Some(192), Some(200), Some(208)] {
        match size {
            None => fs::remove_file(step(folder, STEPS)).expect("it is there"),
            Some(size) => fs::write(step(folder, STEPS), &newest[..size]).expect("a file"),
        }
        for command in ["restore runs/a/s", "restore runs/a/s@latest", "list runs", "sessions runs", "verify runs --recursive"] {
            let done = run(folder, command);
            assert!(done.code == 5 && !done.stdout.contains("turn"), "{size:?}: {command}: {done:?}");
        }
    }
}

#[test]
fn a_check_says_what_is_wrong_besides_the_steps() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("runs/a/s/head"), "no hint").expect("a file");
    let done = run(folder, "check runs");
    assert!(done.code == 5 && done.stdout.contains("none damaged, but 1 other object is wrong"), "{done:?}");
    assert!(done.stderr.contains("'persist check --repair' rewrites this object"), "{done:?}");
    let done = run(folder, "check runs --repair");
    assert!(done.code == 0 && done.stderr.contains("repaired, 1 object"), "{done:?}");
    fs::write(folder.join("runs/a/s/000000000002.hidden"), "").expect("a file");
    let done = run(folder, "check runs");
    assert!(done.code == 5 && done.stderr.contains("--forget-damaged' removes this object"), "{done:?}");
    assert_eq!(run(folder, "check runs --repair --forget-damaged").code, 0);
    assert_eq!(run(folder, "restore runs/a/s@2").stdout, "{\"turn\":2}");
}

#[test]
fn a_timeline_that_has_lost_all_its_steps_is_still_known() {
    let folder = folder();
    let folder = folder.path();
    for number in 1..=STEPS {
        fs::remove_file(step(folder, number)).expect("a step");
    }
    // Something else with the name of a hint is no timeline.
    fs::create_dir_all(folder.join("runs/b/s")).expect("a folder");
    fs::write(folder.join("runs/b/s/head"), "{}").expect("a file");
    for command in ["check runs", "check runs/a/s", "check runs --repair", "log runs/a/s", "prune runs --keep-last 1 --yes"] {
        let done = run(folder, command);
        assert!(done.code == 5 && done.stderr.contains("step 12, which was the newest, is missing"), "{command}: {done:?}");
    }
    let done = run(folder, "check runs --repair --forget-damaged");
    let advice = "no step of the timeline can be restored: runs/a/s/ (append the next state, or delete the timeline)";
    assert!(done.code == 5 && done.stderr.contains(advice), "{done:?}");
    let done = run(folder, "delete runs --recursive --yes");
    assert!(done.code == 0 && done.stderr.contains("1 other file") && done.stderr.contains("1 deleted"), "{done:?}");
    let again = run(folder, "check runs");
    assert_eq!((again.code, again.stdout.as_str()), (0, "checked 0 steps in 0 timelines: none damaged, data not read\n"));
    assert!(folder.join("runs/b/s/head").exists());
}
