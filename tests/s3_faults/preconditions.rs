//! Preconditions, when replies are lost, writers race, or the server ignores them.

use std::collections::BTreeMap;

use persist_host::{ErrorCode, Precondition, StorageAdapter};
use persist_test_support::moto::Moto;
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_in, adapter_with};

use crate::helpers::{put_if, read};

#[test]
fn a_lost_reply_is_not_a_conflict_with_ones_own_write() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let direct = server.adapter();
    let adapter = adapter_with(&proxy.endpoint(), |options| options.part_size = 5 << 20);
    // Probes the server's preconditions before replies are lost.
    for condition in [Precondition::IfAbsent, Precondition::IfMatch("0".to_owned())] {
        for size in [1, 6 << 20] {
            let _ = put_if(&adapter, "probe", &vec![0; size], condition.clone());
        }
    }
    let large = vec![7; 6 << 20];
    let mut outcomes = BTreeMap::new();
    for seed in 0..100_u32 {
        // One in five in parts, half with if-match, half against another writer's object.
        // The first reply or the first two replies are lost.
        let (is_large, if_match, is_ours) = (seed % 5 == 0, seed % 2 == 0, (seed / 2) % 2 == 0);
        let lost = if seed % 3 == 0 { When::Of(2, 3) } else { When::First };
        let key = format!("lost/{seed}");
        let ours: &[u8] = if is_large { &large } else { b"ours" };
        if if_match || !is_ours {
            direct.save(&direct.locate(&key).parse().unwrap(), b"first").expect("it is saved");
        }
        let condition = if if_match {
            let etag = direct.stat(&key).expect("it is there").etag.expect("an etag");
            if !is_ours {
                direct.save(&direct.locate(&key).parse().unwrap(), b"another's").expect("it is saved");
            }
            Precondition::IfMatch(etag)
        } else {
            Precondition::IfAbsent
        };
        proxy.inject(if is_large { Operation::CompleteUpload } else { Operation::PutObject }, Fault::LoseReply, lost);
        let outcome = put_if(&adapter, &key, ours, condition).map_err(|error| error.code());
        proxy.heal();
        let expected = match (is_ours, if_match) {
            (true, _) => Ok(()),
            (false, true) => Err(ErrorCode::PreconditionFailed),
            (false, false) => Err(ErrorCode::AlreadyExists),
        };
        assert_eq!(outcome, expected, "seed {seed}");
        assert_eq!(read(&direct, &key) == ours, is_ours, "seed {seed}");
        *outcomes.entry(format!("{outcome:?}")).or_insert(0) += 1;
    }
    println!("100 lost replies: {outcomes:?}");
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
}

#[test]
fn of_many_writers_one_wins() {
    const WRITERS: usize = 16;
    const KEYS: usize = 100;
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    proxy.take_turns();
    let adapters: Vec<_> = (0..WRITERS).map(|_| persist_test_support::server::adapter(&proxy.endpoint())).collect();
    let barrier = std::sync::Barrier::new(WRITERS);
    let outcomes: Vec<Vec<std::result::Result<(), ErrorCode>>> = std::thread::scope(|scope| {
        let writers: Vec<_> = adapters
            .iter()
            .enumerate()
            .map(|(number, adapter)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let put = |key| {
                        barrier.wait();
                        let mine = format!("writer {number}");
                        put_if(adapter, &format!("race/{key}"), mine.as_bytes(), Precondition::IfAbsent).map_err(|error| error.code())
                    };
                    (0..KEYS).map(put).collect()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("it ends")).collect()
    });
    for key in 0..KEYS {
        let winners: Vec<usize> = (0..WRITERS).filter(|writer| outcomes[*writer][key].is_ok()).collect();
        assert_eq!(winners.len(), 1, "key {key}");
        let found = read(&server.adapter(), &format!("race/{key}"));
        assert_eq!(String::from_utf8_lossy(&found), format!("writer {}", winners[0]), "key {key}");
        let losers = outcomes.iter().filter(|outcomes| outcomes[key] == Err(ErrorCode::AlreadyExists)).count();
        assert_eq!(losers, WRITERS - 1, "key {key}");
    }
    println!("{WRITERS} writers, {KEYS} keys: one winner each");
}

/// The bucket of a server that ignores preconditions.
const CARELESS: &str = "careless";

#[test]
fn a_server_that_ignores_preconditions_is_detected() {
    // A server that does not check signatures, since the preconditions are signed.
    let server = Moto::start();
    let proxy = Proxy::start(server.address());
    proxy.inject(None, Fault::StripConditions, When::Always);
    // The result is cached for this bucket, so that it does not affect a later server on
    // this port.
    server.make_bucket(CARELESS);
    let adapter = adapter_in(CARELESS, &proxy.endpoint(), |options| options.part_size = 5 << 20);
    put_if(&adapter, "a/x", b"first", Precondition::None).expect("it is written");
    let etag = adapter.stat("a/x").expect("it is there").etag.expect("an etag");
    for size in [1, 6 << 20] {
        for condition in [Precondition::IfAbsent, Precondition::IfMatch(etag.clone())] {
            let key = if condition == Precondition::IfAbsent { "a/new" } else { "a/x" };
            let error = put_if(&adapter, key, &vec![1; size], condition.clone()).expect_err("it is refused");
            assert_eq!(error.code(), ErrorCode::Unsupported, "{condition:?} {size}: {error:?}");
            assert!(error.detail().hint.as_ref().is_some_and(|hint| hint.contains("docs/s3.md")), "{error:?}");
        }
    }
    let error = adapter.delete_object("a/x", Precondition::IfMatch(etag)).expect_err("it is refused");
    assert_eq!(error.code(), ErrorCode::Unsupported, "{error:?}");
    assert!(!adapter.capabilities().if_absent && !adapter.capabilities().if_match);
    // Nothing was written, and nothing is left of the probes.
    assert_eq!(read(&adapter, "a/x"), b"first");
    let keys: Vec<String> = adapter.list_objects("", None, 100).expect("it is listed").into_iter().map(|info| info.key).collect();
    assert_eq!(keys, ["a/x"]);
    assert_eq!(server.unfinished_uploads(CARELESS), "");
    // It is probed only once.
    proxy.forget();
    let refused = put_if(&adapter, "a/new", b"1", Precondition::IfAbsent).expect_err("it is refused");
    assert_eq!((refused.code(), proxy.seen().len()), (ErrorCode::Unsupported, 0));
}
