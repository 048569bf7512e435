//! `s3s-fs`, corrected to behave like AWS.

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

#[derive(Debug)]
pub struct Bucket(pub FileSystem);

/// Calls that are passed on unchanged.
macro_rules! pass_on {
    ($($name:ident: $input:ty => $output:ty),* $(,)?) => {
        $(
            fn $name<'a, 'b>(
                &'a self,
                request: S3Request<$input>,
            ) -> std::pin::Pin<Box<dyn Future<Output = S3Result<S3Response<$output>>> + Send + 'b>>
            where
                'a: 'b,
                Self: 'b,
            {
                self.0.$name(request)
            }
        )*
    };
}

#[async_trait::async_trait]
impl S3 for Bucket {
    pass_on! {
        put_object: PutObjectInput => PutObjectOutput,
        head_object: HeadObjectInput => HeadObjectOutput,
        create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
        upload_part: UploadPartInput => UploadPartOutput,
        complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput,
        abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
        head_bucket: HeadBucketInput => HeadBucketOutput,
        list_buckets: ListBucketsInput => ListBucketsOutput,
    }

    /// `s3s-fs` refuses ranges longer than the object and ignores `If-Match`.
    async fn get_object(&self, mut request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = &request.input;
        if let Some(range) = *range {
            let size = self.head(&request, bucket, key).await?.content_length.unwrap_or_default() as u64;
            if size == 0 {
                return Err(s3_error!(InvalidRange));
            }
            if let Range::Suffix { length } = range {
                request.input.range = Some(Range::Suffix { length: length.min(size) });
            }
        }
        let GetObjectInput { bucket, key, if_match, .. } = &request.input;
        self.check(&request, bucket, key, if_match.as_ref()).await?;
        self.0.get_object(request).await
    }

    /// `s3s-fs` ignores `If-Match`.
    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let DeleteObjectInput { bucket, key, if_match, .. } = &request.input;
        self.check(&request, bucket, key, if_match.as_ref()).await?;
        self.0.delete_object(request).await
    }

    /// `s3s-fs` claims that keys are encoded when they are not, and omits etags.
    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let (bucket, like) = (request.input.bucket.clone(), request_like(&request, ()));
        let mut listed = self.0.list_objects_v2(request).await?;
        listed.output.encoding_type = None;
        for object in listed.output.contents.iter_mut().flatten() {
            if let Some(key) = &object.key
                && let Ok(head) = self.head(&like, &bucket, key).await
            {
                object.e_tag = head.e_tag;
            }
        }
        Ok(listed)
    }
}

impl Bucket {
    async fn head<T>(&self, request: &S3Request<T>, bucket: &str, key: &str) -> S3Result<HeadObjectOutput> {
        let head = HeadObjectInput { bucket: bucket.to_owned(), key: key.to_owned(), ..HeadObjectInput::default() };
        Ok(self.0.head_object(request_like(request, head)).await?.output)
    }

    /// Checks that the object has the etag.
    async fn check<T>(&self, request: &S3Request<T>, bucket: &str, key: &str, wanted: Option<&ETagCondition>) -> S3Result<()> {
        let Some(ETagCondition::ETag(wanted)) = wanted else { return Ok(()) };
        if self.head(request, bucket, key).await?.e_tag.as_ref() == Some(wanted) { Ok(()) } else { Err(s3_error!(PreconditionFailed)) }
    }
}

/// Returns a request from the same sender.
fn request_like<T, U>(request: &S3Request<T>, input: U) -> S3Request<U> {
    S3Request {
        input,
        method: request.method.clone(),
        uri: request.uri.clone(),
        headers: request.headers.clone(),
        extensions: Default::default(),
        credentials: request.credentials.clone(),
        region: request.region.clone(),
        service: request.service.clone(),
        trailing_headers: None,
    }
}
