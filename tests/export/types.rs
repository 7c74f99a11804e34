//! Does a value of every type come back as it was, from every version and in every format?

use std::sync::Arc;

use pgreeve::api::TableName;
use pgreeve::api::retention_policy::{ExportCompression, ExportFormat};
use pgreeve::job::export::restore::restore;
use pgreeve::postgres::Session;
use pgreeve::storage::Store;

use crate::support::postgres::MAJORS;
use crate::world::{World, credentials};

const SCHEMA: &str = r#"
create type mood as enum ('sad', 'ok', 'it''s "odd", \ here');
create type pair as (a int, b text, c timestamptz[]);
create domain email as text check (value like '%@%');
create domain counts as int[];
create domain moods as mood;
create type floats as range (subtype = float8);
create table events (
  day date not null, gone int, flag bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, num numeric, num38 numeric(38,10), cash money,
  txt text, vc varchar(30), bp char(7), nm name, ch "char", bin bytea, id uuid, tm time, tmz timetz, ts timestamp, tsz timestamptz, iv interval,
  js json, jb jsonb, ar int[], ar2 text[][], at timestamptz[], m mood, p pair, e email, cs counts, ms moods, r int4range, nr numrange, tr tstzrange,
  mr int4multirange, fr floats, ip inet, net cidr, mac macaddr, mac8 macaddr8, b bit(5), vb varbit, v tsvector, q tsquery, pt point, bx box, pg polygon,
  o oid, rc regclass, rt regtype, x8 xid8, lsn pg_lsn, jp jsonpath, "Odd, ""name""" int, "Öl" text collate "C",
  twice bigint generated always as (i4::bigint * 2) stored, num_id bigint generated always as identity
) partition by range (day);
alter table events drop column gone;
create table events_2025 partition of events for values from ('-infinity') to ('infinity');
alter table events_2025 alter txt set storage external"#;

