//! Which partitions must exist before they are needed? PartitionPolicy: one partitioned table and its calendar.

#![allow(clippy::duplicated_attributes, reason = "each printcolumn has a type_ and a json_path of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::utc;
use super::{Interval, PolicySettings, PolicyStatus, Span, TableName};

/// Creates the partitions of one table before they are needed, like their siblings.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "pgreeve.dev",
    version = "v1alpha1",
    kind = "PartitionPolicy",
    plural = "partitionpolicies",
    shortname = "ppol",
    category = "pgreeve",
    namespaced,
    status = "PartitionPolicyStatus",
    derive = "PartialEq",
    doc = "Keeps the range partitions of one table ahead of time, and like each other.",
    cel,
    selectable = ".spec.databaseRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.table.name"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions.count"),
    printcolumn(name = "Covered until", type_ = "string", json_path = ".status.coveredUntil"),
    printcolumn(name = "Default rows", type_ = "integer", json_path = ".status.defaultRows"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.key) || !has(self.key.encoding) || self.key.encoding == 'Native' || !self.interval.matches('^[0-9_]+$')")
        .message("an encoded key is divided by time: give interval a unit, such as 1 month").field_path(".interval"),
    validation = Rule::new("!has(self.create) || !has(self.create.horizon) || !self.interval.matches('^[0-9_]+$')")
        .message("an integer step has no clock, so create.horizon cannot be kept; use create.ahead").field_path(".create.horizon")
)]
pub struct PartitionPolicySpec {
    /// What every policy has.
    #[serde(flatten)]
    pub policy: PolicySettings,
    /// The partitioned table. Its partitions may be two levels deep: then those of each of its children are kept.
    #[x_kube(validation = Rule::new("self == oldSelf").message("table cannot be changed; delete this policy (nothing is dropped) and create one for the other table"))]
    pub table: TableName,
    /// The column that divides the table.
    pub key: PartitionKey,
    /// Width of a partition: a count and hour, day, week, month, quarter or year; a plain number for integer keys.
    pub interval: Interval,
    /// IANA time zone in which days, months and years begin. Bounds are always written with their offset.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// A date on which a partition begins. The grid of bounds follows from interval, anchor and time zone alone.
    /// Without it, 1970-01-01; for weeks Monday 1970-01-05; for hours 2000-01-01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub anchor: Option<String>,
    /// How far ahead, and how far back.
    #[serde(default)]
    pub create: Create,
    /// Names of new partitions, such as `{table}_y{yyyy}m{mm}`; by default a name that fits the interval.
    /// A partition is known by its OID and bounds, so existing ones may have any name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub naming: Option<String>,
    /// Keep leaves the default partition as it is, Ensure creates one, Forbid reports one.
    #[serde(default)]
    pub default_partition: DefaultPartition,
    /// What every managed partition has. What is not given, a new partition takes from its newest sibling; what is given
    /// is also repaired on the existing ones.
    #[serde(default)]
    pub template: Template,
}

/// The column that divides the table, and how its values tell the time.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionKey {
    /// Name of the column.
    #[schemars(length(min = 1, max = 63))]
    pub column: String,
    /// How its values tell the time.
    #[serde(default)]
    pub encoding: Encoding,
}

/// How a key tells the time.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum Encoding {
    /// A date, timestamp or timestamptz; or an integer that is divided by a plain step.
    #[default]
    Native,
    /// An integer of seconds since 1970-01-01 UTC.
    EpochSeconds,
    /// An integer of milliseconds since 1970-01-01 UTC.
    EpochMilliseconds,
    /// An integer of microseconds since 1970-01-01 UTC.
    EpochMicroseconds,
    /// A uuid of version 7 (RFC 9562): 48 bits of milliseconds lead.
    Uuidv7,
    /// A ULID in text: ten characters of milliseconds lead. The column must sort by bytes (COLLATE "C").
    Ulid,
}

/// Which partitions must exist.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Create {
    /// How many partitions after the present one, at least. For a plain integer step: after the newest one that holds data.
    #[serde(default = "Create::ahead")]
    #[schemars(range(min = 0, max = 1000))]
    pub ahead: i32,
    /// How far ahead of now the table must be covered, at least, such as `60 days`. Both ahead and horizon are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<Span>,
    /// Where the table begins: a date, or a number for a plain integer step. All partitions from there on are created, those
    /// that somebody removed included. For a plain integer step it is also where steps are counted from: with 1 and a step of
    /// 1000000 they begin at 1, 1000001 and so on; without it they begin at multiples of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|-?[0-9]{1,19})$"))]
    pub from: Option<String>,
    /// Whether missing partitions between existing ones are created. From `from` on they are in any case.
    #[serde(default = "Create::fill_gaps")]
    pub fill_gaps: bool,
}

