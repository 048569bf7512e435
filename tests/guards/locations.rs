//! The locations that commands print, in a folder and in a bucket.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use persist_test_support::command::{Done, json, ok_in, persist};
use persist_test_support::server::{BUCKET, Server};

use crate::helpers::{STATE, folder, on};

/// The locations that commands print are passed to the next command unchanged.
#[test]
fn a_printed_location_works_in_the_next_command() {
    let outer = folder();
    let base = outer.path().join("base");
    fs::create_dir(&base).expect("a folder");
    fs::copy(outer.path().join("state.json"), base.join("state.json")).expect("a copy");
    let names = ["x.gz", "with space.gz", "-dash.gz", "100%25.gz", "s3:/x.gz", "q?'\"\\.gz", "-d/-x.zst", "ü/エ.gz", "~.gz"];
    for name in names {
        ok_in(&base, &["snapshot", "state.json", &format!("./in/{name}")]);
    }
    ok_in(&base, &["snapshot", "state.json", "./-in/-x.gz"]);
    let absolute = base.join("in").display().to_string();
    let url = format!("file://{absolute}");
    let relative = |place: &Path| -> Vec<(&'static str, String)> { vec![("PERSIST_LOCAL_PATH", place.display().to_string())] };
    let bucket = vec![("PERSIST_STORAGE", "s3".to_owned()), ("PERSIST_S3_BUCKET", BUCKET.to_owned())];
    let in_base = base.join("in");
    for (place, folder, variables) in [
        (in_base.as_path(), ".", vec![]),
        (&in_base, "./", vec![]),
        (&base, "in", vec![]),
        (&base, "in/", vec![]),
        (&base, "./in", vec![]),
        (&base, &absolute, vec![]),
        (&base, &url, vec![]),
        (&base, "-in", vec![]),
        (outer.path(), "in", relative(&base)),
        (outer.path(), "in", relative(Path::new("base"))),
        (outer.path(), "-in", relative(Path::new("base"))),
        (&in_base, ".", relative(&in_base)),
        (&in_base, ".", relative(Path::new("."))),
        (&base, &url, bucket),
    ] {
        let run = |arguments: &[&str]| -> String {
            let mut command = persist();
            command.current_dir(place).envs(variables.clone()).args(arguments).stdin(Stdio::null());
            let done: Done = command.output().expect("persist starts").into();
            assert_eq!(done.code, 0, "{folder} {variables:?} {arguments:?}: {done:?}");
            done.stdout
        };
        let listed = run(&["list", "--json", "--", folder]);
        let count = if folder.ends_with("-in") { 1 } else { names.len() };
        assert_eq!(listed.lines().count(), count, "{folder} {variables:?}: {listed}");
        for line in listed.lines() {
            let found = json(line);
            let location = found["location"].as_str().expect("a location");
            let shown = json(&run(&["show", "--json", location]));
            assert_eq!((&shown["location"], &shown["snapshot_id"]), (&found["location"], &found["snapshot_id"]));
            assert_eq!(json(&run(&["verify", "--json", location]))["location"], location);
            assert_eq!(json(&run(&["exists", "--json", location]))["location"], location);
            assert_eq!(run(&["restore", location]).as_bytes(), STATE);
            let restored = json(&run(&["restore", "--json", location, "-o", "out.json"]));
            assert_eq!(restored["location"], location);
        }
    }
    // Saving, copying and deleting print locations in the same form.
    let saved = json(&ok_in(&base, &["snapshot", "--json", "state.json", "./-y.gz"]));
    let location = saved["location"].as_str().expect("a location").to_owned();
    let copied = json(&ok_in(&base, &["copy", "--json", &location, "--", "-z.gz"]));
    assert_eq!(copied["source"], location.as_str());
    let copied = copied["location"].as_str().expect("a location");
    assert_eq!(json(&ok_in(&base, &["delete", "--json", "--yes", copied]))["location"], copied);
    for line in ok_in(&base, &["copy", "-r", "--json", "in", "./-to"]).lines() {
        let copied = json(line);
        for name in ["source", "location"] {
            ok_in(&base, &["show", copied[name].as_str().expect("a location")]);
        }
    }
    // A snapshot cannot claim to be elsewhere.
    let lie = r#"{"location": "elsewhere.gz"}"#;
    let options = persist_host::SnapshotOptions::default().extra(Some(lie.to_owned()));
    let engine = persist_host::Engine::builder().storage(persist_host::LocalFileStorage::new(&base)).build().expect("an engine");
    engine.snapshot("liar.gz", b"{}", &options).expect("it is saved");
    let shown = ok_in(&base, &["show", "liar.gz", "--json"]);
    assert_eq!(shown.matches("\"location\"").count(), 1, "{shown}");
    assert_eq!(json(&shown)["location"], "liar.gz");
}

#[test]
fn a_printed_location_in_a_bucket_works_in_the_next_command() {
    let (server, folder) = (Server::start(), folder());
    let run = |variables: &[(&str, &str)], arguments: &[&str]| -> String {
        let mut command = on(&server.endpoint());
        let done: Done =
            command.current_dir(folder.path()).envs(variables.iter().copied()).args(arguments).output().expect("it starts").into();
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done.stdout
    };
    let plain = [("PERSIST_STORAGE", "s3"), ("PERSIST_S3_BUCKET", BUCKET)];
    for key in ["a/x.gz", "a/with space.gz", "a/-x.gz", "a/100%25.gz"] {
        run(&plain, &["snapshot", "state.json", key]);
    }
    let whole = format!("s3://{BUCKET}/a");
    for (variables, place) in [(&plain[..], "a"), (&plain, "a/"), (&[], whole.as_str())] {
        let listed = run(variables, &["list", "--json", place]);
        assert_eq!(listed.lines().count(), 4, "{listed}");
        for line in listed.lines() {
            let found = json(line);
            let location = found["location"].as_str().expect("a location");
            assert!(location.starts_with(&format!("{}/", whole)), "{location}");
            assert_eq!(json(&run(variables, &["show", "--json", location]))["snapshot_id"], found["snapshot_id"]);
        }
    }
}
