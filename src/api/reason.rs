//! Why is it so? The closed list of reasons: one name in conditions, events, metrics and the runbook.

use std::fmt;

/// Whom a reason concerns, which decides how a pass goes on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing is wrong.
    Fine,
    /// It passes by itself: the next pass comes with a growing delay.
    Waiting,
    /// A person must act: `Stalled=True`, looked at again rarely.
    Stalled,
}

macro_rules! reasons {
    ($($name:ident: $class:ident, $meaning:literal, $remedy:literal;)*) => {
        /// The reason of a condition, an event or a metric sample.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each reason carries its meaning as data, for the reference and the runbook")]
        pub enum Reason { $($name),* }

        impl Reason {
            /// Every reason, in the order of the reference.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// The name in conditions, events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name)),* }
            }

            /// The reason of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|reason| reason.as_str() == name).copied()
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Reason::$name => $meaning),* }
            }

            /// What a person does about it, in a sentence.
            pub const fn remedy(self) -> &'static str {
                match self { $(Reason::$name => $remedy),* }
            }

            /// How a pass goes on after it.
            pub const fn class(self) -> Class {
                match self { $(Reason::$name => Class::$class),* }
            }
        }
    };
}

reasons! {
    UpToDate: Fine, "The database is as the policy says.", "Nothing to do.";
    Connected: Fine, "The database answers, its version is supported and the role may do what the policies ask.", "Nothing to do.";
    Planned: Fine, "There is something to do, and mode Observe reports it without doing it.", "Set spec.mode to Apply to carry the plan out.";
    ApprovalPending: Fine, "A plan waits for approval.", "Read status.plan, then set the annotation pgreeve.dev/approve to its fingerprint.";
    OutsideWindow: Fine, "A plan waits for the next window.", "Wait for status.nextRun, or widen spec.window.";
    Suspended: Fine, "spec.suspend is true: nothing is planned or changed.", "Set spec.suspend to false.";
    JobRunning: Fine, "A Job does the work; the message says since when, or what its Pod waits for.", "Wait for it. `kubectl logs job/NAME` shows how it is coming along; a deleted Job is made anew.";
    RunStarted: Fine, "A run of the schedule has begun; what it is for, and what its Jobs report, is written down before it acts on it.", "Nothing to do.";
    Completed: Fine, "What was asked for once is done.", "Nothing to do.";
    Verified: Fine, "The backup was read back whole, or restored, as the message says.", "Nothing to do.";
    NotVerified: Fine, "The backup is complete, and not yet proven as far as it says, or no proof is asked for.", "Wait for the proof that the message names; without one, set verify to Catalog or Restore, or ask for a restore test with the annotation pgreeve.dev/restoreTest.";
    Queued: Fine, "It waits for an older one of the same database to end.", "Nothing to do; the message names the other one.";
    Removing: Fine, "The object was deleted, and its traces are being removed before it goes.", "Nothing to do; the message says what is in the way, if something is.";
    Applied: Fine, "A plan has been carried out.", "Nothing to do.";
    Restoring: Fine, "A restore is under way; the message says what it does.", "Nothing to do.";
    Restored: Fine, "The restored database is in use.", "Nothing to do. With strategy Swap the replaced one is kept until status.rollbackUntil; set spec.rollback to true to have it back.";
    RolledBack: Fine, "The database that had been replaced is in use again.", "Nothing to do. The restored one is kept until status.rollbackUntil; set spec.rollback to false to have it again.";
    RestoreWaits: Waiting, "Another Restore of the same database is under way.", "Wait for it, or delete it; the message names it.";
    Quiescing: Waiting, "Workloads or sessions are still there, and the database is not replaced before they are gone.", "Wait, or see why they stay; the message names them.";
    Deferred: Waiting, "A lock was not free within its budget, so the change was put off to spare the application.", "It is tried again by itself; the message names the sessions in the way. End the long transaction if it should not be there.";
    Stale: Waiting, "The catalog changed between plan and apply, so nothing more was touched.", "Nothing to do: the next pass plans anew.";
    ActionFailed: Waiting, "PostgreSQL refused an action.", "Read the SQLSTATE in the message; the action is tried again with growing delays.";
    OtherOperator: Waiting, "Another pgreeve holds this database's advisory lock.", "Nothing to do if a roll-out is under way; otherwise look for a second operator or a running command line.";
    DatabaseNotReady: Waiting, "The PostgresDatabase that the policy refers to is not ready.", "Look at the PostgresDatabase's own conditions.";
    Unreachable: Waiting, "No connection to the server could be made.", "Check that the server runs and that network policies let the operator reach its host and port.";
    Starting: Waiting, "The server is starting up or shutting down.", "Wait until it accepts connections.";
    TooManyConnections: Waiting, "The server has no free connection slot for this role.", "Free connections, raise max_connections or the role's CONNECTION LIMIT, or lower spec.limits.connections.";
    ReadOnly: Waiting, "The session is read-only, as on the old primary after a failover.", "Point the connection at the primary; check default_transaction_read_only.";
    InRecovery: Waiting, "The server is a standby or in recovery; it is read, never written.", "Point the connection at the primary (a read-write service).";
    ConnectionLost: Waiting, "The connection broke in the middle of a pass.", "It is tried again by itself; look at the server's log if it repeats.";
    JobFailed: Waiting, "A Job failed, or its Pod cannot start.", "Read the message, which quotes the Job or Kubernetes, and `kubectl logs job/NAME`. It is tried again with growing delays; delete the Job to have it tried at once.";
    ToolFailed: Waiting, "pg_dump, pg_restore or another of PostgreSQL's programs ended with an error.", "Read what it said in the message. It is tried again with growing delays.";
    ScratchFull: Waiting, "The Job's scratch directory has no room, or cannot be written.", "Give the Job more room in scratch.";
    VerificationFailed: Waiting, "A restored database is not what was backed up.", "Read what differs in the message; keep the backups that were restored well, and do not rely on this one.";
    KubernetesUnavailable: Waiting, "The Kubernetes API refused or did not answer a request.", "It is tried again by itself; check the operator's RBAC if it repeats.";
    DestinationUnavailable: Waiting, "The object store or volume did not do what was asked of it.", "It is tried again by itself; check that the store runs and can be reached from the Job's Pod.";
    Referenced: Waiting, "Rows of another table refer to what should go, so it stays.", "Let the rows that refer to it go first; the message names the foreign key.";
    BackupMissed: Waiting, "A backup did not begin within its startingDeadline.", "See why the operator or the database was away then; the next one comes by itself, or annotate the BackupSchedule with pgreeve.dev/requestedAt to have one now.";
    BackupMissing: Waiting, "The backup that the policy asks for is not there, so nothing goes.", "See why the BackupSchedule has no backup of that age; the message names it.";
    WorkloadTaken: Waiting, "Another Restore has scaled the workload to nothing.", "Wait until that one has brought it back; the message names both.";
    HoldsUnknown: Waiting, "The RetentionHolds could not be read, so nothing goes.", "Nothing to do if the API server was briefly away; check the operator's RBAC if it repeats.";
    InvalidSpec: Stalled, "The spec asks for something that cannot be done.", "Change the field that the message names.";
    StatusUnreadable: Stalled, "The object's status cannot be read, so the object is left alone: another version of pgreeve wrote it.", "Run the version that wrote it. Only where nothing of it is needed, remove the status, and the object begins anew.";
    DatabaseNotFound: Stalled, "No PostgresDatabase of that name is in this namespace.", "Create it, or correct spec.databaseRef.name.";
    SecretNotFound: Stalled, "The Secret with the connection does not exist or may not be read.", "Create the Secret, correct its name, or grant the operator get on Secrets in this namespace.";
    SecretInvalid: Stalled, "The Secret lacks a key or a value that the connection needs.", "Add the key that the message names, or map it with spec.connection.keys.";
    AuthenticationFailed: Stalled, "The server refused the user or the password.", "Correct the Secret, or pg_hba.conf; a rotated password is picked up without a restart.";
    TlsFailed: Stalled, "The server's certificate could not be verified.", "Give the CA in spec.connection.tls.caSecretRef, or connect by a name that the certificate carries.";
    DatabaseMissing: Stalled, "The server has no database of that name.", "Create the database, or correct spec.connection.database or the Secret's dbname.";
    VersionUnsupported: Stalled, "The server is older than PostgreSQL 14.", "Upgrade the server; versions 14 to 18 are supported.";
    TransactionPooling: Stalled, "The connection goes through a pooler in transaction mode, which loses session state.", "Connect to PostgreSQL itself, or to a pool in session mode.";
    MissingPrivilege: Stalled, "The role lacks a privilege.", "Run the GRANT that the message names.";
    TableNotFound: Stalled, "The table does not exist.", "Create the table, or correct spec.table (names are case-sensitive).";
    NotPartitioned: Stalled, "The table is not partitioned by RANGE on the key column.", "Create the table with PARTITION BY RANGE on spec.key.column.";
    KeyMismatch: Stalled, "The key column's type does not go with the encoding or the interval.", "Change spec.key.encoding or spec.interval as the message says.";
    Overlap: Stalled, "An existing partition, off the grid or half detached, is in the way of one that is to be created.", "Set spec.anchor, spec.interval and spec.timeZone to the bounds that exist (spec.create.from for a plain step), or finish the detach; the message says which.";
    DefaultRows: Stalled, "The default partition holds rows of a partition that is to be created.", "Move the rows out of the default partition; the message gives the range.";
    DefaultBusy: Stalled, "Creating the partition would scan a large default partition under a lock that the application feels.", "Empty the default partition in a quiet hour; the message gives its size.";
    DefaultForbidden: Stalled, "A default partition exists and the policy forbids one.", "Detach the default partition, or set spec.defaultPartition to Keep.";
    TooManyPartitions: Stalled, "The spec asks for more partitions than one policy may create.", "Use a longer interval, a later create.from, or a smaller horizon.";
    IndexMissing: Stalled, "Rows cannot be found without scanning a table: the age column, or a foreign key that refers to the table, has no index.", "Run the CREATE INDEX CONCURRENTLY that the message names.";
    WorkloadNotFound: Stalled, "A workload that is to be scaled to nothing does not exist.", "Correct the name or the selector in a new Restore, or create the workload.";
    WorkloadForbidden: Stalled, "The operator may not read or change a workload that is to be scaled to nothing.", "Set restores.workloads.enabled of the chart, or add the kind to restores.workloads.kinds; the message names the right.";
    DestinationInvalid: Stalled, "The object store or volume refuses, or the destination is wrong.", "Correct the destination, its Secret or the bucket's rights, as the message says.";
    ExportMismatch: Stalled, "What lies in the object store is not what was written.", "Find out who removes or changes objects in the bucket; nothing was removed from the database.";
    BackupDamaged: Stalled, "What lies in the object store is not the backup that was written.", "Find out who removes or changes objects in the bucket, and back up anew; the message names the object.";
    ToolsMissing: Stalled, "The programs of the server's major version are not in the Job's image.", "Correct the operator's images.postgres, or spec.job.image.";
    RoleMissing: Stalled, "Roles that the backup names do not exist on this server.", "Create the roles that the message names; `globals` of the backup says how they were.";
    ExtensionMissing: Stalled, "Extensions that the backup has are not available on this server.", "Install the packages of the extensions that the message names.";
    DatabaseInUse: Stalled, "Something in a database keeps it from being replaced or dropped.", "Do what the message says: end the sessions, prepared transactions or replication slots that it names.";
    NameTaken: Stalled, "A database of that name exists.", "Choose another spec.targetDatabase, or restore over the existing one with strategy Swap.";
    NotEmpty: Stalled, "The database that a backup is to be restored into is not empty.", "Nothing to do: the operator makes another one. Find out who writes there if it repeats.";
    RestoreFailed: Stalled, "A restore has failed: what it had touched was put back, or, where strategy Replace had dropped the database, it is tried again while the workloads stay down.", "Read status.failure and correct what it names; then create another Restore, or, after a drop, let this one go on, or restore status.safetyBackup with strategy New.";
    Unsupported: Stalled, "The table uses something that cannot be maintained safely.", "See the message.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
