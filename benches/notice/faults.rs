//! What breaks? Each fault as it is brought about: a `pg_dump` that stands before the real one, a proxy before the store, or a change of
//! what lies in it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::support::dumps::MAJOR;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the control.
    Nothing,
    /// `pg_dump` is killed when half of the dump is written.
    DumpKilled,
    /// It is killed when only the last byte is missing.
    DumpKilledLast,
    /// It writes nothing and says that all is well.
    DumpEmpty,
    /// The server stops at once while it is dumped.
    ServerKilled,
    /// The password is wrong.
    WrongPassword,
    /// The role may not see all rows of a table.
    RowSecurity,
    /// The table that is to be backed up does not exist.
    NoTable,
    /// No file of this machine can grow beyond two megabytes, as on a full disk.
    DiskFull,
    /// The store refuses a part of the data.
    PartRefused,
    /// The store refuses the request that makes the backup exist.
    EndRefused,
    /// The store answers the completion of an upload with 200 and an error in the body, as S3 may.
    FalseEnd,
    /// Everything is killed when half of the dump is written.
    RunnerKilled,
    /// A bit of the data in the store is another one.
    Flipped,
    /// The data in the store lacks its last byte.
    Truncated,
    /// The data in the store is gone.
    Deleted,
}

/// The control, and then those that are counted.
pub const FAULTS: [Fault; 16] = [
    Fault::Nothing,
    Fault::DumpKilled,
    Fault::DumpKilledLast,
    Fault::DumpEmpty,
    Fault::ServerKilled,
    Fault::WrongPassword,
    Fault::RowSecurity,
    Fault::NoTable,
    Fault::DiskFull,
    Fault::PartRefused,
    Fault::EndRefused,
    Fault::FalseEnd,
    Fault::RunnerKilled,
    Fault::Flipped,
    Fault::Truncated,
    Fault::Deleted,
];

impl Fault {
    /// What the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing breaks",
            Self::DumpKilled => "pg_dump is killed at half",
            Self::DumpKilledLast => "pg_dump is killed before its last byte",
            Self::DumpEmpty => "pg_dump writes nothing and exits with 0",
            Self::ServerKilled => "the server stops at half",
            Self::WrongPassword => "the password is wrong",
            Self::RowSecurity => "row security hides rows from the role",
            Self::NoTable => "the table to back up does not exist",
            Self::DiskFull => "the local disk is full",
            Self::PartRefused => "the store refuses a part",
            Self::EndRefused => "the store refuses the last request",
            Self::FalseEnd => "the store answers Complete with 200 and an error",
            Self::RunnerKilled => "all processes are killed at half",
            Self::Flipped => "later: one bit is another one",
            Self::Truncated => "later: the last byte is missing",
            Self::Deleted => "later: the data is gone",
        }
    }

    /// Whether it strikes what was backed up well.
    pub const fn is_later(self) -> bool {
        matches!(self, Self::Flipped | Self::Truncated | Self::Deleted)
    }

    /// Whether the proxy breaks a request, given as its method, path and query.
    pub fn breaks(self, request: &str, makes_it_exist: &str) -> bool {
        let has = |method: &str, key: &str| request.starts_with(method) && request.contains(key);
        match self {
            Self::PartRefused => has("PUT", "partNumber=2") || has("PUT", "/data/"),
            Self::EndRefused => makes_it_exist.split_once(' ').is_some_and(|(method, key)| has(method, key)),
            Self::FalseEnd => has("POST", "uploadId="),
            _ => false,
        }
    }

    /// Does to a file in the store what is done to it later.
    pub fn strike(self, file: &Path) {
        let mut content = std::fs::read(file).unwrap();
        let middle = content.len() / 2;
        match self {
            Self::Flipped => content[middle] ^= 4,
            Self::Truncated => drop(content.pop()),
            _ => return std::fs::remove_file(file).unwrap(),
        }
        std::fs::write(file, content).unwrap();
    }

    /// Fills a directory with PostgreSQL's programs, `pg_dump` such as this fault has it. `mark` is made when everything is to be killed.
    pub fn programs(self, directory: &Path, server: u32, mark: &Path) {
        std::fs::create_dir(directory).unwrap();
        let real = format!("/usr/lib/postgresql/{MAJOR}/bin");
        for name in ["pg_dumpall", "pg_restore", "initdb", "postgres"] {
            symlink(format!("{real}/{name}"), directory.join(name)).unwrap();
        }
        let total = "total=$($real \"$@\" | wc -c)";
        let does = match self {
            Self::DumpKilled => format!("{total}\n$real \"$@\" | head -c $((total / 2))\nkill -9 $$"),
            Self::DumpKilledLast => format!("{total}\n$real \"$@\" | head -c $((total - 1))\nkill -9 $$"),
            Self::DumpEmpty => "exit 0".into(),
            Self::ServerKilled => format!(
                "{total}\n$real \"$@\" | {{ head -c $((total / 2)); kill -QUIT {server}; cat; }}\nexit ${{PIPESTATUS[0]}}"
            ),
            Self::RunnerKilled => {
                format!("{total}\n$real \"$@\" | {{ head -c $((total / 2)); touch {}; sleep 60; }}", mark.display())
            }
            _ => "exec $real \"$@\"".into(),
        };
        let script = format!(
            "#!/bin/bash\nPATH=/usr/bin:/bin\nreal={real}/pg_dump\n[[ ${{1:-}} != --version ]] || exec $real --version\n{does}\n"
        );
        let file = directory.join("pg_dump");
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
