//! Finding snapshots and processing many at once, as a user does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use persist_host::{StorageAdapter, WriteOptions};
use persist_test_support::command::{Done, files, in_soak, json, persist};
use persist_test_support::moto::Moto;
use persist_test_support::proxy::Proxy;
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server};
use tempfile::TempDir;

/// A location for snapshots, and how the command reaches it.
struct Place {
    at: String,
    folder: TempDir,
    endpoint: Option<String>,
}

impl Place {
    fn local() -> Self {
        Self { at: "agents".to_owned(), folder: state(), endpoint: None }
    }

    fn bucket(endpoint: String) -> Self {
        Self { at: format!("s3://{BUCKET}/agents"), folder: state(), endpoint: Some(endpoint) }
    }

    fn command(&self) -> Command {
        let mut command = persist();
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some(endpoint) = &self.endpoint {
            command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
        }
        command
    }

    /// Runs the command; `@` stands for the location.
    fn run(&self, typed: &str) -> Done {
        self.command().args(typed.split(' ').map(|word| word.replace('@', &self.at))).output().expect("persist starts").into()
    }

    /// Runs the command, which has to succeed, and returns its stdout.
    fn ok(&self, typed: &str) -> String {
        let done = self.run(typed);
        assert!(done.code == 0, "persist {typed}: {done:?}");
        done.stdout
    }

    /// Returns the first word of each line of a listing, without the headings.
    fn keys(&self, typed: &str) -> Vec<String> {
        // In a bucket, keys include the folder.
        let key = |line: &str| line.split(' ').next().map(|key| key.strip_prefix("agents/").unwrap_or(key).to_owned());
        self.ok(typed).lines().skip(1).filter_map(key).collect()
    }
}

fn state() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state.json"), br#"{"messages": []}"#).expect("a state");
    folder
}

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

fn saved(place: &Place, keys: &[&str]) {
    for (index, key) in keys.iter().enumerate() {
        fs::write(place.folder.path().join("state.json"), "x".repeat(100 - index)).expect("a state");
        place.ok(&format!("snapshot state.json @/{key} --index {index} --session s{index} --timestamp 2026-01-{:02}T00:00:00Z", index + 1));
    }
}

fn listings_find_what_is_asked_for(place: &Place) {
    saved(place, &["run-10/a.gz", "run-9/b.zst", "run-9/c.gz", "other/d.gz"]);
    assert_eq!(place.keys("list @"), ["other/d.gz", "run-9/b.zst", "run-9/c.gz", "run-10/a.gz"]);
    assert_eq!(place.keys("ls @ --reverse"), ["run-10/a.gz", "run-9/c.gz", "run-9/b.zst", "other/d.gz"]);
    assert_eq!(place.keys("list @ --sort time"), ["run-10/a.gz", "run-9/b.zst", "run-9/c.gz", "other/d.gz"]);
    assert_eq!(place.keys("list @ --sort size -n 2"), ["other/d.gz", "run-9/c.gz"]);
    assert_eq!(place.keys("list @ -n 1"), ["other/d.gz"]);
    assert_eq!(place.ok("list @ -n 0"), "");
    assert_eq!(place.keys("list @ --since 2026-01-02 --until 2026-01-03T12:00:00Z").len(), 2);
    assert_eq!(place.keys("list @ --index 3").len(), 1);
    // The beginning of a name, and patterns.
    assert_eq!(place.keys("list @/run").len(), 3);
    assert_eq!(place.keys("list @/run-9/b").len(), 1);
    assert_eq!(place.keys("list @/run-9/b.zst").len(), 1);
    assert_eq!(place.keys("list @/*/*.gz").len(), 3);
    assert_eq!(place.keys("list @/run-?").len(), 2);
    assert_eq!(place.keys("list @/**/[ab].*").len(), 2);
    assert_eq!(place.run("list @/nothing*").stderr, format!("no snapshots in {}/nothing*\n", place.at));
    let wrong = place.run("list @/run[");
    assert!(wrong.code == 2 && wrong.stderr.contains("pattern is not valid"), "{wrong:?}");
    let wrong = place.run("list @ --since yesterday");
    assert!(wrong.code == 2 && wrong.stderr.contains("7d"), "{wrong:?}");
    assert_eq!(place.ok("list @ --session s1 -0").matches('\0').count(), 1);
    // By their contents.
    let shown = json(&place.ok("show @/run-9/c.gz --json"));
    for option in ["content_hash", "digest"] {
        let name = option.replace('_', "-");
        assert_eq!(place.keys(&format!("list @ --{name} {}", shown[option].as_str().unwrap())), ["run-9/c.gz"]);
    }
}

