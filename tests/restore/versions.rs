//! Do the names of databases change alike on every version of PostgreSQL, behind either fence? What Jobs restore in between needs programs of
//! the version, which not every machine has; this needs the server alone.

use pgreeve::api::restore::{Like, RestoreStatus, Strategy};
use pgreeve::plan::backup::manifest::{Grant, Properties, Setting};
use pgreeve::plan::restore::names::{Role, Witness, beside, previous};
use pgreeve::plan::restore::sight::{Database as Found, Places, Sight};
use pgreeve::postgres::connect::Tls;
use pgreeve::postgres::databases::{self, Swap, Wanted};
use pgreeve::postgres::{Session, Target, fence};
use pgreeve::sql::restore as sql;

use crate::support::pgproxy::PgProxy;
use crate::support::postgres::{Database, MAJORS, Roles, connect};

const UID: &str = "5f0c1a2b-9d8e-4f00-8000-000000000000";

/// A database of a role that is no superuser, seen from another one.
struct Stage {
    database: Database,
    roles: Roles,
    proxy: PgProxy,
    session: Session,
}

impl Stage {
    async fn on(major: u32, is_refused: bool) -> Self {
        let database = Database::create(major).await;
        let roles = database.roles().await;
        let sql = format!(
            "alter role {operator} createdb; alter database {name} owner to {owner}; comment on database {name} is 'the shop';
             alter database {name} connection limit 20; grant connect on database {name} to {operator} with grant option;
             create table one (n int)",
            name = database.name,
            owner = roles.owner,
            operator = roles.operator
        );
        database.superuser().await.batch_execute(&sql).await.unwrap();
        let proxy = PgProxy::start(database.server().socket_file()).await;
        if is_refused {
            proxy.refuse(|sql| sql.contains("ALLOW_CONNECTIONS").then_some("0A000"));
        }
        let session = connected(&proxy, &roles, &database.name).await;
        Self { database, roles, proxy, session }
    }

    async fn look(&self) -> Sight {
        let name = &self.database.name;
        let names = vec![name.clone(), beside(name, UID), previous(name, UID)];
        databases::look(&self.session, &Wanted { names, oids: vec![], uid: UID.into() }).await.unwrap()
    }

    async fn find(&self, name: &str) -> Found {
        self.look().await.databases.into_iter().find(|found| found.name == name).unwrap_or_else(|| panic!("no database {name}"))
    }

    async fn gets_in(&self, role: &str, database: &str) -> bool {
        connect(self.database.server().url(role, database)).await.is_ok()
    }

