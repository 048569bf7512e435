//! Help, errors of usage, logs, and metadata that is printed to a terminal.

use std::fs;

use persist_test_support::command::{files, json, ok_in, persist, run_in};

use crate::helpers::folder;

#[test]
fn wrong_arguments_are_explained() {
    let folder = folder();
    for arguments in [
        &["snapshot"][..],
        &["snapshot", "state.json", "x", "--codec", "lzma"],
        &["snapshot", "state.json", "x", "--label", "novalue"],
        &["snapshot", "state.json", "x", "--label", "a=1", "--label", "a=2"],
        &["snapshot", "state.json", "x", "--index", "-1"],
        &["snapshot", "state.json", "x", "--index", "9007199254740992"],
        &["snapshot", "state.json", "x", "--timestamp", "yesterday"],
        &["snapshot", "state.json", "x", "--snapshot-id", "17"],
        &["frobnicate"],
        &["verify"],
    ] {
        let done = run_in(folder.path(), arguments);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{arguments:?}: {done:?}");
        assert!(done.stderr.starts_with("error: "), "{arguments:?}: {done:?}");
        let error = json(&run_in(folder.path(), &[arguments, &["--json"]].concat()).stderr);
        assert_eq!(error["code"], "invalid-argument", "{arguments:?}");
    }
    assert_eq!(files(folder.path()), ["state.json"]);
}

#[test]
fn help_and_completions_are_complete() {
    let folder = folder();
    let help = ok_in(folder.path(), &["--help"]);
    // One screen: a line for each of the 18 commands, and 12 more.
    assert!(help.lines().count() <= 30 && help.lines().all(|line| line.len() <= 80), "{help}");
    assert_eq!(help, ok_in(folder.path(), &["-h"]));
    let commands = [
        "snapshot", "restore", "show", "verify", "exists", "delete", "list", "sessions", "append", "log", "prune", "check", "copy", "diff",
        "fork", "salvage", "doctor",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let help = ok_in(folder.path(), &[command, "--help"]);
        assert!(help.contains("Usage: persist ") && help.contains("Example") && !help.contains("--s3-"), "{help}");
        let all = ok_in(folder.path(), &[command, "--help-all"]);
        assert!(all.contains("--s3-bucket") && all.contains("Exit codes:") && all.contains("Engine options"), "{all}");
    }
    assert!(ok_in(folder.path(), &["--help-all"]).contains("PERSIST_LOCAL_PATH"));
    for command in ["completions", "man"] {
        assert!(ok_in(folder.path(), &[command, "--help"]).contains("Example"), "{command}");
    }
    assert!(ok_in(folder.path(), &["--version"]).starts_with("persist "));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ok_in(folder.path(), &["completions", shell]);
        assert!(script.contains("persist") && script.contains("s3-bucket"), "{shell}");
    }
}

#[test]
fn logs_say_what_was_done_but_never_the_state() {
    let folder = folder();
    let secret = r#"{"password": "correct horse battery staple"}"#;
    fs::write(folder.path().join("state.json"), secret).expect("a state");
    for filter in ["persist_host=debug", "persist_core=debug", "trace"] {
        let logged = |arguments: &[&str]| {
            let output = persist().current_dir(folder.path()).env("RUST_LOG", filter).args(arguments).output().expect("persist starts");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        for (operation, arguments) in [
            ("snapshot", &["snapshot", "state.json", "x.gz"][..]),
            ("restore", &["restore", "x.gz", "-o", "out"]),
            ("verify", &["verify", "x.gz"]),
            ("metadata", &["show", "x.gz"]),
        ] {
            let log = logged(arguments);
            for part in [operation, "x.gz", "state_bytes=44", "stored_bytes=", "ms="] {
                assert!(log.contains(part), "{part} in {filter}, {operation}: {log}");
            }
            for word in ["password", "correct horse", "staple"] {
                assert!(!log.contains(word), "{word} in {log}");
            }
        }
    }
    assert_eq!(run_in(folder.path(), &["show", "x.gz"]).stderr, "");
}

#[test]
fn a_snapshots_metadata_cannot_control_the_terminal() {
    let folder = folder();
    let folder = folder.path();
    let evil = "\u{1b}[31mred\u{202e}\u{7}";
    ok_in(folder, &["snapshot", "state.json", "x.gz", "--agent-id", evil, "--description", "two\nlines", "--label", &format!("{evil}=1")]);
    for arguments in [&["show", "x.gz"][..], &["list", "."]] {
        let shown = ok_in(folder, arguments);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
        assert!(shown.contains("\\u{1b}[31mred\\u{202e}"), "{shown}");
    }
    assert!(ok_in(folder, &["show", "x.gz"]).contains("two\\u{a}lines"));
    assert_eq!(json(&ok_in(folder, &["show", "x.gz", "--json"]))["agent_id"], evil);
}
