//! What a proxy has seen, and the faults that it injects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::fault::{Fault, Operation, When};

/// A request that the proxy received.
#[derive(Clone, Debug)]
pub struct Seen {
    pub operation: Operation,
    pub path: String,
    pub range: Option<String>,
    pub headers: HashMap<String, String>,
    pub answered: usize,
    pub arrived: Instant,
    /// When the response was complete, or `None` if the client did not wait for it.
    pub ended: Option<Instant>,
}

pub(crate) struct Rule {
    pub(crate) operation: Option<Operation>,
    pub(crate) fault: Fault,
    pub(crate) when: When,
    pub(crate) met: u32,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) rules: Vec<Rule>,
    pub(crate) seen: Vec<Seen>,
    /// How many faults were injected.
    pub(crate) hits: u32,
    /// How many connections were opened.
    pub(crate) connections: u32,
    /// How many requests are in progress, and the maximum so far.
    pub(crate) under_way: u32,
    pub(crate) most_under_way: u32,
    /// One lock per path, so that requests for one object run one after the other.
    pub(crate) turns: Option<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Returns the fault for a request, if it gets one.
pub(crate) fn fault_for(state: &Mutex<State>, operation: Operation) -> Option<Fault> {
    let mut state = state.lock().unwrap();
    let mut found = None;
    for rule in state.rules.iter_mut().filter(|rule| rule.operation.is_none_or(|wanted| wanted == operation)) {
        rule.met += 1;
        let is_hit = match rule.when {
            When::First => rule.met == 1,
            When::Second => rule.met == 2,
            When::Always => true,
            When::Nth(number) => rule.met == number,
            When::Of(some, all) => (rule.met - 1) % all < some,
        };
        if is_hit && found.is_none() {
            found = Some(rule.fault);
        }
    }
    state.hits += u32::from(found.is_some());
    found
}
