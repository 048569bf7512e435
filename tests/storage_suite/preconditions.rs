//! Preconditions are enforced or refused.

use persist_host::{ErrorCode, Precondition, WriteOptions};

use super::helpers::{Storage, all_keys, code, read, write, write_if};

pub(crate) fn if_absent_is_enforced_or_refused(storage: &Storage) {
    if !storage.capabilities().if_absent {
        assert_eq!(code(write_if(storage, "x", b"1", Precondition::IfAbsent)), ErrorCode::Unsupported);
        assert_eq!(all_keys(storage), Vec::<String>::new());
        return;
    }
    write_if(storage, "a/x", b"first", Precondition::IfAbsent).expect("nothing is there");
    assert_eq!(code(write_if(storage, "a/x", b"second", Precondition::IfAbsent)), ErrorCode::AlreadyExists);
    assert_eq!(read(storage, "a/x"), b"first");
    // A race: all begin while nothing is there.
    let options = || WriteOptions::default().precondition(Precondition::IfAbsent);
    let mut writers: Vec<_> = (0..4).map(|_| storage.open_write("a/y", options()).expect("nothing is there")).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.write(&[number as u8]).expect("it is written");
    }
    let mut outcomes: Vec<_> = writers.into_iter().map(|writer| writer.commit().map_err(|error| error.code())).collect();
    assert!(outcomes.remove(0).is_ok());
    assert!(outcomes.iter().all(|outcome| outcome == &Err(ErrorCode::AlreadyExists)), "{outcomes:?}");
    assert_eq!(read(storage, "a/y"), [0]);
    assert_eq!(all_keys(storage), ["a/x", "a/y"], "the losers left nothing");
    storage.delete_object("a/y", Precondition::None).expect("it is deleted");
    write_if(storage, "a/y", b"again", Precondition::IfAbsent).expect("nothing is there any more");
}

pub(crate) fn if_match_is_enforced_or_refused(storage: &Storage) {
    let first = write(storage, "x", b"first");
    let matching = |etag: &Option<String>| Precondition::IfMatch(etag.clone().unwrap_or_default());
    if !storage.capabilities().if_match {
        assert_eq!(code(write_if(storage, "x", b"2", matching(&first.etag))), ErrorCode::Unsupported);
        assert_eq!(code(storage.delete_object("x", matching(&first.etag))), ErrorCode::Unsupported);
        assert_eq!(read(storage, "x"), b"first");
        return;
    }
    let second = write_if(storage, "x", b"second", matching(&first.etag)).expect("it is the one");
    assert_eq!(code(write_if(storage, "x", b"third", matching(&first.etag))), ErrorCode::PreconditionFailed);
    assert_eq!(code(storage.delete_object("x", matching(&first.etag))), ErrorCode::PreconditionFailed);
    assert_eq!(code(write_if(storage, "missing", b"1", matching(&first.etag))), ErrorCode::PreconditionFailed);
    assert_eq!(read(storage, "x"), b"second");
    match storage.delete_object("x", matching(&second.etag)) {
        // A precondition that turns out to be ignored is refused, and no longer claimed.
        Err(error) if error.code() == ErrorCode::Unsupported => {
            assert!(!storage.capabilities().if_match);
            assert_eq!(all_keys(storage), ["x"]);
        }
        deleted => {
            deleted.expect("it is the one");
            assert_eq!(all_keys(storage), Vec::<String>::new());
        }
    }
}
