//! What led to an error.

#[cfg(not(target_family = "wasm"))]
use std::sync::Arc;

/// The error of the system or of another library that led to an error. Any two are equal, and in a
/// component there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    #[cfg(not(target_family = "wasm"))]
    error: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl PartialEq for Cause {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cause {}

#[cfg(not(target_family = "wasm"))]
impl Cause {
    pub(crate) fn new(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self { error: Some(Arc::from(error)) }
    }

    pub(crate) fn get(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.as_deref().map(|error| error as &(dyn std::error::Error + 'static))
    }
}
