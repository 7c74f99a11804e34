//! How is a destination opened? From its declaration and the Secret that it names.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use super::uploads::Uploads;
use super::{Credentials, Place, Store};
use crate::api::Destination;
use crate::api::Reason;
use crate::api::destination::{Azure, Gcs, Pvc, S3, SseMode};
use crate::plan::action::Blocked;

/// The names under which Secrets hold the two halves of a key for S3, and a session's token.
const KEY_ID: [&str; 3] = ["AWS_ACCESS_KEY_ID", "accessKeyId", "ACCESS_KEY_ID"];
const KEY: [&str; 3] = ["AWS_SECRET_ACCESS_KEY", "secretAccessKey", "ACCESS_SECRET_KEY"];
const TOKEN: [&str; 2] = ["AWS_SESSION_TOKEN", "sessionToken"];

impl Store {
    /// Opens a destination. Nothing is sent yet.
    ///
    /// # Errors
    /// What the destination or its Secret lacks.
    pub fn open(destination: &Destination, credentials: &Credentials) -> Result<Self, Blocked> {
        match destination {
            Destination { s3: Some(s3), .. } => open_s3(s3, credentials),
            Destination { gcs: Some(gcs), .. } => open_gcs(gcs, credentials),
            Destination { azure: Some(azure), .. } => open_azure(azure, credentials),
            Destination { pvc: Some(pvc), .. } => open_volume(pvc, credentials),
            _ => Err(invalid("the destination names no store: give s3, gcs, azure or pvc".into())),
        }
    }

    /// Opens a directory of this machine.
    ///
    /// # Errors
    /// Where it is none.
    pub fn open_directory(directory: &Path) -> Result<Self, Blocked> {
        let described = format!("the directory {}", directory.display());
        open_directory(directory, place(directory.display().to_string(), None, described))
    }
}

fn invalid(message: String) -> Blocked {
    Blocked::new(Reason::DestinationInvalid, message)
}

/// The first of these keys that the Secret has, without the line break that a file ends in.
fn value(credentials: &Credentials, keys: &[&str]) -> Result<Option<String>, Blocked> {
    let Some((key, bytes)) = keys.iter().find_map(|key| Some((key, credentials.secret.get(*key)?))) else { return Ok(None) };
    let text = std::str::from_utf8(bytes);
    let text =
        text.map_err(|_| Blocked::new(Reason::SecretInvalid, format!("key {key} of the destination's Secret is not text")))?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A value that must be there.
fn needed(credentials: &Credentials, secret: &str, keys: &[&str]) -> Result<String, Blocked> {
    value(credentials, keys)?.ok_or_else(|| {
        Blocked::new(
            Reason::SecretInvalid,
            format!("Secret {secret} of the destination has no key {}; add it", keys.join(" or ")),
        )
    })
}

/// Requests have no time limit as a whole, since a part may take long; silence has.
fn client(credentials: &Credentials, endpoint: Option<&str>) -> Result<ClientOptions, Blocked> {
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(10))
        .with_read_timeout(Duration::from_secs(60))
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")));
    if let Some(pem) = &credentials.ca {
        let certificates = Certificate::from_pem_bundle(pem);
        // A text without any certificate is read as a bundle of none.
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        let certificates = certificates.ok_or_else(|| {
            invalid(
                "the destination's certificate authority holds no certificate in PEM: give -----BEGIN CERTIFICATE----- and so on"
                    .into(),
            )
        })?;
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

fn retries(credentials: &Credentials) -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(10), ..BackoffConfig::default() };
    let max_retries = if credentials.patience.is_zero() { 0 } else { 12 };
    RetryConfig { backoff, max_retries, retry_timeout: credentials.patience }
}

/// A key that no store could be opened with. What is wrong with it is not quoted, since that might quote the key.
fn unusable_key(key: &str, secret: &str, remedy: &str) -> Blocked {
    Blocked::new(Reason::SecretInvalid, format!("key {key} of Secret {secret} {remedy}"))
}

fn unusable(what: &str, place: &Place, error: &object_store::Error) -> Blocked {
    invalid(format!("{what} cannot be used: {}", place.without_secrets(&error.to_string())))
}

