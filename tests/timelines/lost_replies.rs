//! Requests that fail, and replies that are lost: an append succeeds once, and only once.

use std::sync::Arc;

use persist_host::Timeline;
use persist_host::timeline::{OnConflict, StepSelector};
use persist_test_support::command::noise;
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::{Server, adapter_with};

use crate::helpers::{TIMELINE, append, load, on, options, shown};

const FAULTS: [Fault; 5] =
    [Fault::LoseReply, Fault::ResetResponse, Fault::CutBody, Fault::ResetRequest, Fault::Answer(500, "InternalError")];

fn open(endpoint: &str) -> Timeline {
    let storage = adapter_with(endpoint, |options| options.part_size = 5 << 20);
    on(Arc::new(storage)).timeline(TIMELINE).expect("a folder")
}

/// Each request of an append by a new handle fails once, in each way.
#[test]
fn an_append_survives_the_failure_of_any_request() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let direct = open(&server.endpoint());
    let mut ids = Vec::new();
    append(&mut open(&proxy.endpoint()), 1, OnConflict::Fail).expect("it is appended");
    ids.push(1);
    for fault in FAULTS {
        for request in 1.. {
            let id = ids.len() as u64 + 1;
            let before = proxy.hits();
            proxy.inject(None, fault, When::Nth(request));
            let number = append(&mut open(&proxy.endpoint()), id, OnConflict::Fail).unwrap_or_else(|error| panic!("{fault}: {error:?}"));
            proxy.heal();
            ids.push(id);
            assert_eq!((number, load(&direct, number)), (id, id), "{fault}, request {request}");
            if proxy.hits() == before {
                assert!(request > 3, "only {request} requests");
                break;
            }
        }
    }
    let all: Vec<u64> = shown(&direct).into_values().collect();
    assert_eq!(all, ids, "each once");
    println!("{} failed requests in appends: each state is there once", ids.len());
}

/// The replies of a step are lost, once or each time.
#[test]
fn a_step_whose_reply_is_lost_is_there_once() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let direct = open(&server.endpoint());
    let mut warm = open(&proxy.endpoint());
    append(&mut warm, 1, OnConflict::Fail).expect("it is appended");
    let mut id = 1;
    for on_conflict in [OnConflict::Fail, OnConflict::Rebase] {
        for when in [When::First, When::Second, When::Of(2, 3), When::Always] {
            id += 1;
            proxy.inject(Operation::PutObject, Fault::LoseReply, when);
            let number = append(&mut warm, id, on_conflict);
            proxy.heal();
            assert_eq!(number.unwrap_or_else(|error| panic!("{when:?}: {error:?}")), id);
            assert_eq!(load(&direct, id), id);
        }
    }
    // In parts.
    for when in [When::First, When::Of(2, 3), When::Always] {
        id += 1;
        let mut state = noise(6 << 20);
        state[..8].copy_from_slice(&id.to_le_bytes());
        state.rotate_left(usize::try_from(id).unwrap() * 100_000);
        proxy.inject(Operation::CompleteUpload, Fault::LoseReply, when);
        // A codec that finds nothing of the earlier states, so that there are two parts.
        let appended = open(&proxy.endpoint()).append(&state, &options(id).level(Some(-7)), OnConflict::Fail);
        proxy.heal();
        assert_eq!(appended.unwrap_or_else(|error| panic!("{when:?}: {error:?}")).number, id);
        assert!(direct.load(&StepSelector::Number(id)).expect("it loads") == state);
    }
    assert!(shown(&direct).into_iter().eq((1..=id).map(|id| (id, id))), "each once");
    assert_eq!(server.unfinished_uploads(), Vec::<String>::new());
}
