//! Commands written as one line each, in a folder with a timeline.

use std::fs;
use std::path::Path;

use persist_test_support::command::{Done, files, run_in};
use tempfile::TempDir;

/// Runs `persist` in a folder, with words that are separated by spaces; `''` is an empty one.
pub(crate) fn run(folder: &Path, line: &str) -> Done {
    let words: Vec<&str> = line.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
    run_in(folder, &words)
}

/// The same, for a command that succeeds.
pub(crate) fn ok(folder: &Path, line: &str) -> Done {
    let done = run(folder, line);
    assert_eq!(done.code, 0, "persist {line}: {done:?}");
    done
}

/// Returns a folder with the timeline `runs/a/s` of this many steps, and with its newest state in
/// `state.json`.
pub(crate) fn with_steps(steps: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for turn in 1..=steps {
        fs::write(folder.path().join("state.json"), format!("{{\"turn\":{turn}}}")).expect("a state");
        ok(folder.path(), "append state.json runs/a/s");
    }
    folder
}

/// Returns the names and the content of all files in a folder.
pub(crate) fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    files(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(&name)).unwrap_or_default())).collect()
}
