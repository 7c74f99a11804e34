//! Whose backups are compared? Each tool is a few lines of shell: what backs up, what it takes for a backup, and how it looks at one later.

/// One tool.
#[derive(Debug)]
pub struct Tool {
    /// What the table calls it.
    pub name: &'static str,
    /// Backs up. `$MORE` says which tables, if not all.
    pub back_up: &'static str,
    /// Prints a line where there is something that passes for a backup; `$MANIFEST` is the first manifest in the bucket, if there is one.
    pub find: &'static str,
    /// The tool's own look at what is stored, which fails where that is not whole.
    pub check: &'static str,
    /// Restores what is stored into the empty database `$PGDATABASE`.
    pub restore: &'static str,
    /// Which file of the bucket holds the data: the largest one whose key has this in it.
    pub data: &'static str,
    /// How a choice of a table is written.
    pub table: &'static str,
    /// What the key of the request has in it that makes the backup exist.
    pub makes_it_exist: &'static str,
    /// Programs that it needs beside those of PostgreSQL.
    pub needs: &'static [&'static str],
}

const FIND_DUMP: &str =
    "aws s3api list-objects-v2 --bucket $BUCKET --prefix dump --query 'Contents[].Key' --output text | grep -v None";
const FROM_STORE: &str =
    "set -o pipefail; aws s3 cp --only-show-errors s3://$BUCKET/dump - | pg_restore --exit-on-error --no-owner -d $PGDATABASE";

/// All of them.
pub const TOOLS: [Tool; 5] = [
    Tool {
        name: "pgreeve",
        back_up: "exec $PGREEVE backup s3://$BUCKET --endpoint $ENDPOINT --programs $PROGRAMS --scratch $WORK $MORE",
        find: "$PGREEVE backups s3://$BUCKET --endpoint $ENDPOINT | grep manifest.json",
        check: "$PGREEVE verify s3://$BUCKET/$MANIFEST --endpoint $ENDPOINT",
        restore: "$PGREEVE restore backup s3://$BUCKET/$MANIFEST --endpoint $ENDPOINT",
        data: ".data.",
        table: "--table public.nothing",
        makes_it_exist: "POST uploadId=",
        needs: &[],
    },
    Tool {
        name: "pg_dump \\| aws s3 cp; pg_restore --list",
        back_up: "pg_dump -Fc $MORE | aws s3 cp --only-show-errors - s3://$BUCKET/dump",
        find: FIND_DUMP,
        check: "aws s3 cp --only-show-errors s3://$BUCKET/dump - | pg_restore --list",
        restore: FROM_STORE,
        data: "dump",
        table: "-t nothing",
        makes_it_exist: "POST uploadId=",
        needs: &["aws"],
    },
    Tool {
        name: "the same with pipefail; pg_restore -f /dev/null",
        back_up: "set -eo pipefail; pg_dump -Fc $MORE | aws s3 cp --only-show-errors - s3://$BUCKET/dump",
        find: FIND_DUMP,
        check: "set -o pipefail; aws s3 cp --only-show-errors s3://$BUCKET/dump - | pg_restore -f /dev/null",
        restore: FROM_STORE,
        data: "dump",
        table: "-t nothing",
        makes_it_exist: "POST uploadId=",
        needs: &["aws"],
    },
    Tool {
        name: "pg_dump to a disk, aws s3 cp; pg_restore -f /dev/null",
        back_up: "set -e; pg_dump -Fc $MORE > $WORK/dump; aws s3 cp --only-show-errors $WORK/dump s3://$BUCKET/dump",
        find: FIND_DUMP,
        check: "set -o pipefail; aws s3 cp --only-show-errors s3://$BUCKET/dump - | pg_restore -f /dev/null",
        restore: FROM_STORE,
        data: "dump",
        table: "-t nothing",
        makes_it_exist: "POST uploadId=",
        needs: &["aws"],
    },
    Tool {
        name: "pg_dump \\| restic --stdin with pipefail; restic check --read-data",
        back_up: "set -eo pipefail; pg_dump -Fc -Z0 $MORE | restic -q backup --stdin --stdin-filename dump",
        find: "restic -q snapshots --json --no-lock | grep short_id",
        check: "restic -q check --read-data --no-lock",
        restore: "set -o pipefail; restic -q dump --no-lock latest /dump | pg_restore --exit-on-error --no-owner -d $PGDATABASE",
        data: "data/",
        table: "-t nothing",
        makes_it_exist: "PUT /snapshots/",
        needs: &["restic"],
    },
];
