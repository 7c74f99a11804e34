//! What is a destination called? Its URL and the keys below it, without anything secret.

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Scheme and bucket, container or directory: `s3://archive`.
    pub root: String,
    /// What all keys begin with; may be empty.
    pub prefix: String,
    /// What is to be looked at where it cannot be reached: `the bucket archive at https://minio:9000`.
    pub described: String,
    /// Names and values of what was given to open it, to be struck from every message.
    pub secrets: Vec<String>,
}

impl Place {
    /// The whole key of an object.
    pub fn key(&self, key: &str) -> String {
        match (self.prefix.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}/{key}", self.prefix),
        }
    }

    /// The URL of an object.
    pub fn url(&self, key: &str) -> String {
        format!("{}/{}", self.root, self.key(key))
    }

    /// A text without what must not be shown.
    pub fn without_secrets(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|secret| secret.len() >= 4);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_object_and_no_message_a_secret() {
        let place = |prefix: &str| Place {
            root: "s3://b".into(),
            prefix: prefix.into(),
            described: String::new(),
            secrets: vec!["hunter2".into(), String::new()],
        };
        assert_eq!(place("").url("a/b"), "s3://b/a/b");
        assert_eq!(place("x/y").url("a"), "s3://b/x/y/a");
        assert_eq!(place("").without_secrets("no hunter2!"), "no …!");
    }
}