    async fn grants(&self, database: &str) -> (i32, Vec<String>) {
        let query = "select datconnlimit, array(select format('%s %s %s', grantee::regrole, privilege_type, is_grantable)
            from aclexplode(coalesce(datacl, acldefault('d', datdba))) order by 1) from pg_database where datname = $1";
        let row = self.database.server().superuser("postgres").await.query_one(query, &[&database]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// An empty database with all that a dump does not carry.
    async fn restored(&self) -> Found {
        let (name, owner) = (beside(&self.database.name, UID), self.roles.owner.clone());
        let text = |text: &str| text.to_owned();
        let (encoding, collate, ctype, provider) = (text("UTF8"), text("C"), text("C"), text("libc"));
        let like = Like { owner: owner.clone(), encoding, collate, ctype, provider, ..Like::default() };
        let version = self.look().await.version_num;
        databases::run(&self.session, &sql::create(&name, &like, version)).await.unwrap();
        let grant = Grant { grantee: self.roles.operator.clone(), privilege: text("CONNECT"), grantable: false };
        let setting = Setting { role: String::new(), name: text("work_mem"), value: text("7MB") };
        let properties = Properties {
            owner,
            connection_limit: 30,
            grants: Some(vec![grant]),
            settings: vec![setting],
            ..Properties::default()
        };
        for statement in sql::settings(&name, &properties).into_iter().chain(sql::access(&name, &properties)) {
            databases::run(&self.session, &statement).await.unwrap();
        }
        let witness = Witness::new(UID, Role::Restored, Some(text("the shop"))).text();
        databases::run(&self.session, &sql::comment(&name, Some(&witness))).await.unwrap();
        self.find(&name).await
    }

    async fn swap(&self, leaves: &Found, to: &str, role: Role, comes: &Found) -> bool {
        let witness = Witness::new(UID, role, leaves.own_comment(UID));
        let swap = Swap {
            leaves: Some((leaves.clone(), to.to_owned(), witness)),
            comes: Some((comes.clone(), comes.own_comment(UID))),
            name: self.database.name.clone(),
        };
        databases::swap(&self.session, &swap).await.unwrap().by_privileges
    }
}

async fn there_and_back(major: u32, is_refused: bool) {
    let stage = Stage::on(major, is_refused).await;
    let (name, operator) = (stage.database.name.clone(), stage.roles.operator.clone());
    let (before, kept) = (stage.grants(&name).await, previous(&name, UID));
    let restored = stage.restored().await;
    let live = stage.find(&name).await;
    let application = stage.database.connect(&operator).await;
    assert_eq!(stage.swap(&live, &kept, Role::Previous, &restored).await, is_refused, "{major}");
    assert!(application.simple_query("select 1").await.is_err(), "{major}: a session is left");
    let (now, away) = (stage.find(&name).await, stage.find(&kept).await);
    assert_eq!((now.oid, now.is_open, now.comment.as_deref()), (restored.oid, true, Some("the shop")), "{major}");
    assert_eq!((away.oid, away.is_open, away.own_comment(UID).as_deref()), (live.oid, false, Some("the shop")), "{major}");
    assert!(stage.gets_in(&operator, &name).await && !stage.gets_in(&operator, &kept).await, "{major}");
    assert_eq!(stage.gets_in("postgres", &kept).await, is_refused, "{major}: superusers");
    let places = stage.look().await;
    let places = Places::of(
        &places,
        &name,
        UID,
        Strategy::Swap,
        &RestoreStatus { restored_oid: Some(restored.oid.into()), ..Default::default() },
    );
    assert!(places.is_swapped(), "{major}");
    stage.swap(&now, &beside(&name, UID), Role::Restored, &away).await;
    let back = stage.find(&name).await;
    assert_eq!((back.oid, back.is_open, back.comment.as_deref()), (live.oid, true, Some("the shop")), "{major}");
    assert_eq!(stage.grants(&name).await, before, "{major}");
    databases::remove(&stage.session, &stage.find(&beside(&name, UID)).await).await.unwrap();
    assert_eq!(stage.look().await.databases.len(), 1, "{major}");
}

/// The operator dies when the database is closed and has not yet given its name away.
async fn closed_and_opened(major: u32) {
    let stage = Stage::on(major, true).await;
    let name = stage.database.name.clone();
    let (before, restored) = (stage.grants(&name).await, stage.restored().await);
    let live = stage.find(&name).await;
    let count = stage.proxy.count();
    // ALLOW_CONNECTIONS, the fence, and then what ends sessions.
    stage.proxy.plan(count + 3, crate::support::pgproxy::Fault::CutBefore);
    let witness = Witness::new(UID, Role::Previous, live.own_comment(UID));
    let swap = Swap { leaves: Some((live, previous(&name, UID), witness)), comes: Some((restored, None)), name: name.clone() };
    assert!(databases::swap(&stage.session, &swap).await.is_err(), "{major}");
    let after = Stage { session: connected(&stage.proxy, &stage.roles, &name).await, ..stage };
    let closed = after.find(&name).await;
    assert_eq!((closed.is_open, closed.own_comment(UID).as_deref()), (false, Some("the shop")), "{major}: {closed:?}");
    fence::open(&after.session, &closed, UID).await.unwrap();
    let open = after.find(&name).await;
    assert_eq!((open.is_open, open.comment.as_deref()), (true, Some("the shop")), "{major}");
    assert_eq!(after.grants(&name).await, before, "{major}");
    databases::remove(&after.session, &after.find(&beside(&name, UID)).await).await.unwrap();
}

async fn connected(proxy: &PgProxy, roles: &Roles, avoided: &str) -> Session {
    let (host, port, user) = ("127.0.0.1".into(), proxy.port, roles.operator.clone());
    let target = Target { host, port, database: avoided.to_owned(), user, password: None, tls: Tls::Disable };
    databases::maintenance(&target, avoided).await.unwrap()
}

/// A database of each provider of locales that the version knows, and what its catalog says of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_made_with_the_locale_of_the_one_that_was_backed_up_on_every_version() {
    for major in MAJORS {
        let stage = Stage::on(major, false).await;
        let version = stage.look().await.version_num;
        let rules = (major >= 16).then(|| "&a < b".to_owned());
        let providers = [
            ("libc", None, None, 14),
            ("icu", Some("de"), None, 15),
            ("icu", Some("de"), rules, 16),
            ("builtin", Some("C.UTF-8"), None, 17),
        ];
        for (provider, locale, icu_rules, _) in providers.into_iter().filter(|(.., since)| major >= *since) {
            let text = |text: &str| text.to_owned();
            let like = Like {
                owner: stage.roles.owner.clone(),
                encoding: text("UTF8"),
                collate: text("C"),
                ctype: text("C"),
                provider: text(provider),
                locale: locale.map(text),
                icu_rules,
                tablespace: None,
            };
            let name = beside(&stage.database.name, UID);
            databases::run_at_leisure(&stage.session, &sql::create(&name, &like, version)).await.unwrap();
            let query = "select to_jsonb(d)::text from pg_database d where datname = $1";
            let server = stage.database.server().superuser("postgres").await;
            let found: String = server.query_one(query, &[&name]).await.unwrap().get(0);
            let found: serde_json::Value = serde_json::from_str(&found).unwrap();
            let expected = if major < 15 { serde_json::Value::Null } else { provider[..1].replace('l', "c").into() };
            assert_eq!(found["datlocprovider"], expected, "{major}: {found}");
            let found_locale = found["datlocale"].as_str().or(found["daticulocale"].as_str());
            assert_eq!((found_locale, found["daticurules"].as_str()), (locale, like.icu_rules.as_deref()), "{major}: {found}");
            databases::remove(&stage.session, &stage.find(&name).await).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_change_there_and_back_on_every_version_behind_either_fence() {
    for major in MAJORS {
        for is_refused in [false, true] {
            there_and_back(major, is_refused).await;
        }
        closed_and_opened(major).await;
    }
}
