//! How long ending a write takes.

use std::time::{Duration, Instant};

use persist_host::{CancelToken, ErrorCode, Precondition, StorageAdapter};
use persist_test_support::proxy::{Fault, Operation, Proxy, When};
use persist_test_support::server::Server;

use crate::helpers::{MIB, small_parts, writer};

/// How long ending a write may take: the documented time, plus a margin for a busy
/// machine.
const ENDED: Duration = Duration::from_millis(4500);

#[test]
fn a_write_ends_in_three_seconds_whatever_hangs() {
    let hangs: [&[Operation]; 4] =
        [&[Operation::CreateUpload], &[Operation::UploadPart], &[Operation::AbortUpload], &[Operation::UploadPart, Operation::AbortUpload]];
    for operations in hangs {
        for is_dropped in [false, true] {
            let server = Server::start();
            let proxy = Proxy::start(server.address);
            let cancel = CancelToken::new();
            let adapter = small_parts(&proxy).with_cancel(&cancel).expect("it can be cancelled");
            let mut writer = writer(&*adapter, "x", Precondition::None);
            if is_dropped && operations == [Operation::CreateUpload] {
                // Beginning the upload blocks the write, so there is nothing to drop.
                continue;
            }
            for operation in operations {
                proxy.inject(*operation, Fault::Delay, When::Always);
            }
            let began = std::thread::scope(|scope| {
                if is_dropped {
                    writer.write(&vec![1; 12 * MIB]).expect("two parts are under way");
                    let began = Instant::now();
                    drop(writer);
                    return began;
                }
                let stopping = scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    cancel.cancel();
                    Instant::now()
                });
                let written = writer.write(&vec![1; 60 * MIB]).and_then(|()| writer.write(&vec![1; 60 * MIB]));
                let error = match written {
                    Ok(()) => writer.commit().expect_err("it is cancelled"),
                    Err(error) => {
                        drop(writer);
                        error
                    }
                };
                assert_eq!(error.code(), ErrorCode::Cancelled, "{operations:?}: {error:?}");
                stopping.join().expect("it ends")
            });
            assert!(began.elapsed() < ENDED, "{operations:?}, dropped: {is_dropped}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn an_upload_that_was_not_aborted_in_time_is_named() {
    let server = Server::start();
    let proxy = Proxy::start(server.address);
    let cancel = CancelToken::new();
    let adapter = small_parts(&proxy).with_cancel(&cancel).expect("it can be cancelled");
    let mut writer = writer(&*adapter, "x", Precondition::None);
    writer.write(&vec![1; 12 * MIB]).expect("two parts are under way");
    proxy.inject(Operation::AbortUpload, Fault::Delay, When::Always);
    cancel.cancel();
    let error = writer.commit().expect_err("it is cancelled");
    let hint = error.detail().hint.clone().unwrap_or_default();
    assert!(error.code() == ErrorCode::Cancelled && hint.contains("abort-multipart-upload"), "{error:?}");
}