#[test]
fn listings_of_folders_find_what_is_asked_for() {
    let place = Place::local();
    listings_find_what_is_asked_for(&place);
    assert_eq!(place.run("list @/nothing").code, 3);
    // The name of an existing folder is not a pattern.
    saved(&place, &["[x]/e.gz"]);
    assert_eq!(place.keys("list @/[x]"), ["e.gz"]);
}

#[test]
fn listings_of_buckets_find_what_is_asked_for() {
    listings_find_what_is_asked_for(&Place::bucket(Server::start().endpoint()));
}

/// Returns how often each kind of request was seen.
fn counted(proxy: &Proxy) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in proxy.seen() {
        *counts.entry(format!("{:?}", seen.operation)).or_default() += 1;
    }
    proxy.forget();
    counts
}

#[test]
fn a_second_listing_of_a_bucket_reads_no_objects() {
    let moto = Moto::start();
    let place = Place::bucket(moto.endpoint());
    let proxy = Proxy::start(moto.endpoint().trim_start_matches("http://").parse().expect("an address"));
    saved(&place, &["1.gz", "2.zst", "3.gz", "4.zst", "5.gz"]);
    let cache = place.folder.path().join("cache");
    let list = |typed: &str| {
        let mut command = place.command();
        command.env("AWS_ENDPOINT_URL", proxy.endpoint()).env("XDG_CACHE_HOME", &cache);
        let done: Done = command.args(typed.split(' ').map(|word| word.replace('@', &place.at))).output().expect("it starts").into();
        (done, counted(&proxy))
    };
    let only = |requests: &[(&str, usize)]| requests.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>();
    let (first, requests) = list("list @");
    assert_eq!(requests, only(&[("GetObject", 5), ("ListObjects", 1)]));
    let (second, requests) = list("list @");
    assert_eq!(requests, only(&[("ListObjects", 1)]));
    assert!(first.code == 0 && first.stdout == second.stdout && first.stdout.lines().count() == 6, "{first:?} {second:?}");
    // Filters use the index; objects that are new or were replaced are read.
    assert_eq!(list("list @ --session s2").0.stdout.lines().count(), 2);
    saved(&place, &["1.gz", "6.gz"]);
    let (third, requests) = list("list @ --json");
    assert_eq!(requests, only(&[("GetObject", 2), ("ListObjects", 1)]));
    let (fresh, requests) = list("list @ --json --no-index");
    assert_eq!(requests, only(&[("GetObject", 6), ("ListObjects", 1)]));
    assert_eq!(third.stdout, fresh.stdout);
    // The index is private.
    let index = fs::read_dir(cache.join("persist/index")).expect("the index").next().expect("a file").expect("a file").path();
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).expect("its mode")) & 0o777;
    assert_eq!((mode(&index), mode(index.parent().unwrap())), (0o600, 0o700));
    // The index is not trusted if others could have written it or if it is damaged.
    let text = fs::read_to_string(&index).expect("the index");
    fs::write(&index, text.replace("\"session_id\":\"s2\"", "\"session_id\":\"xx\"")).expect("it is changed");
    assert!(list("list @").0.stdout.contains("xx"), "the index is not in use");
    fs::set_permissions(&index, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("its mode");
    assert!(!list("list @").0.stdout.contains("xx"), "a file that others can write is trusted");
    fs::write(&index, &text[..text.len() / 2]).expect("it is cut");
    let (cut, requests) = list("list @ --json");
    assert_eq!((cut.stdout, requests["GetObject"]), (fresh.stdout, 6));
    // Deleting and verifying do not use it.
    let (_, requests) = list("delete @ --recursive --session s0 --dry-run");
    assert_eq!(requests["GetObject"], 6);
}

