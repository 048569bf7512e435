//! What happens in a trace, and how it is told.

use std::fmt;

use crate::store::{Object, Set};

/// What became of the reply to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Taken,
    Conflict,
    /// The request was carried out, but the reply got lost.
    Lost,
    /// The request is still on its way when its sender gives up waiting.
    Late,
}

/// One request to the storage, or what happens without anyone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Did {
    ReadHint(u8),
    /// The listing lacks an object and a sidecar, if they are not 0.
    List(u8, u8),
    Probe(u8, Object),
    Read(u8, Object),
    ClaimStep(u8, Set, Reply),
    ClaimEnd(u8, Reply),
    Look(u8, Object),
    ReadGaps(Set),
    Withdraw(u8),
    WriteHint(u8),
    Hide(u8),
    Remove(u8, bool),
    WriteGap(Set),
    DropGap,
    DeleteMarker(u8),
    DeleteEnd(u8),
    Copy(u8, Object),
    /// The highest number of the target.
    ListTarget(u8),
    RemoveHint,
    ListVisible(Set),
    WriteCatalogue(Set),
    ReadCatalogue(Set),
    Tell(Set),
    Arrive(u8),
    PassAWeek,
    Lose(u8),
}

fn numbers(set: Set) -> String {
    if set.is_empty() {
        return "nothing".to_owned();
    }
    set.items().map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "it is created",
            Self::Conflict => "conflict",
            Self::Lost => "it is created, but the reply is lost",
            Self::Late => "no reply; the request is still on its way",
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Step(_) => f.write_str("a step"),
            Self::Marker(_) => f.write_str("a marker"),
            Self::End(_) => f.write_str("END"),
        }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadHint(hint) => write!(f, "GET hint: {hint}"),
            Self::List(0, 0) => write!(f, "LIST"),
            Self::List(0, sidecar) => write!(f, "LIST without {sidecar}.drop"),
            Self::List(hole, _) => write!(f, "LIST without {hole}"),
            Self::Probe(number, object) | Self::Read(number, object) | Self::Look(number, object) => write!(f, "GET {number}: {object}"),
            Self::ListVisible(steps) => write!(f, "LIST and GET: steps {}", numbers(*steps)),
            Self::ClaimStep(number, refs, reply) => write!(f, "PUT step {number} if absent, refers to {}: {reply}", numbers(*refs)),
            Self::ClaimEnd(number, reply) => write!(f, "PUT END {number} if absent: {reply}"),
            Self::ReadGaps(gaps) => write!(f, "LIST gaps: {}", numbers(*gaps)),
            Self::Withdraw(number) => write!(f, "DELETE its step {number}"),
            Self::WriteHint(number) => write!(f, "PUT hint {number}"),
            Self::Hide(number) => write!(f, "PUT {number}.drop"),
            Self::Remove(number, true) => write!(f, "PUT marker {number}"),
            Self::Remove(number, false) => write!(f, "DELETE {number}"),
            Self::WriteGap(gap) => write!(f, "PUT gap {}", numbers(*gap)),
            Self::DropGap => write!(f, "DELETE gap"),
            Self::DeleteMarker(number) => write!(f, "DELETE marker {number}"),
            Self::DeleteEnd(number) => write!(f, "DELETE END {number}"),
            Self::Copy(number, object) => write!(f, "GET source {number}, PUT target {number}: {object}"),
            Self::ListTarget(last) => write!(f, "LIST target: up to {last}"),
            Self::RemoveHint => write!(f, "DELETE the own hint"),
            Self::WriteCatalogue(steps) => write!(f, "PUT catalogue {}", numbers(*steps)),
            Self::ReadCatalogue(steps) => write!(f, "GET catalogue: {}", numbers(*steps)),
            Self::Tell(steps) => write!(f, "LIST, returns steps {}", numbers(*steps)),
            Self::Arrive(number) => write!(f, "the late request for {number} arrives"),
            Self::PassAWeek => write!(f, "8 days pass"),
            Self::Lose(number) => write!(f, "the storage loses object {number}"),
        }
    }
}
