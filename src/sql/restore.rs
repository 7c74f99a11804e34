//! How are databases made, closed, renamed and dropped for a restore? Statements for a session in another database.

use super::quote::{ident, literal};
use crate::api::restore::Like;
use crate::plan::backup::manifest::{Grant, Label, Properties, Setting};

/// Makes an empty database like another one. Providers of locales differ by version: ICU since 15, its rules since 16, the built-in one
/// since 17 (PostgreSQL, CREATE DATABASE).
pub fn create(name: &str, like: &Like, version_num: i32) -> String {
    let mut create = format!(
        "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        ident(name),
        ident(&like.owner),
        literal(&like.encoding),
        literal(&like.collate),
        literal(&like.ctype)
    );
    if let Some(tablespace) = &like.tablespace {
        create.push_str(&format!(" TABLESPACE {}", ident(tablespace)));
    }
    if version_num < 150_000 {
        return create;
    }
    match (like.provider.as_str(), &like.locale) {
        ("icu", Some(locale)) => create.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale))),
        ("builtin", Some(locale)) => create.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale))),
        _ => create.push_str(" LOCALE_PROVIDER libc"),
    }
    if let Some(rules) = like.icu_rules.as_ref().filter(|_| version_num >= 160_000) {
        create.push_str(&format!(" ICU_RULES {}", literal(rules)));
    }
    create
}

/// Says what a database is.
pub fn comment(name: &str, comment: Option<&str>) -> String {
    format!("COMMENT ON DATABASE {} IS {}", ident(name), comment.map_or_else(|| "NULL".into(), literal))
}

/// Opens a database to connections, or closes it: to everybody, superusers too.
pub fn allow_connections(name: &str, allowed: bool) -> String {
    format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", ident(name))
}

/// Closes a database to everybody but superusers, by what its owner may do: nobody of these may connect, and no more than none at a time.
pub fn close_by_privileges(name: &str, owner: &str, roles: &[String]) -> Vec<String> {
    let revoke = |role: &String| format!("REVOKE CONNECT ON DATABASE {} FROM {role}", ident(name));
    let revoked = as_role(owner, roles.iter().map(revoke).collect());
    revoked.into_iter().chain([connection_limit(name, 0)]).collect()
}

/// Opens it as it was: to these roles, each with whether it may grant that, and to so many sessions at a time.
pub fn open_by_privileges(name: &str, owner: &str, roles: &[(String, bool)], limit: i32) -> Vec<String> {
    let grant = |(role, grantable): &(String, bool)| {
        let option = if *grantable { " WITH GRANT OPTION" } else { "" };
        format!("GRANT CONNECT ON DATABASE {} TO {role}{option}", ident(name))
    };
    let granted = as_role(owner, roles.iter().map(grant).collect());
    granted.into_iter().chain([connection_limit(name, limit)]).collect()
}

/// A role that may grant something itself takes away and gives what it has granted, not what the owner has (PostgreSQL, GRANT, Notes).
fn as_role(role: &str, statements: Vec<String>) -> Vec<String> {
    if statements.is_empty() {
        return statements;
    }
    [format!("SET LOCAL ROLE {}", ident(role))].into_iter().chain(statements).chain(["RESET ROLE".to_owned()]).collect()
}

fn connection_limit(name: &str, limit: i32) -> String {
    format!("ALTER DATABASE {} CONNECTION LIMIT {limit}", ident(name))
}

/// Gives a database another name.
pub fn rename(name: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", ident(name), ident(to))
}

/// Drops a database that nobody uses.
pub fn drop(name: &str) -> String {
    format!("DROP DATABASE {}", ident(name))
}

/// Gives a database the settings that its sessions begin with, which its dump does not carry. Each may be refused for itself, as one of another
/// role.
pub fn settings(name: &str, like: &Properties) -> Vec<String> {
    like.settings.iter().map(|setting| set(name, setting)).collect()
}

/// Takes all settings from a database that hold for everybody.
pub fn reset(name: &str) -> String {
    format!("ALTER DATABASE {} RESET ALL", ident(name))
}

