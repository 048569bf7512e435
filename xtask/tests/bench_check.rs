//! With `--check`, a benchmark fails if a goal is missed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use persist_test_support::table::{Goal, Table};

/// Returns whether a run with this result succeeds.
fn passes(name: &str, found: f64, goal: Goal, arguments: &[&str]) -> bool {
    let mut table = Table::default();
    table.add("without a goal", 0.0, None, "");
    table.add("with one", found, goal, "");
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    std::panic::catch_unwind(|| table.finish(name, &arguments)).is_ok()
}

#[test]
fn a_missed_goal_fails_only_with_check() {
    for (name, goal, met, missed) in [("least", Goal::AtLeast(2.0), 2.0, 1.99), ("most", Goal::AtMost(2.0), 2.0, 2.01)] {
        assert!(passes(name, met, goal, &["--check"]), "{name}");
        assert!(!passes(name, missed, goal, &["--check"]), "{name}");
        assert!(!passes(name, f64::NAN, goal, &["--quick", "--check"]), "{name}: a goal that was not measured is missed");
        assert!(passes(name, missed, goal, &["--quick"]), "{name}");
    }
}
