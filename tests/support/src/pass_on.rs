//! Storages in tests that do one thing themselves and leave the rest to another storage.

/// Implements methods of `StorageAdapter` by those of the storage in a field.
///
/// ```ignore
/// impl StorageAdapter for Broken {
///     pass_on!(memory: summary, locate, capabilities, open_write, stat, delete_object, list_objects);
///     // … and open_read.
/// }
/// ```
#[macro_export]
macro_rules! pass_on {
    ($field:ident: $($method:ident),*) => {
        $($crate::__pass_on!($field, $method);)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __pass_on {
    ($field:ident, summary) => {
        fn summary(&self) -> String {
            self.$field.summary()
        }
    };
    ($field:ident, locate) => {
        fn locate(&self, key: &str) -> String {
            self.$field.locate(key)
        }
    };
    ($field:ident, capabilities) => {
        fn capabilities(&self) -> ::persist_host::Capabilities {
            self.$field.capabilities()
        }
    };
    ($field:ident, open_write) => {
        fn open_write(
            &self,
            key: &str,
            options: ::persist_host::WriteOptions,
        ) -> ::persist_host::Result<Box<dyn ::persist_host::StorageWriter>> {
            self.$field.open_write(key, options)
        }
    };
    ($field:ident, open_read) => {
        fn open_read(
            &self,
            key: &str,
            options: ::persist_host::ReadOptions,
        ) -> ::persist_host::Result<Box<dyn ::persist_host::StorageReader>> {
            self.$field.open_read(key, options)
        }
    };
    ($field:ident, stat) => {
        fn stat(&self, key: &str) -> ::persist_host::Result<::persist_host::ObjectInfo> {
            self.$field.stat(key)
        }
    };
    ($field:ident, delete_object) => {
        fn delete_object(&self, key: &str, precondition: ::persist_host::Precondition) -> ::persist_host::Result<()> {
            self.$field.delete_object(key, precondition)
        }
    };
    ($field:ident, list_objects) => {
        fn list_objects(
            &self,
            prefix: &str,
            start_after: Option<&str>,
            limit: u32,
        ) -> ::persist_host::Result<Vec<::persist_host::ObjectInfo>> {
            self.$field.list_objects(prefix, start_after, limit)
        }
    };
}
