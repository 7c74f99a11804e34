//! Which uploads were begun and never finished? What the store says when it is asked, for those that have no note ([`super::parts`]).

use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, StatusCode};
use object_store::aws::{AmazonS3, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector as _, HttpRequestBody, ReqwestConnector};
use object_store::{ClientOptions, Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What S3's signature leaves unescaped (AWS Signature Version 4, canonical query string).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where unfinished uploads are found.
#[derive(Clone, Debug)]
pub enum Uploads {
    /// By asking S3. The object store's own interface has no such question.
    S3 {
        /// The bucket's URL.
        url: String,
        /// Its region.
        region: String,
        /// Who asks.
        credentials: AwsCredentialProvider,
        /// What sends.
        client: HttpClient,
    },
    /// By looking into a directory: they are files whose name ends in `#` and a number.
    Directory(PathBuf),
}

impl Uploads {
    /// Those of a bucket.
    ///
    /// # Errors
    /// Where the client's options do not hold.
    pub fn of_s3(store: &AmazonS3, url: String, region: String, options: &ClientOptions) -> Result<Self> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(Self::S3 { url, region, credentials: store.credentials().clone(), client })
    }

    /// Ends those whose key begins with `prefix`. Answers how many.
    ///
    /// # Errors
    /// The first that could not be ended, or why they could not be asked for.
    pub async fn end_all(&self, prefix: &str) -> Result<usize> {
        match self {
            Self::Directory(directory) => end_files(&directory.join(prefix)).map_err(generic),
            Self::S3 { url, .. } => {
                let question = format!("{url}?uploads=&prefix={}", escaped(prefix));
                let Some(listing) = self.send(Method::GET, &question).await? else { return Ok(0) };
                let listing = String::from_utf8_lossy(&listing).into_owned();
                let found: Vec<(String, String)> = uploads(&listing).filter(|(key, _)| key.starts_with(prefix)).collect();
                for (key, id) in &found {
                    let path: Vec<String> = key.split('/').map(escaped).collect();
                    self.send(Method::DELETE, &format!("{url}/{}?uploadId={}", path.join("/"), escaped(id))).await?;
                }
                Ok(found.len())
            }
        }
    }

    /// Nothing where this is not allowed or not known: who may not ask (`s3:ListBucketMultipartUploads`) has the notes.
    async fn send(&self, method: Method, url: &str) -> Result<Option<Bytes>> {
        let Self::S3 { region, credentials, client, .. } = self else { return Ok(None) };
        let credential = credentials.get_credential().await?;
        let mut request = http::Request::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().map_err(generic)?;
        AwsAuthorizer::new(&credential, "s3", region).try_authorize(&mut request, None)?;
        let (answer, body) = client.execute(request).await.map_err(generic)?.into_parts();
        let body = body.bytes().await.map_err(generic)?;
        match answer.status {
            // An upload that is gone has ended.
            StatusCode::NOT_FOUND => Ok(Some(body)),
            status if status.is_success() => Ok(Some(body)),
            StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
            status => Err(generic(format!("{status}: {}", String::from_utf8_lossy(&body)))),
        }
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn generic(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "S3", source: error.into() }
}

fn end_files(directory: &std::path::Path) -> std::io::Result<usize> {
    let mut ended = 0;
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(0) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_unfinished = name.rsplit_once('#').is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
        if is_unfinished {
            std::fs::remove_file(&path)?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// Key and identifier of each upload in a ListMultipartUploadsResult. Our keys need no escaping in XML; identifiers may.
fn uploads(listing: &str) -> impl Iterator<Item = (String, String)> {
    let within = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        let (value, _) = rest.split_once(&format!("</{tag}>"))?;
        let plain = value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#34;", "\"");
        Some(plain.replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&"))
    };
    listing.split("<Upload>").skip(1).filter_map(move |upload| Some((within(upload, "Key")?, within(upload, "UploadId")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_gives_key_and_identifier_of_every_upload() {
        let listing = "<ListMultipartUploadsResult><Prefix>a</Prefix><Upload><Key>a/b</Key><UploadId>x&amp;y</UploadId></Upload>\
            <Upload><Initiator/><UploadId>z</UploadId><Key>a/c</Key></Upload></ListMultipartUploadsResult>";
        let found: Vec<_> = uploads(listing).collect();
        assert_eq!(found, [("a/b".to_owned(), "x&y".to_owned()), ("a/c".to_owned(), "z".to_owned())]);
    }

    #[test]
    fn in_a_directory_only_what_is_unfinished_goes() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.parquet", "a.parquet#1", "b#x", "manifest.json"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(end_files(directory.path()).unwrap(), 1);
        assert!(!directory.path().join("a.parquet#1").exists() && directory.path().join("b#x").exists());
    }
}
