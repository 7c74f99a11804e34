//! Where do objects lie, and how are they written so that a broken run leaves nothing that looks whole?

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What opens a destination. It is printed nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The data of the Secret that the destination names, or what the environment holds under the same names.
    pub secret: BTreeMap<String, Vec<u8>>,
    /// The certificate authority of a store with a private one, as PEM.
    pub ca: Option<Vec<u8>>,
    /// Where the volume of a `pvc` destination is mounted.
    pub volume: PathBuf,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}
