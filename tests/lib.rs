//! Tests of several packages together: the command, the host, the components and the
//! storages. Shared code is in `support`.

/// Compiles the example in the README with the other doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