fn many_are_processed_at_once(place: &Place) {
    saved(place, &["1.json.gz", "a/2.json.zst", "a/b/3.gz"]);
    let done = place.run("verify @ -r --jobs 3");
    let lines: Vec<&str> = done.stdout.lines().map(|line| line.split(':').next().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!((done.code, lines.len()), (0, 3), "{done:?}");
    let in_order = |typed: &str| place.ok(typed).lines().filter(|line| line.contains(": ok, ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(in_order("verify @ -r -j 3"), in_order("verify @ -r -j 1"));
    assert!(place.run("restore @ -r").stderr.contains("--output FOLDER"));
    let done = place.run("restore @ -r -o states");
    assert!(done.code == 0 && done.stderr == "3 restored (297 B)\n", "{done:?}");
    let restored = files(&place.folder.path().join("states"));
    assert_eq!(restored, ["1.json", "a", "a/2.json", "a/b", "a/b/3"]);
    // Two with the same name.
    let done = place.run("restore @/1.json.gz @/1.json.gz -o twice");
    assert!(done.code == 4 && done.stderr.contains("1 restored (100 B), 1 failed"), "{done:?}");
    // A folder needs --recursive.
    for command in ["verify", "show", "delete --yes", "copy"] {
        let dest = if command == "copy" { " elsewhere" } else { "" };
        let done = place.run(&format!("{command} @/a/{dest}"));
        assert!(done.code == 2 && done.stderr.contains("--recursive"), "{command}: {done:?}");
    }
    // Locations listed by another command.
    for (list, verify) in [("list @ --session s1 -0", "verify -0 -"), ("list @ --session s1 -0", "show -0 - --json")] {
        let listed = place.run(list);
        let mut command = place.command();
        let mut child = command.args(verify.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().unwrap().write_all(listed.stdout.as_bytes()).expect("it reads");
        let done: Done = child.wait_with_output().expect("it ends").into();
        assert!(done.code == 0 && done.stdout.lines().count() == 1, "{done:?}");
    }
    // The worst exit code counts, and the others are processed.
    let done = place.run("verify @/missing.gz @/1.json.gz");
    assert!(done.code == 3 && done.stderr.contains("1 verified (100 B), 1 failed"), "{done:?}");
    let dry = place.run("copy @ copied -r --dry-run");
    assert!(dry.code == 0 && dry.stdout.matches("would copy ").count() == 3 && !place.folder.path().join("copied").exists(), "{dry:?}");
    let done = place.run("copy @/1.json.gz @/a/2.json.zst copied");
    assert!(done.code == 0 && done.stderr.starts_with("2 copied"), "{done:?}");
    assert_eq!(files(&place.folder.path().join("copied")), ["1.json.gz", "2.json.zst"]);
    // Not the expected snapshot.
    for typed in [
        "verify @/1.json.gz",
        "restore @/1.json.gz -o other",
        "copy @/1.json.gz @/other.gz",
        "show @/1.json.gz",
        "delete @/1.json.gz --yes",
    ] {
        for wrong in ["--session s1", "--agent x", "--index 7", "--label a=b", "--until 2020-01-01"] {
            let done = place.run(&format!("{typed} {wrong}"));
            assert!(done.code == 5 && done.stderr.contains("not the snapshot that was asked for"), "{typed} {wrong}: {done:?}");
        }
        let done = place.run(&format!("{typed} --digest {}", "0".repeat(64)));
        assert_eq!(done.code, 5, "{typed}: {done:?}");
    }
    assert!(!place.folder.path().join("other").exists());
    assert_eq!(place.run("exists @/other.gz").code, 3);
    place.ok("verify @/1.json.gz --session s0 --index 0");
    // Everything is deleted, whatever it is.
    assert_eq!(place.run("delete @ -r --force --yes").stderr, "3 deleted\n");
    assert!(place.run("list @").stdout.is_empty());
}

#[test]
fn many_files_are_processed_at_once() {
    let place = Place::local();
    many_are_processed_at_once(&place);
    assert!(!place.folder.path().join("agents").exists());
    fs::create_dir_all(place.folder.path().join("agents/x")).expect("a folder");
    fs::write(place.folder.path().join("agents/x/notes.txt"), "no snapshot").expect("a file");
    let done = place.run("delete @ -r --yes");
    assert!(done.code == 0 && done.stderr == "1 other file is not a snapshot and is kept\n0 deleted\n", "{done:?}");
    assert_eq!(place.run("delete @ -r --force --yes --session x").code, 2);
    assert_eq!(place.run("delete @ -r --force").code, 2);
    place.ok("delete @ -r --force --yes --durability none");
    assert!(!place.folder.path().join("agents").exists());
}

#[test]
fn many_objects_are_processed_at_once() {
    many_are_processed_at_once(&Place::bucket(Server::start().endpoint()));
}

#[test]
fn many_objects_are_deleted_in_few_requests() {
    let moto = Moto::start();
    let proxy = Proxy::start(moto.endpoint().trim_start_matches("http://").parse().expect("an address"));
    let place = Place::bucket(proxy.endpoint());
    let storage = moto.adapter();
    for number in 0..1100 {
        let mut writer = storage.open_write(&format!("agents/{number:04}.gz"), WriteOptions::default()).expect("it opens");
        writer.write(b"what is there").expect("it is written");
        writer.commit().expect("it is stored");
    }
    counted(&proxy);
    assert_eq!(place.run("delete @ --recursive --force --yes").stderr, "1100 deleted\n");
    let requests = counted(&proxy);
    println!("1,100 objects are deleted in {requests:?}");
    assert_eq!((requests["DeleteObject"], requests["ListObjects"], requests.len()), (2, 2, 2));
    assert!(place.ok("list @").is_empty());
}

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

#[test]
fn listing_many_objects_again_costs_only_the_listing() {
    let count = in_soak(2_000, 10_000);
    let (server, place) = (Server::start(), Place::local());
    let proxy = Proxy::start(server.address);
    let place = Place { endpoint: Some(proxy.endpoint()), at: format!("s3://{BUCKET}/agents"), ..place };
    saved(&place, &["0.gz"]);
    for number in 1..count {
        fs::copy(server.file("agents/0.gz"), server.file(&format!("agents/{number}.gz"))).expect("it is copied");
    }
    counted(&proxy);
    let mut listed = Vec::new();
    for how in ["cold", "with an index"] {
        let mut command = place.command();
        command.env("XDG_CACHE_HOME", place.folder.path().join("cache"));
        let done: Done = command.args(["list", &place.at]).output().expect("it starts").into();
        assert_eq!((done.code, done.stdout.lines().count()), (0, count + 1));
        let requests = counted(&proxy);
        println!("{count} objects are listed {how} in {requests:?}");
        listed.push((done.stdout, requests));
    }
    let pages = count.div_ceil(1000);
    assert_eq!((listed[0].1["ListObjects"], listed[0].1["GetObject"]), (pages, count));
    assert_eq!((listed[1].1["ListObjects"], listed[1].1.len()), (pages, 1));
    assert!(listed[0].0 == listed[1].0 && listed[0].0.contains("agents/1999.gz"));
}

/// Runs the command with something on its stdin.
fn with_stdin(place: &Place, typed: &str, stdin: &str) -> Done {
    let mut command = place.command();
    command.args(typed.split(' ').map(|word| word.replace('@', &place.at)));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends").into()
}

fn existing_names_are_not_taken_for_patterns(place: &Place) {
    saved(place, &["a[1].zst", "a1.zst"]);
    place.ok("delete @/a[1].zst --yes");
    assert_eq!(place.keys("list @"), ["a1.zst"]);
    saved(place, &["a[1].zst"]);
    assert_eq!(place.ok("restore @/a[1].zst").len(), 100);
    // A line of a list is never a pattern.
    let listed = place.ok("list -0 @/a[1].zst");
    place.ok("delete @/a[1].zst --yes");
    let done = with_stdin(place, "delete -r -0 --yes -", &listed);
    assert_eq!((done.code, place.keys("list @")), (3, vec!["a1.zst".to_owned()]), "{done:?}");
    let done = with_stdin(place, "delete -r --force -0 --yes -", &listed);
    assert_eq!((done.code, place.keys("list @")), (3, vec!["a1.zst".to_owned()]), "{done:?}");
    // A precondition applies to a single snapshot.
    for pattern in ["@/a*.zst", "@ -r"] {
        assert_eq!(place.run(&format!("delete {pattern} --if-match x --yes")).code, 2);
    }
    assert_eq!(place.run("delete @/b*.zst --yes").code, 3);
    assert_eq!(place.run("verify @/b*.zst").code, 3);
    assert_eq!(place.run("verify @ -r --session none").code, 0);
}

#[test]
fn an_existing_file_is_not_taken_for_a_pattern() {
    existing_names_are_not_taken_for_patterns(&Place::local());
}

#[test]
fn an_existing_object_is_not_taken_for_a_pattern() {
    existing_names_are_not_taken_for_patterns(&Place::bucket(Server::start().endpoint()));
}

fn sources_can_be_mixed(place: &Place) {
    saved(place, &["d/1.zst", "d/2.zst", "x/1.zst", "x.zst"]);
    assert_eq!(place.ok("verify -r @/d @/x.zst").matches(": ok, ").count(), 3);
    // Two with the same name.
    for typed in ["copy @/d/1.zst @/x/1.zst @/to", "copy -r @/d @/x @/to"] {
        let done = place.run(typed);
        assert!(done.code == 4 && done.stderr.contains("another snapshot was copied to this name"), "{done:?}");
        place.ok("delete -r @/to --yes");
    }
    // A missing one is reported, and the others are deleted.
    let done = place.run("delete -r @/missing.zst @/d --yes --json");
    assert_eq!((done.code, done.stdout.lines().count()), (3, 2), "{done:?}");
    saved(place, &["d/1.zst"]);
    let done = place.run("delete -r @/d @/d/1.zst --yes --json");
    assert_eq!((done.code, done.stdout.lines().count()), (0, 1), "{done:?}");
    let list = format!("{}/x.zst\n\n{}/missing.zst\n", place.at, place.at);
    let done = with_stdin(place, "delete -r --force --yes -", &list);
    assert_eq!((done.code, place.keys("list @")), (3, vec!["x/1.zst".to_owned()]), "{done:?}");
}

#[test]
fn files_and_folders_can_be_mixed() {
    let place = Place::local();
    sources_can_be_mixed(&place);
    // An empty location does not select everything.
    let folder = place.folder.path();
    for text in ["", "/"] {
        let mut command = place.command();
        command.env("PERSIST_LOCAL_PATH", folder.join("agents")).args(["delete", "-r", "--yes", text]);
        assert_eq!(command.output().expect("it starts").status.code(), Some(2), "{text}");
        let mut command = place.command();
        command.env("PERSIST_LOCAL_PATH", folder.join("agents")).args(["delete", "-r", "--force", "--yes", text]);
        assert_eq!(command.output().expect("it starts").status.code(), Some(2), "{text}");
    }
    assert!(folder.join("agents/x/1.zst").exists());
    // Only folders that were named and their subfolders are removed.
    saved(&place, &["b/c/1.zst", "b/c.zst"]);
    place.ok("delete -r @/b/c*/ --yes");
    assert_eq!(files(&folder.join("agents/b")), ["c.zst"]);
    place.ok("delete -r @/b/* --yes");
    assert!(folder.join("agents/b").exists());
    saved(&place, &["b/c/1.zst"]);
    place.ok("delete -r @/b --yes --force");
    assert!(!folder.join("agents/b").exists());
    // A state does not overwrite a snapshot.
    saved(&place, &["w/a.gz", "w/a.gz.zst"]);
    let done = place.run("restore -r @/w -o agents/w");
    assert!(done.code == 4 && done.stderr.contains("a snapshot already exists at this path"), "{done:?}");
    place.ok("verify -r @/w");
    // A dangling link can be deleted.
    std::os::unix::fs::symlink("nowhere", folder.join("dangling.zst")).expect("a link");
    assert_eq!(place.ok("delete dangling.zst --dry-run"), "would delete dangling.zst\n");
    place.ok("delete dangling.zst --yes");
    // Other files do not affect the next index.
    place.ok("save state.json @/s/");
    fs::write(folder.join("agents/s/default_agent/default_session/a\nb"), "").expect("a file");
    assert!(place.ok("save state.json @/s/").contains("/1.json.zst"));
    for (dest, code) in [("s3://", 2), ("file://", 2), ("memory://", 0)] {
        assert_eq!(place.run(&format!("save state.json {dest}")).code, code, "{dest}");
    }
    assert_eq!(files(folder).iter().filter(|name| name.contains(':')).count(), 0);
    let done = with_stdin(&place, "verify -", &"x".repeat(20_000));
    assert!(done.code == 2 && done.stderr.contains("16,384"), "{done:?}");
}

#[test]
fn objects_and_folders_can_be_mixed() {
    sources_can_be_mixed(&Place::bucket(Server::start().endpoint()));
}