impl Create {
    fn ahead() -> i32 {
        3
    }
    fn fill_gaps() -> bool {
        true
    }
}

impl Default for Create {
    fn default() -> Self {
        Self { ahead: Self::ahead(), horizon: None, from: None, fill_gaps: Self::fill_gaps() }
    }
}

/// What the policy says about a default partition.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DefaultPartition {
    /// There may be one or none.
    #[default]
    Keep,
    /// There is one; it is created where it is missing.
    Ensure,
    /// There is none; an existing one is reported, and never removed.
    Forbid,
}

/// What every managed partition has.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// The owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub owner: Option<String>,
    /// Privileges that roles have on each partition itself (access through the parent needs none).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["role".into()]))]
    pub grants: Vec<Grant>,
    /// Storage parameters, such as `autovacuum_vacuum_scale_factor`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub storage_parameters: Vec<StorageParameter>,
    /// The tablespace of new partitions. An existing partition is not moved: that rewrites it under a lock; it is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub tablespace: Option<String>,
    /// Indexes that each partition has beyond those of its parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub indexes: Vec<PartitionIndex>,
    /// What identifies a row to logical replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_identity: Option<ReplicaIdentity>,
    /// Statistics targets of columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["column".into()]))]
    pub statistics: Vec<StatisticsTarget>,
    /// Row security of each partition itself (access through the parent follows the parent's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_security: Option<RowSecurity>,
}

/// Privileges of one role.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The role; `public` is everybody.
    #[schemars(length(min = 1, max = 63))]
    pub role: String,
    /// The privileges.
    #[schemars(length(min = 1, max = 8))]
    pub privileges: Vec<Privilege>,
}

/// A privilege on a table.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub enum Privilege {
    /// SELECT
    Select,
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
    /// TRUNCATE
    Truncate,
    /// REFERENCES
    References,
    /// TRIGGER
    Trigger,
}

/// A storage parameter of a table.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StorageParameter {
    /// Its name, such as `fillfactor` or `toast.autovacuum_enabled`.
    #[schemars(regex(pattern = r"^(toast\.)?[a-z_][a-z0-9_]{0,62}$"))]
    pub name: String,
    /// Its value, as text.
    #[schemars(length(min = 1, max = 100))]
    pub value: String,
}

/// An index that each partition has beyond those of its parent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PartitionIndex {
    /// Ends the index's name, which begins with the partition's.
    #[schemars(regex(pattern = r"^[a-z0-9_]{1,30}$"))]
    pub name: String,
    /// The indexed columns, in order.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    pub columns: Vec<String>,
    /// The access method.
    #[serde(default)]
    pub method: IndexMethod,
    /// Whether the index forbids equal rows within a partition.
    #[serde(default)]
    pub unique: bool,
}

/// An index access method.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum IndexMethod {
    /// btree
    #[default]
    Btree,
    /// brin
    Brin,
    /// hash
    Hash,
    /// gin
    Gin,
    /// gist
    Gist,
}

/// What identifies a row to logical replication.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// All columns.
    Full,
    /// Nothing.
    Nothing,
}

/// The statistics target of a column.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatisticsTarget {
    /// The column.
    #[schemars(length(min = 1, max = 63))]
    pub column: String,
    /// The target, 0 to 10000.
    #[schemars(range(min = 0, max = 10000))]
    pub target: i32,
}

/// Row security of a partition itself. Policies are taken from the newest sibling.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowSecurity {
    /// Whether row security is on.
    pub enabled: bool,
    /// Whether it holds for the owner too.
    #[serde(default)]
    pub forced: bool,
}

/// What was found and what is to be done.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PartitionPolicyStatus {
    /// What every policy reports.
    #[serde(flatten)]
    pub policy: PolicyStatus,
    /// The partitions that exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionCounts>,
    /// The end of the unbroken run of partitions that holds the present: rows up to here have a place.
    /// For a plain integer step absent; see partitions.newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_until: Option<Time>,
    /// Seconds until coveredUntil when this status was written, rounded down to whole days, or to whole hours where partitions are
    /// shorter than a day. The metric pgreeve_partition_horizon_seconds is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage_seconds: Option<i64>,
    /// Rows in default partitions: 0 is exact, more is PostgreSQL's estimate. Absent without a default partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_rows: Option<i64>,
}

/// The partitions that exist, of all parents that the policy manages.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionCounts {
    /// Partitions whose bounds lie on the grid.
    pub count: i32,
    /// Lower bound of the oldest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Upper bound of the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// Partitions whose bounds do not lie on the grid or cannot be read. They are never touched.
    pub unmanaged: i32,
    /// The first ten of those, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmanaged_names: Vec<String>,
    /// Name of the largest one, by PostgreSQL's statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<String>,
}
