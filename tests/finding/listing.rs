//! Filters, order and patterns of a listing, and the index that saves requests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use persist_test_support::command::{Done, in_soak, json};
use persist_test_support::moto::Moto;
use persist_test_support::proxy::Proxy;
use persist_test_support::server::{BUCKET, Server};

use crate::helpers::{Place, counted, saved};

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
