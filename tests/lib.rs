//! Tests of several packages together: the command, the host, the components and the
//! storages. Shared code is in `support`.
