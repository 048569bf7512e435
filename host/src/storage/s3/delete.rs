//! Gets the metadata of objects, and deletes objects.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use persist_model::{ErrorCode, PersistError, Precondition};

use crate::storage::s3::conditions::{Request, headers, is_refusal, other_etag};
use crate::storage::s3::connection::Connection;
use crate::storage::s3::error::{self, Doubt, Failure};
use crate::storage::s3::facts::{object_info, unquoted, with_headers};
use crate::storage::s3::read;
use crate::storage::s3::transport::noting;
use crate::storage::{DeleteFailure, ObjectInfo};

impl Connection {
    /// Returns what is known of an object without reading it.
    pub(super) async fn stat(&self, key: &str) -> Result<ObjectInfo, Failure> {
        let head = |client: Client| client.head_object().bucket(&self.bucket).key(key).send();
        match self.request("HeadObject", 0, head).await {
            Ok(found) => {
                let info = object_info(key, found.content_length(), found.e_tag(), found.last_modified())?;
                Ok(with_headers(info, found.content_type(), found.metadata()))
            }
            // The response to a HEAD has no body. A GET of one byte says what is wrong:
            // the key, the bucket, the permissions or the region.
            Err(failure) if failure.is_unexplained() => {
                let get = |client: Client| client.get_object().bucket(&self.bucket).key(key).range("bytes=0-0").send();
                match self.request("GetObject", 0, get).await {
                    // The object exists by now, or only HEAD is not allowed.
                    Ok(found) => read::answer_info(key, &found).map(|(info, ..)| info),
                    // The object exists by now and is empty.
                    Err(explained) if explained.status == 416 => {
                        Err(Failure::bad_answer("the service contradicts itself about the object"))
                    }
                    Err(explained) => Err(explained),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Deletes an existing object. It is looked up first, since S3 does not say whether
    /// there was one.
    pub(super) async fn delete(self: Arc<Self>, key: &str, precondition: &Precondition, begun: &Arc<AtomicBool>) -> Result<(), Failure> {
        let found = self.stat(key).await?;
        if let Precondition::IfMatch(etag) = precondition
            && found.etag.as_deref() != Some(unquoted(etag))
        {
            return Err(other_etag().into());
        }
        let (if_match, _) = headers(&self.require(Request::Delete, precondition, key).await?);
        let delete = |client: Client| client.delete_object().bucket(&self.bucket).key(key).set_if_match(if_match.clone()).send();
        let failure = match noting(begun, self.request("DeleteObject", 0, delete)).await {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        let is_refused = *precondition != Precondition::None && is_refusal(&failure);
        if failure.doubt == Doubt::None && !is_refused {
            return Err(failure);
        }
        // The response was lost, or an earlier attempt was carried out.
        match self.stat(key).await {
            Err(gone) if gone.error.code() == ErrorCode::NotFound && failure.doubt > Doubt::None => Ok(()),
            Err(gone) if gone.error.code() == ErrorCode::NotFound => Err(gone),
            Err(unknown) => {
                let what = "it is not known whether the object was deleted: the response was lost, and the service can't be asked";
                Err(unknown.outcome_unknown(what))
            }
            // A request without a response may still be carried out. Or it was, and
            // this is a new object.
            Ok(_) if failure.doubt == Doubt::Open => {
                Err(failure.outcome_unknown("it is not known whether the object was deleted: the response was lost"))
            }
            Ok(_) => Err(failure),
        }
    }

    /// Deletes up to 1000 objects in one request. Returns those that could not be
    /// deleted. S3 does not say which of them did not exist.
    pub(super) async fn delete_many(self: Arc<Self>, keys: Vec<String>) -> Result<Vec<DeleteFailure>, Failure> {
        let named = |key: &String| ObjectIdentifier::builder().key(key).build();
        let objects = keys.iter().map(named).collect::<Result<Vec<_>, _>>();
        let delete = objects.and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build());
        let delete = delete
            .map_err(|error| PersistError::new(ErrorCode::Other, format!("the request could not be built: {error}")).caused_by(error))?;
        let send = |client: Client| client.delete_objects().bucket(&self.bucket).delete(delete.clone()).send();
        let answer = match self.request("DeleteObjects", 0, send).await {
            // Not every service supports this request.
            Err(failure) if failure.error.code() == ErrorCode::Unsupported => return self.delete_each(keys).await,
            // Some may be deleted. Repeating the request is safe, since missing ones
            // are ignored.
            Err(failure) if failure.doubt > Doubt::None => {
                return Err(failure.outcome_unknown("it is not known which objects were deleted"));
            }
            answer => answer?,
        };
        let region = self.service().await?.region.as_str();
        let target = error::Target { bucket: &self.bucket, region };
        let failed = answer.errors().iter().filter(|failed| !matches!(failed.code(), Some("NoSuchKey" | "NoSuchVersion")));
        let failure = |failed: &aws_sdk_s3::types::Error| DeleteFailure {
            key: failed.key().unwrap_or_default().to_owned(),
            error: error::of_object(failed.code().unwrap_or_default(), failed.message().unwrap_or_default(), &target),
        };
        Ok(failed.map(failure).collect())
    }

    async fn delete_each(self: Arc<Self>, keys: Vec<String>) -> Result<Vec<DeleteFailure>, Failure> {
        let mut failures = Vec::new();
        for key in keys {
            let delete = |client: Client| client.delete_object().bucket(&self.bucket).key(&key).send();
            match self.request("DeleteObject", 0, delete).await {
                Err(failure) if failure.error.code() != ErrorCode::NotFound => failures.push(DeleteFailure { key, error: failure.error }),
                _ => {}
            }
        }
        Ok(failures)
    }
}
