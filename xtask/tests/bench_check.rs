//! A benchmark that is asked to check its goals fails if one was missed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "nothing is timed here")]
#[path = "../../tests/support/table.rs"]
mod table;

use table::{Goal, Table};

/// Whether a run that found this ends well.
fn passes(name: &str, found: f64, goal: Goal, arguments: &[&str]) -> bool {
    let mut table = Table::default();
    table.add("without a goal", 0.0, None, "");
    table.add("with one", found, goal, "");
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    std::panic::catch_unwind(|| table.finish(name, &arguments)).is_ok()
}

#[test]
fn a_missed_goal_fails_where_it_is_asked_for() {
    for (name, goal, met, missed) in [("least", Goal::AtLeast(2.0), 2.0, 1.99), ("most", Goal::AtMost(2.0), 2.0, 2.01)] {
        assert!(passes(name, met, goal, &["--check"]), "{name}");
        assert!(!passes(name, missed, goal, &["--check"]), "{name}");
        assert!(!passes(name, f64::NAN, goal, &["--quick", "--check"]), "{name}: what was not measured is not met");
        assert!(passes(name, missed, goal, &["--quick"]), "{name}");
    }
}
