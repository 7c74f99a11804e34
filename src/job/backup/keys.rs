//! Whom is a backup encrypted for, and what opens it? age recipients and identities.

use std::fmt;

use age::x25519;

use crate::api::Reason;
use crate::plan::action::Blocked;

/// What opens an encrypted object: the age identities of a file. They are printed nowhere.
#[derive(Clone)]
pub struct Identity(Vec<x25519::Identity>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// What stands in a file of keys, line by line.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

impl Identity {
    /// Reads all identities of a file: after a change of keys the older ones open the older backups.
    ///
    /// # Errors
    /// [`Reason::SecretInvalid`] where there is none.
    pub fn read(text: &[u8]) -> Result<Self, Blocked> {
        let text = String::from_utf8_lossy(text);
        let found: Vec<x25519::Identity> = lines(&text).into_iter().filter_map(|line| line.parse().ok()).collect();
        if found.is_empty() {
            let message =
                "the key identity of the Secret of encryption.identitySecretRef holds no age identity (AGE-SECRET-KEY-1…)";
            return Err(Blocked::new(Reason::SecretInvalid, message));
        }
        Ok(Self(found))
    }

    /// Each of them.
    pub(super) fn each(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| identity as &dyn age::Identity)
    }
}

/// Reads age recipients, one a line.
///
/// # Errors
/// [`Reason::SecretInvalid`] where one is none, or there is none.
pub fn recipients(text: &[u8]) -> Result<Vec<String>, Blocked> {
    let invalid = |what: String| {
        Blocked::new(Reason::SecretInvalid, format!("the key recipients of the Secret of encryption.recipientsSecretRef {what}"))
    };
    let text = String::from_utf8_lossy(text);
    let lines = lines(&text);
    // An identity in its place would be a secret in the manifest.
    match lines.iter().position(|line| line.parse::<x25519::Recipient>().is_err()) {
        _ if lines.is_empty() => Err(invalid("is missing or empty: write one age recipient (age1…) a line".into())),
        Some(number) => Err(invalid(format!("holds on line {} something that is no age recipient (age1…)", number + 1))),
        None => Ok(lines.into_iter().map(str::to_owned).collect()),
    }
}
