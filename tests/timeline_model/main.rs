//! A model check of the protocol by which many writers, pruners, deleters and copies share a
//! timeline on plain object storage.
//!
//! It goes through all states that a small world can get into: every order of requests, with
//! actors that pause or crash anywhere, replies that get lost, requests that arrive late,
//! listings with holes, and 7 days that pass at any moment. In no state is anything lost
//! (`safety.rs` says what that means, `holds.rs` has the worlds). Each rule of the protocol
//! can be taken out, and then something is lost (`rules.rs`, `without.rs`).
//!
//! # The protocol
//!
//! A timeline is a folder. Number *n* is one object: a **step**, a **marker** (this step was
//! removed; it carries the step's root) or an **END** (the session was deleted). A listing tells steps from the others by their sizes. A sidecar hides a
//! number. A **gap** is an object that stands for a range of numbers whose markers are gone.
//! What is in a gap, or below the highest END, does not count. Every other number from 1 to
//! the highest has an object.
//!
//! **Claim** number *n* + 1, where *n* is the head that was found:
//! 1. PUT with if-absent. After a lost reply: GET. The own bytes, or a marker with the own
//!    root, are a success; anything else is a conflict; if there is nothing, PUT the same
//!    bytes again. A conflict of a PUT that was sent twice is followed by the GET, too.
//! 2. If the reply's `Date` is over a day after that of the listing (or of the own last
//!    claim): LIST the gaps. If the number is in one, DELETE the object, and it is a conflict.
//!    That the number before has an object proves nothing: it may have been kept.
//! 3. Now the claim holds, and its caller may be told.
//!
//! **Find the head**:
//! 1. GET the hint. LIST the steps from hint - 1, or all if that is empty or all are needed.
//!    Then LIST the gaps: not before the steps, since a gap is written before its markers go.
//! 2. GET every number below the highest that the listing and the gaps lack. If it is missing,
//!    begin again. GET the number after the highest until one is missing.
//! 3. GET the highest. If the listing has no step there but the GET has, or if there is
//!    nothing, or if over a day has passed since the listing: begin again. A highest number
//!    below the hint is an error.
//! 4. A step is the head. After an END, or if the highest number is in a gap, there is a new
//!    session: its first step refers to nothing. At a marker, begin again.
//!
//! **Append**: find the head, unless the own last step is still known as the head. The base is
//! the head, one of its links, or nothing. Claim with the step. PUT the hint. After a conflict:
//! find the head again.
//!
//! **Prune**:
//! 1. Find the head in a full listing; GET all steps. If the head has become a marker, or over
//!    a day has passed since the listing: begin again. At an END: stop.
//! 2. The policy chooses from the steps that are not hidden, and of those with one state only
//!    from the newest.
//! 3. If the head, or what it refers to, is not kept and space is worth it: claim the next
//!    number with a step that restates the newest kept state and refers to nothing. After a
//!    conflict: begin again. The restated step and the head need not be kept any more.
//!    Otherwise keep the head, which may be hidden.
//! 4. Needed is what is kept and all that it refers to. PUT a sidecar for each needed step that
//!    is not kept. Then PUT a marker over each step that is not needed, the newest first; or
//!    PUT the sidecars of these, too, and then the markers in any order. No condition is
//!    needed, as a number never gets another step.
//!
//! **Delete**: find the head in a full listing. Unless it is an END: claim the next number with
//! an END. After a conflict the session is in use: remove nothing. Then PUT a marker over every
//! step below the END, the newest first.
//!
//! **Collect**: markers older than 7 days, and an END older than 7 days that has only markers
//! and gaps below it, become a gap: PUT the gap, then DELETE them. Gaps stay for ever.
//!
//! **Copy** up to the head *N*, or **fork** at step *N*, into another folder:
//! 1. To copy, find the head of the source; after an END, refuse. To fork, GET *N*; if it is
//!    hidden, removed or deleted, refuse. LIST the source, and the target.
//! 2. If the target has numbers, the highest has to be the source's, or the step that the source's
//!    marker has replaced; and the source has no END after it. Otherwise refuse, as at 7. Copy only
//!    what comes after it.
//! 3. GET every number that the listing of the source lacks and that is in no gap.
//! 4. If the target is empty, PUT the hint, which names *N*, with if-absent: until *N* is there, the
//!    head is below the hint.
//! 5. From the lowest number to *N* - 1: PUT its sidecar if the source has hidden it, then what the
//!    source has there, with if-absent. If it is gone, or it is a step or END that was not listed,
//!    begin again: it is in a gap. After a conflict the target is in use: refuse.
//! 6. The same for *N*, if it is still a step: then all that it refers to was there when it was
//!    copied, since a step is removed before what it refers to. Otherwise begin again. PUT the hint,
//!    unless this was done at 4.
//! 7. To refuse: LIST the target. If the highest number up to *N* is not the source's, somebody else
//!    has begun a timeline there: DELETE the own hint (if-match), by which that would have lost its
//!    end.
//!
//! Labels and catalogues are left out here, since a listing refutes them.
//!
//! **Read**: find the head. If it stays a marker, the timeline is not whole. A catalogue counts
//! only where the listing has a step that is not hidden.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod actors;
mod claiming;
mod collector;
mod copier;
mod copying;
mod deleter;
mod event;
mod explore;
mod finding;
mod forker;
mod holds;
mod pruner;
mod reader;
mod rules;
mod safety;
mod state;
mod store;
mod turn;
mod without;
mod world;
mod writer;