/// Gives a database to those who had it, which its dump does not carry: its connection limit, its labels and its grants. Then our own role may not be let in
/// any more. Its owner it has from the beginning, its comment in the end. Each may be refused for itself.
pub fn access(name: &str, like: &Properties) -> Vec<String> {
    let mut statements = Vec::new();
    if like.connection_limit >= 0 {
        statements.push(connection_limit(name, like.connection_limit));
    }
    let label = |label: &Label| {
        format!("SECURITY LABEL FOR {} ON DATABASE {} IS {}", ident(&label.provider), ident(name), literal(&label.label))
    };
    statements.extend(like.labels.iter().map(label));
    if let Some(grants) = &like.grants {
        // As the owner: what a role grants that may pass it on is its own gift, and goes with it (PostgreSQL, GRANT, Notes).
        statements.push(format!("SET ROLE {}", ident(&like.owner)));
        statements.push(format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", ident(name)));
        statements.push(format!("REVOKE ALL ON DATABASE {} FROM {}", ident(name), ident(&like.owner)));
        statements.extend(grants.iter().filter_map(|grant| grant_on(name, grant)));
        statements.push("RESET ROLE".into());
    }
    statements
}

fn grant_on(name: &str, grant: &Grant) -> Option<String> {
    // Words from a manifest are not taken for SQL.
    let privilege = ["CONNECT", "CREATE", "TEMPORARY"].into_iter().find(|known| *known == grant.privilege)?;
    let grantee = if grant.grantee.is_empty() { "PUBLIC".into() } else { ident(&grant.grantee) };
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    Some(format!("GRANT {privilege} ON DATABASE {} TO {grantee}{option}", ident(name)))
}

/// Settings whose value is a list of names, which the catalog has quoted already (PostgreSQL, `GUC_LIST_QUOTE`).
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

fn set(name: &str, Setting { role, name: setting, value }: &Setting) -> String {
    let whose = match role.as_str() {
        "" => format!("ALTER DATABASE {}", ident(name)),
        role => format!("ALTER ROLE {} IN DATABASE {}", ident(role), ident(name)),
    };
    let value = match LISTS.contains(&setting.to_ascii_lowercase().as_str()) {
        true => names(value).iter().map(|name| literal(name)).collect::<Vec<_>>().join(", "),
        false => literal(value),
    };
    // A setting of an extension has a dot between two names.
    let setting: Vec<String> = setting.split('.').map(ident).collect();
    format!("{whose} SET {} TO {}", setting.join("."), if value.is_empty() { "''" } else { &value })
}

/// The names of a list such as `"$user", public`.
fn names(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => name.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            ' ' if !quoted => {}
            character => name.push(character),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(provider: &str, locale: Option<&str>) -> Like {
        Like {
            owner: "shop".into(),
            encoding: "UTF8".into(),
            collate: "C".into(),
            ctype: "C".into(),
            provider: provider.into(),
            locale: locale.map(str::to_owned),
            icu_rules: None,
            tablespace: None,
        }
    }

    #[test]
    fn a_database_is_made_as_its_servers_version_knows_it() {
        let plain = r#"CREATE DATABASE "a""b" OWNER "shop" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"#;
        assert_eq!(create("a\"b", &like("libc", None), 140_000), plain);
        assert_eq!(create("a\"b", &like("libc", None), 150_000), format!("{plain} LOCALE_PROVIDER libc"));
        let fast = Like { tablespace: Some("fast".into()), ..like("libc", None) };
        assert_eq!(create("a\"b", &fast, 140_000), format!(r#"{plain} TABLESPACE "fast""#));
        let icu = Like { icu_rules: Some("&a < b".into()), ..like("icu", Some("de")) };
        assert_eq!(create("a\"b", &icu, 150_000), format!("{plain} LOCALE_PROVIDER icu ICU_LOCALE 'de'"));
        assert_eq!(create("a\"b", &icu, 160_000), format!("{plain} LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a < b'"));
        let builtin = create("a\"b", &like("builtin", Some("C.UTF-8")), 170_000);
        assert_eq!(builtin, format!("{plain} LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"));
    }

    #[test]
    fn what_a_dump_does_not_carry_is_put_back_word_by_word() {
        let grant =
            |grantee: &str, privilege: &str, grantable| Grant { grantee: grantee.into(), privilege: privilege.into(), grantable };
        let setting = |role: &str, name: &str, value: &str| Setting { role: role.into(), name: name.into(), value: value.into() };
        let like = Properties {
            owner: "shop".into(),
            connection_limit: 20,
            grants: Some(vec![grant("", "CONNECT", false), grant("app", "CREATE", true), grant("app", "; DROP", false)]),
            settings: vec![
                setting("", "work_mem", "64MB"),
                setting("app", "search_path", r#""$user", "we,ird", public"#),
                setting("", "auto_explain.log_min_duration", "1s"),
            ],
            labels: vec![Label { provider: "selinux".into(), label: "it's".into() }],
            ..Properties::default()
        };
        let expected = [
            r#"ALTER DATABASE "d" CONNECTION LIMIT 20"#,
            r#"SECURITY LABEL FOR "selinux" ON DATABASE "d" IS 'it''s'"#,
            r#"SET ROLE "shop""#,
            r#"REVOKE ALL ON DATABASE "d" FROM PUBLIC"#,
            r#"REVOKE ALL ON DATABASE "d" FROM "shop""#,
            r#"GRANT CONNECT ON DATABASE "d" TO PUBLIC"#,
            r#"GRANT CREATE ON DATABASE "d" TO "app" WITH GRANT OPTION"#,
            "RESET ROLE",
        ];
        assert_eq!(access("d", &like), expected);
        let expected = [
            r#"ALTER DATABASE "d" SET "work_mem" TO '64MB'"#,
            r#"ALTER ROLE "app" IN DATABASE "d" SET "search_path" TO '$user', 'we,ird', 'public'"#,
            r#"ALTER DATABASE "d" SET "auto_explain"."log_min_duration" TO '1s'"#,
        ];
        assert_eq!(settings("d", &like), expected);
    }
}
