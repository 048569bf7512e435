//! Writers that are stopped while others append and prune: when they go on, they fail cleanly,
//! or what they write loads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use persist_host::ErrorCode;
use persist_host::timeline::{OnConflict, Policy};
use persist_paths::timeline::{GAP_SIZE, MARKER_SIZE};
use persist_test_support::command::in_soak;
use persist_test_support::proxy::{AGO, Fault, Proxy, When};

use crate::helpers::{Kind, Place, Random, TIMELINE, append, is_kept, load, policy, shown};
use crate::processes::{Process, Role};

/// Returns a name with which the first state of a process has to be kept.
fn kept_name(number: u64) -> u64 {
    let name = number * 5 + 4;
    assert!(is_kept(name << 32 | 1));
    name
}

/// Appends some steps and prunes, twice: so what was the newest step is gone.
fn go_on(place: &Place, id: &mut u64) {
    let mut timeline = place.timeline();
    for _ in 0..2 {
        for _ in 0..3 {
            *id += 5;
            append(&mut timeline, *id, OnConflict::Rebase).expect("it is appended");
        }
        timeline.prune(&policy(), false).expect("it is pruned");
    }
}

/// Checks what a stopped writer has left. Returns whether it has appended.
fn outcome(place: &Place, writer: Process, role: Role, name: u64) -> bool {
    let now = match writer.end_or_fail() {
        Ok(appended) => {
            let now = shown(&place.timeline());
            for id in appended.values() {
                // It may have been repeated since, so that it has another number.
                let found = now.iter().find(|(_, shown)| *shown == id);
                let (number, _) = found.unwrap_or_else(|| panic!("{id:x} was appended and is lost: {appended:?}, {now:?}"));
                assert_eq!(load(&place.timeline(), *number), *id);
            }
            return true;
        }
        Err(code) => {
            assert!(role == Role::Once && code == "AlreadyExists", "{role:?}: {code}");
            shown(&place.timeline())
        }
    };
    assert!(!now.values().any(|id| id >> 32 == name), "a failed append is shown: {now:?}");
    false
}

/// A writer is stopped after each of its requests.
#[test]
fn a_writer_stopped_between_its_requests_to_a_bucket_fails_or_has_appended() {
    let place = Place::new(Kind::Bucket);
    let (_, proxy) = place.server.as_ref().expect("a bucket");
    let mut id = 1;
    go_on(&place, &mut id);
    let mut outcomes = BTreeMap::new();
    for role in [Role::Once, Role::Rebase] {
        let mut stops = 0;
        for requests in (1..).step_by(in_soak(4, 1)) {
            // Each reply takes a while, in which the writer can be stopped.
            let slow = Proxy::start(proxy.address);
            slow.inject(None, Fault::Slow, When::Always);
            let name = kept_name(id);
            let mut writer = Process::start(Kind::Bucket, &slow.endpoint(), role, name, 1);
            while slow.seen().len() < requests && !writer.has_ended() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let has_ended = writer.has_ended();
            if !has_ended {
                writer.signal(Signal::SIGSTOP);
                go_on(&place, &mut id);
                writer.signal(Signal::SIGCONT);
                stops += 1;
            }
            let appended = outcome(&place, writer, role, name);
            *outcomes.entry((format!("{role:?}"), if appended { "appended" } else { "failed" })).or_insert(0) += 1;
            if has_ended {
                break;
            }
        }
        assert!(stops > 3, "{role:?}: only {stops} requests");
    }
    place.checked();
    println!("{outcomes:?}");
}

/// In a folder, a writer is stopped again and again at random moments.
#[test]
fn a_writer_stopped_in_a_folder_fails_or_has_appended() {
    let writers = in_soak(10, 100);
    let place = Place::new(Kind::Folder);
    let (mut id, mut random, mut stops, mut outcomes) = (1, Random(0x9e37_79b9_7f4a_7c15), 0, BTreeMap::new());
    go_on(&place, &mut id);
    for number in 0..writers {
        let role = if number % 2 == 0 { Role::Once } else { Role::Rebase };
        let name = kept_name(number);
        let mut writer = Process::start(Kind::Folder, &place.at, role, name, 1);
        writer.wait_for("ready");
        let began = Instant::now();
        while !writer.has_ended() && began.elapsed() < Duration::from_secs(20) {
            writer.signal(Signal::SIGSTOP);
            go_on(&place, &mut id);
            writer.signal(Signal::SIGCONT);
            stops += 1;
            std::thread::sleep(Duration::from_micros(random.below(1500)));
        }
        let appended = outcome(&place, writer, role, name);
        *outcomes.entry(if appended { "appended" } else { "failed" }).or_insert(0) += 1;
    }
    place.checked();
    println!("{writers} writers, stopped {stops} times: {outcomes:?}");
}

/// A writer that sleeps for longer than markers stay can't take a number that was used.
#[test]
fn a_writer_that_slept_while_markers_became_gaps_loses_nothing() {
    for on_conflict in [OnConflict::Fail, OnConflict::Rebase] {
        let place = Place::new(Kind::Bucket);
        let (server, proxy) = place.server.as_ref().expect("a bucket");
        proxy.inject(None, Fault::Earlier, When::Always);
        let mut sleeper = place.timeline();
        let mut other = place.timeline();
        for id in [1, 2, 3] {
            append(&mut sleeper, id, OnConflict::Fail).expect("it is appended");
        }
        let newest = Policy::default().last(1);
        for id in 11..41 {
            append(&mut other, id, OnConflict::Rebase).expect("it is appended");
        }
        other.prune(&newest, false).expect("it is pruned");
        let files = || fs::read_dir(server.file(TIMELINE)).expect("a folder").flatten();
        let objects = || files().map(|file| (file.metadata().expect("a file").len(), file.path()));
        for (_, path) in objects() {
            File::options().write(true).open(path).expect("a file").set_modified(SystemTime::now() - AGO).expect("it has a time");
        }
        proxy.heal();
        append(&mut other, 51, OnConflict::Rebase).expect("it is appended");
        other.prune(&newest, false).expect("it is pruned");
        let of_size = |wanted| objects().filter(|(size, path)| *size == wanted && path.extension().is_some_and(|is| is == "step")).count();
        assert_eq!((of_size(GAP_SIZE), of_size(MARKER_SIZE)), (1, 2), "the new markers are left");
        match append(&mut sleeper, 61, on_conflict) {
            Ok(number) => {
                let now = shown(&place.timeline());
                assert_eq!(now.get(&number), Some(&61), "step {number} was acknowledged and is lost: {now:?}");
                assert_eq!(load(&place.timeline(), number), 61);
            }
            Err(error) => assert!(on_conflict == OnConflict::Fail && error.code() == ErrorCode::AlreadyExists, "{error:?}"),
        }
        place.checked();
    }
}
