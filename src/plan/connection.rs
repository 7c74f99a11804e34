//! Where does a connection lead? What a PostgresDatabase and its Secret say together.
//!
//! The Secrets of CloudNativePG (`username`, `host`, `dbname`, `uri`), Crunchy (`user`, `host`, `dbname`, `uri`), Zalando (`username`,
//! `password` alone) and plain ones are understood without translation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use url::Url;

use super::action::Blocked;
use crate::api::Reason;
use crate::api::postgres_database::{Connection, SecretKeys};

/// What the keys of a Secret are called where nobody says otherwise; of two, the first that is there counts.
const URI: &[&str] = &["uri"];
const HOST: &[&str] = &["host"];
const PORT: &[&str] = &["port"];
const DBNAME: &[&str] = &["dbname", "database"];
const USERNAME: &[&str] = &["username", "user"];
const PASSWORD: &[&str] = &["password"];

/// A host as it is reached from another namespace. A name of one label in a Secret is the name of a Service beside the Secret, as
/// CloudNativePG writes it; all else stays what it is.
pub fn qualified(host: &str, namespace: &str) -> String {
    let is_one_label = !host.is_empty() && !host.contains(['.', ':', '/', '@']) && host != "localhost";
    if is_one_label { format!("{host}.{namespace}") } else { host.to_owned() }
}

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

