//! Where do objects go? An object store or a volume, and the Secret that opens it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::postgres_database::{SecretKeyRef, SecretRef};

/// Where objects go: exactly one of an S3 bucket, a GCS bucket, an Azure container and a volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.s3), has(self.gcs), has(self.azure), has(self.pvc)].filter(given, given).size() == 1").message("give exactly one of s3, gcs, azure and pvc"))]
pub struct Destination {
    /// A bucket of Amazon S3 or of anything that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// A bucket of Google Cloud Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<Gcs>,
    /// A container of Azure Blob Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// A volume in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<Pvc>,
}

impl Destination {
    /// Which place it is, whoever opens it: two of the same place hold the same objects.
    pub fn place(&self) -> String {
        let s3 = self.s3.as_ref().and_then(|s3| s3.endpoint.as_deref());
        let gcs = self.gcs.as_ref().and_then(|gcs| gcs.endpoint.as_deref());
        let azure = self.azure.as_ref().and_then(|azure| azure.endpoint.as_deref());
        let endpoint = s3.or(gcs).or(azure).map(|endpoint| format!(" of {endpoint}")).unwrap_or_default();
        format!("{self}{endpoint}")
    }
}

impl std::fmt::Display for Destination {
    /// As a URL, such as `s3://archive/shop`; a volume as `pvc://claim/directory`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut write = |scheme: &str, root: &str, path: &Option<String>| {
            let path = path.as_ref().map(|path| format!("/{path}")).unwrap_or_default();
            write!(f, "{scheme}://{root}{path}")
        };
        match self {
            Self { s3: Some(s3), .. } => write("s3", &s3.bucket, &s3.prefix),
            Self { gcs: Some(gcs), .. } => write("gs", &gcs.bucket, &gcs.prefix),
            Self { azure: Some(azure), .. } => write("az", &format!("{}/{}", azure.account, azure.container), &azure.prefix),
            Self { pvc: Some(pvc), .. } => write("pvc", &pvc.claim_name, &pvc.path),
            Self { .. } => f.write_str("nowhere"),
        }
    }
}

/// A bucket that speaks S3.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct S3 {
    /// Name of the bucket.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$"))]
    pub bucket: String,
    /// What the keys of all objects begin with, such as `archive/shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$"), length(max = 512))]
    pub prefix: Option<String>,
    /// Region; `us-east-1` where nothing says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,64}$"))]
    pub region: Option<String>,
    /// URL of a store that is not Amazon's, such as `https://minio.storage:9000`. Plain `http://` must be written so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https?://[^\s/]+$"), length(max = 512))]
    pub endpoint: Option<String>,
    /// Whether the bucket is part of the path and not of the host name; true where an endpoint is given, unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// A Secret with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (or `accessKeyId` and `secretAccessKey`, or `ACCESS_KEY_ID` and
    /// `ACCESS_SECRET_KEY`). Without it the Job's service account must carry the right, as with IRSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
    /// The certificate authority of a store with a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
    /// Encryption at rest by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<Sse>,
}

/// Encryption at rest by the store.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode == 'Kms' || !has(self.kmsKeyId)").message("kmsKeyId goes with mode Kms").field_path(".kmsKeyId"))]
pub struct Sse {
    /// Whose key.
    pub mode: SseMode,
    /// The KMS key; the bucket's own default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key_id: Option<String>,
}

/// Whose key encrypts at rest.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum SseMode {
    /// The store's (SSE-S3, AES256).
    Aes256,
    /// One of AWS KMS (SSE-KMS).
    Kms,
}

/// A bucket of Google Cloud Storage.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Gcs {
    /// Name of the bucket.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$"))]
    pub bucket: String,
    /// What the keys of all objects begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$"), length(max = 512))]
    pub prefix: Option<String>,
    /// URL of a store that only resembles Google's, for tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https?://[^\s/]+$"), length(max = 512))]
    pub endpoint: Option<String>,
    /// A Secret with a service account's key as `key.json`. Without it the Job's service account must carry the right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// A container of Azure Blob Storage.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Azure {
    /// The storage account.
    #[schemars(regex(pattern = r"^[a-z0-9]{3,24}$"))]
    pub account: String,
    /// The container.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"))]
    pub container: String,
    /// What the names of all blobs begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$"), length(max = 512))]
    pub prefix: Option<String>,
    /// URL of another Azure cloud, or of Azurite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^https?://\S+$"), length(max = 512))]
    pub endpoint: Option<String>,
    /// A Secret with `accountKey` or `sasToken`. Without it the Job's service account must carry the right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// A directory of a volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Pvc {
    /// Name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// Directory in the volume, such as `exports/shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$"), length(max = 512))]
    pub path: Option<String>,
}

/// What the keys of a Secret that opens a bucket of S3 may be called: as AWS's own tools, as most charts, and as older operators have it.
const S3_KEYS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "accessKeyId",
    "secretAccessKey",
    "sessionToken",
    "ACCESS_KEY_ID",
    "ACCESS_SECRET_KEY",
];

impl Destination {
    /// The Secret that opens it, and the keys of it that may be read.
    pub fn credentials(&self) -> Option<(&SecretRef, &'static [&'static str])> {
        let s3 = self.s3.as_ref().and_then(|s3| Some((s3.credentials_secret_ref.as_ref()?, S3_KEYS)));
        let gcs = self.gcs.as_ref().and_then(|gcs| Some((gcs.credentials_secret_ref.as_ref()?, &["key.json"][..])));
        let azure = self.azure.as_ref();
        let azure = azure.and_then(|azure| Some((azure.credentials_secret_ref.as_ref()?, &["accountKey", "sasToken"][..])));
        s3.or(gcs).or(azure)
    }

    /// The Secret with the certificate authority of a store with a private one.
    pub fn ca(&self) -> Option<&SecretKeyRef> {
        self.s3.as_ref()?.ca_secret_ref.as_ref()
    }
}
