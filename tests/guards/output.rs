//! Tables, the advice in errors, and the pages of the manual.

use std::fs;

use persist_test_support::command::{json, ok_in, read, run_in};

use crate::helpers::{STATE, folder};

#[test]
fn one_long_text_does_not_widen_all_rows() {
    let folder = folder();
    let folder = folder.path();
    let long = "エ".repeat(13_000);
    ok_in(folder, &["snapshot", "state.json", "s/a.gz", "--agent-id", &long, "--session-id", &"x".repeat(60)]);
    ok_in(folder, &["snapshot", "state.json", &format!("s/{}/{}.gz", "k".repeat(200), "k".repeat(200))]);
    let listed = ok_in(folder, &["list", "s"]);
    for line in listed.lines() {
        let width: usize = line.chars().map(|character| if character == 'エ' { 2 } else { 1 }).sum();
        assert!(width < 250, "{width}: {line}");
    }
    assert!(listed.contains(&format!(" {}…", "エ".repeat(29))), "{listed}");
    assert!(listed.contains(&"x".repeat(60)) && listed.contains(&format!("{}…", "k".repeat(59))), "{listed}");
    // 'show' and JSON output are not cut.
    assert!(ok_in(folder, &["show", "s/a.gz"]).contains(&long));
    assert_eq!(json(ok_in(folder, &["list", "s", "--json"]).lines().next().expect("a line"))["agent_id"], long.as_str());
}

/// The advice in errors works.
#[test]
fn advice_can_be_followed() {
    let folder = folder();
    let folder = folder.path();
    ok_in(folder, &["snapshot", "state.json", "x.gz"]);
    ok_in(folder, &["snapshot", "state.json", "./-x.gz"]);
    let bytes = read(folder, "x.gz");
    fs::write(folder.join("stub.gz"), &bytes[..10]).expect("a file");
    fs::write(folder.join("zeros.gz"), [0; 1000]).expect("a file");
    fs::create_dir(folder.join("folder")).expect("a folder");
    for (arguments, code, says, never) in [
        (&["snapshot", "state.json", "y.gz", "--index", "-1"][..], 2, "0 or more", "-- -1"),
        (&["snapshot", "state.json", "y.gz", "--index", "many"], 2, "0 or more", "digit"),
        (&["snapshot", "state.json", "y.gz", "--agent-id", "-x"], 2, "--agent-id=-x", "-- -x"),
        (&["snapshot", "state.json", "y.gz", "--description", "-x"], 2, "--description=-x", "-- -x"),
        (&["restore", "x.gz", "-o", "-x"], 2, "-o-x", "-- -x"),
        (&["show", "-x.gz"], 2, "./-x.gz", "-- -x"),
        (&["show", "x.gz", "--workers", "-1"], 2, "a number from 1 to 64", "-- -1"),
        (&["show", "x.gz", "--storage", "tape"], 2, "expected local, s3 or memory", "the storage 'tape'"),
        (&["salvage", "stub.gz", "-o", "out"], 5, "use another copy", "persist salvage"),
        (&["salvage", "zeros.gz", "-o", "out"], 5, "use another copy", "persist salvage"),
        (&["copy", "folder", "to"], 2, "--recursive", "check the path"),
        (&["snapshot", "state.json", "y.gz", "--bogus"], 2, "'--bogus'", "-- --bogus"),
        (&["doctor", "x.gz"], 2, "give a folder", "look at one"),
    ] {
        for arguments in [arguments.to_vec(), [&["--json"], arguments].concat()] {
            let done = run_in(folder, &arguments);
            assert_eq!(done.code, code, "{arguments:?}: {done:?}");
            assert!(done.stderr.contains(says) && !done.stderr.contains(never), "{arguments:?}: {done:?}");
        }
    }
    // Similar options are still suggested.
    let done = run_in(folder, &["snapshot", "state.json", "y.gz", "--lable=a=b"]);
    assert!(done.code == 2 && done.stderr.contains("'--label'") && !done.stderr.contains("-- --lable"), "{done:?}");
    // As advised.
    ok_in(folder, &["show", "./-x.gz"]);
    ok_in(folder, &["snapshot", "state.json", "y.gz", "--agent-id=-x", "--description=-x"]);
    ok_in(folder, &["restore", "x.gz", "-o-x"]);
    assert_eq!(read(folder, "-x"), STATE);
}

#[test]
fn every_page_says_what_the_exit_codes_mean() {
    let folder = folder();
    let help = ok_in(folder.path(), &["--help-all"]);
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 12, "{commands:?}");
    let pages = commands.iter().map(|name| ok_in(folder.path(), &["man", name])).chain([ok_in(folder.path(), &["man"])]);
    let codes: Vec<u8> = (0..=13).chain([130, 141]).collect();
    for page in pages {
        let (_, section) =
            page.split_once(".SH \"EXIT CODES\"").or_else(|| page.split_once(".SH EXIT CODES")).unwrap_or_else(|| panic!("{page}"));
        for code in &codes {
            assert!(section.contains(&format!("\\fB{code}\\fR")), "{code} in {section}");
        }
        assert!(!page.contains("Exit codes:") && !page.contains("EXTRA"), "the exit codes are there twice: {page}");
        // Each option has its text below it.
        let lines: Vec<&str> = page.lines().collect();
        for found in lines.windows(3).filter(|found| found[0] == ".TP") {
            assert!(!found[2].is_empty() && found[2] != ".TP", "{found:?}");
        }
    }
    let helps = commands.iter().map(|name| ok_in(folder.path(), &[name, "--help-all"])).chain([help.clone()]);
    for help in helps {
        let (_, section) = help.split_once("Exit codes:\n").unwrap_or_else(|| panic!("{help}"));
        let listed: Vec<&str> =
            section.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next()).collect();
        assert!(codes.iter().all(|code| listed.contains(&code.to_string().as_str())) && listed.len() == codes.len(), "{help}");
        assert_eq!(help.matches("Exit codes:").count(), 1, "{help}");
    }
}