impl Endpoint {
    /// What of it contains a NUL: the protocol ends every value with one.
    fn with_nul(&self) -> Option<&'static str> {
        let values = [
            ("host", Some(&self.host)),
            ("database", Some(&self.database)),
            ("user", Some(&self.user)),
            ("password", self.password.as_ref()),
        ];
        values.into_iter().find(|(_, value)| value.is_some_and(|value| value.contains('\0'))).map(|(what, _)| what)
    }
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
        // The value is not quoted: a key that was mistaken for the port may hold the password.
        let port = match self.port {
            None => 5432,
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                invalid(format!("{object}: the port in Secret {secret} is not a number from 1 to 65535; correct it, or set spec.connection.port"))
            })?,
        };
        if host.contains(',') {
            return Err(invalid(format!(
                "{object}: Secret {secret} names several hosts; set spec.connection.host to the one that leads to the primary"
            )));
        }
        let endpoint = Endpoint { host, port, database, user, password: self.password };
        if let Some(what) = endpoint.with_nul() {
            return Err(invalid(format!(
                "{object}: the {what} in Secret {secret} contains a NUL, which PostgreSQL cannot take; correct it"
            )));
        }
        Ok(endpoint)
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
    let uri_key = connection.keys.uri.as_deref().unwrap_or(URI[0]);
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
    let either = |given: &Option<String>, usual: &'static [&'static str]| -> Result<Option<String>, Blocked> {
        for key in candidates(given, usual) {
            if let Some(value) = read(key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    };
    Ok(Partial {
        host: either(&names.host, HOST)?,
        port: either(&names.port, PORT)?,
        database: either(&names.dbname, DBNAME)?,
        user: either(&names.username, USERNAME)?,
        password: either(&names.password, PASSWORD)?,
    })
}

/// The keys of a connection's Secret that [`endpoint`] may read: whoever provides the data needs to provide no others.
pub fn secret_keys(names: &SecretKeys) -> BTreeSet<&str> {
    let SecretKeys { uri, host, port, dbname, username, password } = names;
    let given = [(uri, URI), (host, HOST), (port, PORT), (dbname, DBNAME), (username, USERNAME), (password, PASSWORD)];
    given.into_iter().flat_map(|(name, usual)| candidates(name, usual)).collect()
}

/// The key that was named, or the usual ones.
fn candidates<'a>(given: &'a Option<String>, usual: &'static [&'static str]) -> Vec<&'a str> {
    given.as_deref().map_or_else(|| usual.to_vec(), |key| vec![key])
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
    let authority = uri.split_once("://").map_or(uri, |(_, rest)| rest).split(['/', '?']).next().unwrap_or_default();
    if authority.rsplit('@').next().is_some_and(|hosts| hosts.contains(',')) {
        return Err("names several hosts; give the one that leads to the primary, such as a read-write service".into());
    }
    let url = Url::parse(uri)
        .map_err(|error| format!("is not a URL ({error}): write postgresql://user:password@host:5432/database"))?;
    if !matches!(url.scheme(), "postgresql" | "postgres") {
        return Err("is not a PostgreSQL URL: it must begin with postgresql://".into());
    }
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let present = |text: &str| (!text.is_empty()).then(|| decode(text));
    // A unix socket's directory does not fit the host of a URL; libpq takes it, and all else, from parameters too, and so do we.
    let parameter = |wanted: &str| url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
    Ok(Partial {
        // An IPv6 address has brackets in a URL and nowhere else.
        host: parameter("host")
            .or_else(|| url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']')).and_then(present)),
        port: url.port().map(|port| port.to_string()).or_else(|| parameter("port")),
        database: present(url.path().trim_start_matches('/')).or_else(|| parameter("dbname")),
        user: present(url.username()).or_else(|| parameter("user")),
        password: url.password().map(decode).or_else(|| parameter("password")),
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

    fn from_one(uri: &str) -> Result<Endpoint, Blocked> {
        endpoint("o", &connection(), &data(&[("uri", uri)]))
    }

    #[test]
    fn an_address_of_version_6_loses_its_brackets() {
        let endpoint = from_one("postgresql://u:p@[fd00::5]:5433/d").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("fd00::5", 5433));
    }

    #[test]
    fn parameters_of_a_uri_say_what_its_authority_does_not() {
        let endpoint = from_one("postgresql:///d?host=/run/postgresql&port=5433&user=u&password=p%20q").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.user.as_str()), ("/run/postgresql", 5433, "u"));
        assert_eq!(endpoint.password.as_deref(), Some("p q"));
    }

    #[test]
    fn several_hosts_are_refused_in_so_many_words() {
        for uri in ["postgresql://u:p@a:5432,b:5432/d", "postgresql://u:p@a,b/d?target_session_attrs=read-write"] {
            assert!(from_one(uri).unwrap_err().message.contains("several hosts"), "{uri}");
        }
        let keys = data(&[("host", "a,b"), ("dbname", "d"), ("user", "u")]);
        assert!(endpoint("o", &connection(), &keys).unwrap_err().message.contains("several hosts"));
        assert_eq!(from_one("postgresql://u:a,b@h/d").unwrap().password.as_deref(), Some("a,b"));
    }

    #[test]
    fn a_nul_is_refused_before_the_driver_stumbles_over_it() {
        for uri in ["postgresql://u:p%00@h/d", "postgresql://u%00:p@h/d", "postgresql://u:p@h/d%00"] {
            assert!(from_one(uri).unwrap_err().message.contains("NUL"), "{uri}");
        }
    }

    #[test]
    fn a_name_of_one_label_is_a_service_beside_its_secret() {
        assert_eq!(qualified("chat-rw", "prod"), "chat-rw.prod");
        for host in ["chat-rw.prod", "localhost", "10.0.0.1", "fd00::5", "/run/postgresql", "db.example.com"] {
            assert_eq!(qualified(host, "prod"), host);
        }
    }

    #[test]
    fn other_keys_are_read_where_they_are_named() {
        let keys = SecretKeys { password: Some("DB_PASS".into()), username: Some("DB_USER".into()), ..SecretKeys::default() };
        let connection = Connection { keys, ..connection() };
        let data = data(&[("host", "h"), ("dbname", "d"), ("user", "wrong"), ("DB_USER", "u"), ("DB_PASS", "p")]);
        let endpoint = endpoint("o", &connection, &data).unwrap();
        assert_eq!((endpoint.user.as_str(), endpoint.password.as_deref()), ("u", Some("p")));
    }

    #[test]
    fn only_keys_that_are_read_are_asked_for() {
        let usual = SecretKeys::default();
        let usual = secret_keys(&usual).into_iter().collect::<Vec<_>>();
        assert_eq!(usual, ["database", "dbname", "host", "password", "port", "uri", "user", "username"]);
        let keys = SecretKeys { password: Some("DB_PASS".into()), ..SecretKeys::default() };
        let named = secret_keys(&keys);
        assert!(named.contains("DB_PASS") && !named.contains("password"));
    }

    #[test]
    fn no_error_quotes_a_secret() {
        let keys = data(&[("host", "h"), ("dbname", "d"), ("user", "u"), ("port", "hunter2")]);
        assert!(!endpoint("o", &connection(), &keys).unwrap_err().message.contains("hunter2"));
        for uri in ["mysql://u:hunter2@h/d", "postgresql://u:hunter2@h:99999/d", "hunter2", "postgresql://u:hunter2@a,b/d"] {
            let refused = endpoint("o", &connection(), &data(&[("uri", uri)])).unwrap_err();
            assert!(!refused.message.contains("hunter2"), "{}", refused.message);
        }
    }
}
