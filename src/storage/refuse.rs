//! What does a store's error amount to, and what can a person do about it?

use std::error::Error as _;

use object_store::Error;

use super::Place;
use crate::api::Reason;
use crate::plan::action::Blocked;

/// Longest that a store's own words may be; some answer with pages of HTML.
const WORDS: usize = 300;

/// An object that is not what was written.
pub fn mismatch(url: &str, what: &str) -> Blocked {
    Blocked::new(Reason::ExportMismatch, format!("{url}: {what}"))
}

/// The refusal that an error amounts to.
pub fn blocked(place: &Place, url: &str, doing: &str, error: &Error) -> Blocked {
    let words = place.without_secrets(&words(error));
    let (reason, remedy) = judge(place, error, &words);
    Blocked::new(reason, format!("{url} {doing}: {words}. {remedy}."))
}

fn judge(place: &Place, error: &Error, words: &str) -> (Reason, String) {
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if says(&["NoSuchBucket", "bucket does not exist", "ContainerNotFound", "BareRedirect", "redirect without LOCATION"]) {
        return (Reason::DestinationInvalid, format!("Create {} or correct the destination", place.described));
    }
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            (Reason::DestinationInvalid, format!("Allow reading, writing, listing and deleting in {}", place.described))
        }
        Error::NotFound { .. } => {
            (Reason::ExportMismatch, "It was removed from outside; look at the bucket's lifecycle rules".into())
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => {
            (Reason::DestinationInvalid, "The store must offer multipart uploads and conditional writes (If-None-Match)".into())
        }
        _ if says(&["InvalidCertificate", "UnknownIssuer", "certificate"]) => {
            (Reason::DestinationInvalid, "Name the store's certificate authority in caSecretRef".into())
        }
        _ => (Reason::DestinationUnavailable, format!("It is tried again; check {}", place.described)),
    }
}

/// The innermost causes say what happened; the outermost what was done.
fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.trim_end_matches('.').to_owned(),
    }
}
