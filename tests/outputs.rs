//! The parts of the command's output that scripts depend on: the fields of its JSON and
//! their types, the columns of its tables, and the names of its commands and options. A
//! change here is a change for users.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;

use persist_test_support::command::{Done, persist};
use persist_test_support::workspace::workspace;
use serde_json::{Map, Value};

/// Replaces values by the names of their types. An array has the shape of its first item.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => Value::Array(items.first().map(shape).into_iter().collect()),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect()),
    }
}

/// Runs a command in a folder.
fn run(folder: &Path, arguments: &[&str]) -> Done {
    persist().current_dir(folder).args(arguments).stdin(Stdio::null()).output().expect("it starts").into()
}

/// Returns the exit code of a command and the shape of the last object that it prints, on
/// either stream.
fn printed(folder: &Path, arguments: &[&str]) -> Value {
    let done = run(folder, arguments);
    let text = if done.stdout.trim().is_empty() { &done.stderr } else { &done.stdout };
    let last = text.lines().next_back().expect("a line");
    let object = serde_json::from_str(last).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {done:?}"));
    Value::Array(vec![done.code.into(), shape(&object)])
}

/// Returns the headings in the first line that a command prints.
fn columns(folder: &Path, arguments: &[&str]) -> Value {
    let done = run(folder, arguments);
    let first = done.stdout.lines().next().unwrap_or_default();
    first.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>().into()
}

/// Returns the names of the options that a help text lists, sorted.
fn options(help: &str) -> Value {
    let listed = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
    let names = listed
        .flat_map(|line| line.split("  ").next().unwrap_or_default().split([' ', ',']))
        .filter(|word| word.starts_with('-') && word.len() > 1);
    names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().into()
}

/// Returns the commands that the full help lists.
fn commands(folder: &Path) -> Vec<String> {
    let help = run(folder, &["--help-all"]).stdout;
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn outputs_have_the_shape_that_scripts_rely_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("state.json"), r#"{"messages": ["Hello"]}"#).expect("a state");
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for (name, arguments) in [
        ("snapshot", &["snapshot", "state.json", "a/1.json.gz", "--label", "env=prod", "--description", "text", "--json"][..]),
        ("snapshot into a folder", &["snapshot", "state.json", "runs/", "--agent", "support", "--session", "s", "--json"]),
        ("show", &["show", "a/1.json.gz", "--json"]),
        ("list", &["list", "a", "--json"]),
        ("sessions", &["sessions", "runs", "--json"]),
        ("verify", &["verify", "a/1.json.gz", "--json"]),
        ("restore", &["restore", "a/1.json.gz", "-o", "out.json", "--json"]),
        ("copy", &["copy", "a/1.json.gz", "b.json.gz", "--json"]),
        ("exists", &["exists", "a/1.json.gz", "--json"]),
        ("salvage", &["salvage", "a/1.json.gz", "-o", "salvaged.json", "--json"]),
        ("doctor", &["doctor", "place/", "--json"]),
        ("delete", &["delete", "b.json.gz", "--yes", "--json"]),
        ("append", &["append", "state.json", "t/support/case-1", "--json"]),
        ("log", &["log", "t/support/case-1", "--json"]),
        ("check", &["check", "t", "--json"]),
        ("copy a timeline", &["copy", "t", "u", "--recursive", "--json"]),
        ("fork", &["fork", "t/support/case-1", "forks/support/case-2", "--json"]),
        ("prune", &["prune", "t", "--keep-last", "1", "--dry-run", "--json"]),
        ("prune sessions", &["prune", "t", "--keep-sessions", "1", "--dry-run", "--json"]),
        ("not found", &["show", "missing.gz", "--json"]),
        ("not a snapshot", &["show", "state.json", "--json"]),
        ("wrong argument", &["snapshot", "state.json", "x.gz", "--level", "99", "--json"]),
        ("wrong option", &["show", "--no-such-option", "--json"]),
    ] {
        found.insert(name.to_owned(), printed(folder, arguments));
    }
    for (name, arguments) in [("columns of list", &["list", "a"][..]), ("columns of sessions", &["sessions", "runs"])] {
        found.insert(name.to_owned(), columns(folder, arguments));
    }
    found.insert("options".to_owned(), options(&run(folder, &["--help-all"]).stdout));
    for command in commands(folder) {
        found.insert(format!("options of {command}"), options(&run(folder, &[&command, "--help-all"]).stdout));
    }
    let found = Value::Object(found.into_iter().collect::<Map<_, _>>());
    let golden = workspace().join("tests/outputs.json");
    let expected: Value = serde_json::from_str(&fs::read_to_string(&golden).unwrap_or_else(|_| "null".to_owned())).expect("JSON");
    assert!(found == expected, "{} differs from the shape of the command's output:\n{found:#}", golden.display());
}
