//! Where does a connection lead? What a PostgresDatabase and its Secret say together.
//!
//! The Secrets of CloudNativePG (`username`, `host`, `dbname`, `uri`), Crunchy (`user`, `host`, `dbname`, `uri`), Zalando (`username`,
//! `password` alone) and plain ones are understood without translation.

use std::collections::BTreeMap;
use std::fmt;

use url::Url;

use super::action::Blocked;
use crate::api::Reason;
use crate::api::postgres_database::{Connection, SecretKeys};

/// Where to connect and as whom. The password shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Password, if there is one.
    pub password: Option<String>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}@{}:{}/{})", self.user, self.host, self.port, self.database)
    }
}

/// What one source says; everything may be missing.
#[derive(Clone, Default)]
struct Partial {
    host: Option<String>,
    port: Option<String>,
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

impl Partial {
    /// This, and where it is silent, the other.
    fn or(self, other: Self) -> Self {
        Self {
            host: self.host.or(other.host),
            port: self.port.or(other.port),
            database: self.database.or(other.database),
            user: self.user.or(other.user),
            password: self.password.or(other.password),
        }
    }

    fn finish(self, object: &str, secret: &str) -> Result<Endpoint, Blocked> {
        let invalid = |message: String| Blocked::new(Reason::SecretInvalid, message);
        let lacking = |key: &str, field: &str| {
            invalid(format!(
                "{object}: Secret {secret} has no key {key}; add it, name another key in spec.connection.keys, or set {field}"
            ))
        };
        let host = self.host.ok_or_else(|| lacking("host (or uri)", "spec.connection.host"))?;
        let database = self.database.ok_or_else(|| lacking("dbname (or uri)", "spec.connection.database"))?;
        let user = self.user.ok_or_else(|| lacking("username or user (or uri)", "spec.connection.keys.username"))?;
        let port = match self.port {
            None => 5432,
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                invalid(format!("{object}: port {text:?} in Secret {secret} is not a number from 1 to 65535; correct it, or set spec.connection.port"))
            })?,
        };
        Ok(Endpoint { host, port, database, user, password: self.password })
    }
}

/// The endpoint that a connection and the data of its Secret give. What the spec says goes first, then single keys, then `uri`.
///
/// # Errors
/// [`Reason::SecretInvalid`], naming the key that lacks or cannot be read, and never a value that could be secret.
pub fn endpoint(object: &str, connection: &Connection, data: &BTreeMap<String, Vec<u8>>) -> Result<Endpoint, Blocked> {
    let secret = &connection.secret_ref.name;
    let spec = Partial {
        host: connection.host.clone(),
        port: connection.port.map(|port| port.to_string()),
        database: connection.database.clone(),
        ..Partial::default()
    };
    let read = |key: &str| text(object, secret, key, data);
    let keys = keys(&connection.keys, &read)?;
    let uri_key = connection.keys.uri.as_deref().unwrap_or("uri");
    let uri = match read(uri_key)? {
        Some(uri) => from_uri(&uri).map_err(|error| {
            Blocked::new(Reason::SecretInvalid, format!("{object}: key {uri_key} of Secret {secret} {error}"))
        })?,
        None => Partial::default(),
    };
    spec.or(keys).or(uri).finish(object, secret)
}

/// The endpoint of a URI such as `postgresql://user:password@host:5432/database`.
///
/// # Errors
/// What is wrong with it, without quoting it: it holds a password.
pub fn parse_uri(uri: &str) -> Result<Endpoint, String> {
    let partial = from_uri(uri)?;
    partial
        .finish("the URL", "")
        .map_err(|_| "lacks its host, user or database: write postgresql://user:password@host:5432/database".to_owned())
}

