//! Processes that are killed, and processes that race: what is stored is always a
//! complete state that one of them saved.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use persist_test_support::command::{chat_bytes, command_path, files, in_soak, ok_in, persist, run_in};

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = persist();
    command.current_dir(folder).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("persist starts")
}

fn temporary_files(folder: &Path) -> usize {
    files(folder).iter().filter(|name| name.ends_with(".tmp")).count()
}

/// `kill -9` at random moments of a save over an existing snapshot.
#[test]
fn a_killed_save_leaves_the_old_or_the_new_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (old, new) = (chat_bytes(100_000), chat_bytes(1_500_000));
    fs::write(folder.join("old.json"), &old).expect("a state");
    fs::write(folder.join("new.json"), &new).expect("a state");
    fs::create_dir(folder.join("kept")).expect("a folder");
    // Measures a save, to spread the kills over its duration.
    let began = std::time::Instant::now();
    ok_in(folder, &["snapshot", "new.json", "kept/x.json.gz"]);
    let whole = began.elapsed();
    let (mut old_ones, mut new_ones, mut with_debris, mut random) = (0, 0, 0, 0x9e37_79b9_7f4a_7c15_u64);
    let kills = in_soak(50, 200);
    for _ in 0..kills {
        // Sweeps what the previous kill has left.
        ok_in(folder, &["snapshot", "old.json", "kept/x.json.gz", "--durability", "none"]);
        assert_eq!(files(&folder.join("kept")), ["x.json.gz"], "the next write sweeps");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = start(folder, &["snapshot", "new.json", "kept/x.json.gz"]);
        std::thread::sleep(whole.mul_f64((random % 1000) as f64 / 1100.0));
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let listed = ok_in(folder, &["list", "kept", "--json"]);
        assert_eq!(listed.lines().count(), 1, "no debris is listed: {listed}");
        with_debris += temporary_files(&folder.join("kept"));
        let state = ok_in(folder, &["restore", "kept/x.json.gz"]).into_bytes();
        match () {
            () if state == old => old_ones += 1,
            () if state == new => new_ones += 1,
            () => panic!("restored {} bytes that were never saved", state.len()),
        }
    }
    println!("{kills} kills: the old state {old_ones} times, the new one {new_ones} times, {with_debris} unfinished writes swept");
    assert!(old_ones > 0 && with_debris > 0, "the kills came at the wrong moments");
}

/// An interrupt from the keyboard leaves as little behind as a kill.
#[test]
fn an_interrupted_save_leaves_the_old_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("old.json"), b"{}").expect("a state");
    ok_in(folder, &["snapshot", "old.json", "kept/x.json.gz"]);
    let mut child = start(folder, &["snapshot", "-", "kept/x.json.gz"]);
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(&chat_bytes(3_000_000)).expect("it reads");
    while temporary_files(&folder.join("kept")) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A shell starts background jobs with SIGINT ignored, which the tests may have
    // inherited. SIGTERM then has the same effect.
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it is interrupted");
    }
    let status = child.wait().expect("it ends");
    assert!(!status.success());
    drop(stdin);
    assert_eq!(ok_in(folder, &["restore", "kept/x.json.gz"]), "{}");
    ok_in(folder, &["snapshot", "old.json", "kept/x.json.gz"]);
    assert_eq!(files(&folder.join("kept")), ["x.json.gz"]);
}

const RACERS: usize = 16;

/// 16 processes race for each of many new keys, and each key has one winner.
#[test]
fn one_process_wins_each_new_key() {
    let keys = in_soak(50, 200);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let results = folder.join("results");
    fs::create_dir(&results).expect("a folder");
    for racer in 0..RACERS {
        fs::write(folder.join(format!("state-{racer}")), format!("racer {racer}")).expect("a state");
    }
    // Each racer goes through all keys, so that they often collide.
    let script = format!(
        "i=0; while [ $i -lt {keys} ]; do persist snapshot state-$1 keys/$i.gz --if-exists fail --durability none -q 2> /dev/null; \
         echo \"$i $?\" >> results/$1; i=$((i + 1)); done"
    );
    race(folder, &script);
    let mut winners = vec![Vec::new(); keys];
    for racer in 0..RACERS {
        for line in fs::read_to_string(results.join(racer.to_string())).expect("its results").lines() {
            let (key, code) = line.split_once(' ').expect("a key and a code");
            match code {
                "0" => winners[key.parse::<usize>().expect("a number")].push(racer),
                "4" => {}
                other => panic!("racer {racer} at key {key}: exit code {other}"),
            }
        }
    }
    for (key, winners) in winners.iter().enumerate() {
        let &[winner] = &winners[..] else { panic!("key {key} was won by {winners:?}") };
        assert_eq!(ok_in(folder, &["restore", &format!("keys/{key}.gz")]), format!("racer {winner}"));
    }
    assert_eq!(files(&folder.join("keys")).len(), keys, "the losers left nothing");
    println!("{RACERS} processes, {keys} keys: one winner each");
}

/// Runs 16 copies of a script at once, each with the number of its racer as the argument.
fn race(folder: &Path, script: &str) {
    let command_folder = command_path().parent().expect("a folder");
    let path = format!("{}:{}", command_folder.display(), std::env::var("PATH").unwrap_or_default());
    let racers: Vec<_> = (0..RACERS)
        .map(|racer| {
            let mut shell = std::process::Command::new("sh");
            shell.current_dir(folder).args(["-c", script, "racer", &racer.to_string()]);
            shell.env("PATH", &path);
            shell.spawn().expect("sh starts")
        })
        .collect();
    for mut racer in racers {
        assert!(racer.wait().expect("it ends").success());
    }
}

/// 16 processes replace one key many times each, while it is read continuously.
#[test]
fn a_key_that_all_processes_replace_always_has_one_of_their_states() {
    let times = in_soak(20, 50);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let states: Vec<Vec<u8>> = (0..RACERS).map(|racer| format!("racer {racer} ").repeat(5000 + racer).into_bytes()).collect();
    for (racer, state) in states.iter().enumerate() {
        fs::write(folder.join(format!("state-{racer}")), state).expect("a state");
    }
    ok_in(folder, &["snapshot", "state-0", "x.gz"]);
    let script = format!("for i in $(seq {times}); do persist snapshot state-$1 x.gz --durability none -q || exit 1; done");
    let is_one = |state: &[u8]| states.iter().any(|known| known == state);
    let mut reads = 0;
    std::thread::scope(|scope| {
        let racing = scope.spawn(|| race(folder, &script));
        while !racing.is_finished() {
            let done = run_in(folder, &["restore", "x.gz"]);
            assert_eq!(done.code, 0, "{done:?}");
            assert!(is_one(done.stdout.as_bytes()), "restored {} bytes that were never saved", done.stdout.len());
            reads += 1;
        }
    });
    assert!(is_one(ok_in(folder, &["restore", "x.gz"]).as_bytes()));
    assert_eq!(files(folder).len(), RACERS + 1);
    println!("{RACERS} processes replaced one key {times} times each; each of {reads} reads returned one of their states");
}
