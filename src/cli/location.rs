//! Where in a store is something? A URL or a path, and from the environment what opens it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::credentials;
use crate::api::destination::{Azure, Gcs, Pvc, S3};
use crate::api::{Destination, Reason};
use crate::plan::action::Blocked;
use crate::storage::Store;

/// How a store is reached.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
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

impl StoreArgs {
    /// Opens the store of a URL, or the directory of a path, and answers the object's key in it.
    pub fn object(&self, location: &str) -> Result<(Store, String), Blocked> {
        let Some((destination, key)) = self.split(location)? else { return file(Path::new(location)) };
        if key.is_empty() {
            return Err(invalid(format!("{location} names no object: write its whole URL")));
        }
        Ok((Store::open(&destination, &credentials::of_environment(self.ca_file.as_deref())?)?, key))
    }

    /// Opens what lies below a URL, or in a directory that is there.
    pub fn below(&self, location: &str) -> Result<Store, Blocked> {
        match self.split(location)? {
            Some((destination, key)) => self.below_key(destination, &key),
            None if Path::new(location).is_dir() => Store::open_directory(Path::new(location)),
            None => Err(invalid(format!("{location} is no directory: name one, or a URL such as s3://bucket/prefix"))),
        }
    }

    /// The same, but a directory that lacks is made.
    pub fn below_made(&self, location: &str) -> Result<Store, Blocked> {
        if !location.contains("://") {
            let made = std::fs::create_dir_all(location);
            made.map_err(|error| invalid(format!("{location} cannot be made: {error}")))?;
        }
        self.below(location)
    }

    fn below_key(&self, mut destination: Destination, key: &str) -> Result<Store, Blocked> {
        let prefix = Some(key.trim_end_matches('/').to_owned()).filter(|key| !key.is_empty());
        let Destination { s3, gcs, azure, .. } = &mut destination;
        let prefixes = [
            s3.as_mut().map(|s3| &mut s3.prefix),
            gcs.as_mut().map(|gcs| &mut gcs.prefix),
            azure.as_mut().map(|azure| &mut azure.prefix),
        ];
        prefixes.into_iter().flatten().for_each(|place| place.clone_from(&prefix));
        Store::open(&destination, &credentials::of_environment(self.ca_file.as_deref())?)
    }

    /// The destination of a URL and what is left of it; nothing for a path.
    fn split(&self, location: &str) -> Result<Option<(Destination, String)>, Blocked> {
        if !location.contains("://") {
            return Ok(None);
        }
        let (destination, key) = split(location, self.endpoint.clone(), self.region.clone())?;
        if destination.pvc.is_some() {
            return Err(invalid(format!("{location} is a volume of a cluster: write the path where it is mounted")));
        }
        Ok(Some((destination, key)))
    }
}

/// The store of a URL, down to its bucket, container or claim.
///
/// # Errors
/// [`Reason::DestinationInvalid`] where it names none.
pub fn destination(url: &str, endpoint: Option<String>, region: Option<String>) -> Result<Destination, Blocked> {
    split(url, endpoint, region).map(|(destination, _)| destination)
}

fn split(location: &str, endpoint: Option<String>, region: Option<String>) -> Result<(Destination, String), Blocked> {
    let unknown = || invalid(format!("{location} is not known: write s3://, gs://, az:// or a path"));
    let (scheme, rest) = location.split_once("://").ok_or_else(unknown)?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(invalid(format!("{location} names no bucket")));
    }
    let bucket = bucket.to_owned();
    let destination = match scheme {
        "s3" => Destination { s3: Some(S3 { bucket, endpoint, region, ..S3::default() }), ..Destination::default() },
        "gs" => Destination { gcs: Some(Gcs { bucket, endpoint, ..Gcs::default() }), ..Destination::default() },
        "az" => {
            let (container, key) = key.split_once('/').unwrap_or((key, ""));
            if container.is_empty() {
                return Err(invalid(format!("{location} names no container: write az://account/container/…")));
            }
            let azure = Azure { account: bucket, container: container.into(), endpoint, ..Azure::default() };
            return Ok((Destination { azure: Some(azure), ..Destination::default() }, key.into()));
        }
        "pvc" => Destination { pvc: Some(Pvc { claim_name: bucket, ..Pvc::default() }), ..Destination::default() },
        _ => return Err(invalid(format!("{scheme}:// is not known: write s3://, gs://, az:// or a path"))),
    };
    Ok((destination, key.into()))
}

fn file(path: &Path) -> Result<(Store, String), Blocked> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = name.ok_or_else(|| invalid(format!("{} is no file", path.display())))?;
    Ok((Store::open_directory(directory)?, name))
}

fn invalid(message: String) -> Blocked {
    Blocked::new(Reason::DestinationInvalid, message)
}
