//! What was learnt of a bucket's service, once in a process: by whichever adapter
//! asked first, for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;

use super::conditions::Kind;
use crate::process::PerProcess;

/// By endpoint (empty for AWS itself), and bucket.
type Buckets = HashMap<(String, String), Arc<Known>>;

/// What was being found out at a fork is never known in the child.
static BUCKETS: PerProcess<Mutex<Buckets>> = PerProcess::new(Mutex::default);

/// What was learnt of a bucket's service.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Whether each kind of condition is kept. Whoever comes while that is being
    /// found out waits for the answer.
    conditions: Mutex<HashMap<Kind, Arc<OnceCell<bool>>>>,
    /// Whether the service copies parts itself.
    pub(super) copies_parts: OnceLock<bool>,
}

impl Known {
    /// Of the bucket at an endpoint.
    pub(super) fn of(endpoint: &str, bucket: &str) -> Arc<Self> {
        let mut buckets = BUCKETS.get().lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buckets.entry((endpoint.to_owned(), bucket.to_owned())).or_default())
    }

    /// Whether a condition is kept, to be found out by the first who asks.
    pub(super) fn condition(&self, kind: Kind) -> Arc<OnceCell<bool>> {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(conditions.entry(kind).or_default())
    }

    /// Whether a condition is known to be ignored.
    pub(super) fn is_ignored(&self, if_match: bool) -> bool {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().any(|(kind, is_kept)| kind.if_match == if_match && is_kept.get() == Some(&false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::child;

    #[test]
    fn a_child_knows_buckets_although_a_thread_of_its_parent_has_the_table() {
        let _held = BUCKETS.get().lock().unwrap_or_else(PoisonError::into_inner);
        assert!(child::ends(|| drop(Known::of("", "bucket"))));
    }
}
