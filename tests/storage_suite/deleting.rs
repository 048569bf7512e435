//! Deleting one object, and many in one call.

use persist_host::{ErrorCode, Precondition};

use super::helpers::{Storage, all_keys, code, read, write};

pub(crate) fn many_objects_are_deleted_in_one_call(storage: &Storage) {
    for key in ["a/1", "a/2", "b/c/d", "kept"] {
        write(storage, key, b"1");
    }
    let named = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let failures =
        storage.delete_many(&named(&["a/1", "missing", "a/2", "../x", "b/c/d", "a/1"])).expect("each request has its own result");
    let found: Vec<_> = failures.iter().map(|failure| (failure.key.as_str(), failure.error.code())).collect();
    assert_eq!(found, [("../x", ErrorCode::InvalidKey)], "missing ones are ignored");
    assert_eq!(all_keys(storage), ["kept"]);
    assert!(storage.delete_many(&[]).expect("nothing to delete").is_empty());
    assert!(storage.delete_many(&named(&["missing"])).expect("ignored").is_empty());
}

pub(crate) fn a_deleted_object_is_gone(storage: &Storage) {
    write(storage, "a/x", b"1");
    write(storage, "a/y", b"2");
    assert_eq!(code(storage.delete_object("a/x", Precondition::IfAbsent)), ErrorCode::InvalidArgument);
    storage.delete_object("a/x", Precondition::None).expect("it is deleted");
    assert_eq!(code(storage.delete_object("a/x", Precondition::None)), ErrorCode::NotFound);
    assert_eq!(all_keys(storage), ["a/y"]);
    write(storage, "a/x", b"3");
    assert_eq!(read(storage, "a/x"), b"3");
}
