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
    let words = words(error);
    let (reason, remedy) = judge(place, error, &words);
    Blocked::new(reason, format!("{url} {doing}: {}. {remedy}.", place.without_secrets(&brief(&words))))
}

/// How stores say that the bucket itself is not there.
const NO_BUCKET: [&str; 5] =
    ["NoSuchBucket", "bucket does not exist", "ContainerNotFound", "BareRedirect", "redirect without LOCATION"];

/// How stores say that they do not know who asks: S3 by its codes (versitygw by one of its own, with 404), Azure and Google in words.
const NOT_WHO: [&str; 7] = [
    "XAdminUserNotFound",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "failed to authenticate the request",
    "Invalid Credentials",
];

/// Whether an object is not there, in a bucket that is.
pub fn is_absent(error: &Error) -> bool {
    let words = words(error);
    matches!(error, Error::NotFound { .. }) && !NO_BUCKET.iter().chain(&NOT_WHO).any(|said| words.contains(said))
}

fn judge(place: &Place, error: &Error, words: &str) -> (Reason, String) {
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if says(&NO_BUCKET) {
        return (Reason::DestinationInvalid, format!("Create {} or correct the destination", place.described));
    }
    if says(&NOT_WHO) {
        return (Reason::DestinationInvalid, format!("Correct the keys that open {}", place.described));
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
        _ if says(&["InvalidCertificate", "UnknownIssuer", "certificate"]) => (
            Reason::DestinationInvalid,
            "Name the store's certificate authority in caSecretRef, or its file on the command line".into(),
        ),
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
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The store's own words: the code and the message of its answer where it gave one, what was wrong with the connection otherwise.
fn brief(words: &str) -> String {
    let within = |tag: &str| {
        let (_, rest) = words.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(value, _)| value.to_owned())
    };
    let text = match (within("Code"), within("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => words.rsplit_once(" - ").map_or(words, |(_, rest)| rest).to_owned(),
    };
    let text = text.trim_end_matches('.');
    text.char_indices().nth(WORDS).map_or(text.to_owned(), |(end, _)| format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_its_code_and_message_are_told() {
        let answer = "Generic S3 error: Error performing GET http://h/b/k in 1ms - Server returned non-2xx status code: 403 Forbidden: \
            <Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
        assert_eq!(brief(answer), "AccessDenied: Access Denied");
        assert_eq!(
            brief("Generic S3 error: Error performing GET http://h/b/k in 1ms - connection refused"),
            "connection refused"
        );
        assert_eq!(brief(&"ä".repeat(500)).chars().count(), WORDS + 1);
    }
}
