//! IDs of any text, and indexes of concurrent saves.

use std::process::Stdio;

use persist_test_support::command::{Done, json};
use persist_test_support::server::Server;

use crate::helpers::Place;

#[test]
fn ids_are_any_text() {
    let place = Place::local();
    let long = "x".repeat(1000);
    for (agent, session) in [("..", "/"), ("", "🤖"), ("a", "A"), ("a", "a"), (&*long, "~"), ("../../etc", "%2f")] {
        for index in 0..2 {
            let mut command = place.command();
            let done: Done = command
                .args(["snapshot", "state.json", "agents/"])
                .arg(format!("--agent-id={agent}"))
                .arg(format!("--session-id={session}"))
                .output()
                .unwrap()
                .into();
            assert!(done.code == 0 && done.stdout.contains(&format!("/{index}.json.zst: ")), "{done:?}");
        }
        let listed: Done = place
            .command()
            .args(["list", "agents", "--json"])
            .arg(format!("--agent={agent}"))
            .arg(format!("--session={session}"))
            .output()
            .unwrap()
            .into();
        let found = json(listed.stdout.lines().last().unwrap());
        assert_eq!(
            (found["agent_id"].as_str(), found["session_id"].as_str(), listed.stdout.lines().count()),
            (Some(agent), Some(session), 2)
        );
    }
    assert!(place.folder.path().join("agents/%/🤖/0.json.zst").exists());
    assert!(place.folder.path().join("agents/%2e%2e/%2f/1.json.zst").exists());
    assert!(place.folder.path().join("agents/a/+a/1.json.zst").exists());
}

#[test]
fn concurrent_saves_get_different_indexes() {
    let (local, server) = (Place::local(), Server::start());
    for (place, together) in [(local, 6), (Place::bucket(server.endpoint()), 1)] {
        let children: Vec<_> = (0..together)
            .map(|_| {
                place
                    .command()
                    .args(["save", "state.json", &format!("{}/", place.at), "--session", "s"])
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("it starts")
            })
            .collect();
        for child in children {
            let done: Done = child.wait_with_output().expect("it ends").into();
            assert_eq!(done.code, 0, "{done:?}");
        }
        let indexes: Vec<String> = place.ok("list @ --json").lines().map(|line| json(line)["snapshot_index"].to_string()).collect();
        assert_eq!(indexes, (0..together).map(|index| index.to_string()).collect::<Vec<_>>());
        // A given index is used, and nothing is replaced.
        place.ok("save state.json @/ --session s --index 9 --codec gzip --content-type text/plain");
        assert_eq!(place.run("save state.json @/ --session s --index 9 --codec gzip --content-type text/plain").code, 4);
        assert!(place.ok("save state.json @/ --session s").contains("/10.json.zst: "));
        assert!(place.ok("list @ --index 9").contains("/9.gz "));
    }
}
