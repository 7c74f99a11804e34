//! Where is a manifest? A URL or a path, and from the environment what opens it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::credentials;
use crate::api::destination::{Azure, Gcs, S3};
use crate::api::{Destination, Reason};
use crate::plan::action::Blocked;
use crate::storage::Store;

/// Where a manifest is.
#[derive(Args, Debug)]
pub struct Location {
    /// The export's manifest: s3://bucket/key, gs://bucket/key, az://account/container/key, or a file
    #[arg(value_name = "MANIFEST")]
    manifest: String,
    /// URL of a store that is not Amazon's, Google's or Azure's own
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// File with the certificate authority of a store that has a private one
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Location {
    /// Opens the store, and answers the manifest's key in it.
    pub fn open(&self) -> Result<(Store, String), Blocked> {
        match self.split()? {
            (Some(destination), key) => {
                Ok((Store::open(&destination, &credentials::of_environment(self.ca_file.as_deref())?)?, key))
            }
            (None, path) => {
                let path = Path::new(&path);
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let name = name.ok_or_else(|| invalid(format!("{} is no file", path.display())))?;
                Ok((Store::open_directory(directory)?, name))
            }
        }
    }

    /// The destination, where there is one, and what is left.
    fn split(&self) -> Result<(Option<Destination>, String), Blocked> {
        let Some((scheme, rest)) = self.manifest.split_once("://") else { return Ok((None, self.manifest.clone())) };
        let incomplete = || invalid(format!("{} names no object: write {scheme}://…/manifest.json", self.manifest));
        let (first, key) =
            rest.split_once('/').filter(|(first, key)| !first.is_empty() && !key.is_empty()).ok_or_else(incomplete)?;
        let (bucket, endpoint) = (first.to_owned(), self.endpoint.clone());
        let destination = match scheme {
            "s3" => Destination {
                s3: Some(S3 { bucket, endpoint, region: self.region.clone(), ..S3::default() }),
                ..Destination::default()
            },
            "gs" => Destination { gcs: Some(Gcs { bucket, endpoint, ..Gcs::default() }), ..Destination::default() },
            "az" => {
                let (container, key) = key.split_once('/').ok_or_else(incomplete)?;
                let azure = Azure { account: bucket, container: container.into(), endpoint, ..Azure::default() };
                return Ok((Some(Destination { azure: Some(azure), ..Destination::default() }), key.into()));
            }
            _ => return Err(invalid(format!("{scheme}:// is not known: write s3://, gs://, az:// or the path of a file"))),
        };
        Ok((Some(destination), key.into()))
    }
}

fn invalid(message: String) -> Blocked {
    Blocked::new(Reason::DestinationInvalid, message)
}
