//! `pgreeve crds`: the CustomResourceDefinitions, as a cluster takes them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::exit::{Exit, Failure};
use super::{Globals, output};
use crate::yaml;

/// Prints the CustomResourceDefinitions, for kubectl apply --server-side -f -
#[derive(Args, Debug)]
pub struct Crds {
    /// Writes a file for each kind into this directory instead
    #[arg(long, value_name = "DIRECTORY")]
    output_dir: Option<PathBuf>,
}

impl Crds {
    /// Runs the command.
    pub fn run(&self, globals: &Globals) -> Result<Exit, Failure> {
        let files = files()?;
        match &self.output_dir {
            Some(directory) => write(directory, &files, globals)?,
            None => files.iter().try_for_each(|(_, text)| output::write(&format!("---\n{text}")))?,
        }
        Ok(Exit::Ok)
    }
}

/// The name and text of the file of each CRD.
///
/// # Errors
/// Never for the kinds of this program; a test writes them all.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    let file = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        Ok((format!("{}.yaml", crd.spec.names.plural), yaml::text(&crd)?))
    };
    crate::api::crds().into_iter().map(file).collect()
}

fn write(directory: &Path, files: &[(String, String)], globals: &Globals) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be created", directory.display()))?;
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        globals.say(&format!("wrote {}", path.display()));
    }
    Ok(())
}