fn open_s3(s3: &S3, credentials: &Credentials) -> Result<Store, Blocked> {
    let described = match &s3.endpoint {
        Some(endpoint) => format!("the bucket {} at {endpoint}", s3.bucket),
        None => format!("the bucket {}", s3.bucket),
    };
    let mut place = place(format!("s3://{}", s3.bucket), s3.prefix.as_deref(), described);
    let options = client(credentials, s3.endpoint.as_deref())?;
    let has_key = s3.credentials_secret_ref.is_some() || value(credentials, &KEY_ID)?.is_some();
    // Without a key, the cloud gives the Pod one: the environment says how (IRSA, Pod Identity, instance metadata).
    let builder = if has_key { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
    let region = region(s3, has_key);
    let mut builder = builder
        .with_bucket_name(&s3.bucket)
        .with_region(&region)
        .with_client_options(options.clone())
        .with_retry(retries(credentials))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_virtual_hosted_style_request(!is_path_style(s3));
    if let Some(endpoint) = &s3.endpoint {
        let endpoint = if is_path_style(s3) { endpoint.clone() } else { bucket_url(s3, &region) };
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    if has_key {
        let secret = s3.credentials_secret_ref.as_ref().map_or("of the environment", |secret| &secret.name);
        let (id, key) = (needed(credentials, secret, &KEY_ID)?, needed(credentials, secret, &KEY)?);
        place.secrets = vec![id.clone(), key.clone()];
        builder = builder.with_access_key_id(id).with_secret_access_key(key);
        if let Some(token) = value(credentials, &TOKEN)? {
            place.secrets.push(token.clone());
            builder = builder.with_token(token);
        }
    }
    let built = encrypted(builder, s3)?.build().map_err(|error| unusable("the bucket", &place, &error))?;
    let uploads = Uploads::of_s3(&built, bucket_url(s3, &region), region, &options)
        .map_err(|error| unusable("the bucket", &place, &error))?;
    let built = Arc::new(built);
    Ok(Store { uploads: Some(uploads), by_id: Some(Arc::clone(&built) as _), inner: built, place })
}

/// What the cloud tells a Pod it gives a key to counts where the destination says nothing.
fn region(s3: &S3, has_key: bool) -> String {
    let told = || ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok());
    let region = s3.region.clone().or_else(|| if has_key { None } else { told() });
    region.unwrap_or_else(|| "us-east-1".into())
}

fn is_path_style(s3: &S3) -> bool {
    s3.path_style.unwrap_or(s3.endpoint.is_some())
}

/// Where the bucket itself is: `https://endpoint/bucket`, or `https://bucket.endpoint`.
fn bucket_url(s3: &S3, region: &str) -> String {
    let amazon = format!("https://s3.{region}.amazonaws.com");
    let endpoint = s3.endpoint.as_deref().unwrap_or(&amazon);
    match endpoint.split_once("://") {
        Some((scheme, host)) if !is_path_style(s3) => format!("{scheme}://{}.{host}", s3.bucket),
        _ => format!("{endpoint}/{}", s3.bucket),
    }
}

fn encrypted(builder: AmazonS3Builder, s3: &S3) -> Result<AmazonS3Builder, Blocked> {
    let Some(sse) = &s3.sse else { return Ok(builder) };
    Ok(match (sse.mode, &sse.kms_key_id) {
        (SseMode::Aes256, _) => builder.with_config(encryption("aws_server_side_encryption")?, "AES256"),
        (SseMode::Kms, Some(key)) => builder.with_sse_kms_encryption(key),
        (SseMode::Kms, None) => builder.with_config(encryption("aws_server_side_encryption")?, "aws:kms"),
    })
}

fn encryption(key: &str) -> Result<AmazonS3ConfigKey, Blocked> {
    key.parse().map_err(|error: object_store::Error| invalid(format!("sse: {error}")))
}

fn place(root: String, prefix: Option<&str>, described: String) -> Place {
    Place { root, prefix: prefix.unwrap_or_default().to_owned(), described, secrets: vec![] }
}

fn open_gcs(gcs: &Gcs, credentials: &Credentials) -> Result<Store, Blocked> {
    let mut place = place(format!("gs://{}", gcs.bucket), gcs.prefix.as_deref(), format!("the bucket {}", gcs.bucket));
    let has_key = gcs.credentials_secret_ref.is_some() || credentials.secret.contains_key("key.json");
    let builder = if has_key { GoogleCloudStorageBuilder::new() } else { GoogleCloudStorageBuilder::from_env() };
    let mut builder = builder
        .with_bucket_name(&gcs.bucket)
        .with_client_options(client(credentials, gcs.endpoint.as_deref())?)
        .with_retry(retries(credentials));
    if let Some(endpoint) = &gcs.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if has_key {
        let secret = gcs.credentials_secret_ref.as_ref().map_or("of the environment", |secret| &secret.name);
        let key = needed(credentials, secret, &["key.json"])?;
        place.secrets = vec![key.clone()];
        builder = builder.with_service_account_key(key);
        // Nothing else of what was given can be wrong here.
        builder.clone().build().map_err(|_| {
            unusable_key(
                "key.json",
                secret,
                "is not the key of a service account: give the JSON file that Google's console made of it",
            )
        })?;
    }
    let built = builder.build().map_err(|error| unusable("the bucket", &place, &error))?;
    let built = Arc::new(built);
    Ok(Store { uploads: None, by_id: Some(Arc::clone(&built) as _), inner: built, place })
}

fn open_azure(azure: &Azure, credentials: &Credentials) -> Result<Store, Blocked> {
    let described = format!("the container {} of {}", azure.container, azure.account);
    let mut place = place(format!("az://{}/{}", azure.account, azure.container), azure.prefix.as_deref(), described);
    let has_key = azure.credentials_secret_ref.is_some() || value(credentials, &["sasToken", "accountKey"])?.is_some();
    // Without a key, the environment of a Pod with a workload identity names its token.
    let builder = if has_key { MicrosoftAzureBuilder::new() } else { MicrosoftAzureBuilder::from_env() };
    let mut builder = builder
        .with_account(&azure.account)
        .with_container_name(&azure.container)
        .with_client_options(client(credentials, azure.endpoint.as_deref())?)
        .with_retry(retries(credentials));
    if let Some(endpoint) = &azure.endpoint {
        builder = builder.with_endpoint(endpoint.clone()).with_allow_http(endpoint.starts_with("http://"));
    }
    if has_key {
        let secret = azure.credentials_secret_ref.as_ref().map_or("of the environment", |secret| &secret.name);
        let token = value(credentials, &["sasToken"])?;
        if let Some(token) = token {
            place.secrets = vec![token.clone()];
            builder = builder.with_config(object_store::azure::AzureConfigKey::SasKey, token);
            let remedy = "is not a shared access signature: give what Azure shows after the question mark (sv=…&sig=…)";
            builder.clone().build().map_err(|_| unusable_key("sasToken", secret, remedy))?;
        } else {
            let key = needed(credentials, secret, &["accountKey", "sasToken"])?;
            place.secrets = vec![key.clone()];
            builder = builder.with_access_key(key);
            let remedy = "is not an account's key, which is base64: copy it anew";
            builder.clone().build().map_err(|_| unusable_key("accountKey", secret, remedy))?;
        }
    }
    let built = builder.build().map_err(|error| unusable("the container", &place, &error))?;
    Ok(Store { uploads: None, by_id: None, inner: Arc::new(built), place })
}

fn open_volume(pvc: &Pvc, credentials: &Credentials) -> Result<Store, Blocked> {
    let directory = credentials.volume.join(pvc.path.as_deref().unwrap_or_default());
    let root = match pvc.path.as_deref() {
        Some(path) => format!("pvc://{}/{path}", pvc.claim_name),
        None => format!("pvc://{}", pvc.claim_name),
    };
    let place = place(root, None, format!("the volume {}", pvc.claim_name));
    std::fs::create_dir_all(&directory)
        .map_err(|error| invalid(format!("{} cannot be used at {}: {error}", place.described, directory.display())))?;
    open_directory(&directory, place)
}

/// Objects are written under another name, flushed to the disk and linked, so that none is ever seen half written.
fn open_directory(directory: &Path, place: Place) -> Result<Store, Blocked> {
    let built = LocalFileSystem::new_with_prefix(directory)
        .map_err(|error| invalid(format!("{} cannot be used at {}: {error}", place.described, directory.display())))?;
    let uploads = Some(Uploads::Directory(directory.to_owned()));
    let inner: Arc<dyn ObjectStore> = Arc::new(built.with_fsync(true));
    Ok(Store { uploads, by_id: None, inner, place })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn open(destination: serde_json::Value, key: &str, value: &str) -> Blocked {
        drop(rustls::crypto::ring::default_provider().install_default());
        let destination = serde_json::from_value(destination).unwrap();
        let secret = [(key.to_owned(), value.as_bytes().to_vec())].into();
        Store::open(&destination, &Credentials { secret, ..Credentials::default() }).unwrap_err()
    }

    #[test]
    fn a_key_of_google_that_is_none_is_named_and_not_quoted() {
        let gcs = json!({"gcs": {"bucket": "archive", "credentialsSecretRef": {"name": "google"}}});
        let lacks = open(gcs.clone(), "accountKey", "x");
        assert_eq!(lacks.message, "Secret google of the destination has no key key.json; add it");
        for key in
            ["hunter2", "\"hunter2\"", "{\"private_key\": \"hunter2\"}", "{\"private_key\": 2, \"client_email\": \"hunter2\"}"]
        {
            let unusable = open(gcs.clone(), "key.json", key);
            assert_eq!(unusable.reason, Reason::SecretInvalid, "{}", unusable.message);
            assert!(unusable.message.starts_with("key key.json of Secret google is not the key of a service account: "), "{key}");
            assert!(!unusable.message.contains("hunter2"), "{}", unusable.message);
        }
    }
}
