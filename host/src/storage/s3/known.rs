//! What was learnt of a bucket's service, once in a process: by whichever adapter
//! asked first, for all of them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;

use super::conditions::Kind;

/// By process, endpoint (empty for AWS itself), and bucket. What was being found out
/// at a fork is never known in the child.
type Buckets = HashMap<(u32, String, String), Arc<Known>>;

static BUCKETS: LazyLock<Mutex<Buckets>> = LazyLock::new(Mutex::default);

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
        let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buckets.entry((std::process::id(), endpoint.to_owned(), bucket.to_owned())).or_default())
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