/// Ordinary values, the ends of every range, what has no value, and what is easily taken for something else.
const ROWS: &str = r#"
insert into events overriding system value values
 ('2025-01-01', true, 1, 2, 3, 1.5, 2.5, 123.450, 0.1234567890, '12.34', E'a\nb\tc\\d"e'',\r;', 'vc', 'bp  ', 'nm', 'c', '\x0001ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  '12:34:56.789', '12:34:56.789+02', '2025-01-01 12:34:56.789', '2025-01-01 12:34:56.789+02', '1 year 2 mons -3 days 04:05:06.7',
  '{"b": 1,  "a": [null, "\u00e9"]}', '{"b": 1, "a": 2}', '{1,NULL,3}', '{{a,"b,c"},{"\"",NULL}}', '{infinity,2025-01-01}', 'it''s "odd", \ here', row(1, 'x,"y', '{2025-01-01}'),
  'a@b', '{1,2}', 'ok', '[1,5)', '(,1.5]', '[2025-01-01,infinity)', '{[1,2),[5,7)}', '[1.5,NaN]', '192.168.1.1', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
  '10101', '1', 'a:1A fat:2', 'fat & !rat', '(1.5,-2)', '(1,1),(0,0)', '((0,0),(1,1),(1,0))', 42, 'pg_class', 'integer[]', '9', '16/B374D848', '$.a[*] ? (@ > 1)', 1, 'ä', default, 1),
 ('4000-01-01 BC', false, -32768, -2147483648, -9223372036854775808, 'NaN', 'NaN', 'NaN', 'NaN', '-92233720368547758.08', '', '', '', '', '', '', '00000000-0000-0000-0000-000000000000',
  '00:00', '00:00+15:59', '4713-01-01 BC', '4713-01-01 00:00+00 BC', '-178000000 years', 'null', 'null', '{}', '{}', '{}', 'sad', row(null, '', '{}'), '@', '{}', 'sad', 'empty', 'empty', 'empty', '{}', 'empty',
  '::1/64', '::/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', '00000', '', '', '', '(0,0)', '(0,0),(0,0)', '((0,0))', 0, 0, 0, '0', '0/0', '$', 0, '', default, 2),
 ('9999-12-31', true, 32767, 2147483647, 9223372036854775807, 'Infinity', '-Infinity', 1e100, -9999999999999999999999999999.9999999999, '0', 'NULL', '\N', 'x', repeat('n', 63), E'\\', repeat('x', 40)::bytea, 'ffffffff-ffff-ffff-ffff-ffffffffffff',
  '24:00:00', '24:00:00-15:59', 'infinity', '-infinity', '0', '1e400', '1e400', '{{1},{2}}', '{NULL,"NULL",""}', '{-infinity}', 'ok', null, 'ü@é', null, null, '(,)', '(,)', '(,)', '{(,)}', '(,)',
  '255.255.255.255/32', '0.0.0.0/32', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', '11111', '11111111111', '''it''''s'':1', null, '(NaN,Infinity)', null, null, 4294967295, null, null, '18446744073709551615', 'FFFFFFFF/FFFFFFFF', null, null, null, default, 3),
 ('0001-01-01 BC', null, null, null, null, '-0', '-0', '-0.00', 0, null, '\.', null, null, null, null, '\x', null, null, null, '294246-12-31 23:59:59.999999', '294246-12-31 23:59:59.999999+00', '-1 us', null, null, '[0:1]={1,2}', null, null, null, row(1, null, null), null, '[5:5]={9}', null,
  null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, 7, null, default, 4),
 ('2025-06-01', null, null, null, null, 1e-45, 5e-324, 1e-16383, null, null, repeat('ä€😀', 20000), null, null, null, null, null, null, null, null, '0001-12-31 23:59:59.999999 BC', '1969-12-31 23:59:59.999999+00', '2 days -00:00:00.000001', null, null, null, null, null, null, null, null, null, null,
  null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, default, 5)"#;

/// Partition bounds may be infinite; dates that are infinite need a partition that takes them.
const MORE: &str = "insert into events_2025 (day, i4, num_id) overriding system value
  select date '2000-01-01' + i * 37, i, i + 100 from generate_series(1, 5000) i;
  insert into events (day, f8, txt, num_id) overriding system value
  select '2025-01-01', case when i % 3 > 0 then random() * 1e6 end, case i % 4 when 0 then null when 1 then '' else md5(i::text) end, i + 10000 from generate_series(1, 5000) i";

async fn roundtrip(major: u32, format: ExportFormat, compression: ExportCompression) {
    let world = World::new(major).await;
    for sql in [SCHEMA, ROWS, MORE] {
        world.owner(sql).await;
    }
    let task = world.task(format, compression).await;
    let export = world.run(&task).await.unwrap_or_else(|blocked| panic!("{major} {format:?}: {blocked:?}"));
    assert_eq!(export.rows, 10_005);
    // Created from the manifest alone, and into a table that stands and has rows already.
    world.owner("create table copy (like events including generated including identity); insert into copy (day) values ('2024-01-01')").await;
    for (name, create) in [("fresh", true), ("copy", false)] {
        let session = Session::open(&world.target()).await.unwrap();
        session.client().batch_execute(&format!("set role {}", world.roles.owner)).await.unwrap();
        let store = Store::open(&task.destination, &credentials()).unwrap();
        let key = export.url.strip_prefix(&format!("s3://{}/archive/shop/", world.bucket)).unwrap();
        let table = TableName { schema: "public".into(), name: name.into() };
        let restored = restore(&store, key, &Arc::new(session), &table, create)
            .await
            .unwrap_or_else(|blocked| panic!("{major} {format:?} {name}: {blocked:?}"));
        assert_eq!((restored.rows, restored.checksum), (export.rows, export.checksum));
    }
    // The checksum is ours; whether the rows are the same is PostgreSQL's own word.
    let client = world.client().await;
    let (listed, settings) = ("select e::text from", "set extra_float_digits = 3");
    client.batch_execute(settings).await.unwrap();
    for (left, right, expected) in
        [("events", "fresh", 0_i64), ("fresh", "events", 0), ("events", "copy", 0), ("copy", "events", 1)]
    {
        let sql = format!("select count(*) from ({listed} {left} e except all {listed} {right} e) d");
        assert_eq!(client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0), expected, "{major} {format:?} {left} {right}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_parquet_on_every_version() {
    for major in MAJORS {
        roundtrip(major, ExportFormat::Parquet, ExportCompression::Zstd).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_csv_on_every_version() {
    for major in MAJORS {
        roundtrip(major, ExportFormat::Csv, ExportCompression::Zstd).await;
    }
    roundtrip(16, ExportFormat::Csv, ExportCompression::Gzip).await;
}
