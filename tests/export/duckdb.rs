//! Does another reader of Parquet find in an export what PostgreSQL finds in the table?

use std::process::Command;

use crate::support::cache;
use crate::support::process::run;
use crate::world::World;

const ROWS: &str = r#"
insert into events select date '2025-01-01' + i % 365, i % 2 = 0, (i % 30000)::int2, i, i::int8 * 1000000007, i / 3::float4, i / 7::float8, i::numeric / 8,
  case when i % 5 > 0 then 'text ü ' || i end, json_build_object('i', i), ('\x' || lpad(to_hex(i), 8, '0'))::bytea, md5(i::text)::uuid,
  time '00:00' + i * interval '1 second', timestamp '1969-12-31' + i * interval '37.000001 minutes', timestamptz '2025-01-01 00:00+02' + i * interval '1 hour',
  array[i, null, i * 2], 'ok'
  from generate_series(1, 30000) i;
insert into events (day, i4, f8, f4, ts, tsz) values ('2025-07-07', 30001, 'NaN', '-Infinity', 'infinity', '-infinity'), ('2025-07-07', 30002, '-0', 'Infinity', '-infinity', 'infinity')"#;

/// Each asked of both, in words that both understand alike.
const QUESTIONS: [&str; 7] = [
    "select concat_ws('|', count(*), count(flag), sum(case when flag then 1 else 0 end), sum(i2), sum(i4), sum(i8), count(txt), sum(length(txt))) from {}",
    "select concat_ws('|', min(day), max(day), count(distinct id), min(tm), max(tm), count(distinct ts), count(distinct tsz)) from {} where i4 <= 30000",
    "select concat_ws('|', i4, i8, day, i2, flag, txt, num, id, ts, tm, ar, m) from {} where i4 % 97 = 3 and i4 <= 30000 order by i4",
    "select concat_ws('|', i4, cast(f8 * 1048576 as bigint), cast(cast(f4 as double precision) * 1048576 as bigint)) from {} where i4 % 1000 = 999 order by i4",
    "select concat_ws('|', i4, isfinite(ts), isfinite(tsz), ts > '2000-01-01', tsz > '2000-01-01') from {} where i4 > 30000 order by i4",
    "select concat_ws('|', i4, f8 = 'NaN', f4 < -1e30, f4 > 1e30, f8 = 0) from {} where i4 > 30000 order by i4",
    "select concat_ws('|', i4, cast(extract(epoch from tsz) as bigint)) from {} where i4 % 101 = 5 and i4 <= 30000 order by i4",
];

const SCRIPT: &str = "
import duckdb, sys
db = duckdb.connect()
for question in sys.argv[2:]:
    for row in db.execute(question.replace('{}', \"read_parquet('\" + sys.argv[1] + \"')\")).fetchall():
        print(row[0].replace('true', 't').replace('false', 'f'))
    print('--')
kinds = db.execute(\"describe select * from read_parquet('\" + sys.argv[1] + \"')\").fetchall()
print(','.join(name + ' ' + kind for name, kind, *_ in kinds))
";

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_finds_what_postgresql_finds() {
    let world = World::new(17).await;
    world.owner("create type mood as enum ('ok')").await;
    let columns = ", flag bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, num numeric, txt text, js json, bin bytea, id uuid, tm time, ts timestamp, tsz timestamptz, ar int[], m mood";
    world.events(columns).await;
    world.owner(ROWS).await;
    let task = world.parquet().await;
    let export = world.run(&task).await.unwrap();
    let file = world.data_file(&task, &world.manifest(&task, &export).await);

    let client = world.client().await;
    client.batch_execute("set timezone = 'UTC'").await.unwrap();
    let mut expected = String::new();
    for question in QUESTIONS {
        for row in client.query(&question.replace("{}", "events_2025"), &[]).await.unwrap() {
            expected += &format!("{}\n", row.get::<_, &str>(0));
        }
        expected += "--\n";
    }
    expected += "day DATE,flag BOOLEAN,i2 SMALLINT,i4 INTEGER,i8 BIGINT,f4 FLOAT,f8 DOUBLE,num VARCHAR,txt VARCHAR,js JSON,bin BLOB,id UUID,tm TIME,ts TIMESTAMP,tsz TIMESTAMP WITH TIME ZONE,ar VARCHAR,m VARCHAR\n";
    let mut duckdb = Command::new("python3");
    duckdb.env("PYTHONPATH", cache().join("python/duckdb")).args(["-c", SCRIPT]).arg(&file).args(QUESTIONS);
    let found = run(&mut duckdb);
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert_eq!(differs, None);
    assert_eq!(found.lines().count(), expected.lines().count());
}
