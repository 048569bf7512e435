//! Every command that knows timelines, on a folder and on a bucket, with one table for both.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use persist_host::{LocalFileStorage, StorageAdapter, StorageLocation};
use persist_test_support::command::{Done, chat_bytes, noise, persist};
use persist_test_support::proxy::Proxy;
use persist_test_support::server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, adapter};
use tempfile::TempDir;

/// A location for timelines, and how the command reaches it.
struct Place<'a> {
    /// What `%` in the tables stands for.
    at: &'a str,
    endpoint: Option<&'a str>,
    storage: &'a dyn StorageAdapter,
    folder: TempDir,
}

impl Place<'_> {
    fn command(&self, line: &str) -> Command {
        let mut command = persist();
        if let Some(endpoint) = self.endpoint {
            command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_ENDPOINT_URL", endpoint);
        }
        command.current_dir(self.folder.path()).args(line.split(' ').map(|word| word.replace('%', self.at))).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Done {
        self.command(line).output().expect("it starts").into()
    }

    /// Runs all rows, and reports all that are not as they should be.
    fn run_all(&self, rows: &[Row]) {
        let mut wrong = Vec::new();
        for (line, code, stdout, stderr) in rows {
            let done = self.run(line);
            let has = |found: &str, expected: &[&str]| expected.iter().all(|part| found.contains(&part.replace('%', self.at)));
            if done.code != *code || !has(&done.stdout, stdout) || !has(&done.stderr, stderr) {
                wrong.push(format!("persist {line}: {code}, {stdout:?} and {stderr:?} were expected, not {done:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn location(&self, key: &str) -> StorageLocation {
        self.storage.locate(key).parse().expect("a location")
    }

    /// Flips a bit of an object.
    fn damage(&self, key: &str, at: usize) {
        let mut bytes = self.storage.load(&self.location(key)).expect("it is there");
        bytes[at] ^= 1;
        self.storage.save(&self.location(key), &bytes).expect("it is written");
    }

    /// Cuts an object to its first bytes.
    fn cut(&self, key: &str, length: usize) {
        let bytes = self.storage.load(&self.location(key)).expect("it is there");
        self.storage.save(&self.location(key), &bytes[..length]).expect("it is written");
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// The command line, the exit code, and texts that stdout and stderr contain. `%` stands for
/// the location.
type Row = (&'static str, i32, &'static [&'static str], &'static [&'static str]);

const APPENDED: &[Row] = &[
    ("log %/one/first", 3, &[], &["there is no timeline here"]),
    ("restore %/one/first@latest", 3, &[], &["Not found"]),
    ("check %/one", 3, &[], &["there is no timeline here"]),
    ("append 1.json %/one/first --timestamp 2026-01-01T00:00:00Z", 0, &["appended %/one/first@1: 300,000 bytes of state in "], &[]),
    ("append 2.json %/one/first --timestamp 2026-01-02T00:00:00Z --label turn=two --description second", 0, &["%/one/first@2: "], &[]),
    ("append 3.json % --agent one --session first --on-conflict rebase", 0, &["appended %/one/first@3: "], &[]),
    ("append 1.json % --agent one --session a@b", 0, &["@1: "], &[]),
    ("append 2.json % --agent one --session a@b", 0, &["@2: "], &[]),
    ("append missing.json %/one/first", 3, &[], &["missing.json"]),
    ("append 1.json %/one/first --level 99", 2, &[], &["level"]),
    ("append 1.json %/one/first --label a=1 --label a=2", 2, &[], &["given twice"]),
    ("append 1.json %/one/first --on-conflict perhaps", 2, &[], &["perhaps"]),
    ("log %/one/first", 0, &["   3 ", "   2 ", "   1 ", "turn=two", "second"], &[]),
    ("log %/one/first -n 1", 0, &["   3 "], &[]),
    ("log %/one/first --label turn=two --json", 0, &["\"number\":2,"], &[]),
    ("log % --agent one --session a@b", 0, &["   2 ", "   1 "], &[]),
    ("check % --read-data", 0, &["checked 5 steps in 2 timelines: none damaged"], &[]),
    ("list %", 0, &["one/first@3"], &[]),
    ("sessions %", 0, &["one    first"], &[]),
    ("restore %/one/first@1 -o out/1", 0, &["restored out/1: 300,000 bytes"], &[]),
    ("restore %/one/first@latest -o out/3", 0, &[], &[]),
    ("restore %/one/first@-2 -o out/2", 0, &[], &[]),
    ("restore %/one/first@turn=two -o out/2-by-label", 0, &[], &[]),
    ("restore %/one/first@2026-01-01T12:00Z -o out/1-by-time", 0, &[], &[]),
    ("restore %/one/first --at 2 -o out/2-by-at", 0, &[], &[]),
    ("exists %/one/first@2", 0, &["%/one/first@2 exists"], &[]),
    ("exists %/one/first@turn=two", 0, &["exists"], &[]),
    ("exists %/one/first@9", 3, &["%/one/first@9 does not exist"], &[]),
    ("exists %/one/second@1", 3, &["does not exist"], &[]),
    ("show %/one/first@2", 0, &["  agent         one", "  session       first", "second", "turn=two", "300,000 bytes"], &[]),
    ("verify %/one/first@1 %/one/first@3", 0, &["300,000 bytes"], &[]),
    ("copy %/one/first@2 %/one/first@3", 2, &[], &["a step of the timeline %/one/first,", "give another name"]),
    ("copy -r %/one/a@b %/one/first@3", 2, &[], &["a step of the timeline", "give another folder"]),
    ("copy %/one/first@2 %/one/first/000000000002.hidden --dry-run", 2, &[], &["a copy can't have the name of a step"]),
    ("snapshot 1.json %/one/first@3", 2, &[], &["a step of the timeline %/one/first,", "append to the timeline"]),
    ("snapshot 1.json %/one/first/head", 2, &[], &["this name belongs to the timeline in this folder"]),
    ("append 1.json %/one/first@9", 2, &[], &["a step of the timeline %/one/first,", "--session"]),
    ("copy %/one/first@2 %/copies/2.json.gz", 0, &["copied"], &[]),
    ("copy %/one/first@3 copies/3.json.zst", 0, &["copied"], &[]),
    ("restore %/copies/2.json.gz -o out/2-of-copy", 0, &[], &[]),
    ("restore copies/3.json.zst -o out/3-of-copy", 0, &[], &[]),
    ("show %/copies/2.json.gz", 0, &["  agent         one", "second"], &[]),
    // Selectors that select nothing, and texts that are none.
    ("restore %/one/first@4", 3, &[], &["no step 4"]),
    ("restore %/one/first@-4", 3, &[], &["Not found"]),
    ("restore %/one/first@turn=three", 3, &[], &["Not found"]),
    ("restore %/one/first@2020-01-01", 3, &[], &["Not found"]),
    ("restore %/one/first --at perhaps", 2, &[], &["'perhaps' does not select a step"]),
    ("restore %/one/first --at 0", 2, &[], &["'0' does not select a step"]),
    ("restore %/one/second@1", 3, &[], &["Not found"]),
];

/// With loose snapshots of the same and of another session.
const PRUNED: &[Row] = &[
    ("snapshot 1.json %/loose/1.json.gz --agent-id loose --session-id s --index 1", 0, &[], &[]),
    ("snapshot 2.json %/loose/2.json.gz --agent-id loose --session-id s --index 2", 0, &[], &[]),
    ("snapshot 3.json %/loose/3.json.gz --agent-id loose --session-id s --index 3", 0, &[], &[]),
    ("prune %", 2, &[], &["no rule says what to keep"]),
    ("prune % --keep-last x", 2, &[], &["--keep-last"]),
    ("prune % --keep-within 3", 2, &[], &["'3' is not a period"]),
    ("prune % --keep-last 1", 2, &[], &["--yes"]),
    ("prune %/one %/loose --keep-last 1 --keep-label turn --dry-run", 0, &[], &["would remove"]),
    ("check %/one", 0, &["checked 5 steps in 2 timelines"], &[]),
    ("exists %/loose/1.json.gz", 0, &[], &[]),
    ("prune %/one %/loose --keep-last 1 --keep-label turn --yes", 0, &[], &["removed"]),
    ("restore %/one/first@1", 3, &[], &["step 1 was removed"]),
    ("restore %/one/first@2 -o out/2-pruned", 0, &[], &[]),
    ("restore %/one/first@latest -o out/3-pruned", 0, &[], &[]),
    ("restore %/loose/1.json.gz", 3, &[], &["Not found"]),
    ("restore %/loose/2.json.gz", 3, &[], &["Not found"]),
    ("restore %/loose/3.json.gz -o out/3-loose", 0, &[], &[]),
    ("check % --read-data", 0, &["none damaged"], &[]),
];

/// Whole sessions, some with a timeline, some with snapshots, are removed by the time of their
/// newest state, whatever the number of their steps.
const SESSIONS: &[Row] = &[
    ("append 1.json %/bots/a/old --timestamp 2025-12-01T00:00:00Z", 0, &[], &[]),
    ("append 2.json %/bots/a/old --timestamp 2025-12-02T00:00:00Z", 0, &[], &[]),
    ("append 3.json %/bots/a/old --timestamp 2026-01-01T00:00:00Z", 0, &[], &[]),
    ("append 2.json %/bots/a/mid --timestamp 2026-02-01T00:00:00Z", 0, &[], &[]),
    ("append 1.json %/bots/a/mid --timestamp 2026-02-01T01:00:00Z", 0, &[], &[]),
    ("append 3.json %/bots/a/new --timestamp 2026-03-01T00:00:00Z", 0, &[], &[]),
    ("append 1.json %/bots/b/only --timestamp 2020-01-01T00:00:00Z", 0, &[], &[]),
    ("snapshot 2.json %/bots/c.json.gz --agent-id a --session-id loose --index 9 --timestamp 2026-01-15T00:00:00Z", 0, &[], &[]),
    ("prune %/bots --keep-sessions two", 2, &[], &["--keep-sessions"]),
    ("prune %/bots --keep-sessions 2", 2, &[], &["--yes"]),
    (
        "prune %/bots --keep-sessions 2 --dry-run",
        0,
        &["the session old of a", "removed as a whole", "kept: last"],
        &["would remove 2 whole sessions, 0 steps and 0 snapshots"],
    ),
    ("prune %/bots --keep-sessions-within 40d --keep-sessions 1 --yes", 0, &[], &["removed 2 whole sessions"]),
    ("restore %/bots/a/old@latest", 3, &[], &["deleted"]),
    ("restore %/bots/c.json.gz", 3, &[], &["Not found"]),
    ("restore %/bots/a/mid@latest -o out/1-of-session", 0, &[], &[]),
    ("restore %/bots/b/only@latest -o out/1-of-only-session", 0, &[], &[]),
    // The new snapshot of a session counts, although its timeline has more steps.
    ("snapshot 3.json %/bots/mid.json.gz --agent-id a --session-id mid --index 1 --timestamp 2026-03-05T00:00:00Z", 0, &[], &[]),
    ("prune %/bots --keep-sessions 1 --dry-run", 0, &["the session new of a", "the session mid of a"], &["would remove 1 whole session"]),
    ("append 2.json %/bots/a/new --timestamp 2026-03-06T00:00:00Z", 0, &[], &[]),
    ("prune %/bots --keep-sessions 1 --keep-last 1 --yes", 0, &[], &["removed 1 whole session, 1 step and 0 snapshots"]),
    ("restore %/bots/a/mid@latest", 3, &[], &["deleted"]),
    ("restore %/bots/mid.json.gz", 3, &[], &["Not found"]),
    ("restore %/bots/a/new@latest -o out/2-newest-of-session", 0, &[], &[]),
    ("check %/bots --read-data", 0, &["none damaged"], &[]),
    ("append 1.json %/bots/a/more --timestamp 2026-03-07T00:00:00Z", 0, &[], &[]),
    ("snapshot 1.json %/bots/d.json.gz --agent-id a --session-id d --timestamp 2026-03-08T00:00:00Z", 0, &[], &[]),
];

/// With a snapshot that is cut, and then with a step. Which sessions are new is not known.
const SESSIONS_CUT: &[Row] = &[
    ("prune %/bots --keep-sessions 1 --yes", 5, &[], &["no session is removed as a whole"]),
    ("restore %/bots/a/more@latest -o out/1-beside-cut", 0, &[], &[]),
    ("delete %/bots/d.json.gz --force --yes", 0, &[], &[]),
];
const SESSIONS_DAMAGED: &[Row] = &[
    ("prune %/bots --keep-sessions 1 --yes", 5, &[], &["no session is removed as a whole"]),
    ("restore %/bots/a/new@latest -o out/2-beside-damaged", 0, &[], &[]),
    ("delete -r %/bots --force --yes", 0, &[], &[]),
];

/// Timelines are copied as a whole, and again after more steps.
const COPIED: &[Row] = &[
    ("copy %/one/first/* copies/", 2, &[], &["this is a timeline, not a snapshot", "--recursive"]),
    ("copy -r %/one %/one", 2, &[], &["can't be copied onto itself"]),
    ("copy -r %/one backup --dry-run", 0, &["would copy the timeline %/one/first/ to backup/first/: up to step 3"], &[]),
    ("check backup", 3, &[], &["there is no timeline here"]),
    ("copy -r %/one backup", 0, &["copied %/one/first/ to backup/first/: 3 steps, ", "copied %/one/a@b/ to backup/a@b/: "], &[]),
    ("check backup --read-data", 0, &["in 2 timelines: none damaged"], &[]),
    ("restore backup/first@2 -o out/2-of-backup", 0, &[], &[]),
    ("restore backup/first@latest -o out/3-of-backup", 0, &[], &[]),
    ("restore backup/first@1", 3, &[], &["step 1 was removed"]),
    ("copy -r backup %/again", 0, &["copied backup/first/ to %/again/first/: 3 steps, "], &[]),
    ("restore %/again/first@2 -o out/2-of-backup-of-backup", 0, &[], &[]),
    ("copy -r %/one backup", 0, &["skipped %/one/first/: backup/first/ has all its steps"], &["skipped"]),
    ("copy -r %/one backup --if-exists fail", 4, &[], &["a different timeline already exists"]),
    ("append 1.json %/one/first", 0, &["%/one/first@4: "], &[]),
    ("copy -r %/one backup", 0, &["copied %/one/first/ to backup/first/: 1 step, ", "skipped"], &[]),
    ("restore backup/first@4 -o out/1-of-backup", 0, &[], &[]),
    ("append 2.json backup/first", 0, &["backup/first@5: "], &[]),
    ("copy -r %/one/first backup/first", 4, &[], &["the timeline here has later steps"]),
    ("copy -r %/one/a@b backup/first", 4, &[], &["Already exists"]),
    ("check backup --read-data", 0, &["none damaged"], &[]),
    ("delete -r %/again backup --yes", 0, &[], &[]),
];

/// With a step that is damaged in the middle, and one whose newest step is damaged.
const DAMAGED: &[Row] = &[
    ("check %/bad --read-data", 5, &["2 damaged"], &["step 2 can't be restored", "step 3 can't be restored"]),
    ("restore %/bad/middle@2 -o out/bad", 5, &[], &["Integrity error", "'persist check' says which"]),
    ("verify %/bad/middle@2", 5, &[], &["Integrity error"]),
    ("copy %/bad/middle@2 %/copies/bad.json.gz", 5, &[], &["Integrity error"]),
    ("exists %/copies/bad.json.gz", 3, &[], &[]),
    ("restore %/bad/middle@1 -o out/1-bad", 0, &[], &[]),
    // It has some of the damaged bytes, too.
    ("restore %/bad/middle@3 -o out/bad", 5, &[], &["Integrity error"]),
];

const NEWEST_DAMAGED: &[Row] = &[
    ("check %/newest", 5, &["1 damaged"], &["step 2 can't be restored"]),
    ("restore %/newest/x@latest", 5, &[], &["Integrity error"]),
    ("append 3.json %/newest/x@2", 2, &[], &["a step of the timeline %/newest/x,"]),
    ("copy %/newest/x@1 %/newest/x@2", 2, &[], &["a step of the timeline %/newest/x,"]),
    ("restore %/newest/x@1 -o out/1-newest", 0, &[], &[]),
    ("append 3.json %/newest/x", 0, &["%/newest/x@3: "], &[]),
    ("restore %/newest/x@latest -o out/3-newest", 0, &[], &[]),
    ("check %/newest --repair --forget-damaged", 0, &["none damaged"], &[]),
    ("log %/newest/x", 0, &["   3 ", "   1 "], &[]),
];

/// With a step that was cut to fewer bytes than a marker has.
const CUT: &[Row] = &[
    ("check %/cut", 5, &["checked 2 steps in 1 timeline: 2 damaged"], &["step 1 can't be restored", "step 2 can't be restored"]),
    ("log %/cut/x", 5, &["   2 "], &["000000000001.step"]),
    // The newest step can't be restored, so nothing is removed.
    ("prune %/cut --keep-last 1 --yes", 5, &[], &["000000000001.step", "'persist check'"]),
    ("append 3.json %/cut/x", 0, &["%/cut/x@3: "], &[]),
    ("restore %/cut/x@3 -o out/3-after-cut", 0, &[], &[]),
];

const DELETED: &[Row] = &[
    ("delete -r %/one/first", 2, &[], &["--yes"]),
    ("delete -r %/one/first --yes", 0, &[], &[]),
    ("restore %/one/first@latest", 3, &[], &["Not found"]),
    ("restore %/one/first@3", 3, &[], &["Not found"]),
    ("log %/one/first", 3, &[], &["there is no timeline here"]),
    ("log % --agent one --session a@b", 0, &["   3 ", "(was step 2)"], &[]),
    ("append 1.json %/one/first", 0, &["%/one/first@"], &[]),
    ("restore %/one/first@latest -o out/1-again", 0, &[], &[]),
    ("check % --read-data", 0, &["none damaged"], &[]),
];

/// Another step is appended while a large state comes in.
fn assert_conflict(place: &Place<'_>, on_conflict: &str) {
    let mut child = place
        .command(&format!("append - %/race/{on_conflict} --level -7 --on-conflict {on_conflict}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // More than is kept until the commit: so the number is chosen.
    stdin.write_all(&noise(80 << 20)).expect("it reads");
    let other = place.run(&format!("append 1.json %/race/{on_conflict}"));
    assert_eq!(other.code, 0, "{other:?}");
    drop(stdin);
    let done: Done = child.wait_with_output().expect("it ends").into();
    assert_eq!(done.code, 4, "{done:?}");
    assert!(done.stderr.contains("another writer has appended step 1"), "{done:?}");
    let log = place.run(&format!("log %/race/{on_conflict} --json"));
    assert_eq!(log.stdout.lines().count(), 1, "{log:?}");
}

fn every_command_works(place: &Place<'_>) {
    let folder: &Path = place.folder.path();
    let mut states = vec![chat_bytes(300_000)];
    for turn in 1..3 {
        let mut next = states[turn - 1].clone();
        next[turn * 50_000..turn * 50_000 + 40].copy_from_slice(&[b'0' + turn as u8; 40]);
        states.push(next);
    }
    for (number, state) in (1..).zip(&states) {
        fs::write(folder.join(format!("{number}.json")), state).expect("a state");
    }
    place.run_all(APPENDED);
    place.run_all(PRUNED);
    place.run_all(COPIED);
    place.run_all(SESSIONS);
    place.cut("bots/d.json.gz", 3000);
    place.run_all(SESSIONS_CUT);
    place.damage("bots/a/more/000000000001.step", 5);
    place.cut("bots/a/more/000000000001.step", 2000);
    place.run_all(SESSIONS_DAMAGED);
    for step in ["append 1.json", "append 2.json", "append 3.json --level 1"] {
        let (state, options) = step.split_at("append 1.json".len());
        for timeline in if options.is_empty() { &["bad/middle", "newest/x"][..] } else { &["bad/middle"] } {
            let done = place.run(&format!("{state} %/{timeline}{options}"));
            assert_eq!(done.code, 0, "{done:?}");
        }
    }
    place.damage("bad/middle/000000000002.step", 5);
    place.run_all(DAMAGED);
    place.damage("newest/x/000000000002.step", 220);
    place.run_all(NEWEST_DAMAGED);
    for state in ["1.json", "2.json"] {
        assert_eq!(place.run(&format!("append {state} %/cut/x")).code, 0);
    }
    place.cut("cut/x/000000000001.step", 100);
    place.run_all(CUT);
    // What was restored is what was appended: the names begin with the number of the state.
    let restored: Vec<String> =
        fs::read_dir(folder.join("out")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(restored.len() > 12 && !restored.contains(&"bad".to_owned()), "{restored:?}");
    for name in restored {
        let number: usize = name[..1].parse().expect("a number");
        assert!(place.file(&format!("out/{name}")) == states[number - 1], "{name}");
    }
    for on_conflict in ["fail", "rebase"] {
        assert_conflict(place, on_conflict);
    }
    let deleting = place.run("delete -r %/bad %/newest %/cut %/race --yes");
    assert_eq!(deleting.code, 0, "{deleting:?}");
    place.run_all(DELETED);
}

#[test]
fn on_local_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = LocalFileStorage::new(folder.path().join("place"));
    every_command_works(&Place { at: "place", endpoint: None, storage: &storage, folder });
}

#[test]
fn in_a_bucket() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let folder = tempfile::tempdir().expect("a folder");
    let (at, endpoint) = (format!("s3://{BUCKET}"), proxy.endpoint());
    every_command_works(&Place { at: &at, endpoint: Some(&endpoint), storage: &adapter(&endpoint), folder });
}
