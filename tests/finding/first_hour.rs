//! What a new user does first.

use std::fs;

use persist_test_support::server::Server;

use crate::helpers::Place;

/// Saves three agents over ten sessions, and does what a new user does first.
fn first_hour(place: &Place) {
    for session in 1..=10 {
        let agent = ["support", "billing", "Research"][session % 3];
        for step in 0..2 {
            fs::write(place.folder.path().join("state.json"), format!(r#"{{"session": {session}, "step": {step}}}"#)).expect("a state");
            let old = if session == 10 { " --timestamp 2020-01-31T12:00:00Z" } else { "" };
            let label = if step == 1 { " --label final=yes" } else { "" };
            place.ok(&format!("snapshot state.json @/ --agent {agent} --session case-{session}{label}{old}"));
        }
    }
    // All of them, in natural order.
    let keys = place.keys("list @");
    assert_eq!(keys.len(), 20);
    assert_eq!(keys[0], "+research/case-2/0.json.zst");
    let billing: Vec<&str> = keys.iter().filter_map(|key| key.strip_prefix("billing/")).collect();
    let expected = ["case-1/0", "case-1/1", "case-4/0", "case-4/1", "case-7/0", "case-7/1", "case-10/0", "case-10/1"];
    assert_eq!(billing, expected.map(|key| format!("{key}.json.zst")));
    let sessions = place.ok("sessions @ --agent support");
    assert_eq!(sessions.lines().count(), 4, "{sessions}");
    assert!(sessions.lines().skip(1).all(|line| line.starts_with("support  case-") && line.contains("  2 ")), "{sessions}");

    // The latest, and one by its label.
    assert_eq!(place.ok("restore @/ --session case-7"), r#"{"session": 7, "step": 1}"#);
    assert_eq!(place.ok("restore @/ --session case-7 --index 0"), r#"{"session": 7, "step": 0}"#);
    assert_eq!(place.keys("list @ --label final=yes --session case-4"), ["billing/case-4/1.json.zst"]);
    assert_eq!(place.keys("list @ --latest --agent-id Research"), [2, 5, 8].map(|number| format!("+research/case-{number}/1.json.zst")));
    assert_eq!(place.keys("list @ --until 7d"), ["billing/case-10/0.json.zst", "billing/case-10/1.json.zst"]);

    // Verify some, and delete old ones.
    let verified = place.run("verify @ --recursive --session case-7");
    assert!(verified.code == 0 && verified.stderr.starts_with("2 verified"), "{verified:?}");
    let dry = place.run("delete @ --recursive --until 7d --dry-run");
    assert!(dry.code == 0 && dry.stdout.lines().count() == 2 && dry.stderr == "2 would be deleted\n", "{dry:?}");
    assert_eq!(place.run("delete @ --recursive --until 7d --yes").stderr, "2 deleted\n");
    assert_eq!(place.keys("list @").len(), 18);
    assert_eq!(place.run("restore @/ --session case-10").code, 3);
}

#[test]
fn the_first_hour_on_a_folder() {
    let place = Place::local();
    first_hour(&place);
    assert!(!place.folder.path().join("agents/billing/case-10").exists(), "an empty folder is left");
}

#[test]
fn the_first_hour_in_a_bucket() {
    first_hour(&Place::bucket(Server::start().endpoint()));
}
