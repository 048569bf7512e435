//! The command as a process: how long until it has done something, and how long it takes
//! to list and delete thousands of snapshots.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use persist_host::{Engine, MemoryStorage};
use persist_test_support::command::command_path;
use persist_test_support::table::{Goal, Table, in_turn, median, seconds};

use crate::MB;

/// Returns the command with an empty environment, as in a fresh container.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(command_path());
    command.current_dir(folder).env_clear();
    command
}

/// Measures how long the command takes from its start.
pub(crate) fn cold(table: &mut Table, state: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        assert!(command(folder.path()).args(arguments).stdout(Stdio::null()).status().unwrap().success());
    };
    fs::write(folder.path().join("state.json"), state).unwrap();
    fs::write(folder.path().join("small.json"), "{}").unwrap();
    run(&["snapshot", "state.json", "x.json.gz"]);
    let [version, show, save] = in_turn(
        20,
        [&mut || run(&["--version"]), &mut || run(&["show", "x.json.gz"]), &mut || {
            run(&["snapshot", "small.json", "y.json.gz", "--durability=none"]);
        }],
    );
    for (what, taken, goal) in [("show", show, 15.0), ("snapshot of {}", save, 60.0)] {
        let detail = format!("{:.1} ms, --version {:.1} ms", taken * 1e3, version * 1e3);
        table.add(format!("persist {what}: ms more than --version"), (taken - version) * 1e3, Goal::AtMost(goal), detail);
    }
    if let Some(edge) = std::env::var_os("PERSIST_EDGE") {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&edge);
            let done = command.args(arguments).current_dir(folder.path()).env_clear().stdout(Stdio::null()).status();
            assert!(done.unwrap().success());
        };
        let [show, save] = in_turn(20, [&mut || run(&["show", "x.json.gz"]), &mut || run(&["snapshot", "state.json", "y.json.gz"])]);
        let detail = format!("a save of {} MB {:.0} ms", state.len() / MB, save * 1e3);
        table.add("persist show, built for small machines: ms", show * 1e3, Goal::AtMost(30.0), detail);
    } else {
        table.add("persist show, built for small machines: ms", f64::NAN, Goal::AtMost(30.0), "PERSIST_EDGE is not set");
    }
    let [build] = in_turn(
        5,
        [&mut || {
            drop(Engine::builder().storage(MemoryStorage::new()).build().unwrap());
        }],
    );
    table.add("an engine: ms", build * 1e3, None, "");
}

/// Fills a folder with snapshots named as by agents, a hundred per session.
fn fill(folder: &Path, bytes: &[u8], count: usize) {
    for number in 0..count {
        let session = folder.join(format!("agent/session-{:03}", number / 100));
        fs::create_dir_all(&session).unwrap();
        fs::write(session.join(format!("{number}.json.zst")), bytes).unwrap();
    }
}

/// Measures thousands of snapshots in a folder, and the system's own commands on as many
/// files.
pub(crate) fn many(table: &mut Table) {
    const LISTED: usize = 10_000;
    const DELETED: usize = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let run = |command: &mut Command| {
        assert!(command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    };
    let persist = |arguments: &[&str]| run(command(folder.path()).args(arguments));
    fs::write(folder.path().join("small.json"), "{}").unwrap();
    persist(&["snapshot", "small.json", "small.json.zst"]);
    let bytes = fs::read(folder.path().join("small.json.zst")).unwrap();
    fill(folder.path(), &bytes, LISTED);
    let [listed, sorted, found] = in_turn(
        5,
        [&mut || persist(&["list", "agent"]), &mut || persist(&["list", "agent", "--sort=time"]), &mut || {
            run(Command::new("find").args(["agent", "-type", "f"]));
        }],
    );
    let detail = format!("{:.0} ms, find {:.0} ms", listed * 1e3, found * 1e3);
    table.add(format!("persist list of {LISTED} snapshots: us for each"), listed / LISTED as f64 * 1e6, None, detail);
    table.add("the same, sorted by time / unsorted", sorted / listed, Goal::AtMost(1.5), "");
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        let ways: [&dyn Fn(); 2] = [&|| persist(&["delete", "-r", "agent", "--yes", "--force", "--durability=none"]), &|| {
            run(Command::new("rm").args(["-r", "agent"]))
        }];
        for (way, taken) in ways.iter().zip(&mut taken) {
            fill(folder.path(), &bytes, DELETED);
            taken.push(seconds(way));
            assert!(!folder.path().join("agent").exists(), "an empty folder was not removed");
        }
    }
    let [deleted, removed] = taken.map(median);
    let detail = format!("rm -r {removed:.2} s");
    table.add(format!("persist delete -r --force of {DELETED}, --durability none: s"), deleted, Goal::AtMost(5.0), detail);
}