fn keys(names: &SecretKeys, read: &impl Fn(&str) -> Result<Option<String>, Blocked>) -> Result<Partial, Blocked> {
    let either = |given: &Option<String>, usual: &[&str]| -> Result<Option<String>, Blocked> {
        if let Some(key) = given {
            return read(key);
        }
        for key in usual {
            if let Some(value) = read(key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    };
    Ok(Partial {
        host: either(&names.host, &["host"])?,
        port: either(&names.port, &["port"])?,
        database: either(&names.dbname, &["dbname", "database"])?,
        user: either(&names.username, &["username", "user"])?,
        password: either(&names.password, &["password"])?,
    })
}

fn text(object: &str, secret: &str, key: &str, data: &BTreeMap<String, Vec<u8>>) -> Result<Option<String>, Blocked> {
    let Some(bytes) = data.get(key) else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Blocked::new(Reason::SecretInvalid, format!("{object}: key {key} of Secret {secret} is not text (UTF-8)"))
    })?;
    // A file read into a Secret often ends in a line break, which no value of a connection does.
    let text = text.trim_end_matches(['\n', '\r']);
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn from_uri(uri: &str) -> Result<Partial, String> {
    let url = Url::parse(uri)
        .map_err(|error| format!("is not a URL ({error}): write postgresql://user:password@host:5432/database"))?;
    if !matches!(url.scheme(), "postgresql" | "postgres") {
        return Err("is not a PostgreSQL URL: it must begin with postgresql://".into());
    }
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let present = |text: &str| (!text.is_empty()).then(|| decode(text));
    // A unix socket's directory does not fit the host of a URL; libpq takes it from a parameter, and so do we.
    let parameter = url.query_pairs().find(|(name, _)| name == "host").map(|(_, value)| value.into_owned());
    Ok(Partial {
        host: parameter.or_else(|| url.host_str().and_then(present)),
        port: url
            .port()
            .map(|port| port.to_string())
            .or_else(|| url.query_pairs().find(|(n, _)| n == "port").map(|(_, v)| v.into_owned())),
        database: present(url.path().trim_start_matches('/')),
        user: present(url.username()),
        password: url.password().map(decode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::postgres_database::{SecretRef, Tls};

    fn connection() -> Connection {
        Connection {
            secret_ref: SecretRef { name: "s".into() },
            keys: SecretKeys::default(),
            host: None,
            port: None,
            database: None,
            tls: Tls::default(),
        }
    }

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn the_secret_of_cloudnative_pg_is_understood() {
        let data = data(&[
            ("username", "app"),
            ("user", "app"),
            ("password", "p@ss\n"),
            ("host", "chat-rw"),
            ("port", "5432"),
            ("dbname", "chat"),
            ("uri", "postgresql://app:p%40ss@chat-rw.prod:5432/chat"),
        ]);
        let endpoint = endpoint("PostgresDatabase a/b", &connection(), &data).unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.password.as_deref()), ("chat-rw", Some("p@ss")));
    }

    #[test]
    fn a_uri_alone_is_enough_and_the_spec_overrides_it() {
        let data = data(&[("uri", "postgres://u%20ser:s%2Fecret@db.example:6432/my%20db?sslmode=require")]);
        let connection = Connection { host: Some("other".into()), ..connection() };
        let endpoint = endpoint("o", &connection, &data).unwrap();
        assert_eq!(endpoint.user, "u ser");
        assert_eq!(endpoint.password.as_deref(), Some("s/ecret"));
        assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.database.as_str()), ("other", 6432, "my db"));
    }

    #[test]
    fn the_secret_of_zalando_needs_the_host_from_the_spec() {
        let data = data(&[("username", "app"), ("password", "x")]);
        let refused = endpoint("o", &connection(), &data).unwrap_err();
        assert_eq!(refused.reason, Reason::SecretInvalid);
        assert!(refused.message.contains("spec.connection.host"), "{}", refused.message);
    }

    #[test]
    fn no_error_quotes_a_secret() {
        for uri in ["mysql://u:hunter2@h/d", "postgresql://u:hunter2@h:99999/d", "hunter2"] {
            let refused = endpoint("o", &connection(), &data(&[("uri", uri)])).unwrap_err();
            assert!(!refused.message.contains("hunter2"), "{}", refused.message);
        }
    }
}
