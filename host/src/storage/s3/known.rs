//! What was learned about a bucket's service. Each fact is learned once per process, by
//! the adapter that first needs it, and shared by all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;

use crate::system::process::PerProcess;

/// The requests that can have a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Put,
    Complete,
    Delete,
}

/// A condition on a request, without its etag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) request: Request,
    pub(super) if_match: bool,
}

/// Keyed by endpoint (empty for AWS itself) and bucket.
type Buckets = HashMap<(String, String), Arc<Known>>;

/// Per process: a test that was in progress during a fork would never end in the child.
static BUCKETS: PerProcess<Mutex<Buckets>> = PerProcess::new(Mutex::default);

/// What was learned about a bucket's service.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether each kind of condition is enforced. Callers that need the answer while
    /// it is being tested wait for it.
    conditions: Mutex<HashMap<Kind, Arc<OnceCell<bool>>>>,
    /// Whether the service copies parts itself.
    pub(super) copies_parts: OnceLock<bool>,
}

impl Known {
    /// Returns what was learned about the bucket at an endpoint.
    pub(super) fn of(endpoint: &str, bucket: &str) -> Arc<Self> {
        let mut buckets = BUCKETS.get().lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buckets.entry((endpoint.to_owned(), bucket.to_owned())).or_default())
    }

    /// Returns whether a condition is enforced, for the first caller to find out.
    pub(super) fn condition(&self, kind: Kind) -> Arc<OnceCell<bool>> {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(conditions.entry(kind).or_default())
    }

    /// Returns whether a condition is known to be ignored.
    pub(super) fn is_ignored(&self, if_match: bool) -> bool {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().any(|(kind, is_kept)| kind.if_match == if_match && is_kept.get() == Some(&false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::process::child;

    #[test]
    fn a_child_knows_buckets_although_a_thread_of_its_parent_has_the_table() {
        let _held = BUCKETS.get().lock().unwrap_or_else(PoisonError::into_inner);
        assert!(child::ends(|| drop(Known::of("", "bucket"))));
    }
}
